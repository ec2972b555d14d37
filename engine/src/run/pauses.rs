//! Steps that wait to be tried again, and when each is due. Starts nothing itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

/// No clock counts as far as a span can say.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The steps that pause, by the moment at which they are due.
#[derive(Default)]
pub(super) struct Pauses(BinaryHeap<Reverse<(Instant, usize)>>);

impl Pauses {
    /// A step pauses for a span of real time, and for a year if that is longer.
    pub(super) fn push(&mut self, span: Duration, step: usize) {
        self.0.push(Reverse((Instant::now() + span.min(YEAR), step)));
    }

    /// Takes a step whose pause is over.
    pub(super) fn take_due(&mut self) -> Option<usize> {
        let Reverse((until, step)) = *self.0.peek()?;
        (until <= Instant::now()).then(|| {
            self.0.pop();
            step
        })
    }

    /// When the next step is due, if one pauses.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((until, _))| *until)
    }
}
