//! What the engine tells those who watch it.
//!
//! Facts are records that are already in the journal; everything else here is ephemeral and may be lost without harm.

use jiff::Timestamp;
use runbook_steps::{Facts, Stream};

use crate::plan::StepId;
use crate::state::record::Entry;

/// What a hint says of what a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Why it is so.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

/// A stage of a step, and since when it is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its place among the step's stages.
    pub stage: usize,
    /// By the run's clock.
    pub since: Timestamp,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "records are most of what happens; boxing each would cost more than it saves"
)]
pub enum Event {
    /// A record is in the journal and has been folded.
    Recorded(Entry),
    /// A running step says where it stands.
    Progress {
        /// The step.
        step: StepId,
        /// One line.
        text: String,
        /// What it saw.
        facts: Box<Facts>,
        /// What is known of that, if anything.
        advice: Option<Box<Advice>>,
        /// The stage that it has come to, if its plan gives it any.
        stage: Option<Reached>,
    },
    /// A whole line of a step's output, redacted.
    Output {
        /// The step.
        step: StepId,
        /// Where it came from.
        stream: Stream,
        /// The line, without its end.
        line: String,
    },
    /// Something that a person should know and that changes nothing.
    Notice(String),
}
