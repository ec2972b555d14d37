//! `runbook settle`: a person says what became of a step that nobody else can tell about.

use clap::Args;
use runbook_steps::Clock;

use super::deployment::{holder, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Session, status};
use crate::plan::StepId;
use crate::state::Journal;
use crate::state::fold::Status;
use crate::state::journal::Sync;
use crate::state::record::Record;

/// Say what became of a step that nobody else can tell about
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook settle migrate --done")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["done", "redo"])))]
pub(super) struct Settle {
    /// The step
    step: String,
    /// It was done: it counts as done, without outputs
    #[arg(long)]
    done: bool,
    /// It was not done, or a repeat does no harm: it runs again
    #[arg(long)]
    redo: bool,
    /// The deployment; may be left out if there is only one
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

impl Settle {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let home = status::choose(session, self.name.as_deref())?;
        let clock = Clock::real();
        let lock = home.lock(holder("settle", &session.env, clock)).map_err(state_fatal)?;
        let (mut journal, _) = Journal::open(lock, clock).map_err(state_fatal)?;
        let step = StepId::from(self.step.as_str());
        if !matches!(journal.state().status(&step), Status::Unknown { .. }) {
            let why = format!("`{step}` of `{}` is not unknown, so there is nothing to settle", home.deployment());
            return Err(
                Fatal::new(Exit::Usage, why).hint(format!("see how it stands: runbook status {}", home.deployment()))
            );
        }
        journal.append(Record::Settled { step: step.clone(), done: self.done }, Sync::Now).map_err(state_fatal)?;
        let what = if self.done { "counts as done" } else { "will run again" };
        session.ui.say(&format!("`{step}` {what}; continue with: runbook resume {}", home.deployment()));
        Ok(Exit::Holds)
    }
}
