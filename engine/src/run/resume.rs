//! What becomes of each step when a deployment is continued.

use runbook_steps::Redactor;

use super::prepare::{Prepared, prepare};
use crate::plan::model::{Known, Step};
use crate::plan::{Plan, StepId};
use crate::state::fingerprint::differences;
use crate::state::{RunState, Status, StepState};

/// What becomes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It holds and would do the same: it is left alone.
    Reuse,
    /// It holds, but would now do something else: these are the differences.
    Stale(Vec<String>),
    /// It never ran.
    New,
    /// It was in the middle when the engine died or was stopped: it is looked at first.
    InFlight,
    /// It ran and did not end well: it runs again. How it ended, in one word.
    Again(&'static str),
    /// It would be skipped: its `when` is false.
    Skip,
    /// It is in the journal and no longer in the plan.
    Gone,
}

/// The fate of every step of the plan, in an order in which they can run, and of those that are gone. What depends on outputs is
/// judged by those of earlier runs, so a step behind one that runs again may still turn out otherwise.
pub fn verdicts(plan: &Plan, state: &RunState, known: &Known) -> Vec<(StepId, Fate)> {
    let redactor = Redactor::default();
    let ordered = plan.graph.order.iter().map(|index| &plan.steps[*index]);
    let mut verdicts: Vec<(StepId, Fate)> =
        ordered.map(|step| (step.id.clone(), fate(plan, step, state.step(&step.id), known, &redactor))).collect();
    let gone = state.steps().filter(|(id, step)| !plan.index.contains_key(*id) && step.attempts() > 0);
    verdicts.extend(gone.map(|(id, _)| (id.clone(), Fate::Gone)));
    verdicts
}

fn fate(plan: &Plan, step: &Step, state: Option<&StepState>, known: &Known, redactor: &Redactor) -> Fate {
    let prepared = prepare(plan, step, known, redactor);
    if matches!(prepared, Prepared::Unwanted(_)) {
        return Fate::Skip;
    }
    let Some(state) = state else { return Fate::New };
    match (state.status(), state.done(), prepared) {
        (Status::Unknown { .. }, ..) => Fate::Again("unknown"),
        _ if state.in_flight().is_some() => Fate::InFlight,
        (_, Some(done), Prepared::Ready(ready)) => match differences(&done.fingerprint, &ready.fingerprint) {
            none if none.is_empty() => Fate::Reuse,
            changes => Fate::Stale(changes),
        },
        (_, Some(_), _) => Fate::Stale(vec!["it depends on a step that has to run first".to_owned()]),
        (Status::Failed | Status::Retrying { .. }, ..) => Fate::Again("failed"),
        (Status::Cancelled, ..) => Fate::Again("cancelled"),
        _ if state.failure().is_some() => Fate::Again("failed"),
        _ => Fate::New,
    }
}
