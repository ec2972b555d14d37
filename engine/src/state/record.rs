//! The vocabulary of the journal: the facts that change state.
//!
//! A [`Record`] is written first, folded second, shown third. Nothing else changes what is true of a deployment. The first format
//! is for ever: fields may be added with a default, none may change its meaning.

use jiff::Timestamp;
use runbook_steps::{Child, Failure, Outputs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plan::StepId;

/// The journal's format: readers of the same major read on, those of an older minor may look but not write.
pub const FORMAT: Format = Format { major: 1, minor: 0 };

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
    /// The command: `apply`, `resume`, `rehearse`.
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
    /// What is simulated, if anything is. A rehearsal's state is never continued for real.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<String>,
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
}

/// What exactly a step does, in parts, so that a difference can be named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub Map<String, Value>);

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
