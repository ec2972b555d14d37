//! What surrounds one attempt of a step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::failure::{Facts, Failure};
use crate::secret::{Redactor, Secrets};
use crate::world::World;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// A program's standard output.
    Out,
    /// A program's standard error.
    Err,
    /// The step's own words: the command that it runs, what it found.
    Note,
}

/// The log of one attempt: the whole of it on disk, however long. Implementations redact.
pub trait Log: Send + Sync {
    /// Takes bytes as they come; need not be whole lines.
    fn write(&self, stream: Stream, bytes: &[u8]);
}

/// Where a step stands, for the live view and for hints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// One line: the deepest known reason why it still takes.
    pub text: String,
    /// What was seen.
    pub facts: Facts,
}

impl Progress {
    /// Progress that is only a line of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), facts: Facts::default() }
    }
}

/// A process group that a step has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The leader's process id, which is also the id of its group.
    pub pid: u32,
    /// When the leader was started, in clock ticks since boot (`/proc/PID/stat`, field 22): tells it from a later process with the same id.
    pub started: u64,
    /// The program's name.
    pub program: String,
}

/// Who listens to a step while it works.
pub trait Observer: Send + Sync {
    /// It got somewhere, or knows more about why it does not.
    fn progress(&self, progress: Progress);
    /// It has started a process group. Returns when that is in the journal, so that no crash can leave it unseen.
    fn spawned(&self, child: Child);
}

/// How a step is told to stop.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    /// Stop soon: end children gently (SIGTERM), leave things consistent.
    pub soft: CancellationToken,
    /// Stop now: kill (SIGKILL) and return.
    pub hard: CancellationToken,
}

impl Cancel {
    /// A pair that is cancelled when this one is, and can be cancelled alone.
    pub fn child(&self) -> Self {
        Self { soft: self.soft.child_token(), hard: self.hard.child_token() }
    }

    /// Whether the step has been told to stop.
    pub fn asked(&self) -> bool {
        self.soft.is_cancelled() || self.hard.is_cancelled()
    }
}

/// The surroundings of one attempt. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Handles to the outside.
    pub world: Arc<World>,
    /// How it is told to stop.
    pub cancel: Cancel,
    /// Its log.
    pub log: Arc<dyn Log>,
    /// Who listens.
    pub observer: Arc<dyn Observer>,
    /// The run's secrets.
    pub secrets: Arc<Secrets>,
    /// Masks them.
    pub redactor: Arc<Redactor>,
    /// The step's id, for labels and messages.
    pub step: Arc<str>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The deployment's name: names what this run owns.
    pub deployment: Arc<str>,
    /// The folder that the plan's relative paths start from.
    pub plan_dir: Arc<Path>,
    /// The deployment's own folder, for clones, kubeconfigs and results.
    pub state_dir: Arc<Path>,
    /// Whether an earlier attempt may be in flight: the engine died, or was stopped, in the middle of it.
    pub after_crash: bool,
}

impl Context {
    /// The clock that this step lives by.
    pub fn clock(&self) -> Clock {
        self.world.clock
    }

    /// Says where the step stands.
    pub fn progress(&self, text: impl Into<String>) {
        self.observer.progress(Progress::text(text));
    }

    /// Writes a line of the step's own to its log.
    pub fn note(&self, line: &str) {
        self.log.write(Stream::Note, format!("{line}\n").as_bytes());
    }

    /// A path of the plan's, absolute. `~/` is the user's home.
    pub fn plan_path(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.world.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.plan_dir.join(path),
        }
    }

    /// Waits for a future, or returns a `cancelled` failure as soon as the step is told to stop.
    pub async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.cancel.soft.cancelled() => Err(Failure::cancelled()),
            () = self.cancel.hard.cancelled() => Err(Failure::cancelled()),
            result = work => result,
        }
    }
}
