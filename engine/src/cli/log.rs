//! `runbook log`: what a step printed.

use clap::Args;

use super::deployment::state_fatal;
use super::exit::{Exit, Fatal};
use super::{Session, follow, status};
use crate::plan::StepId;
use crate::plan::error::did_you_mean;
use crate::report::words::label;
use crate::state::dir::LogFile;
use crate::state::{Home, RunState, journal};

/// Show what a step printed
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook log cert_manager")]
pub(super) struct Log {
    /// The step
    step: String,
    /// The deployment; may be left out if there is only one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Every attempt, not only the newest
    #[arg(long)]
    all: bool,
}

impl Log {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let home = status::choose_by_flag(session, self.name.as_deref())?;
        let id = StepId::from(self.step.as_str());
        let mut logs = home.logs(&id).map_err(state_fatal)?;
        let state = journal::read(&home).map_err(state_fatal)?.state;
        if logs.is_empty() {
            return silence(session, &home, &id, &state);
        }
        let silent = silent_attempt(&state, &id, &logs);
        if !self.all {
            logs.drain(..logs.len() - usize::from(silent.is_none()));
        }
        let step = format!("{id}{}", label(state.simulated()));
        for log in &logs {
            let head = format!("── {step} · run {} · attempt {} · {}", log.run, log.attempt, log.path.display());
            session.ui.say(&head);
            session
                .ui
                .copy(&log.path)
                .map_err(|error| Fatal::new(Exit::State, format!("cannot read `{}`: {error}", log.path.display())))?;
        }
        if let Some((run, attempt)) = silent {
            let more = if self.all { "" } else { "; `--all` shows the attempts before it" };
            session.ui.say(&format!("── {step} · run {run} · attempt {attempt} printed nothing{more}"));
        }
        Ok(Exit::Holds)
    }
}

/// The newest attempt of a step, as run and number, if it has no log: it had nothing to say, and what an older one said is not its.
fn silent_attempt(state: &RunState, id: &StepId, logs: &[LogFile]) -> Option<(u32, u32)> {
    let newest = state.step(id).filter(|step| step.attempts() > 0).map(|step| (step.run(), step.attempts()));
    let told = logs.last().map(|log| (log.run, log.attempt));
    newest.filter(|newest| told.is_none_or(|told| told < *newest))
}

/// What there is to say of a step that has no log.
fn silence(session: &Session, home: &Home, id: &StepId, state: &RunState) -> Result<Exit, Fatal> {
    let look = format!("see how it stands: {} status {}", session.program(), home.deployment());
    if state.step(id).is_some_and(|step| step.attempts() > 0 || step.done().is_some()) {
        session.ui.say(&format!("`{id}` has printed nothing{}", label(state.simulated())));
        return Ok(Exit::Holds);
    }
    let plan = follow::plan_of(session, home, state);
    let planned = plan.as_ref().is_some_and(|plan| plan.step(id.as_str()).is_some());
    if planned || state.step(id).is_some() {
        return Err(Fatal::new(Exit::Usage, format!("`{id}` has not begun, so it has printed nothing")).hint(look));
    }
    let steps = plan.iter().flat_map(|plan| &plan.steps).map(|step| step.id.as_str());
    let near = did_you_mean(id.as_str(), state.steps().map(|(known, _)| known.as_str()).chain(steps));
    Err(Fatal::new(Exit::Usage, format!("`{}` has no step `{id}`", home.deployment())).hint(near.unwrap_or(look)))
}
