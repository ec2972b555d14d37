//! How long one request may take.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// One timer for all requests over a connection, one after the other.
///
/// It is not set and taken back for each of them, because few take too long: a request that is answered leaves it as it is, and
/// only when it rings is it set for the request that is then under way.
#[derive(Default)]
pub(super) struct Limit(Option<Pin<Box<Sleep>>>);

impl Limit {
    /// What comes of the work, unless it takes until then. Deadlines only ever get later.
    pub(super) async fn within<T>(&mut self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|waking| match work.as_mut().poll(waking) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_over(deadline, waking).map(|()| None),
        })
        .await
    }

    fn poll_over(&mut self, deadline: Instant, waking: &mut Context<'_>) -> Poll<()> {
        let deadline = deadline.into();
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(waking).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_the_request_that_takes_too_long_is_cut_off() {
        let (mut limit, start) = (Limit::default(), Instant::now());
        assert_eq!(limit.within(start + Duration::from_millis(5), tokio::task::yield_now()).await, Some(()));
        let later = start + Duration::from_millis(40);
        assert_eq!(limit.within(later, pending::<()>()).await, None);
        assert!(Instant::now() >= later);
        assert_eq!(limit.within(later, pending::<()>()).await, None);
        assert_eq!(limit.within(later + Duration::from_secs(60), tokio::task::yield_now()).await, Some(()));
    }
}
