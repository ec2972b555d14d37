//! What a step has come to and what it is in the middle of, as a part of its state. Knows nothing of records.

use std::collections::BTreeMap;

use runbook_steps::{Child, Outputs};
use serde::{Deserialize, Serialize};

use crate::state::record::{Fingerprint, Outcome, Touches};

/// The last time that a step came to hold, which stands until it starts again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// In which run.
    pub run: u32,
    /// By which of all records of the deployment; 0 where an older program put it away in a snapshot.
    #[serde(default)]
    pub told: u64,
    /// Whether anything was done.
    pub outcome: Outcome,
    /// What it gives to others.
    pub outputs: Outputs,
    /// How those of them are had that are looked up in the world, as short digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub looked_up: BTreeMap<String, String>,
    /// What exactly was done.
    pub fingerprint: Fingerprint,
    /// Whether a person said so, and what it gave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
}

/// An attempt that began and whose end nobody saw, or that was stopped in the middle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// In which run.
    pub run: u32,
    /// Which attempt.
    pub attempt: u32,
    /// Whether looking or repeating can settle it without a person, by what its plan said then.
    pub recoverable: bool,
    /// What exactly it was to do.
    pub fingerprint: Fingerprint,
    /// What the attempt was doing that it found in the middle, until it begins to change the world itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Box<Fingerprint>>,
    /// The process groups that it had started; they may still run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    /// Since when it may have changed the world.
    #[serde(default)]
    pub touches: Touches,
    /// Whether an earlier attempt was in flight when it began: then it settles nothing by failing before it did anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// Whether it was to take back what the step had made, or found such an attempt in flight and has not begun to make it anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoing: bool,
}

impl InFlight {
    /// Whether the world may be other than before it. If not, it only looked.
    pub fn is_doubtful(&self) -> bool {
        self.may_have_changed() || self.in_doubt
    }

    /// Whether only a person can say what became of it.
    pub fn needs_a_person(&self) -> bool {
        self.is_doubtful() && !self.recoverable
    }

    /// What was being done when nobody saw the end.
    pub fn doing(&self) -> &Fingerprint {
        self.found.as_deref().unwrap_or(&self.fingerprint)
    }

    pub(super) fn may_have_changed(&self) -> bool {
        self.touches != Touches::WhenSaid
    }
}
