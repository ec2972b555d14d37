//! `runbook unlock`: release a lock whose holder is gone but does not look so.

use clap::Args;

use super::deployment::{held, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Session, status};
use crate::state::lock::{LockId, Note};
use crate::state::{Home, StateError, journal};

/// Release a lock whose holder is gone
///
/// A holder that died on this machine needs no unlocking: its lock went with it. This is for state on a network file system.
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook unlock native-gateway --id 5f0c…")]
pub(super) struct Unlock {
    /// The deployment; may be left out if there is only one
    deployment: Option<String>,
    /// The lock's id, as `runbook status` shows it
    #[arg(long)]
    id: Option<String>,
    /// Take it away even from a process that is known to run; two runs may then work at once
    #[arg(long, requires = "id")]
    force: bool,
}

impl Unlock {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let home = status::choose(session, self.deployment.as_deref())?;
        let Some(note) = home.holder().map_err(state_fatal)? else {
            session.ui.say(&format!("`{}` is not locked", home.deployment()));
            return Ok(Exit::Holds);
        };
        let Some(id) = &self.id else { return Err(which(&home, &note, session)?) };
        home.unlock(&LockId(id.clone()), self.force).map_err(|error| refusal(error, &home, &note, session))?;
        session.ui.say(&format!("`{}` is unlocked", home.deployment()));
        Ok(Exit::Holds)
    }
}

/// Who has it, and how it is taken away if that is wanted.
fn which(home: &Home, note: &Note, session: &Session) -> Result<Fatal, Fatal> {
    let state = journal::read(home).map_err(state_fatal)?.state;
    let (program, name) = (session.program(), home.deployment());
    Ok(Fatal::new(Exit::Locked, status::held_by(home, note, &state))
        .hint(format!("see whether it goes on: {program} status {name} --follow"))
        .hint(format!("if that process is surely gone: {program} unlock {name} --id {}", note.id.0)))
}

/// What to do about a holder that lives, or that is another one.
fn refusal(error: StateError, home: &Home, note: &Note, session: &Session) -> Fatal {
    let who = &note.holder;
    match error {
        StateError::Held(_) => held(error, session, &session.state)
            .hint(format!("that process is alive; to stop it gently, on `{}`: kill -INT {}", who.host, who.pid))
            .hint("`--force` takes the lock away all the same, and then two runs may work at once"),
        StateError::OtherLock { .. } => Fatal::new(Exit::Locked, error.to_string()).hint(format!(
            "see who has it now: {} status {}",
            session.program(),
            home.deployment()
        )),
        _ => state_fatal(error),
    }
}
