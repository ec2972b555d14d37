//! One attempt to take one step back. Knows nothing of order, retries or records.

use std::sync::Arc;
use std::time::Duration;

use runbook_steps::{Class, Context, Failure, Standing};

use super::plan::Deed;
use crate::run::panics::{caught, panic_text};

/// How long it may take to stop when it is told to, in real time. Longer than programs have between SIGTERM and SIGKILL.
const GENTLE: Duration = Duration::from_secs(15);

/// The same when it is killed; after that its future is dropped, which kills its programs.
const FORCED: Duration = Duration::from_secs(5);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    Undone,
    Failed(Failure),
    Cancelled,
}

/// One attempt.
pub(super) struct Attempt {
    pub(super) deeds: Arc<Vec<Deed>>,
    pub(super) cx: Context,
    /// Bounds the attempt, in model time.
    pub(super) limit: Option<Duration>,
}

impl Attempt {
    /// Takes the step back. A panic in it is a failure of it.
    pub(super) async fn run(self) -> Ended {
        let mut life = Box::pin(caught(self.life()));
        let bound = async {
            match self.limit {
                Some(limit) => self.cx.clock().sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            ended = &mut life => Some(ended),
            () = self.cx.cancel.hard.cancelled() => tokio::time::timeout(FORCED, life).await.ok(),
            () = bound => return self.timed_out(life).await,
        };
        match ended {
            Some(Ok(Ok(()))) => Ended::Undone,
            Some(Ok(Err(failure))) if failure.class == Class::Cancelled && self.cx.cancel.asked() => Ended::Cancelled,
            Some(Ok(Err(failure))) => Ended::Failed(failure),
            Some(Err(panic)) => {
                Ended::Failed(Failure::permanent(format!("undoing it panicked: {}", panic_text(panic.as_ref()))))
            }
            None => Ended::Cancelled,
        }
    }

    /// Everything that the step made, the newest first.
    async fn life(&self) -> Result<(), Failure> {
        for deed in self.deeds.iter() {
            self.do_it(deed).await?;
        }
        Ok(())
    }

    async fn do_it(&self, deed: &Deed) -> Result<(), Failure> {
        if !deed.performed {
            return deed.work.undo(&self.cx).await;
        }
        match deed.work.observe(&self.cx).await? {
            Standing::Holds(_) => Ok(()),
            _ => deed.work.perform(&self.cx).await.map(drop),
        }
    }

    /// Stops what runs: first gently, then for good. What it says while it stops is of no interest, unless it still succeeds.
    async fn timed_out<T>(&self, mut life: impl Future<Output = Result<Result<(), Failure>, T>> + Unpin) -> Ended {
        self.cx.cancel.soft.cancel();
        let mut ended = tokio::time::timeout(GENTLE, &mut life).await.ok();
        if ended.is_none() {
            self.cx.cancel.hard.cancel();
            ended = tokio::time::timeout(FORCED, life).await.ok();
        }
        if matches!(ended, Some(Ok(Ok(())))) {
            return Ended::Undone;
        }
        let span = jiff::SignedDuration::try_from(self.limit.unwrap_or_default()).unwrap_or(jiff::SignedDuration::MAX);
        let what = format!("undoing it took longer than the step's `timeout` of {span:#}");
        Ended::Failed(Failure::new(Class::Timeout, what))
    }
}
