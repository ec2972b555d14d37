//! Putting right what an earlier helm left: a revision that nobody finishes.

use std::time::Duration;

use super::{MARGIN, Release};
use crate::context::Context;
use crate::failure::Failure;
use crate::gcloud::owner;
use crate::helm::{Book, Cure, Revision, cure};
use crate::step::Standing;

/// How often a release that somebody else works on is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

impl Release {
    fn patience(&self) -> Duration {
        self.with.stuck_after.map_or(self.with.timeout.0 + MARGIN, |it| it.0)
    }

    fn cure(&self, book: &Book, cx: &Context) -> Option<Cure> {
        cure(book, is_abandoned(book, cx), cx.clock().now(), self.patience())
    }

    /// What a look says of a pending revision.
    pub(super) fn judge_pending(&self, book: &Book, last: &Revision, cx: &Context) -> Standing {
        let told = format!("revision {} is {}", last.number, last.status);
        match self.cure(book, cx) {
            Some(Cure::Wait(_)) => Standing::InProgress(format!("{told}: another helm may be at work")),
            _ => Standing::Lacks(format!("{told}, and nobody works on it any more")),
        }
    }

    /// Waits for others as long as they may be at work, and takes back what nobody finishes. Gives the book as it is then.
    pub(super) async fn heal(&self, cx: &Context) -> Result<Book, Failure> {
        loop {
            let book = self.book(cx).await?;
            let (Some(last), Some(cure)) = (book.last(), self.cure(&book, cx)) else { return Ok(book) };
            let told = format!("revision {} is {}", last.number, last.status);
            match cure {
                Cure::Wait(left) => {
                    cx.progress(format!("{told}: waiting at most {} s for whoever works on it", left.as_secs()));
                    cx.unless_cancelled(pause(left.min(INTERVAL), cx)).await?;
                }
                Cure::RollBack(revision) => {
                    cx.note(&format!("{told}, and nobody works on it: back to revision {revision}"));
                    self.run(cx, self.roll_back(revision)).await?;
                }
                Cure::Uninstall => {
                    cx.note(&format!("{told}, nobody works on it, and no revision came up before: away with it"));
                    self.run(cx, self.uninstall()).await?;
                }
            }
        }
    }
}

async fn pause(span: Duration, cx: &Context) -> Result<(), Failure> {
    cx.clock().sleep(span).await;
    Ok(())
}

/// Whether a pending revision is this deployment's own, of an attempt whose helm is gone for sure: whoever holds the deployment has
/// ended all that earlier attempts left.
fn is_abandoned(book: &Book, cx: &Context) -> bool {
    let ours = book.marks.deployment.as_deref() == Some(&owner(cx));
    ours && (cx.after_crash || cx.attempt > 1)
}
