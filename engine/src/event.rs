//! What the engine tells those who watch it.
//!
//! Facts are records that are already in the journal; everything else here is ephemeral and may be lost without harm.

use runbook_steps::{Facts, Stream};

use crate::plan::StepId;
use crate::state::record::Entry;

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
