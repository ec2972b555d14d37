//! `runbook log`: what a step printed.

use clap::Args;

use super::deployment::state_fatal;
use super::exit::{Exit, Fatal};
use super::{Session, status};
use crate::plan::StepId;
use crate::plan::error::did_you_mean;
use crate::state::dir::LogFile;
use crate::state::{Home, journal};

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
        let home = status::choose(session, self.name.as_deref())?;
        let id = StepId::from(self.step.as_str());
        let mut logs = home.logs(&id).map_err(state_fatal)?;
        if logs.is_empty() {
            return Err(nothing(&home, &id)?);
        }
        let silent = silent_attempt(&home, &id, &logs)?;
        if !self.all {
            logs.drain(..logs.len() - usize::from(silent.is_none()));
        }
        for log in &logs {
            session.ui.say(&format!("── {} · run {} · attempt {} · {}", id, log.run, log.attempt, log.path.display()));
            session
                .ui
                .copy(&log.path)
                .map_err(|error| Fatal::new(Exit::State, format!("cannot read `{}`: {error}", log.path.display())))?;
        }
        if let Some((run, attempt)) = silent {
            let more = if self.all { "" } else { "; `--all` shows the attempts before it" };
            session.ui.say(&format!("── {id} · run {run} · attempt {attempt} printed nothing{more}"));
        }
        Ok(Exit::Holds)
    }
}

/// The newest attempt of a step, as run and number, if it has no log: it had nothing to say, and what an older one said is not its.
fn silent_attempt(home: &Home, id: &StepId, logs: &[LogFile]) -> Result<Option<(u32, u32)>, Fatal> {
    let reading = journal::read(home).map_err(state_fatal)?;
    let newest = reading.state.step(id).filter(|step| step.attempts() > 0).map(|step| (step.run(), step.attempts()));
    let told = logs.last().map(|log| (log.run, log.attempt));
    Ok(newest.filter(|newest| told.is_none_or(|told| told < *newest)))
}

fn nothing(home: &Home, id: &StepId) -> Result<Fatal, Fatal> {
    let reading = journal::read(home).map_err(state_fatal)?;
    if reading.state.step(id).is_some() {
        return Ok(Fatal::new(Exit::Usage, format!("`{id}` has printed nothing")));
    }
    let fatal = Fatal::new(Exit::Usage, format!("`{}` has no step `{id}`", home.deployment()));
    let near = did_you_mean(id.as_str(), reading.state.steps().map(|(known, _)| known.as_str()));
    Ok(near.into_iter().fold(fatal, Fatal::hint))
}
