//! The writer's side of a shared watch: keeps the objects of one kind and namespace as they are in the cluster.
//!
//! Lists once, then follows the watch; goes on from where it was after a lost connection; lists anew when the server has forgotten
//! that place (410); lists at intervals where watching is forbidden, and reads the wanted objects one by one where listing is, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use http::Request;
use kube::core::WatchEvent;
use serde_json::Value;

use super::kept::{Kept, key_of};
use super::requests::query;
use super::shelf::Key;
use super::trim::trim;
use super::watches::{Channel, Hub, Place};
use super::{Cluster, Resource, Selection, text_at};
use crate::failure::Failure;

/// How long at least a watch outlives its last reader: the next step often waits for the same kind.
const LINGER: Duration = Duration::from_secs(15);
/// How long the server is asked to keep a watch open, and how much later we give up on a silent one: a connection that died without
/// a word is only found out by this.
const WATCH_SECONDS: u64 = 60;
const DEAD_AFTER: Duration = Duration::from_secs(WATCH_SECONDS + 10);
/// How often to look where watching is forbidden.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often to look before it is tried again whether listing is allowed by now.
const LOOKS: u32 = 12;
/// How many objects to read at a time where listing is forbidden.
const AT_ONCE: usize = 16;
/// A watch that lasted so long in real time was none that the server ends at once.
const STEADY: Duration = Duration::from_secs(1);

/// The writer's end.
pub(super) struct Follower {
    cluster: Cluster,
    resource: Resource,
    place: Place,
    channel: Arc<Channel>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Whatever ended it, the next reader must get a watch that lives.
        self.hub().forget(&self.place, &self.channel);
    }
}

/// What to do next.
enum Next {
    List,
    /// From that version on.
    Watch(String),
    /// Read object by object: listing is forbidden.
    ReadSingly(Box<Failure>),
}

/// How a turn went: what comes next, and what was in the way.
type Turn = Result<Next, (Box<Failure>, Next)>;

impl Follower {
    pub(super) fn new(cluster: Cluster, resource: Resource, place: Place, channel: Arc<Channel>) -> Self {
        Self { cluster, resource, place, channel }
    }

    /// Follows until nobody has read for a while.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.follow() => {}
            () = self.abandoned() => {}
        }
    }

    /// Returns once there has been no reader for a while, with the place in the hub given up.
    async fn abandoned(&self) {
        let mut before = false;
        loop {
            self.cluster.clock.sleep(LINGER).await;
            let now = self.channel.shelf().is_abandoned();
            if now && before && self.hub().end_if_abandoned(&self.place, &self.channel) {
                return;
            }
            before = now;
        }
    }

    fn hub(&self) -> &Hub {
        &self.cluster.shared.watches
    }

    async fn follow(&self) {
        let (mut next, mut mishaps) = (Next::List, 0);
        loop {
            let (began, listing) = (Instant::now(), matches!(next, Next::List));
            let turn = self.turn(next).await;
            let (steady, failed) = (began.elapsed() >= STEADY, turn.is_err());
            next = turn.unwrap_or_else(|(failure, next)| {
                let (resource, class) = (self.resource.qualified(), failure.class);
                tracing::debug!(%resource, ?class, mishaps, "lost sight");
                self.channel.shelf().fail(*failure);
                next
            });
            if listing && !failed {
                continue;
            }
            // A watch that is soon over is none: a server that ends each at once must not be asked all the time.
            mishaps = if steady { u32::from(failed) } else { mishaps + 1 };
            self.cluster.clock.sleep(pause(mishaps)).await;
        }
    }

    async fn turn(&self, next: Next) -> Turn {
        match next {
            Next::List => self.list().await,
            Next::Watch(version) => self.watch(version).await,
            Next::ReadSingly(forbidden) => self.read_singly(*forbidden).await,
        }
    }

    async fn list(&self) -> Turn {
        let selection = Selection::default();
        let pack = |mut object: Value| {
            self.fit(&mut object);
            Kept::new(&object)
        };
        let listed = self.cluster.list_at(&self.resource, &self.place.namespace, &selection, pack);
        match listed.await {
            Ok((items, version)) => {
                tracing::debug!(resource = %self.resource.qualified(), items = items.len(), version, "listed");
                self.channel.shelf().replace(items);
                Ok(Next::Watch(version))
            }
            Err(failure) if is_forbidden(&failure) => Ok(Next::ReadSingly(Box::new(failure))),
            Err(failure) => Err((Box::new(failure), Next::List)),
        }
    }

    /// Watches for as long as the server likes.
    async fn watch(&self, mut version: String) -> Turn {
        match self.watch_from(&mut version).await {
            Ok(Ended::Quietly) => Ok(Next::Watch(version)),
            Ok(Ended::PlaceLost) => Ok(Next::List),
            Err(failure) if failure.facts.http_status == Some(410) => Ok(Next::List),
            Err(failure) if may_not_watch(&failure) => {
                self.cluster.clock.sleep(LOOK_EVERY).await;
                Ok(Next::List)
            }
            Err(failure) => Err((Box::new(failure), Next::Watch(version))),
        }
    }

    async fn watch_from(&self, version: &mut String) -> Result<Ended, Failure> {
        let doing = format!("watch {}", self.resource.qualified());
        let fail = |error: kube::Error| self.cluster.failure(&error, &doing);
        let request = self.request(version)?;
        let events = self.cluster.shared.client.request_events::<Value>(request).await.map_err(fail)?;
        tracing::debug!(resource = %self.resource.qualified(), version, "watching");
        self.channel.shelf().recover();
        let mut events = std::pin::pin!(events);
        loop {
            match tokio::time::timeout(DEAD_AFTER, events.next()).await {
                Err(_) | Ok(None) => return Ok(Ended::Quietly),
                Ok(Some(Err(kube::Error::Api(status)))) if status.code == 410 => return Ok(Ended::PlaceLost),
                Ok(Some(Err(error))) => return Err(fail(error)),
                Ok(Some(Ok(event))) => match self.take(event) {
                    Some(newer) => *version = newer,
                    None => return Ok(Ended::PlaceLost),
                },
            }
        }
    }

    fn request(&self, version: &str) -> Result<Request<Vec<u8>>, Failure> {
        let seconds = WATCH_SECONDS.to_string();
        let query = query(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &seconds),
        ]);
        let request = Request::get(self.resource.path(&self.place.namespace, None) + &query).body(Vec::new());
        request.map_err(|error| Failure::permanent(format!("bad path: {error}")))
    }

    /// Takes an event in. The version to go on from, or nothing when the server has lost our place.
    fn take(&self, event: WatchEvent<Value>) -> Option<String> {
        let version = |object: &Value| text_at(object, "/metadata/resourceVersion").to_owned();
        match event {
            WatchEvent::Added(mut object) | WatchEvent::Modified(mut object) => {
                self.fit(&mut object);
                let version = version(&object);
                self.channel.shelf().put(Kept::new(&object));
                Some(version)
            }
            WatchEvent::Deleted(object) => {
                self.channel.shelf().remove(&key_of(&object));
                Some(version(&object))
            }
            WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version),
            // Whatever the server did not like (410 above all), listing anew puts it right.
            WatchEvent::Error(_) => None,
        }
    }

    fn fit(&self, object: &mut Value) {
        if !self.place.whole {
            trim(object);
        }
    }

    /// Reads what readers name, object by object, for a while.
    async fn read_singly(&self, forbidden: Failure) -> Turn {
        self.channel.shelf().only_singly(forbidden);
        for _ in 0..LOOKS {
            self.read_all(self.wanted(false)).await;
            let mut interval = std::pin::pin!(self.cluster.clock.sleep(LOOK_EVERY));
            loop {
                tokio::select! {
                    () = &mut interval => break,
                    () = self.channel.stir.notified() => self.read_all(self.wanted(true)).await,
                }
            }
        }
        Ok(Next::List)
    }

    fn wanted(&self, new: bool) -> Vec<Key> {
        self.channel.shelf().wanted_names(new)
    }

    async fn read_all(&self, keys: Vec<Key>) {
        let reads = keys.into_iter().map(async |key| {
            let read = self.cluster.get(&self.resource, &key.0, &key.1).await;
            let answer = read.map(|found| {
                found.map(|mut object| {
                    self.fit(&mut object);
                    Kept::new(&object)
                })
            });
            self.channel.shelf().answered(&key, answer);
        });
        futures::stream::iter(reads).buffer_unordered(AT_ONCE).collect::<()>().await;
    }
}

enum Ended {
    Quietly,
    PlaceLost,
}

fn is_forbidden(failure: &Failure) -> bool {
    failure.facts.http_status == Some(403)
}

/// Some kinds cannot be watched by anybody (405).
fn may_not_watch(failure: &Failure) -> bool {
    matches!(failure.facts.http_status, Some(403 | 405))
}

/// How long to pause after so many mishaps in a row.
fn pause(mishaps: u32) -> Duration {
    match mishaps.checked_sub(1) {
        None => Duration::ZERO,
        Some(before) => Duration::from_millis(250 << before.min(6)),
    }
}
