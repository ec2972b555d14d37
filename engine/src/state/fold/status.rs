//! What has become of a step, in one word. Follows from the records; knows none of them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::StepId;
use crate::state::record::Outcome;

/// What has become of a step. Ends of an earlier run give way to `Pending` when the next begins, but for `Succeeded`, `Unknown` and
/// `Undone`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    /// Nothing yet in this run.
    #[default]
    Pending,
    /// An attempt is under way.
    Running {
        /// Which.
        attempt: u32,
        /// When it began.
        since: Timestamp,
    },
    /// An attempt failed, and there will be another.
    Retrying {
        /// The one that failed.
        attempt: u32,
        /// When the next begins.
        until: Timestamp,
    },
    /// It holds.
    Succeeded {
        /// Whether anything was done.
        outcome: Outcome,
    },
    /// Its last attempt failed.
    Failed,
    /// It was not wanted.
    Skipped {
        /// Why.
        why: String,
    },
    /// What it needs did not end well.
    Blocked {
        /// The steps at the root of it.
        by: Vec<StepId>,
    },
    /// It was told to stop in the middle.
    Cancelled,
    /// Nobody can tell whether it was done.
    Unknown {
        /// Why.
        why: String,
    },
    /// It is being taken back.
    Undoing {
        /// The attempt at that.
        attempt: u32,
        /// When it began.
        since: Timestamp,
    },
    /// It could not be taken back.
    UndoFailed {
        /// When that is tried again, if it is.
        until: Option<Timestamp>,
    },
    /// What it made was taken back.
    Undone,
}

impl Status {
    /// Whether it is to be looked into: it did not end well, or has not ended. What only waits for others is not.
    pub fn wants_a_look(&self) -> bool {
        match self {
            Status::Running { .. }
            | Status::Retrying { .. }
            | Status::Failed
            | Status::Cancelled
            | Status::Unknown { .. }
            | Status::Undoing { .. }
            | Status::UndoFailed { .. } => true,
            Status::Pending
            | Status::Succeeded { .. }
            | Status::Skipped { .. }
            | Status::Blocked { .. }
            | Status::Undone => false,
        }
    }

    /// Its name, for a refusal.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running { .. } => "running",
            Status::Retrying { .. } => "waiting to be tried again",
            Status::Succeeded { .. } => "done",
            Status::Failed => "failed",
            Status::Skipped { .. } => "skipped",
            Status::Blocked { .. } => "blocked",
            Status::Cancelled => "cancelled",
            Status::Unknown { .. } => "unknown",
            Status::Undoing { .. } => "being undone",
            Status::UndoFailed { .. } => "not undone",
            Status::Undone => "undone",
        }
    }
}
