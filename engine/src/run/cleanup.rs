//! What `finally` owes: it runs once after every run that did something, though that run was killed before it came to it. Pure.

use crate::plan::{Plan, Step, StepId};
use crate::state::fold::Done;
use crate::state::{RunState, StepState};

/// The last run that did something besides `finally`; 0 if none has. Steps that are in the plan no more count as well: what they made may
/// still be there to be tidied up.
pub(super) fn last_acted(plan: &Plan, state: &RunState) -> u32 {
    let is_cleanup = |id: &StepId| plan.step(id.as_str()).is_some_and(|index| plan.steps[index].finally);
    state.steps().filter(|(id, _)| !is_cleanup(id)).map(|(_, step)| acted_in(step)).max().unwrap_or(0)
}

/// The last run that attempted a step, also where an older program put it away.
fn acted_in(step: &StepState) -> u32 {
    let attempted = if step.attempts() > 0 { step.run() } else { 0 };
    let done = step.done().map_or(0, |done| done.run);
    let in_flight = step.in_flight().map_or(0, |flight| flight.run);
    step.acted().max(attempted).max(done).max(in_flight)
}

/// Whether a step that holds belongs to the end of a run that has not come to it.
pub(super) fn is_owed(step: &Step, done: &Done, last_acted: u32) -> bool {
    step.finally && done.run < last_acted
}
