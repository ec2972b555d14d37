//! How often to ask a far side that cannot be watched.

use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::context::Context;
use crate::failure::{Class, Failure};

/// From this often at first …
const FIRST: Duration = Duration::from_secs(5);
/// … to this often later (both on the step's clock).
const MOST: Duration = Duration::from_secs(10);
/// Never more often than this in real time, however fast the step's clock runs.
const LEAST_REAL: Duration = Duration::from_millis(50);
/// So many refused questions in a row are an outage, fewer a hiccup.
const HICCUPS: u32 = 5;

/// A pace for asking.
pub(crate) struct Pace {
    clock: Clock,
    pause: Duration,
    asked: Instant,
    hiccups: u32,
}

impl Pace {
    pub(crate) fn new(cx: &Context) -> Self {
        Self { clock: cx.clock(), pause: FIRST, asked: Instant::now(), hiccups: 0 }
    }

    /// Pauses before the next question, at least as long as the last one took: asking must not eat the machine.
    pub(crate) async fn rest(&mut self, cx: &Context) -> Result<(), Failure> {
        let real = real_pause(self.clock.real_span(self.pause), self.asked.elapsed());
        self.pause = self.pause.mul_f64(1.2).min(MOST);
        let sleep = async {
            self.clock.sleep(self.clock.model_span(real)).await;
            Ok(())
        };
        let slept = cx.unless_cancelled(sleep).await;
        self.asked = Instant::now();
        slept
    }

    /// An answer, or nothing where the question failed in a way that goes away.
    pub(crate) fn tolerate<T>(&mut self, answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match answer {
            Ok(answer) => {
                self.hiccups = 0;
                Ok(Some(answer))
            }
            Err(failure) if matches!(failure.class, Class::Transient | Class::Throttled) && self.hiccups < HICCUPS => {
                self.hiccups += 1;
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

fn real_pause(wanted: Duration, last_took: Duration) -> Duration {
    wanted.max(LEAST_REAL).max(last_took.min(Duration::from_secs(5)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_question_is_asked_less_often() {
        assert_eq!(real_pause(Duration::from_millis(10), Duration::from_millis(5)), LEAST_REAL);
        assert_eq!(real_pause(Duration::from_millis(10), Duration::from_millis(1300)), Duration::from_millis(1300));
        assert_eq!(real_pause(Duration::from_secs(5), Duration::from_millis(1300)), Duration::from_secs(5));
    }
}
