//! Grouped syncs: what is written is safe a moment later, and the run does not wait for it.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bell::Bell;
use crate::state::StateError;
use crate::state::journal::{GROUP, Tail};

/// The sync that is due, or under way.
pub(super) struct Group {
    tail: Arc<Tail>,
    /// Told whether a sync is due, so that nobody is woken for one that is.
    bell: Arc<Bell>,
    inline: bool,
    due: Option<Instant>,
    running: Option<JoinHandle<Result<(), StateError>>>,
}

impl Group {
    /// For a journal's end. `inline` syncs on the caller's thread: then nothing depends on what other threads do meanwhile.
    pub(super) fn new(tail: Arc<Tail>, bell: Arc<Bell>, inline: bool) -> Self {
        Self { tail, bell, inline, due: None, running: None }
    }

    /// Something may have been written: what is not synced now begins a group. Whoever writes after we have looked rings, because by then
    /// the bell says that no sync is due.
    pub(super) fn mind(&mut self) {
        if self.due.is_some() || self.running.is_some() {
            return;
        }
        self.bell.set_syncs(false);
        if self.tail.is_behind() {
            self.due = Some(Instant::now() + GROUP);
            self.bell.set_syncs(true);
        }
    }

    /// Syncs when the group is complete, and says how that went. May be dropped and called again at any point.
    pub(super) async fn synced(&mut self) -> Result<(), StateError> {
        loop {
            if let Some(running) = &mut self.running {
                let result = running.await;
                self.running = None;
                tracing::debug!("a group of records was synced");
                return result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            }
            match self.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
            self.due = None;
            if self.inline {
                return self.tail.sync();
            }
            let tail = Arc::clone(&self.tail);
            self.running = Some(tokio::task::spawn_blocking(move || tail.sync()));
        }
    }
}
