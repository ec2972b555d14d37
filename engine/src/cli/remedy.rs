//! Offering what puts a failure right: a hint may name a step of the plan that is run only when it is asked for.
//!
//! On a terminal it is offered; elsewhere the summary says what to type, and nothing more is done.

use std::collections::BTreeSet;

use super::Session;
use super::deployment::{Deployment, HowToRun, Outcome};
use super::exit::{Exit, Fatal};
use crate::state::{RunState, Status};

/// Runs a deployment, and again each time that somebody let a remedy be run.
pub(super) fn run(
    how: &HowToRun,
    session: &Session,
    deployment: impl Fn() -> Result<Deployment, Fatal>,
) -> Result<Outcome, Fatal> {
    let mut tried = BTreeSet::new();
    let mut how = how.clone();
    loop {
        let mut outcome = deployment()?.run(&how, session)?;
        let open = offers(outcome.journal.state()).find(|step| !tried.contains(step));
        let Some(step) = open.filter(|_| session.ui.asks && outcome.exit == Exit::StepFailed) else {
            return Ok(outcome);
        };
        match session.ui.confirm(&format!("run `{step}` now?")) {
            Ok(true) => {}
            Ok(false) => return Ok(outcome),
            // How the run has ended is said already.
            Err(stopped) => {
                outcome.exit = stopped.exit;
                return Ok(outcome);
            }
        }
        // The lock goes with the journal, for the run of the remedy.
        drop(outcome);
        let put = deployment()?.run(&how.only(&step), session)?;
        if put.exit != Exit::Holds {
            return Ok(put);
        }
        tried.insert(step);
        how = how.once_more();
    }
}

/// The remedies of the steps that failed, in the order of the journal.
fn offers(state: &RunState) -> impl Iterator<Item = String> {
    let failed = state.steps().filter(|(_, step)| matches!(step.status(), Status::Failed));
    failed.filter_map(|(_, step)| step.failure()?.remedy.clone())
}
