//! What a killed run has left running: found and ended before its steps may start again.

use std::sync::Arc;

use runbook_steps::tools::{self, Mark, Orphan};
use runbook_steps::{Clock, World};

use crate::plan::StepId;
use crate::state::RunState;

/// The world, with the run's mark in the environment of all that it starts.
pub(super) fn carry(mut world: Arc<World>, mark: &str) -> Arc<World> {
    Arc::make_mut(&mut world).env.insert(tools::RUN.into(), mark.into());
    world
}

/// How the programs of the steps that are in flight are recognised.
pub(super) fn marks(state: &RunState) -> Vec<Mark> {
    state.steps().filter_map(|(id, _)| mark(state, id)).collect()
}

/// How the programs of a step are recognised, if it is in flight.
pub(crate) fn mark(state: &RunState, id: &StepId) -> Option<Mark> {
    let flight = state.step(id)?.in_flight()?;
    let run = state.runs().iter().find(|summary| summary.opened.run == flight.run);
    let run = run.map(|run| run.opened.mark.clone()).unwrap_or_default();
    Some(Mark { run, step: Some(id.as_str().to_owned()), groups: flight.children.clone() })
}

/// Ends what the steps in flight have left running. Says what there was; what cannot be ended is not `gone`.
pub(super) async fn end(marks: &[Mark], clock: Clock) -> Vec<Orphan> {
    if marks.is_empty() { Vec::new() } else { tools::end_marked(marks, clock).await }
}

/// What a run that ends leaves running because it has left the process groups of its steps.
pub(super) fn left_by(run: &str) -> Vec<Orphan> {
    tools::marked(&[Mark { run: run.to_owned(), ..Mark::default() }])
}
