//! One list and watch per kind and namespace, shared by every step that waits for something in it: the readers' side.
//!
//! A reader sees the latest state, and is woken after every change of what it has looked at. That the state follows the cluster's is
//! the business of `follow`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::Notify;

use super::follow::Follower;
use super::shelf::{Id, Seen, Shelf};
use super::{Cluster, Resource, Selector};
use crate::failure::Failure;

/// Rings when something changed that was looked at through one of the feeds that share it.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Returns after a feed has rung, at once if one did since the last time. That a feed rang does not say which.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

/// A reader's end of a shared watch; the watch ends some time after its last reader is gone.
#[derive(Debug)]
pub struct Feed {
    channel: Arc<Channel>,
    id: Id,
    bell: Bell,
    /// Whether the watch had a state already when it was joined.
    joined_late: bool,
}

impl Feed {
    /// One object, or `None` when it is not there. Waits for the first list.
    pub async fn named(&mut self, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Failure> {
        let key = (namespace.to_owned(), name.to_owned());
        loop {
            let seen = self.channel.shelf().named(self.id, &key);
            if seen.is_none() {
                // Where only single objects may be read, one that nobody asked for yet is fetched now.
                self.channel.stir.notify_one();
            }
            if let Some(seen) = self.or_wait(seen).await {
                return seen;
            }
        }
    }

    /// All objects, or those selected. Waits for the first list.
    pub async fn selected(&mut self, selector: Option<&Selector>) -> Result<Vec<Arc<Value>>, Failure> {
        loop {
            let seen = self.channel.shelf().selected(self.id, selector);
            if let Some(seen) = self.or_wait(seen).await {
                return seen;
            }
        }
    }

    /// The objects that are owned by one of these uids, and the events about them. Waits for the first list.
    pub(crate) async fn related(&mut self, to: &[String]) -> Result<Vec<Arc<Value>>, Failure> {
        loop {
            let seen = self.channel.shelf().related(self.id, to);
            if let Some(seen) = self.or_wait(seen).await {
                return seen;
            }
        }
    }

    /// Waits for the first list, or for what keeps it from coming.
    pub(crate) async fn listed(&mut self) {
        loop {
            let heard = self.channel.shelf().has_been_heard();
            if self.or_wait(heard.then_some(Ok(()))).await.is_some() {
                return;
            }
        }
    }

    async fn or_wait<T>(&self, seen: Seen<T>) -> Seen<T> {
        if seen.is_none() {
            self.bell.rung().await;
        }
        seen
    }

    /// Starts another look: only what is looked at from here on wakes.
    pub fn begin(&mut self) {
        self.channel.shelf().begin(self.id);
    }

    /// Whether something changed that was looked at.
    pub fn has_changed(&self) -> bool {
        self.channel.shelf().has_changed(self.id)
    }

    /// Whether the watch was running before. Then what it shows first may be older than what this reader has just done.
    pub(crate) fn has_joined_late(&self) -> bool {
        self.joined_late
    }

    /// What keeps the watch from following now, if anything does.
    pub fn trouble(&self) -> Option<Failure> {
        self.channel.shelf().trouble().cloned()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.channel.shelf().leave(self.id);
    }
}

/// What the readers and the writer of one watch share.
#[derive(Debug, Default)]
pub(super) struct Channel {
    shelf: Mutex<Shelf>,
    /// Tells the writer that a reader wants what may not have been fetched.
    pub(super) stir: Notify,
}

impl Channel {
    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which watch: the kind, the namespace, and whether objects are kept whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) whole: bool,
}

/// The running watches of one connection.
#[derive(Default)]
pub(super) struct Hub(Mutex<HashMap<Place, Arc<Channel>>>);

impl Hub {
    /// Gives up the place of a watch that nobody reads. Checked under the lock that a new reader needs.
    pub(super) fn end_if_abandoned(&self, place: &Place, channel: &Arc<Channel>) -> bool {
        let mut running = self.running();
        let abandoned = channel.shelf().is_abandoned();
        if abandoned {
            remove(&mut running, place, channel);
        }
        abandoned
    }

    /// Gives up the place of a watch that has ended.
    pub(super) fn forget(&self, place: &Place, channel: &Arc<Channel>) {
        remove(&mut self.running(), place, channel);
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Place, Arc<Channel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(running: &mut HashMap<Place, Arc<Channel>>, place: &Place, channel: &Arc<Channel>) {
    if running.get(place).is_some_and(|it| Arc::ptr_eq(it, channel)) {
        running.remove(place);
    }
}

impl Cluster {
    /// Joins the watch of a kind in a namespace (empty: all of them), or starts it. Unless `whole`, objects come without what only
    /// the server needs (see `trim`).
    pub fn feed(&self, resource: &Resource, namespace: &str, whole: bool, bell: &Bell) -> Feed {
        let namespace = if resource.namespaced { namespace } else { "" };
        let kind = format!("{}/{}", resource.api_version(), resource.plural);
        let place = Place { kind, namespace: namespace.to_owned(), whole };
        let mut running = self.shared.watches.running();
        let channel = running.entry(place.clone()).or_insert_with(|| {
            let channel = Arc::<Channel>::default();
            tokio::spawn(Follower::new(self.clone(), resource.clone(), place, Arc::clone(&channel)).run());
            channel
        });
        let (joined_late, id) = {
            let mut shelf = channel.shelf();
            (shelf.has_state(), shelf.join(Arc::clone(&bell.0)))
        };
        Feed { channel: Arc::clone(channel), id, bell: bell.clone(), joined_late }
    }
}
