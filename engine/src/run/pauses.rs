//! Steps that wait to be tried again, and when each is due. Starts nothing itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

/// The steps that pause, by the moment at which they are due.
#[derive(Default)]
pub(super) struct Pauses(BinaryHeap<Reverse<(Instant, usize)>>);

impl Pauses {
    /// A step pauses until a moment.
    pub(super) fn push(&mut self, until: Instant, step: usize) {
        self.0.push(Reverse((until, step)));
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
