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
    /// The step's `deadline`, if it is what is left of that, rather than its `timeout`.
    deadline: Option<Duration>,
}

impl Limit {
    /// A step's timeout, or what is left of its deadline after so long, if that is less.
    pub(crate) fn of(timeout: Option<Duration>, deadline: Option<Duration>, spent: Duration) -> Option<Self> {
        let timeout = timeout.map(|span| Self { span, deadline: None });
        let left = deadline.map(|deadline| Self { span: deadline.saturating_sub(spent), deadline: Some(deadline) });
        match (timeout, left) {
            (Some(timeout), Some(left)) => Some(if left.span < timeout.span { left } else { timeout }),
            (one, other) => one.or(other),
        }
    }
}

/// How it was too late, in a few words.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |span| jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX);
        let span = told(self.span);
        match self.deadline {
            None => write!(f, "took longer than its `timeout` of {span:#}"),
            Some(deadline) if deadline == self.span => write!(f, "took longer than its `deadline` of {span:#}"),
            Some(deadline) => {
                let (deadline, left) = (told(deadline), told(rounded(self.span)));
                write!(f, "its `deadline` of {deadline:#} passed, {left:#} after this attempt began")
            }
        }
    }
}

/// What is left of a deadline, as a person wants to read it: in tenths of a second, and in seconds where it is long.
fn rounded(span: Duration) -> Duration {
    let unit = if span < Duration::from_secs(10) { 100 } else { 1000 };
    let millis = (span.as_millis() + unit / 2) / unit * unit;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
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
        let of = |timeout, deadline| Limit::of(timeout, deadline, Duration::ZERO);
        let words = |timeout, deadline| of(timeout, deadline).map(|limit| limit.to_string());
        assert_eq!(words(Some(short), Some(long)).as_deref(), Some("took longer than its `timeout` of 1s"));
        assert_eq!(words(Some(long), Some(short)).as_deref(), Some("took longer than its `deadline` of 1s"));
        assert_eq!(of(Some(short), None), of(Some(short), Some(short)));
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn a_deadline_is_named_and_what_was_left_of_it_is_rounded() {
        let spent = Duration::from_nanos(2_397_798_812);
        let words =
            |deadline| Limit::of(None, Some(Duration::from_secs(deadline)), spent).map(|limit| limit.to_string());
        assert_eq!(words(3).as_deref(), Some("its `deadline` of 3s passed, 600ms after this attempt began"));
        assert_eq!(words(5).as_deref(), Some("its `deadline` of 5s passed, 2s 600ms after this attempt began"));
        assert_eq!(words(90).as_deref(), Some("its `deadline` of 1m 30s passed, 1m 28s after this attempt began"));
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
