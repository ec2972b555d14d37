//! `runbook log`: what a step printed.

use clap::Args;

use super::deployment::state_fatal;
use super::exit::{Exit, Fatal};
use super::select::refused;
use super::{Session, follow, status};
use crate::plan::StepId;
use crate::report::words::{label, some};
use crate::run::select;
use crate::state::dir::LogFile;
use crate::state::{Home, RunState, journal};

/// Show what a step printed
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook log cert_manager")]
pub(super) struct Log {
    /// The step, or a `foreach` or an `include` with all that is in it
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
        let state = journal::read(&home).map_err(state_fatal)?.state;
        let steps = self.steps(session, &home, &state)?;
        let mut silent = Vec::new();
        for id in &steps {
            if !self.tell(session, &home, id, &state)? {
                silent.push(id);
            }
        }
        let not_begun = format!("{} not begun, so {} printed nothing", have(&silent), it_has(&silent));
        if silent.len() == steps.len() {
            return Err(Fatal::new(Exit::Usage, not_begun).hint(look(session, &home)));
        }
        if !silent.is_empty() {
            session.ui.say(&format!("── {not_begun}"));
        }
        Ok(Exit::Holds)
    }

    /// The steps that are meant. The plan is read only where the journal does not know the name.
    fn steps(&self, session: &Session, home: &Home, state: &RunState) -> Result<Vec<StepId>, Fatal> {
        let id = StepId::from(self.step.as_str());
        if state.step(&id).is_some() || !home.logs(&id).map_err(state_fatal)?.is_empty() {
            return Ok(vec![id]);
        }
        let plan = follow::plan_of(session, home, state);
        let planned = plan.iter().flat_map(|plan| &plan.steps).map(|step| &step.id);
        let is_planned = |id: &StepId| plan.as_ref().is_some_and(|plan| plan.index.contains_key(id));
        let others = state.steps().map(|(id, _)| id).filter(|id| !is_planned(id));
        let known: Vec<&StepId> = planned.chain(others).collect();
        let meant = select::meant(home.deployment(), &known, &self.step);
        let meant = meant.map_err(|refusal| refused(refusal).hint(look(session, home)))?;
        Ok(meant.into_iter().cloned().collect())
    }

    /// Shows what a step printed, also that it was nothing; not of one that has not begun.
    fn tell(&self, session: &Session, home: &Home, id: &StepId, state: &RunState) -> Result<bool, Fatal> {
        let mut logs = home.logs(id).map_err(state_fatal)?;
        let step = format!("{id}{}", label(state.simulated()));
        if logs.is_empty() {
            let begun = state.step(id).is_some_and(|step| step.attempts() > 0 || step.done().is_some());
            if begun {
                session.ui.say(&format!("`{id}` has printed nothing{}", label(state.simulated())));
            }
            return Ok(begun);
        }
        let silent = silent_attempt(state, id, &logs);
        if !self.all {
            logs.drain(..logs.len() - usize::from(silent.is_none()));
        }
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
        Ok(true)
    }
}

fn look(session: &Session, home: &Home) -> String {
    format!("see how it stands: {} status {}", session.program(), home.deployment())
}

fn have(steps: &[&StepId]) -> String {
    let names: Vec<String> = steps.iter().map(|id| format!("`{id}`")).collect();
    format!("{} {}", some(&names, 8), if names.len() == 1 { "has" } else { "have" })
}

fn it_has(steps: &[&StepId]) -> &'static str {
    if steps.len() == 1 { "it has" } else { "they have" }
}

/// The newest attempt of a step, as run and number, if it has no log: it had nothing to say, and what an older one said is not its.
fn silent_attempt(state: &RunState, id: &StepId, logs: &[LogFile]) -> Option<(u32, u32)> {
    let newest = state.step(id).filter(|step| step.attempts() > 0).map(|step| (step.run(), step.attempts()));
    let told = logs.last().map(|log| (log.run, log.attempt));
    newest.filter(|newest| told.is_none_or(|told| told < *newest))
}
