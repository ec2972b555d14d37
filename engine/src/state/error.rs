//! What can go wrong with a deployment's state, and the way out of it.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::lock::{Holder, LockId};
use super::record::{FORMAT, Format};
use crate::plan::StepId;

/// Why the state cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another run holds the lock.
    #[error("{}", held(.0))]
    Held(Box<Held>),
    /// A line of the journal is not what was written, and no crash leaves it like that.
    #[error(
        "line {line} of `{}` is damaged: {why}; no crash of this program and no power cut leaves that behind. \
         Restore the file from a copy, or move it away to start afresh: every step is then looked at again",
        path.display()
    )]
    Broken {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The journal was written by a later program that changed its format.
    #[error(
        "`{}` has format {}.{}, this program knows {}.{}; use the `runbook` that wrote it, or a newer one",
        path.display(), found.major, found.minor, FORMAT.major, FORMAT.minor
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its format.
        found: Format,
    },
    /// An operation on a file failed.
    #[error("cannot {doing} `{}`: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write or sync failed, so the handle is not believed any more.
    #[error("the journal `{}` is not written any more, because {why}; the next run goes on from what is there", path.display())]
    Poisoned {
        /// The journal.
        path: PathBuf,
        /// The first failure.
        why: String,
    },
    /// Somebody has taken the lock away, and perhaps another run has it by now.
    #[error(
        "the lock of `{}` was taken away from this run with `unlock`: it writes nothing more to its journal; look at what is there \
         (`runbook status`) and continue",
        path.display()
    )]
    Unlocked {
        /// The deployment's folder.
        path: PathBuf,
    },
    /// The state of a rehearsal was to be continued for real, or the other way round.
    #[error(
        "`{}` is the state of {}, and this is {}; name another deployment with `--name`",
        path.display(), world(.state.as_deref()), world(.wanted.as_deref())
    )]
    Simulated {
        /// The deployment's folder.
        path: PathBuf,
        /// What the journal says is simulated.
        state: Option<String>,
        /// What this run simulates.
        wanted: Option<String>,
    },
    /// A name that cannot be a folder's.
    #[error(
        "`{0}` cannot name a deployment: use up to 64 letters, digits, `-`, `_` and `.`, starting with a letter or a digit"
    )]
    BadName(String),
    /// `unlock` was given another lock's id.
    #[error("the lock's id is `{found}`, not `{given}`: it has changed hands since you looked")]
    OtherLock {
        /// The lock as it is now.
        found: LockId,
        /// The one that was named.
        given: LockId,
    },
    /// A record that does not follow from those before it: a bug, and nothing was written.
    #[error("{0}; this is a bug in runbook")]
    Illegal(#[from] IllegalTransition),
}

impl StateError {
    /// An input or output error, with what was tried on what.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
        let path = path.to_owned();
        move |source| StateError::Io { doing, path, source }
    }
}

/// Who holds the lock, and where it stands.
#[derive(Clone, Debug)]
pub struct Held {
    /// The deployment's name.
    pub deployment: String,
    /// The lock's id, as `unlock` wants it.
    pub id: Option<LockId>,
    /// Who; `None` when the holder has not said so yet.
    pub holder: Option<Holder>,
    /// The steps that it is at, and since when.
    pub doing: Vec<(StepId, Timestamp)>,
    /// Whether it is a rehearsal, in which steps have a clock of their own.
    pub simulated: bool,
    /// How long ago it showed that it lives, where that is known from its signs of life only.
    pub silence: Option<std::time::Duration>,
}

fn held(held: &Held) -> String {
    let Some(holder) = &held.holder else {
        return format!("`{}` is held by another process that has only just begun", held.deployment);
    };
    let (real, model) = if held.simulated { (" real time", " model time") } else { ("", "") };
    let mut text = format!(
        "`{}` is held by {} (`{}`, pid {} on `{}`) since {}{real}",
        held.deployment,
        holder.who,
        holder.command,
        holder.pid,
        holder.host,
        holder.since.strftime("%F %TZ")
    );
    for (index, (step, since)) in held.doing.iter().take(3).enumerate() {
        let lead = if index == 0 { ", now at" } else { "," };
        text.push_str(&format!("{lead} `{step}` since {}{model}", since.strftime("%TZ")));
    }
    if let Some(silence) = held.silence {
        text.push_str(&format!("; its last sign of life is {} s old", silence.as_secs()));
    }
    text
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; make the folder writable for this user"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space and run the same command again",
        io::ErrorKind::FileTooLarge => "; raise the limit for files (`ulimit -f`) and run the same command again",
        _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {
            "; the disk or the network to it is failing: what was written before is whole, and the same command goes on from it"
        }
        _ => "",
    }
}

fn world(simulated: Option<&str>) -> String {
    simulated.map_or_else(|| "a real deployment".to_owned(), |what| format!("a rehearsal ({what})"))
}

/// A record that does not follow from the state before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {seq} cannot follow: {why}")]
pub struct IllegalTransition {
    /// The record's number.
    pub seq: u64,
    /// Why not.
    pub why: String,
}
