//! Time, as a step may use it: now, sleep, and how long has passed.
//!
//! The only place in this crate that sleeps or reads the machine's clock. A rehearsal scales it: all durations that a plan names
//! are model durations, and a model minute may take half a real second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A clock that runs `speed` times as fast as the machine's. The real one runs at 1.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: SystemTime,
    speed: f64,
    /// When it showed the epoch, on the runtime's clock; `None` follows the machine's.
    start: Option<tokio::time::Instant>,
}

impl Clock {
    /// The machine's own clock.
    pub fn real() -> Self {
        Self { epoch: UNIX_EPOCH, speed: 1.0, start: None }
    }

    /// A clock that equals real time at the epoch (milliseconds since 1970) and runs `speed` times as fast since.
    pub fn scaled(epoch_unix_ms: u64, speed: f64) -> Self {
        Self { epoch: UNIX_EPOCH + Duration::from_millis(epoch_unix_ms), speed: speed.max(0.001), start: None }
    }

    /// A clock that shows the epoch now and goes with the runtime's time, which a simulation stops and moves on.
    pub fn simulated(epoch_unix_ms: u64) -> Self {
        Self { start: Some(tokio::time::Instant::now()), ..Self::scaled(epoch_unix_ms, 1.0) }
    }

    /// Whether its time is the runtime's, in which no real process lives.
    pub(crate) fn is_simulated(&self) -> bool {
        self.start.is_some()
    }

    /// How many times as fast as the machine's clock this one runs.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The time now. Not monotonic: the machine's clock may be set back.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        let real = self.start.map_or_else(SystemTime::now, |start| self.epoch + start.elapsed());
        let model = real.duration_since(self.epoch).map_or(real, |since| self.epoch + since.mul_f64(self.speed));
        Timestamp::try_from(model).unwrap_or(Timestamp::MAX)
    }

    /// Waits for a span of this clock's time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that sleeps")]
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.real_span(span)).await;
    }

    /// How long a span of this clock's time takes on the machine's clock.
    pub fn real_span(&self, span: Duration) -> Duration {
        bounded(span.as_secs_f64() / self.speed)
    }

    /// How long a span of the machine's time is on this clock.
    pub fn model_span(&self, real: Duration) -> Duration {
        bounded(real.as_secs_f64() * self.speed)
    }
}

/// Nobody waits longer, and it can still be added to any point in time.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 86_400);

fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(LONGEST, |span| span.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_end_stays_one_that_can_be_waited_for() {
        for clock in [Clock::real(), Clock::scaled(0, 0.001), Clock::scaled(0, 1e6)] {
            for span in [clock.real_span(Duration::MAX), clock.model_span(Duration::MAX)] {
                assert!(tokio::time::Instant::now().checked_add(span).is_some(), "{span:?}");
            }
        }
    }

    #[test]
    fn spans_go_there_and_back() {
        let (clock, minute) = (Clock::scaled(0, 120.0), Duration::from_secs(60));
        assert_eq!(clock.real_span(minute), Duration::from_millis(500));
        assert_eq!(clock.model_span(Duration::from_millis(500)), minute);
    }
}
