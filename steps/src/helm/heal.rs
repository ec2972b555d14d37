//! Putting right what an earlier helm left: a revision that nobody finishes.

use std::time::Duration;

use super::book::{Book, Cure, Revision, cure};
use super::{book, explain, helm};
use crate::context::Context;
use crate::failure::Failure;
use crate::span::Span;
use crate::step::Standing;

/// How often a release that somebody else works on is looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// A release, and how long a revision of it may be pending.
#[derive(Clone, Debug)]
pub(crate) struct Healing<'h> {
    pub(crate) name: &'h str,
    pub(crate) namespace: &'h str,
    /// For how long a pending revision counts as being worked on.
    pub(crate) patience: Duration,
    /// How long helm may take to take it back.
    pub(crate) timeout: Duration,
}

impl Healing<'_> {
    /// What a look says of a pending revision.
    pub(crate) fn judge(&self, book: &Book, last: &Revision, abandoned: bool, cx: &Context) -> Standing {
        let told = format!("revision {} is {}", last.number, last.status);
        match cure(book, abandoned, cx.clock().now(), self.patience) {
            Some(Cure::Wait(_)) => Standing::InProgress(format!("{told}: another helm may be at work")),
            _ => Standing::Lacks(format!("{told}, and nobody works on it any more")),
        }
    }

    /// Waits for others as long as they may be at work, and takes back what nobody finishes. Gives the book as it is then.
    pub(crate) async fn heal(&self, abandoned: fn(&Book, &Context) -> bool, cx: &Context) -> Result<Book, Failure> {
        loop {
            let book = book(self.name, self.namespace, cx).await?;
            let cure = cure(&book, abandoned(&book, cx), cx.clock().now(), self.patience);
            let (Some(last), Some(cure)) = (book.last(), cure) else { return Ok(book) };
            let told = format!("revision {} of `{}` is {}", last.number, self.name, last.status);
            match cure {
                Cure::Wait(left) => {
                    cx.progress(format!("{told}: waiting at most {} s for whoever works on it", left.as_secs()));
                    cx.unless_cancelled(pause(left.min(INTERVAL), cx)).await?;
                }
                Cure::RollBack(revision) => {
                    cx.note(&format!("{told}, and nobody works on it: back to revision {revision}"));
                    self.roll_back(revision, cx).await?;
                }
                Cure::Uninstall => {
                    cx.note(&format!("{told}, nobody works on it, and no revision came up before: away with it"));
                    self.uninstall(cx).await?;
                }
            }
        }
    }

    /// `helm uninstall …`.
    pub(crate) fn uninstalling(&self) -> Vec<String> {
        let (namespace, timeout) = (format!("--namespace={}", self.namespace), self.timeout());
        ["uninstall", self.name, &namespace, "--wait", &timeout].map(ToOwned::to_owned).into()
    }

    pub(crate) async fn uninstall(&self, cx: &Context) -> Result<(), Failure> {
        self.run(self.uninstalling(), cx).await
    }

    pub(crate) async fn roll_back(&self, revision: u64, cx: &Context) -> Result<(), Failure> {
        let (number, namespace) = (revision.to_string(), format!("--namespace={}", self.namespace));
        let args = ["rollback", self.name, &number, &namespace, &self.timeout()];
        self.run(args.map(ToOwned::to_owned).into(), cx).await
    }

    fn timeout(&self) -> String {
        format!("--timeout={}s", self.timeout.as_secs_f64().ceil())
    }

    async fn run(&self, args: Vec<String>, cx: &Context) -> Result<(), Failure> {
        helm(cx, args).run(cx).await.map(drop).map_err(|failure| explain(failure, self.name))
    }
}

/// For how long a helm is given the benefit of the doubt where nobody says: a quarter of an hour.
pub(crate) fn patience() -> Span {
    Span(Duration::from_secs(900))
}

/// Nothing on a revision that others than `helm.release` made says whose it is; but after a crash, or a failed attempt, of a step that had
/// the deployment's lock, all that it had started is gone.
pub(crate) fn left_behind(_: &Book, cx: &Context) -> bool {
    cx.after_crash || cx.attempt > 1
}

async fn pause(span: Duration, cx: &Context) -> Result<(), Failure> {
    cx.clock().sleep(span).await;
    Ok(())
}
