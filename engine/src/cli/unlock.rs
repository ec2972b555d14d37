//! `runbook unlock`: release a lock whose holder is gone but does not look so.

use clap::Args;

use super::deployment::state_fatal;
use super::exit::{Exit, Fatal};
use super::{Session, status};
use crate::state::StateError;
use crate::state::lock::{LockId, Note};

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
        let Some(id) = &self.id else {
            let who = &note.holder;
            let what = format!("`{}` is held by {} (pid {}) since {}", home.deployment(), who.who, who.pid, who.since);
            let hint =
                format!("if that process is surely gone: runbook unlock {} --id {}", home.deployment(), note.id.0);
            return Err(Fatal::new(Exit::Locked, what).hint(hint));
        };
        home.unlock(&LockId(id.clone()), self.force).map_err(|error| refusal(error, &note))?;
        session.ui.say(&format!("`{}` is unlocked", home.deployment()));
        Ok(Exit::Holds)
    }
}

/// What to do about a holder that lives.
fn refusal(error: StateError, note: &Note) -> Fatal {
    let alive = matches!(error, StateError::Held(_));
    let fatal = state_fatal(error);
    if !alive {
        return fatal;
    }
    let who = &note.holder;
    fatal
        .hint(format!("that process is alive; to stop it gently, on `{}`: kill -INT {}", who.host, who.pid))
        .hint("`--force` takes the lock away all the same, and then two runs may work at once")
}
