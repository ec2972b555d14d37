//! Calls whoever listens to a run. Knows nothing of why.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Rung from any thread, heard by the one that listens.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Notify,
    /// Whether somebody sees to it that what is written gets synced, and need not be called for that.
    syncs: AtomicBool,
}

impl Bell {
    /// Calls the listener; if it does not listen just now, it hears it when it does.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }

    /// Until it is rung.
    pub(super) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Whether a sync is due or under way.
    pub(super) fn syncs(&self) -> bool {
        self.syncs.load(Ordering::Acquire)
    }

    /// Says whether a sync is due or under way.
    pub(super) fn set_syncs(&self, syncs: bool) {
        self.syncs.store(syncs, Ordering::Release);
    }
}
