//! How long still, and what decided how long it took. Pure. A step whose plan does not say how long it takes counts for nothing
//! here: what is known then is only how long it takes at least.

use std::time::Duration;

use super::snapshot::Snapshot;
use super::words::span;
use crate::plan::graph::longest_path;
use crate::plan::{Plan, Step};

/// How long something takes, by what the plan says of its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Estimate {
    /// No step says it.
    Unknown,
    /// Some steps do not say it.
    AtLeast(Duration),
    /// So long.
    About(Duration),
}

impl Estimate {
    /// From how long the steps take that say it, and how many do not.
    fn new(long: Duration, silent: usize) -> Self {
        match (long, silent) {
            (long, 0) => Self::About(long),
            (Duration::ZERO, _) => Self::Unknown,
            (long, _) => Self::AtLeast(long),
        }
    }

    /// In words: `24m 20s`, `at least 5m 00s`, or nothing where nothing is known, or nothing takes time.
    pub(crate) fn in_words(self) -> Option<String> {
        match self {
            Self::Unknown | Self::About(Duration::ZERO) => None,
            Self::AtLeast(long) => Some(format!("at least {}", span(long))),
            Self::About(long) => Some(span(long)),
        }
    }

    /// How long it takes at least, as far as that is known.
    pub(crate) fn known(self) -> Option<Duration> {
        match self {
            Self::Unknown => None,
            Self::AtLeast(long) | Self::About(long) => Some(long),
        }
    }
}

/// How long a step takes, if its plan says so.
fn said(step: &Step) -> Duration {
    if step.on_demand { Duration::ZERO } else { step.expected.map_or(Duration::ZERO, |expected| expected.typical()) }
}

fn is_silent(step: &Step) -> bool {
    step.expected.is_none() && !step.on_demand
}

/// How long a plan takes, in words.
pub(crate) fn in_words(plan: &Plan) -> Option<String> {
    of(plan, |_| true).in_words()
}

/// How long these steps of a plan take.
pub(crate) fn of(plan: &Plan, runs: impl Fn(&Step) -> bool) -> Estimate {
    let long = |index: usize| if runs(&plan.steps[index]) { said(&plan.steps[index]) } else { Duration::ZERO };
    let silent = plan.steps.iter().filter(|step| is_silent(step) && runs(step)).count();
    Estimate::new(longest_path(&plan.graph, long).1, silent)
}

/// How long until the run ends, if every step takes as long as usual and there is room for all that can run.
pub(crate) fn remaining(plan: &Plan, snapshot: &Snapshot) -> Estimate {
    let still = |index: usize| !snapshot.rows[index].standing.ended();
    let left = |index: usize| {
        let took = snapshot.rows[index].took;
        if still(index) { said(&plan.steps[index]).saturating_sub(took) } else { Duration::ZERO }
    };
    let silent = plan.steps.iter().enumerate().filter(|(index, step)| still(*index) && is_silent(step)).count();
    Estimate::new(longest_path(&plan.graph, left).1, silent)
}

/// The chain of steps that took longest in this run, without those that did not run in it, and how long that was.
pub(crate) fn measured_path(plan: &Plan, snapshot: &Snapshot) -> (Vec<usize>, Duration) {
    let took = |index: usize| if snapshot.rows[index].ran() { snapshot.rows[index].took } else { Duration::ZERO };
    let (mut path, long) = longest_path(&plan.graph, took);
    path.retain(|&index| snapshot.rows[index].ran());
    (path, long)
}

/// How long it would have taken one after another.
pub(crate) fn in_a_row(snapshot: &Snapshot) -> Duration {
    snapshot.rows.iter().filter(|row| row.ran()).map(|row| row.took).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Graph;
    use crate::plan::model::{Accept, Edge};

    fn graph(needs: &[&[usize]]) -> Graph {
        let edge = |&step: &usize| Edge { step, accept: Accept::Succeeded, implied: false };
        let needs: Vec<Vec<Edge>> = needs.iter().map(|needs| needs.iter().map(edge).collect()).collect();
        Graph { dependents: vec![Vec::new(); needs.len()], order: (0..needs.len()).collect(), needs }
    }

    #[test]
    fn the_longest_chain_wins_over_the_longest_step() {
        let graph = graph(&[&[], &[0], &[0], &[1, 2]]);
        let seconds = [1, 5, 3, 1];
        let (path, long) = longest_path(&graph, |index| Duration::from_secs(seconds[index]));
        assert_eq!((path, long), (vec![0, 1, 3], Duration::from_secs(7)));
    }

    #[test]
    fn an_empty_plan_has_no_path() {
        assert_eq!(longest_path(&graph(&[]), |_| Duration::ZERO), (Vec::new(), Duration::ZERO));
    }
}
