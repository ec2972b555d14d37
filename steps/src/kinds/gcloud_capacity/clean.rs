//! Giving a machine back, whatever happened: also when the step was told to stop, and then in the little time that is left.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Capacity;
use super::machine::is_leaving;
use crate::context::{Cancel, Context};
use crate::failure::{Class, Failure};

/// So often deleting is tried.
const TRIES: u32 = 3;
/// One try takes no longer than this (on the step's clock).
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two tries (on the step's clock).
const PAUSE: Duration = Duration::from_secs(5);
/// A step that was told to stop has so long for all of it (real time): less than whoever told it waits before it kills.
const HURRY: Duration = Duration::from_secs(12);
/// A request that was on its way when its program was stopped has arrived after this (real time).
const ARRIVAL: Duration = Duration::from_secs(1);

/// The fact by which a failure tells that something is left behind.
const LEFT: &str = "left_behind";

/// Whether a failure tells of a machine that is still there.
pub(super) fn is_left_behind(failure: &Failure) -> bool {
    failure.facts.other.contains_key(LEFT)
}

/// A context that goes on when the step is told to stop, but not when it is killed.
fn shielded(cx: &Context) -> Context {
    let cancel = Cancel { soft: CancellationToken::new(), hard: cx.cancel.hard.clone() };
    Context { cancel, ..cx.clone() }
}

impl Capacity {
    /// Deletes the probe of a zone, if it is there.
    pub(super) async fn clean(&self, cx: &Context, zone: &str) -> Result<(), Failure> {
        let shield = shielded(cx);
        let gone = tokio::select! {
            biased;
            // Told to stop, before or in the middle of it.
            () = cx.cancel.soft.cancelled() => {
                tokio::time::timeout(HURRY, self.delete_it(&shield, zone, true)).await.unwrap_or(false)
            }
            gone = self.delete_it(&shield, zone, false) => gone,
        };
        if gone { Ok(()) } else { Err(self.left(cx, zone)) }
    }

    /// Whether it is gone, or on its way out where time is short.
    async fn delete_it(&self, cx: &Context, zone: &str, hurried: bool) -> bool {
        if hurried {
            cx.clock().sleep(cx.clock().model_span(ARRIVAL)).await;
        }
        for attempt in 1..=TRIES {
            match self.find(cx, zone).await {
                Ok(None) => return true,
                Ok(Some(machine)) if hurried && is_leaving(&machine) => return true,
                Err(failure) if failure.class == Class::Cancelled => return false,
                // Whether it is there or not: who asks for its end does no harm.
                Ok(Some(_)) | Err(_) => {}
            }
            if self.try_to_delete(cx, zone, hurried).await {
                return true;
            }
            if attempt < TRIES {
                cx.note(&format!("the probe `{}` in {zone} is still there: trying again", self.name(cx)));
                let pause = if hurried { cx.clock().model_span(ARRIVAL) } else { PAUSE };
                cx.clock().sleep(pause).await;
            }
        }
        matches!(self.find(cx, zone).await, Ok(None))
    }

    async fn try_to_delete(&self, cx: &Context, zone: &str, hurried: bool) -> bool {
        let args = self.delete(&self.name(cx), zone, hurried);
        let (gcloud, clock) = (self.gcloud(cx), cx.clock());
        let ended = tokio::select! {
            biased;
            ended = gcloud.json(args) => ended,
            () = clock.sleep(PATIENCE) => return false,
        };
        match ended {
            Ok(_) => true,
            Err(failure) if failure.class == Class::NotFound => true,
            Err(failure) => {
                cx.note(&format!("cannot delete the probe: {failure}"));
                false
            }
        }
    }

    fn left(&self, cx: &Context, zone: &str) -> Failure {
        let name = self.name(cx);
        let command = super::line(&self.delete(&name, zone, false));
        let mut failure =
            Failure::permanent(format!("the probe `{name}` in {zone} could not be deleted, and costs money"))
                .fix(format!("delete it with `gcloud {command} --project={}`", self.project));
        failure.facts.other.insert(LEFT.to_owned(), format!("{zone}/{name}").into());
        failure
    }
}
