//! How a condition sees the cluster: by single requests when it is looked at once, by shared watches when it is waited for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::log::Searched;
use crate::cluster::{Bell, Cluster, Feed, Resource, Selection, Selector};
use crate::context::Context;
use crate::failure::{Class, Failure};

/// What a condition may look at, and what it remembers from one look to the next.
pub(super) struct Sight<'c> {
    pub(super) cx: &'c Context,
    pub(super) cluster: &'c Cluster,
    /// The watches joined so far; `None` when looking only once.
    feeds: Option<HashMap<Place, Feed>>,
    /// Rings when something has changed that was looked at.
    bell: Bell,
    /// Whether objects are needed as a whole.
    whole: bool,
    /// Kinds that the server did not know, and when it was last asked.
    unknown: HashMap<String, Timestamp>,
    /// How long each trouble has been there, and in which look it was last seen.
    troubles: HashMap<String, (Timestamp, u64)>,
    looks: u64,
    /// When the first look was.
    pub(super) began: Timestamp,
    /// The last log lines of containers, by what tells their lives apart, and when they were read.
    pub(super) logs: HashMap<String, (Timestamp, String)>,
    /// Logs that were searched.
    pub(super) searched: HashMap<String, Searched>,
    /// Why the watches cannot follow at the moment.
    pub(super) blind: Option<String>,
}

/// Kind and namespace.
type Place = (String, String);

/// How often the server is asked at most whether it knows a kind by now.
const ASK_AGAIN: Duration = Duration::from_secs(2);

impl<'c> Sight<'c> {
    /// Looks once, by requests.
    pub(super) fn once(cx: &'c Context, cluster: &'c Cluster) -> Self {
        Self {
            cx,
            cluster,
            feeds: None,
            bell: Bell::default(),
            whole: false,
            unknown: HashMap::new(),
            troubles: HashMap::new(),
            looks: 0,
            began: cx.clock().now(),
            logs: HashMap::new(),
            searched: HashMap::new(),
            blind: None,
        }
    }

    /// Keeps looking, by watches; at objects as a whole, or without what few conditions need.
    pub(super) fn watching(cx: &'c Context, cluster: &'c Cluster, whole: bool) -> Self {
        Self { feeds: Some(HashMap::new()), whole, ..Self::once(cx, cluster) }
    }

    /// Whether it is worth to look deeper for reasons.
    pub(super) fn is_watching(&self) -> bool {
        self.feeds.is_some()
    }

    /// Whether what the first look saw may be older than the wait: a watch that ran before lags behind a little.
    pub(super) fn may_be_late(&self) -> bool {
        self.looks == 1 && self.feeds.iter().flat_map(HashMap::values).any(Feed::has_joined_late)
    }

    /// Starts another look.
    pub(super) fn begin(&mut self) {
        self.looks += 1;
        self.blind = None;
        self.feeds.iter_mut().flat_map(HashMap::values_mut).for_each(Feed::begin);
    }

    /// The namespace that a condition means: where it names none, that of the kubeconfig.
    pub(super) fn namespace(&self, named: &str) -> String {
        if named.is_empty() { self.cluster.default_namespace().to_owned() } else { named.to_owned() }
    }

    /// The kind that a word means; `None` while the server does not know it. Then its CRDs are watched.
    pub(super) async fn resolve(&mut self, word: &str) -> Result<Option<Resource>, Failure> {
        let now = self.cx.clock().now();
        let asked_before = self.unknown.get(word).is_some_and(|asked| since(*asked, now) < ASK_AGAIN);
        let found =
            if asked_before { self.cluster.resolve_known(word).await? } else { self.cluster.resolve(word).await? };
        if found.is_none() && !asked_before {
            self.unknown.insert(word.to_owned(), now);
        }
        if found.is_none() && self.is_watching() {
            let definitions = self.cluster.resolve_known("customresourcedefinitions.apiextensions.k8s.io").await?;
            if let Some(definitions) = definitions {
                self.objects(&definitions, "", None).await?;
            }
        }
        Ok(found)
    }

    /// One object, or `None` when it is not there.
    pub(super) async fn object(
        &mut self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Failure> {
        let namespace = if resource.namespaced { namespace } else { "" };
        match self.feed(resource, namespace) {
            // Requests are boxed, so that who watches is not as large as who asks.
            None => Ok(Box::pin(self.cluster.get(resource, namespace, name)).await?.map(Arc::new)),
            Some(feed) => {
                let found = feed.named(namespace, name).await?;
                self.unless_in_trouble(resource, namespace, found)
            }
        }
    }

    /// The states of an object that came and went since the last look.
    pub(super) fn passed(&mut self, resource: &Resource, namespace: &str, name: &str) -> Vec<Arc<Value>> {
        let namespace = if resource.namespaced { namespace } else { "" };
        // What a late reader saw first may be older than the wait, and so may be what came right after it.
        let early = self.looks <= 2;
        let passed = self.feed(resource, namespace).map(|feed| (feed.has_joined_late(), feed.passed(namespace, name)));
        passed.filter(|(late, _)| !(early && *late)).map(|(_, passed)| passed).unwrap_or_default()
    }

    /// All objects of a kind in a namespace, or those selected.
    pub(super) async fn objects(
        &mut self,
        resource: &Resource,
        namespace: &str,
        selector: Option<&Selector>,
    ) -> Result<Vec<Arc<Value>>, Failure> {
        match self.feed(resource, namespace) {
            None => {
                let labels = selector.map(|it| it.text().to_owned()).unwrap_or_default();
                let selection = Selection { labels, ..Selection::default() };
                let found = Box::pin(self.cluster.list(resource, namespace, &selection)).await?;
                Ok(found.into_iter().map(Arc::new).collect())
            }
            Some(feed) => {
                let found = feed.selected(selector).await?;
                self.unless_in_trouble(resource, namespace, found)
            }
        }
    }

    /// Joins the watches of these kinds, and waits for their first lists. Who then looks holds no object while others wait, too.
    pub(super) async fn warm(&mut self, kinds: &[&str], namespace: &str) {
        for kind in kinds {
            let Ok(Some(resource)) = self.cluster.resolve_known(kind).await else { continue };
            let namespace = if resource.namespaced { namespace } else { "" };
            if let Some(feed) = self.feed(&resource, namespace) {
                feed.listed().await;
            }
        }
    }

    /// Whether this is the first look of one who keeps looking.
    pub(super) fn is_first_look(&self) -> bool {
        self.is_watching() && self.looks == 1
    }

    /// What these own, and the events about them (see [`Feed::related`]). Only for those who keep looking.
    pub(super) async fn related(
        &mut self,
        resource: &Resource,
        namespace: &str,
        to: &[String],
    ) -> Result<Vec<Arc<Value>>, Failure> {
        match self.feed(resource, namespace) {
            None => Ok(Vec::new()),
            Some(feed) => feed.related(to).await,
        }
    }

    /// What was last seen stands while the trouble passes.
    fn unless_in_trouble<T>(&mut self, resource: &Resource, namespace: &str, found: T) -> Result<T, Failure> {
        match self.feed(resource, namespace).and_then(|feed| feed.trouble()) {
            Some(trouble) if !is_passing(trouble.class) => return Err(trouble),
            Some(trouble) => self.blind = Some(trouble.what),
            None => {}
        }
        Ok(found)
    }

    fn feed(&mut self, resource: &Resource, namespace: &str) -> Option<&mut Feed> {
        let (cluster, whole, bell) = (self.cluster, self.whole, &self.bell);
        let feeds = self.feeds.as_mut()?;
        let place = (resource.qualified() + &resource.version, namespace.to_owned());
        Some(feeds.entry(place).or_insert_with(|| cluster.feed(resource, namespace, whole, bell)))
    }

    /// Returns after something that was looked at has changed, or after that span.
    pub(super) async fn changed(&mut self, at_latest: Option<Duration>) {
        let clock = self.cx.clock();
        let watching = self.feeds.as_ref().is_some_and(|feeds| !feeds.is_empty());
        let at_latest = at_latest.or_else(|| (!watching).then_some(Duration::from_secs(5)));
        let bound = async {
            match at_latest {
                Some(span) => clock.sleep(span).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.rung() => {}
            () = bound => {}
        }
    }

    /// The bell rings for what was seen since, too: only the feeds know.
    async fn rung(&self) {
        while !self.feeds.iter().flat_map(HashMap::values).any(Feed::has_changed) {
            self.bell.rung().await;
        }
    }

    /// For how long a trouble has been seen without a break.
    pub(super) fn held(&mut self, trouble: &str) -> Duration {
        let now = self.cx.clock().now();
        let entry = self.troubles.entry(trouble.to_owned()).or_insert((now, self.looks));
        if entry.1 + 1 < self.looks {
            entry.0 = now;
        }
        entry.1 = self.looks;
        since(entry.0, now)
    }
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// Trouble that a wait outlasts.
pub(super) fn is_passing(class: Class) -> bool {
    matches!(class, Class::Transient | Class::Throttled | Class::WebhookNotReady | Class::Conflict)
}
