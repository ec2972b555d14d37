//! The vocabulary of the journal: the facts that change state.
//!
//! A [`Record`] is written first, folded second, shown third. Nothing else changes what is true of a deployment. The first format
//! is for ever: fields may be added with a default, none may change its meaning.

use std::collections::BTreeMap;

use jiff::Timestamp;
use runbook_steps::{Child, Failure, Outputs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asked::Asked;
pub use super::fingerprint::Fingerprint;
use super::fold::RunState;
use crate::plan::StepId;

/// The journal's format: readers of the same major read on, those of an older minor may look but not write.
pub const FORMAT: Format = Format { major: 1, minor: 5 };

/// A version of the journal's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// Changes when old readers would misunderstand.
    pub major: u16,
    /// Changes when old writers would lose something.
    pub minor: u16,
}

/// A record with its place in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When, by the run's clock (model time in a rehearsal).
    pub time: Timestamp,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// Something that became true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A run began. All until the next `Closed`, or the next `Opened` after a crash, belongs to it.
    Opened(Opened),
    /// An attempt of a step begins; the world may be touched from here on.
    Started(Started),
    /// The attempt has started a process group.
    Spawned {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// The group's leader.
        child: Child,
    },
    /// The attempt has looked, and from here on changes the world.
    Performing {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// How what it makes can be taken back, as far as that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undo: Option<Recipe>,
    },
    /// The step holds.
    Succeeded(Succeeded),
    /// An attempt failed.
    Failed(Failed),
    /// `when` was false, or the user said so.
    Skipped {
        /// The step.
        step: StepId,
        /// Why, in one line.
        why: String,
    },
    /// The step cannot run, because what it needs did not end well.
    Blocked {
        /// The step.
        step: StepId,
        /// The steps that failed, at the root of it.
        by: Vec<StepId>,
    },
    /// The step was running and was told to stop; what it did is not known.
    Cancelled {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// Whether it had not begun to change anything.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        untouched: bool,
    },
    /// Nobody can tell whether the step was done: a person must say.
    Unknown {
        /// The step.
        step: StepId,
        /// Why it cannot be told.
        why: String,
    },
    /// A person said what became of an unknown step, or that a step is to be done again.
    Settled {
        /// The step.
        step: StepId,
        /// Whether it counts as done; otherwise it runs again.
        done: bool,
        /// What it gives to others, in that person's words.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        outputs: Outputs,
    },
    /// An attempt to take a step back begins; what it made may be gone in part from here on.
    UndoStarted {
        /// The step.
        step: StepId,
        /// The attempt, from 1 within this run.
        attempt: u32,
    },
    /// The newest of several things that the step made is gone.
    UndoneInPart {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// How many are left.
        left: usize,
    },
    /// What the step made is gone.
    Undone {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// How long the attempt took by the run's clock, in milliseconds.
        took_ms: u64,
    },
    /// An attempt to take a step back failed.
    UndoFailed(Failed),
    /// The step made something, or may have, and it is left where it is.
    UndoSkipped {
        /// The step.
        step: StepId,
        /// Why, in one line.
        why: String,
    },
    /// The run was asked to stop.
    Interrupted {
        /// The signal's name, such as `SIGINT`.
        signal: String,
    },
    /// The run ended.
    Closed {
        /// How.
        verdict: Verdict,
    },
    /// All that follows from the records up to the one before it, which are in an archive now. Only ever the first of a file.
    Snapshot(Box<Snapshot>),
    /// A record of a later minor format: kept, not understood.
    #[serde(other)]
    Later,
}

/// The header of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The format that this run writes.
    pub format: Format,
    /// Which run of this deployment it is, from 1.
    pub run: u32,
    /// The command: `apply`, `resume`, `rehearse`, `destroy`.
    pub command: String,
    /// The plan's name.
    pub plan: String,
    /// The plan's file, absolute.
    pub file: String,
    /// The plan's digest.
    pub digest: String,
    /// The inputs. Never a secret.
    pub inputs: Map<String, Value>,
    /// The version of the program.
    pub version: String,
    /// Who: `user@host`.
    pub who: String,
    /// The process.
    pub pid: u32,
    /// What the programs of this run are recognised by: it is in their environment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
    /// What is simulated, if anything is. A rehearsal's state is never continued for real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<String>,
    /// Which part of the plan was asked for, as it was given; empty for all of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selection: String,
    /// The same, for whoever goes on with it; nothing where all of the plan was, or an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
    /// Steps that do not hold any more because they are to be done again. What is in flight, or in doubt, stays so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redo: Vec<StepId>,
    /// The deployment's folder, absolute; empty where a program wrote it that did not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub home: String,
    /// The environment variables that the plan takes secrets from: their names, for whoever takes back without the plan what was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secret_env: Vec<String>,
}

#[cfg(test)]
impl Opened {
    /// The header of a first run of which nothing else matters.
    pub(crate) fn first() -> Self {
        Self {
            format: FORMAT,
            run: 1,
            command: "apply".to_owned(),
            plan: "p".to_owned(),
            file: String::new(),
            digest: String::new(),
            inputs: Map::new(),
            version: String::new(),
            who: String::new(),
            pid: 1,
            mark: String::new(),
            simulated: None,
            selection: String::new(),
            home: String::new(),
            secret_env: Vec::new(),
            asked: None,
            redo: Vec::new(),
        }
    }
}

/// What stands in the place of records that were archived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The format of the file from here on.
    pub format: Format,
    /// What followed from the records.
    pub state: RunState,
}

/// An attempt begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The step.
    pub step: StepId,
    /// The attempt, from 1 within this run.
    pub attempt: u32,
    /// What exactly is done; equal fingerprints mean the same work.
    pub fingerprint: Fingerprint,
    /// Whether a crash in the middle can be settled without a person: the step can be observed, has a `check`, or may be repeated.
    pub recoverable: bool,
    /// When it begins to change the world.
    #[serde(default)]
    pub touches: Touches,
}

/// When an attempt begins to change the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Touches {
    /// The first format did not say.
    #[default]
    Unsaid,
    /// With its start.
    AtOnce,
    /// With a `performing` record; without one it only looked.
    WhenSaid,
}

/// How something is taken back, as it was known when it was made: exact even if the plan, its inputs or its files differ by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The kind of step that takes it back.
    pub kind: String,
    /// Its `with`, without secrets.
    pub with: Value,
    /// Whether the plan gave it as an `undo` of its own, which is performed; otherwise the kind's own undo is meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub performed: bool,
    /// The step's locks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// Whether the step was protected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// What it was made of, where the plan gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Origin>,
    /// The steps whose things it stands on, and is therefore taken back before; nothing where an older program did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<StepId>>,
    /// The folder that relative paths start from, as the way to it from the deployment's folder; nothing where an older program did not
    /// say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

impl Recipe {
    /// Whether what it would do is the same: then the newer of the two stands for both, whatever they were made of.
    pub fn does_the_same(&self, other: &Self) -> bool {
        self.is_where(other) && (&self.kind, &self.with, self.performed) == (&other.kind, &other.with, other.performed)
    }

    /// Whether it takes back the very work that the other one does, files included, in other words.
    pub fn rewords(&self, other: &Self) -> bool {
        self.is_where(other) && self.of.as_ref().zip(other.of.as_ref()).is_some_and(|(of, other)| of.rewords(other))
    }

    /// Whether its paths start from the same folder, as far as that is known.
    fn is_where(&self, other: &Self) -> bool {
        self.dir.as_ref().zip(other.dir.as_ref()).is_none_or(|(dir, other)| dir == other)
    }
}

/// What a plan's own `undo` was made of, as short digests: equal ones mean the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Of the work that it takes back, evaluated.
    pub work: String,
    /// Of the plan's words for taking it back, not evaluated.
    pub undo: String,
    /// Of the contents of the files that the work used; nothing where an older program did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<String>,
}

impl Origin {
    /// Whether it is of the same work, files included, and of other words. Where one of them does not know of the files, they may differ.
    pub fn rewords(&self, other: &Self) -> bool {
        self.work == other.work && self.files == other.files && self.undo != other.undo
    }
}

/// A step holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Succeeded {
    /// The step.
    pub step: StepId,
    /// The attempt.
    pub attempt: u32,
    /// Whether anything was done.
    pub outcome: Outcome,
    /// What it gives to others.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Outputs,
    /// Of those that are looked up in the world, by name: how, as short digests. Empty where an older program did not say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub looked_up: BTreeMap<String, String>,
    /// How long the attempt took by the run's clock, in milliseconds.
    pub took_ms: u64,
    /// A `known_issue` that unexpectedly passed, or failed as expected: what to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Whether a step that holds had to do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was so already, or only looks.
    Ok,
    /// It was made so.
    Changed,
}

/// An attempt failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The step.
    pub step: StepId,
    /// The attempt; 0 when it never came to one: a `require` did not hold, or an expression could not be evaluated.
    pub attempt: u32,
    /// Why, hints already worked in.
    pub failure: Failure,
    /// When it is tried again, in milliseconds; `None` when this was the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// How long the attempt took, in milliseconds.
    pub took_ms: u64,
    /// Whether it had not begun to change anything: then it says nothing about an earlier attempt whose end nobody saw.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untouched: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything holds.
    Holds,
    /// At least one step failed.
    Failed,
    /// At least one step needs a person.
    NeedsPerson,
    /// Told to stop.
    Interrupted,
}
