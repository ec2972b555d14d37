//! One attempt to take one step back. Knows nothing of order, retries or records.

use std::sync::Arc;

use runbook_steps::{Class, Context, Failure, Standing};

use super::plan::Deed;
use crate::run::attempt::Watch;
use crate::run::bounded::{Bounded, Limit, bounded};
use crate::run::panics::{caught, panic_text};
use crate::run::whence;

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
    /// How many things of the step the journal holds; fewer than there are deeds if earlier attempts have taken some back.
    pub(super) things: usize,
    pub(super) watch: Arc<Watch>,
    pub(super) cx: Context,
    pub(super) limit: Option<Limit>,
}

impl Attempt {
    /// Takes the step back. A panic in it is a failure of it.
    pub(super) async fn run(self) -> Ended {
        let ended = match bounded(caught(self.life()), self.limit, &self.cx).await {
            Bounded::Ended(ended) => ended,
            Bounded::Killed => return Ended::Cancelled,
            Bounded::Late(_, Some(Ok(Ok(())))) => return Ended::Undone,
            Bounded::Late(limit, _) => {
                return Ended::Failed(Failure::new(Class::Timeout, format!("undoing it: {limit}")));
            }
        };
        match ended {
            Ok(Ok(())) => Ended::Undone,
            Ok(Err(failure)) if failure.class == Class::Cancelled && self.cx.cancel.asked() => Ended::Cancelled,
            Ok(Err(failure)) => Ended::Failed(failure),
            Err(panic) => {
                Ended::Failed(Failure::permanent(format!("undoing it panicked: {}", panic_text(panic.as_ref()))))
            }
        }
    }

    /// Everything that the step made, the newest first.
    async fn life(&self) -> Result<(), Failure> {
        let is_left = |deed: &&Deed| deed.left.is_none_or(|left| left < self.things);
        for deed in self.deeds.iter().filter(is_left) {
            self.do_it(deed).await?;
            self.write_down(deed)?;
        }
        Ok(())
    }

    /// What is gone is not taken back once more where an older thing cannot be.
    fn write_down(&self, deed: &Deed) -> Result<(), Failure> {
        let Watch { step, attempt, book, .. } = self.watch.as_ref();
        let written = match deed.left {
            None | Some(0) => true,
            Some(left) => book.undone_in_part(step, *attempt, left),
        };
        if written { Ok(()) } else { Err(Failure::permanent("nothing more was undone: the journal cannot be written")) }
    }

    async fn do_it(&self, deed: &Deed) -> Result<(), Failure> {
        let cx = self.surroundings(deed);
        if !deed.performed {
            return deed.work.undo(&cx).await;
        }
        match deed.work.observe(&cx).await? {
            Standing::Holds(_) => Ok(()),
            _ => deed.work.perform(&cx).await.map(drop),
        }
    }

    /// Where it was made, if that folder is still there; or else where the plan is now.
    fn surroundings(&self, deed: &Deed) -> Context {
        let made_in = deed.dir.as_deref().and_then(|way| whence::found(&self.cx.state_dir, way));
        Context { plan_dir: made_in.map_or_else(|| self.cx.plan_dir.clone(), Into::into), ..self.cx.clone() }
    }
}
