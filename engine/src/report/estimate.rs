//! How long still, and what decided how long it took. Pure.

use std::time::Duration;

use super::snapshot::Snapshot;
use crate::plan::Plan;
use crate::plan::graph::longest_path;

/// How long until the run ends, if every step takes as long as usual and there is room for all that can run.
pub(crate) fn remaining(plan: &Plan, snapshot: &Snapshot) -> Duration {
    let left = |index: usize| {
        let row = &snapshot.rows[index];
        if row.standing.ended() { Duration::ZERO } else { plan.steps[index].typical().saturating_sub(row.took) }
    };
    longest_path(&plan.graph, left).1
}

/// The chain of steps that took longest in this run, and how long that was.
pub(crate) fn measured_path(plan: &Plan, snapshot: &Snapshot) -> (Vec<usize>, Duration) {
    longest_path(
        &plan.graph,
        |index| if snapshot.rows[index].reused { Duration::ZERO } else { snapshot.rows[index].took },
    )
}

/// How long it would have taken one after another.
pub(crate) fn in_a_row(snapshot: &Snapshot) -> Duration {
    snapshot.rows.iter().filter(|row| !row.reused).map(|row| row.took).sum()
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
