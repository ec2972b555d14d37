//! One list and watch per kind and namespace, shared by every step that waits for something in it.
//!
//! A feed lists once, then follows the watch; it goes on from where it was after a lost connection, lists anew when the server
//! has forgotten that place (410), and falls back to listing at intervals where watching is forbidden. A change is never missed:
//! readers see the latest state and are woken after every change of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use http::Request;
use kube::core::WatchEvent;
use serde_json::Value;
use tokio::sync::watch;

use super::requests::query;
use super::{Cluster, Resource, Selection, name_of, namespace_of, text_at};
use crate::failure::{Class, Failure};

/// The objects of one kind and namespace, as last seen.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Whether they have been listed yet.
    pub complete: bool,
    /// The objects, by namespace and name.
    pub objects: Arc<BTreeMap<(String, String), Arc<Value>>>,
    /// What stands in the way of seeing more, if anything does now.
    pub trouble: Option<Failure>,
}

/// A reader's end of a shared watch; the watch ends some time after its last reader is gone.
#[derive(Clone, Debug)]
pub struct Feed(watch::Receiver<Snapshot>);

impl Feed {
    /// The latest state; marks it as seen.
    pub fn latest(&mut self) -> Snapshot {
        self.0.borrow_and_update().clone()
    }

    /// Returns after the next change that was not seen yet.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            // The writer is gone, so nothing can change any more; a waiter's other events decide.
            std::future::pending::<()>().await;
        }
    }

    /// The first complete state, or why there is none.
    pub async fn listed(&mut self) -> Result<Snapshot, Failure> {
        loop {
            let now = self.latest();
            match now.trouble {
                _ if now.complete => return Ok(now),
                Some(trouble) => return Err(trouble),
                None => self.changed().await,
            }
        }
    }
}

type Place = (String, String);

/// The running watches of one connection.
#[derive(Default)]
pub(super) struct Hub(Mutex<HashMap<Place, watch::Sender<Snapshot>>>);

/// How long a watch outlives its last reader: the next step often waits for the same kind.
const LINGER: Duration = Duration::from_secs(30);
/// How long the server is asked to keep a watch open, and how much later we give up on a silent one.
const WATCH_SECONDS: u64 = 290;
const DEAD_AFTER: Duration = Duration::from_secs(WATCH_SECONDS + 15);

impl Cluster {
    /// Joins the watch of a kind in a namespace (empty: all of them), or starts it.
    pub fn feed(&self, resource: &Resource, namespace: &str) -> Feed {
        let namespace = if resource.namespaced { namespace } else { "" };
        let place = (format!("{}/{}", resource.api_version(), resource.plural), namespace.to_owned());
        let mut hub = self.shared.watches.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = hub.get(&place) {
            return Feed(running.subscribe());
        }
        let (writer, reader) = watch::channel(Snapshot::default());
        hub.insert(place.clone(), writer.clone());
        let follower = Follower { cluster: self.clone(), resource: resource.clone(), place, writer };
        tokio::spawn(follower.run());
        Feed(reader)
    }
}

/// The writer's end.
struct Follower {
    cluster: Cluster,
    resource: Resource,
    place: Place,
    writer: watch::Sender<Snapshot>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Follower {
    async fn run(self) {
        tokio::select! {
            () = self.follow() => {}
            () = self.abandoned() => {}
        }
    }

    /// Returns once there has been no reader for a while, with the place in the hub given up.
    async fn abandoned(&self) {
        loop {
            self.writer.closed().await;
            self.cluster.clock.sleep(LINGER).await;
            let mut hub = self.hub();
            // Checked under the hub's lock, which a new reader would have to hold.
            if self.writer.receiver_count() == 0 {
                hub.remove(&self.place);
                return;
            }
        }
    }

    fn leave(&self) {
        let mut hub = self.hub();
        if hub.get(&self.place).is_some_and(|writer| writer.same_channel(&self.writer)) {
            hub.remove(&self.place);
        }
    }

    fn hub(&self) -> std::sync::MutexGuard<'_, HashMap<Place, watch::Sender<Snapshot>>> {
        self.cluster.shared.watches.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn follow(&self) {
        let mut failed = 0;
        loop {
            match self.list_and_watch().await {
                Ok(()) => failed = 0,
                Err(failure) => {
                    failed += 1;
                    self.writer.send_modify(|snapshot| snapshot.trouble = Some(failure));
                }
            }
            self.cluster.clock.sleep(pause(failed)).await;
        }
    }

    /// Lists, then watches until the place is lost or something fails.
    async fn list_and_watch(&self) -> Result<(), Failure> {
        let (items, mut version) = self.cluster.list_at(&self.resource, &self.place.1, &Selection::default()).await?;
        let objects = items.into_iter().map(|item| (key(&item), Arc::new(item))).collect();
        self.writer.send_replace(Snapshot { complete: true, objects: Arc::new(objects), trouble: None });
        loop {
            match self.watch(&mut version).await {
                Ok(Ended::Quietly) => {}
                Ok(Ended::PlaceLost) => return Ok(()),
                Err(failure) if failure.facts.http_status == Some(403) => {
                    // May list but not watch: look again after a while.
                    self.cluster.clock.sleep(Duration::from_secs(5)).await;
                    return Ok(());
                }
                Err(failure) if failure.class == Class::Transient => {
                    self.writer.send_modify(|snapshot| snapshot.trouble = Some(failure));
                    self.cluster.clock.sleep(pause(1)).await;
                    self.probe().await?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Whether the server answers again; then the trouble is over and the watch can go on from where it was.
    async fn probe(&self) -> Result<(), Failure> {
        let selection = Selection::default();
        self.cluster.list_at(&self.resource, &self.place.1, &selection).await.map(|_| ())?;
        self.writer.send_modify(|snapshot| snapshot.trouble = None);
        Ok(())
    }

    async fn watch(&self, version: &mut String) -> Result<Ended, Failure> {
        let seconds = WATCH_SECONDS.to_string();
        let query = query(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ]);
        let request = Request::get(self.resource.path(&self.place.1, None) + &query).body(Vec::new());
        let request = request.map_err(|error| Failure::permanent(format!("bad path: {error}")))?;
        let doing = format!("watch {}", self.resource.qualified());
        let fail = |error: kube::Error| self.cluster.failure(&error, &doing);
        let events = self.cluster.shared.client.request_events::<Value>(request).await.map_err(fail)?;
        let mut events = std::pin::pin!(events);
        loop {
            // A connection that died without a word would otherwise be waited on for ever.
            match tokio::time::timeout(DEAD_AFTER, events.next()).await {
                Err(_) | Ok(None) => return Ok(Ended::Quietly),
                Ok(Some(Err(kube::Error::Api(status)))) if status.code == 410 => return Ok(Ended::PlaceLost),
                Ok(Some(Err(error))) => return Err(fail(error)),
                Ok(Some(Ok(event))) => match self.take(event, version) {
                    Taken::Went => {}
                    Taken::PlaceLost => return Ok(Ended::PlaceLost),
                },
            }
        }
    }

    fn take(&self, event: WatchEvent<Value>, version: &mut String) -> Taken {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                text_at(&object, "/metadata/resourceVersion").clone_into(version);
                self.edit(|objects| drop(objects.insert(key(&object), Arc::new(object))));
            }
            WatchEvent::Deleted(object) => {
                text_at(&object, "/metadata/resourceVersion").clone_into(version);
                self.edit(|objects| drop(objects.remove(&key(&object))));
            }
            WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
            // Whatever the server did not like (410 above all), listing anew puts it right.
            WatchEvent::Error(_) => return Taken::PlaceLost,
        }
        Taken::Went
    }

    fn edit(&self, change: impl FnOnce(&mut BTreeMap<(String, String), Arc<Value>>)) {
        self.writer.send_modify(|snapshot| {
            change(Arc::make_mut(&mut snapshot.objects));
            snapshot.trouble = None;
        });
    }
}

enum Ended {
    Quietly,
    PlaceLost,
}

enum Taken {
    Went,
    PlaceLost,
}

fn key(object: &Value) -> (String, String) {
    (namespace_of(object).to_owned(), name_of(object).to_owned())
}

/// How long to pause after so many failures in a row.
fn pause(failed: u32) -> Duration {
    Duration::from_secs(1 << failed.min(4))
}
