//! The time that an attempt has: until it ends by itself, is killed, or its limit has passed. Knows nothing of what it does.

use std::fmt;
use std::pin::{Pin, pin};
use std::time::Duration;

use runbook_steps::tools::{GRACE, UNKILLABLE};
use runbook_steps::{Cancel, Context};

/// What a step may need to stop besides the time that its programs have for it.
const SLACK: Duration = Duration::from_secs(5);

/// How long an attempt may take to stop when it is told to, in real time. Longer than programs have between SIGTERM and SIGKILL: as long as
/// one of them lives, nothing may start in its place.
const GENTLE: Duration = GRACE.saturating_add(SLACK);

/// The same when it is killed; after that its future is dropped, and only the process groups of its programs are killed still.
const FORCED: Duration = UNKILLABLE.saturating_add(SLACK);

/// What bounds an attempt, in model time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    span: Duration,
    /// Whether it is what is left of the step's `deadline`, rather than its `timeout`.
    is_deadline: bool,
}

impl Limit {
    /// A step's timeout, or what is left of its deadline if that is less.
    pub(crate) fn of(timeout: Option<Duration>, left: Option<Duration>) -> Option<Self> {
        let timeout = timeout.map(|span| Self { span, is_deadline: false });
        let left = left.map(|span| Self { span, is_deadline: true });
        match (timeout, left) {
            (Some(timeout), Some(left)) => Some(if left.span < timeout.span { left } else { timeout }),
            (one, other) => one.or(other),
        }
    }
}

/// How it was too late, in a few words.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = jiff::SignedDuration::try_from(self.span).unwrap_or(jiff::SignedDuration::MAX);
        match self.is_deadline {
            true => write!(f, "its `deadline` passed, {span:#} after this attempt began"),
            false => write!(f, "took longer than its `timeout` of {span:#}"),
        }
    }
}

/// How an attempt came to its end.
pub(crate) enum Bounded<T> {
    /// It ended, by itself or when it was killed.
    Ended(T),
    /// It was killed, and did not end in the time that it had for that.
    Killed,
    /// This limit passed; and what it still came to when it was stopped.
    Late(Limit, Option<T>),
}

/// Lets an attempt live until it ends, is killed or its limit passes.
pub(crate) async fn bounded<T>(life: impl Future<Output = T>, limit: Option<Limit>, cx: &Context) -> Bounded<T> {
    let mut life = pin!(life);
    let passed = async {
        match limit {
            Some(limit) => {
                cx.clock().sleep(limit.span).await;
                limit
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        ended = &mut life => Bounded::Ended(ended),
        () = cx.cancel.hard.cancelled() => within(FORCED, life).await.map_or(Bounded::Killed, Bounded::Ended),
        limit = passed => Bounded::Late(limit, stopped(life, &cx.cancel).await),
    }
}

/// Stops what runs: first gently, then for good. What it says while it stops is of no interest, unless it still succeeds.
async fn stopped<T>(mut life: Pin<&mut impl Future<Output = T>>, cancel: &Cancel) -> Option<T> {
    cancel.soft.cancel();
    let gently = tokio::select! {
        biased;
        ended = within(GENTLE, life.as_mut()) => ended,
        () = cancel.hard.cancelled() => None,
    };
    if gently.is_some() {
        return gently;
    }
    cancel.hard.cancel();
    within(FORCED, life).await
}

async fn within<F: Future>(real: Duration, work: F) -> Option<F::Output> {
    tokio::time::timeout(real, work).await.ok()
}

#[cfg(test)]
mod tests {
    use runbook_steps::Clock;

    use super::*;

    #[test]
    fn the_shorter_of_timeout_and_deadline_counts() {
        let [short, long] = [1, 2].map(Duration::from_secs);
        let words = |timeout, left| Limit::of(timeout, left).map(|limit| limit.to_string());
        assert_eq!(words(Some(short), Some(long)).as_deref(), Some("took longer than its `timeout` of 1s"));
        assert_eq!(
            words(Some(long), Some(short)).as_deref(),
            Some("its `deadline` passed, 1s after this attempt began")
        );
        assert_eq!(Limit::of(Some(short), None), Limit::of(Some(short), Some(short)));
        assert_eq!(Limit::of(None, None), None);
    }
    /// What a step that runs programs may need: each ends last of all that it may take.
    async fn until_its_programs_are_gone(cancel: Cancel) {
        let clock = Clock::real();
        cancel.soft.cancelled().await;
        tokio::select! {
            () = cancel.hard.cancelled() => {}
            () = clock.sleep(GRACE) => {}
        }
        clock.sleep(UNKILLABLE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_given_up_before_its_programs_had_all_their_time() {
        let cancel = Cancel::default();
        let life = pin!(until_its_programs_are_gone(cancel.clone()));
        assert_eq!(stopped(life, &cancel).await, Some(()));
        let killed = Cancel::default();
        let mut life = pin!(until_its_programs_are_gone(killed.clone()));
        killed.soft.cancel();
        assert_eq!(within(GRACE / 2, life.as_mut()).await, None);
        killed.hard.cancel();
        assert_eq!(within(FORCED, life).await, Some(()));
    }
}
