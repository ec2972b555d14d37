//! When the next request is due, and whether there is one. Pure: times are handed in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Hands out requests until there are enough.
#[derive(Debug)]
pub(super) struct Pace {
    next: AtomicU64,
    most: u64,
    /// When to stop, after the start.
    lasts: Option<Duration>,
    /// How far apart requests are due; `None` sends the next one when the last was answered.
    every: Option<Duration>,
}

/// A request that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Its number, from 0.
    pub(super) number: u64,
    /// When it is due; `None` at once.
    pub(super) at: Option<Instant>,
}

impl Pace {
    pub(super) fn new(most: Option<u64>, lasts: Option<Duration>, every: Option<Duration>) -> Self {
        Self { next: AtomicU64::new(0), most: most.unwrap_or(u64::MAX), lasts, every }
    }

    /// Whether each request has its time.
    pub(super) fn is_timed(&self) -> bool {
        self.every.is_some()
    }

    /// The next request, if there is one, for whoever is free now.
    pub(super) fn take(&self, start: Instant, now: Instant) -> Option<Due> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let at = self.every.map(|every| start + every.mul_f64(number as f64));
        let begins = at.unwrap_or(now);
        let over = self.lasts.is_some_and(|lasts| begins.saturating_duration_since(start) >= lasts);
        (number < self.most && !over).then_some(Due { number, at })
    }
}

/// From when the latency of a request counts.
///
/// One that was due before anybody was free to send it counts from when it was due: that wait is the server's doing. One that
/// somebody waited to send counts from when it was sent: that its timer was late is ours.
pub(super) fn counts_from(due: Due, free: Instant, sent: Instant) -> Instant {
    due.at.filter(|at| *at < free).unwrap_or(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn so_many_are_handed_out_and_no_more() {
        let (pace, now) = (Pace::new(Some(3), None, None), Instant::now());
        let numbers: Vec<u64> = std::iter::from_fn(|| pace.take(now, now)).map(|due| due.number).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn after_its_time_nothing_is_handed_out() {
        let (pace, start) = (Pace::new(None, Some(10 * MS), None), Instant::now());
        assert!(pace.take(start, start + 9 * MS).is_some());
        assert_eq!(pace.take(start, start + 10 * MS), None);
    }

    #[test]
    fn at_a_rate_each_has_its_time() {
        let (pace, start) = (Pace::new(None, Some(35 * MS), Some(10 * MS)), Instant::now());
        let due: Vec<Instant> = std::iter::from_fn(|| pace.take(start, start)).filter_map(|due| due.at).collect();
        assert_eq!(due, [start, start + 10 * MS, start + 20 * MS, start + 30 * MS]);
    }

    #[test]
    fn a_wait_for_the_server_counts_and_a_late_timer_does_not() {
        let start = Instant::now();
        let due = Due { number: 0, at: Some(start + 10 * MS) };
        assert_eq!(counts_from(due, start + 50 * MS, start + 51 * MS), start + 10 * MS);
        assert_eq!(counts_from(due, start + 5 * MS, start + 11 * MS), start + 11 * MS);
        assert_eq!(counts_from(Due { at: None, ..due }, start, start + MS), start + MS);
    }
}
