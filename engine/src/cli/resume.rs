//! `runbook resume`: continue a deployment with the plan and inputs of its last run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::deployment::{HowToRun, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Inputs, Session, apply, check, status};
use crate::plan::load::Given;
use crate::state::journal;

/// Continue a deployment with the plan and inputs of its last run
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook resume native-gateway")]
pub(super) struct Resume {
    /// The deployment; may be left out if there is only one
    deployment: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    how: HowToRun,
}

impl Resume {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let named = self.deployment.as_deref().or(self.inputs.name.as_deref());
        let home = status::choose(session, named)?;
        let reading = journal::read(&home).map_err(state_fatal)?;
        let Some(last) = reading.state.current() else {
            return Err(Fatal::new(Exit::Usage, format!("`{}` has never run", home.deployment())));
        };
        if last.opened.simulated.is_some() {
            let why = format!("the last run of `{}` was a rehearsal, and `resume` is for real", home.deployment());
            return Err(
                Fatal::new(Exit::Usage, why).hint("continue it with `runbook rehearse`, with what you gave it then")
            );
        }
        let mut inputs: BTreeMap<String, String> =
            last.opened.inputs.iter().map(|(name, value)| (name.clone(), as_input(value))).collect();
        inputs.extend(self.inputs.values());
        let given = Given { inputs, require_inputs: true, home: session.env.home() };
        let plan = check::load_plan(session, &PathBuf::from(&last.opened.file), &given)?;
        let name = home.deployment().to_owned();
        apply::for_real(plan, name, "resume", session).run(&self.how, session).map(|outcome| outcome.exit)
    }
}

/// An input as a user would give it.
fn as_input(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
