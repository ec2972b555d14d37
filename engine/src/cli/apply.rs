//! `runbook apply`: run a plan, or continue it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use runbook_steps::Clock;

use super::deployment::{Deployment, HowToRun, Outcome};
use super::early::Reading;
use super::exit::{Exit, Fatal};
use super::{Inputs, Session, check, remedy};
use crate::plan::Plan;
use crate::plan::load::{self, Given};

/// Run a plan, or continue it
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook apply plans/native-gateway.yaml --input project=my-project")]
pub(super) struct Apply {
    /// The plan
    plan: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    how: HowToRun,
}

impl Apply {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let given =
            Given { inputs: self.inputs.values(), require_inputs: true, home: session.env.home(), ..Given::default() };
        remedy::run(&self.how, session, || {
            let reading = self.begin_to_read_journal(session);
            let plan = check::load_plan(session, &self.plan, &given)?;
            let name = self.inputs.name.clone().unwrap_or_else(|| plan.name.clone());
            Ok(Deployment { early: reading.and_then(Reading::end), ..for_real(plan, name, "apply", session) })
        })
        .map(Outcome::leave)
    }

    fn begin_to_read_journal(&self, session: &Session) -> Option<Reading> {
        let name = self.inputs.name.clone().or_else(|| load::likely_name(&self.plan))?;
        Reading::begin(&session.state, &name)
    }
}

/// A deployment on the real world.
pub(super) fn for_real(plan: Plan, name: String, command: &'static str, session: &Session) -> Deployment {
    Deployment {
        next: format!("{} resume {name}", session.program()),
        commands: session.commands(&name),
        plan: Arc::new(plan),
        name,
        root: session.state.clone(),
        command,
        env: session.env.clone(),
        http_proxy: None,
        clock: Clock::real(),
        simulated: None,
        secrets: None,
        early: None,
    }
}
