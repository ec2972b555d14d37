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
}

/// How long a step takes, if its plan says so.
fn said(step: &Step) -> Duration {
    if step.on_demand { Duration::ZERO } else { step.expected.map_or(Duration::ZERO, |expected| expected.typical()) }
}

fn is_silent(step: &Step) -> bool {
    step.expected.is_none() && !step.on_demand
}

/// How long a plan takes: `24m 20s`, `at least 5m 00s`, or nothing where it does not say.
pub(crate) fn in_words(plan: &Plan) -> Option<String> {
    let silent = plan.steps.iter().filter(|step| is_silent(step)).count();
    match Estimate::new(longest_path(&plan.graph, |index| said(&plan.steps[index])).1, silent) {
        Estimate::Unknown => None,
        Estimate::AtLeast(long) => Some(format!("at least {}", span(long))),
        Estimate::About(long) => Some(span(long)),
    }
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
