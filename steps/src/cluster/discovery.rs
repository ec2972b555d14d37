//! What kinds the server knows, and which one a plan's word means.

use std::sync::Arc;

use http::header::ACCEPT;
use kube::core::discovery::v2::ACCEPT_AGGREGATED_DISCOVERY_V2;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Cluster, text_at};
use crate::failure::{Class, Failure};

/// One kind that the server serves, in one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The plural in paths, such as `deployments`.
    pub plural: String,
    /// The singular, such as `deployment`.
    pub singular: String,
    /// Short names, such as `deploy`.
    pub short_names: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether it has a status subresource.
    pub has_status: bool,
}

impl Resource {
    /// `group/version`, or the version alone in the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural.group`, or the plural alone in the core group.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// The path of its objects, or of one of them.
    pub fn path(&self, namespace: &str, name: Option<&str>) -> String {
        let root = if self.group.is_empty() { "/api" } else { "/apis" };
        let mut path = format!("{root}/{}", self.api_version());
        if self.namespaced && !namespace.is_empty() {
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        path.push_str(&format!("/{}", self.plural));
        if let Some(name) = name {
            path.push_str(&format!("/{name}"));
        }
        path
    }

    /// Whether a word without a group means this: kind, plural, singular or a short name, in any case.
    fn is_called(&self, word: &str) -> bool {
        [&self.kind, &self.plural, &self.singular].iter().any(|name| name.eq_ignore_ascii_case(word))
            || self.short_names.iter().any(|name| name.eq_ignore_ascii_case(word))
    }
}

/// The kinds of one server, as last asked, and how often it was asked.
#[derive(Default)]
pub(super) struct Known(Mutex<(u64, Arc<Vec<Resource>>)>);

impl Cluster {
    /// The kind that a word means: `pod`, `pods`, `po`, `deployment.apps`, `gateways.v1.gateway.networking.k8s.io`. Asks the
    /// server anew when it is unknown, because a CRD may just have been created; `None` when it stays unknown.
    pub async fn resolve(&self, word: &str) -> Result<Option<Resource>, Failure> {
        self.find(|known| choose(known, word)).await
    }

    /// As [`Cluster::resolve`], by what is known already; asks only when nothing is.
    pub(crate) async fn resolve_known(&self, word: &str) -> Result<Option<Resource>, Failure> {
        let (asked, known) = self.shared.known.0.lock().await.clone();
        if asked == 0 { self.resolve(word).await } else { Ok(choose(&known, word)) }
    }

    /// The kind of an object, by its `apiVersion` and `kind`.
    pub(crate) async fn resolve_object(&self, object: &Value) -> Result<Option<Resource>, Failure> {
        let (version, kind) = (super::api_version(object).to_owned(), super::kind_of(object).to_owned());
        self.find(|known| known.iter().find(|it| it.kind == kind && it.api_version() == version).cloned()).await
    }

    /// Asks the server anew what kinds it knows.
    pub(crate) async fn rediscover(&self) -> Result<(), Failure> {
        let asked = self.shared.known.0.lock().await.0;
        self.refresh(asked).await.map(|_| ())
    }

    async fn find(&self, pick: impl Fn(&[Resource]) -> Option<Resource>) -> Result<Option<Resource>, Failure> {
        let (asked, known) = self.shared.known.0.lock().await.clone();
        if let Some(found) = pick(&known) {
            return Ok(Some(found));
        }
        let known = self.refresh(asked).await?;
        Ok(pick(&known))
    }

    /// Asks anew, unless somebody else has since `asked`.
    async fn refresh(&self, asked: u64) -> Result<Arc<Vec<Resource>>, Failure> {
        let mut known = self.shared.known.0.lock().await;
        if known.0 == asked {
            // Boxed, so that not every step that waits is as large as one that asks.
            *known = (asked + 1, Arc::new(Box::pin(self.discover()).await?));
        }
        Ok(Arc::clone(&known.1))
    }

    async fn discover(&self) -> Result<Vec<Resource>, Failure> {
        let mut found = Vec::new();
        for root in ["/api", "/apis"] {
            let answer = self.ask(root).await?;
            if text_at(&answer, "/kind") == "APIGroupDiscoveryList" {
                found.extend(read_aggregated(&answer));
            } else {
                for version in listed_versions(&answer) {
                    found.extend(self.read_version(root, &version).await?);
                }
            }
        }
        found.sort_by_key(|resource| rank(&resource.group));
        Ok(found)
    }

    /// One group and version the old way. A broken aggregated API must not hide all the others.
    async fn read_version(&self, root: &str, version: &str) -> Result<Vec<Resource>, Failure> {
        match self.ask(&format!("{root}/{version}")).await {
            Ok(answer) => Ok(read_listed(version, &answer)),
            Err(failure) if matches!(failure.class, Class::NotFound | Class::Transient) => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    async fn ask(&self, path: &str) -> Result<Value, Failure> {
        let request = http::Request::get(path).header(ACCEPT, ACCEPT_AGGREGATED_DISCOVERY_V2);
        let request = request.body(Vec::new()).map_err(|error| Failure::permanent(format!("bad path: {error}")))?;
        self.send(request, "list the kinds of the cluster").await
    }
}

/// Where two groups have the same word, the one that comes first is meant: `gateway` is the Gateway API's, not Istio's.
fn rank(group: &str) -> usize {
    const FIRST: [&str; 5] = ["", "apps", "batch", "gateway.networking.k8s.io", "inference.networking.k8s.io"];
    FIRST.iter().position(|known| *known == group).unwrap_or(FIRST.len())
}

fn choose(known: &[Resource], word: &str) -> Option<Resource> {
    let plain = known.iter().find(|it| it.is_called(word));
    plain.or_else(|| choose_in_group(known, word)).cloned()
}

fn choose_in_group<'k>(known: &'k [Resource], word: &str) -> Option<&'k Resource> {
    let (name, group) = word.split_once('.')?;
    let by_group = known.iter().find(|it| it.is_called(name) && it.group.eq_ignore_ascii_case(group));
    by_group.or_else(|| {
        let (version, group) = group.split_once('.').unwrap_or((group, ""));
        known.iter().find(|it| it.is_called(name) && it.version == version && it.group.eq_ignore_ascii_case(group))
    })
}

/// Reads the aggregated discovery document: groups, their versions in order of preference, their resources.
fn read_aggregated(answer: &Value) -> Vec<Resource> {
    let mut found = Vec::new();
    for group in items(answer, "items") {
        let name = text_at(group, "/metadata/name");
        for version in items(group, "versions") {
            let resources = items(version, "resources").map(|it| aggregated(name, text_at(version, "/version"), it));
            found.extend(resources);
        }
    }
    found
}

fn aggregated(group: &str, version: &str, it: &Value) -> Resource {
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: text_at(it, "/responseKind/kind").to_owned(),
        plural: text_at(it, "/resource").to_owned(),
        singular: text_at(it, "/singularResource").to_owned(),
        short_names: texts(it, "shortNames"),
        namespaced: text_at(it, "/scope") == "Namespaced",
        has_status: items(it, "subresources").any(|sub| text_at(sub, "/subresource") == "status"),
    }
}

/// The group versions of an `APIVersions` or `APIGroupList`, those preferred first in each group.
fn listed_versions(answer: &Value) -> Vec<String> {
    let core = answer.get("versions").and_then(Value::as_array).into_iter().flatten();
    let mut found: Vec<String> = core.filter_map(Value::as_str).map(str::to_owned).collect();
    for group in items(answer, "groups") {
        let preferred = text_at(group, "/preferredVersion/groupVersion");
        let mut versions: Vec<_> = items(group, "versions").map(|it| text_at(it, "/groupVersion").to_owned()).collect();
        versions.sort_by_key(|version| version != preferred);
        found.extend(versions);
    }
    found
}

fn read_listed(version: &str, answer: &Value) -> Vec<Resource> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let is_status = |plural: &str| {
        let status = format!("{plural}/status");
        items(answer, "resources").any(|it| text_at(it, "/name") == status)
    };
    let whole = items(answer, "resources").filter(|it| !text_at(it, "/name").contains('/'));
    whole
        .map(|it| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text_at(it, "/kind").to_owned(),
            plural: text_at(it, "/name").to_owned(),
            singular: text_at(it, "/singularName").to_owned(),
            short_names: texts(it, "shortNames"),
            namespaced: it.get("namespaced").and_then(Value::as_bool).unwrap_or(false),
            has_status: is_status(text_at(it, "/name")),
        })
        .collect()
}

fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    items(value, field).filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, version: &str, kind: &str, plural: &str, short: &str) -> Resource {
        Resource {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: vec![short.into()],
            namespaced: true,
            has_status: true,
        }
    }

    fn known() -> Vec<Resource> {
        let mut known = vec![
            resource("networking.istio.io", "v1", "Gateway", "gateways", "gw"),
            resource("apps", "v1", "Deployment", "deployments", "deploy"),
            resource("gateway.networking.k8s.io", "v1", "Gateway", "gateways", "gtw"),
            resource("gateway.networking.k8s.io", "v1beta1", "Gateway", "gateways", "gtw"),
            resource("", "v1", "Pod", "pods", "po"),
        ];
        known.sort_by_key(|resource| rank(&resource.group));
        known
    }

    #[test]
    fn words_mean_kinds() {
        let cases = [
            ("Deployment", "deployments.apps"),
            ("deploy", "deployments.apps"),
            ("deployments", "deployments.apps"),
            ("deployment.apps", "deployments.apps"),
            ("po", "pods"),
            ("gateway", "gateways.gateway.networking.k8s.io"),
            ("gw", "gateways.networking.istio.io"),
            ("gateway.networking.istio.io", "gateways.networking.istio.io"),
            ("gateways.v1beta1.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io"),
            ("pods.v1", "pods"),
        ];
        for (word, qualified) in cases {
            assert_eq!(choose(&known(), word).map(|it| it.qualified()).as_deref(), Some(qualified), "{word}");
        }
        assert_eq!(choose(&known(), "nonsense"), None);
        assert_eq!(choose(&known(), "deployment.batch"), None);
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let pod = resource("", "v1", "Pod", "pods", "po");
        let deployment = resource("apps", "v1", "Deployment", "deployments", "deploy");
        assert_eq!(pod.path("a", Some("b")), "/api/v1/namespaces/a/pods/b");
        assert_eq!(deployment.path("", None), "/apis/apps/v1/deployments");
    }
}
