//! `runbook settle`: a person says what became of a step that nobody else can tell about.

use clap::Args;
use runbook_steps::tools::{self, Mark, Orphan};
use runbook_steps::{Clock, Outputs};
use serde_json::Value;

use super::deployment::{held, holder, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Session, secrets, status};
use crate::plan::StepId;
use crate::plan::error::did_you_mean;
use crate::run::orphans;
use crate::state::fold::Status;
use crate::state::journal::Sync;
use crate::state::record::Record;
use crate::state::{Home, Journal, RunState, StepState};

/// Say what became of a step that nobody else can tell about
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook settle migrate --done --output version=42")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["done", "redo"])))]
pub(super) struct Settle {
    /// The step
    step: String,
    /// It was done: it counts as done, with the outputs that are given here
    #[arg(long)]
    done: bool,
    /// It was not done, or a repeat does no harm: it runs again
    #[arg(long)]
    redo: bool,
    /// What it gave to others; JSON, or else a text
    #[arg(long, value_name = "NAME=VALUE", requires = "done", conflicts_with = "redo", value_parser = super::name_and_value)]
    output: Vec<(String, String)>,
    /// The deployment; may be left out if there is only one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Settle {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let home = status::choose_by_flag(session, self.name.as_deref())?;
        let clock = Clock::real();
        let lock = home.lock(holder("settle", &session.env)).map_err(|error| held(error, session, &session.state))?;
        let (mut journal, cut) = Journal::open(lock, clock).map_err(state_fatal)?;
        if let Some(cut) = cut {
            session.ui.say(&format!("{} {cut}", session.ui.paint.warn("note:")));
        }
        let step = StepId::from(self.step.as_str());
        if !journal.state().step(&step).is_some_and(StepState::is_open) {
            return Err(nothing_to_settle(&step, journal.state(), &home, session));
        }
        self.refuse_secrets(journal.state(), session)?;
        if let Some(mark) = orphans::mark(journal.state(), &step) {
            self.end(mark, session)?;
        }
        let half_undone =
            journal.state().step(&step).and_then(StepState::in_flight).is_some_and(|flight| flight.undoing);
        let settled = Record::Settled { step: step.clone(), done: self.done, outputs: self.outputs() };
        journal.append(settled, Sync::Now).map_err(state_fatal)?;
        let what = match (self.done, half_undone) {
            (true, false) => "counts as done",
            (true, true) => "counts as done: what it made still stands, though its undo was under way",
            (false, _) => "will run again",
        };
        let last = journal.state().current().map(|run| &run.opened);
        let next = last.map(|last| format!("; continue with: {}", status::continuing(session, &home, last)));
        session.ui.say(&format!("`{step}` {what}{}", next.unwrap_or_default()));
        Ok(Exit::Holds)
    }

    fn outputs(&self) -> Outputs {
        let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        self.output.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    /// Outputs are written down; the secrets of the runs are known where the environment still has them.
    fn refuse_secrets(&self, state: &RunState, session: &Session) -> Result<(), Fatal> {
        let redactor = secrets::of_runs(state, &session.env).redactor();
        match self.output.iter().find(|(_, text)| redactor.mask(text) != text.as_str()) {
            None => Ok(()),
            Some((name, _)) => {
                let what = format!("the output `{name}` holds a secret, and outputs are written to the journal");
                Err(Fatal::new(Exit::Usage, what)
                    .hint("leave it out: a step that needs the secret gets it through its own `env`"))
            }
        }
    }

    /// What the step had started must not work on beside its second copy; and as long as it works, the step is not done.
    fn end(&self, mark: Mark, session: &Session) -> Result<(), Fatal> {
        let step = &self.step;
        let marks = [mark];
        if let (true, Some(Orphan { pid, program, .. })) = (self.done, tools::marked(&marks).first()) {
            let what = format!("`{program}` (pid {pid}), which `{step}` had started, still runs, so it is not done");
            return Err(Fatal::new(Exit::NeedsPerson, what).hint(format!("wait for it, or end it with: kill {pid}")));
        }
        for orphan in super::block_on(async { Ok(tools::end_marked(&marks, Clock::real()).await) })? {
            let what = orphans::had_left(&orphan, orphan.fate());
            if !orphan.gone {
                return Err(Fatal::new(Exit::NeedsPerson, what));
            }
            session.ui.say(&what);
        }
        Ok(())
    }
}

fn nothing_to_settle(step: &StepId, state: &RunState, home: &Home, session: &Session) -> Fatal {
    let (deployment, program) = (home.deployment(), session.program());
    let look = format!("see how it stands: {program} status {deployment}");
    let (Some(known), Some(run)) = (state.step(step), state.current()) else {
        let why = format!("no run of `{deployment}` has begun a step `{step}`, so there is nothing to settle");
        let near = did_you_mean(step.as_str(), state.steps().map(|(known, _)| known.as_str()));
        return Fatal::new(Exit::Usage, why).hint(near.unwrap_or(look));
    };
    let next = status::continuing(session, home, &run.opened);
    let (how, hint) = match known.status() {
        _ if known.is_to_be_redone() => ("is settled already, and is done again", format!("continue with: {next}")),
        Status::Succeeded { .. } if run.opened.simulated.is_none() => {
            ("holds", format!("to run it again: {program} resume {deployment} --redo {step}"))
        }
        Status::Failed => ("failed, and runs again by itself", format!("continue with: {next}")),
        _ => ("is not in doubt", look),
    };
    Fatal::new(Exit::Usage, format!("`{step}` of `{deployment}` {how}, so there is nothing to settle")).hint(hint)
}
