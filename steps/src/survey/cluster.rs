//! What a cluster shows: its objects with their conditions, the events about them, and the last words of containers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Sighting, Survey};
use crate::cluster::{
    Cluster, LogPart, Selection, describe, kind_of, label_of, name_of, namespace_of, strip, text_at, uid_of,
};
use crate::condition::condition_facts;
use crate::context::Context;
use crate::failure::{Class, Facts, Objects};
use crate::readiness::{Around, Readiness, Trouble, judge, line, time_of, trouble_of};

/// The kinds that tell why a model is not served, in words that the server resolves. Those that it does not know are left out.
const KINDS: [&str; 30] = [
    "nodes",
    "namespaces",
    "gatewayclasses.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
    "inferencepools.inference.networking.k8s.io",
    "healthcheckpolicies.networking.gke.io",
    "gcpbackendpolicies.networking.gke.io",
    "networkpolicies.networking.k8s.io",
    "llminferenceservices.serving.kserve.io",
    "llminferenceserviceconfigs.serving.kserve.io",
    "leaderworkersets.leaderworkerset.x-k8s.io",
    "certificates.cert-manager.io",
    "certificaterequests.cert-manager.io",
    "clusterissuers.cert-manager.io",
    "issuers.cert-manager.io",
    "istios.sailoperator.io",
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "jobs.batch",
    "pods",
    "services",
    "endpointslices.discovery.k8s.io",
    "persistentvolumeclaims",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "secrets",
    "events",
];

/// Kinds that are read, and not judged one by one.
const BACKGROUND: [&str; 4] = ["CustomResourceDefinition", "Secret", "Event", "EndpointSlice"];

/// The logs of so many pods are read at most.
const MOST_LOGS: usize = 30;

/// Of a log, so many lines.
const LINES: u32 = 60;

/// Of the events about an object, so many.
const MOST_EVENTS: usize = 20;

/// Looks at the cluster.
pub(super) async fn look(cx: &Context, survey: &mut Survey) {
    let cluster = match Cluster::connect(cx).await {
        Ok(cluster) => cluster,
        Err(failure) => return survey.failed("kubectl get", &failure.what),
    };
    let mut found = Vec::new();
    for kind in KINDS {
        match list(&cluster, kind).await {
            Ok(objects) => found.extend(objects),
            Err(why) => survey.failed(&format!("kubectl get {kind} -A"), &why),
        }
    }
    let events = events_by_subject(&found);
    let mut logs = Logs { cluster: &cluster, left: MOST_LOGS };
    for (object, has_status) in found.iter().filter(|(object, _)| !BACKGROUND.contains(&kind_of(object))) {
        let sighting = sight(object, *has_status, &events, &mut logs).await;
        survey.sightings.push(masked(cx, sighting));
    }
    survey.sightings.extend(releases(&found));
    survey.sightings.push(all_together(&found));
    survey.objects = found.iter().map(|(object, _)| bare(object)).collect();
    survey.versions.push(format!("Kubernetes at {}", cluster.url()));
}

/// Every object of a kind, with whether its kind has a status; nothing where the server does not know the kind.
async fn list(cluster: &Cluster, kind: &str) -> Result<Vec<(Arc<Value>, bool)>, String> {
    let Some(resource) = cluster.resolve(kind).await.map_err(|failure| failure.what)? else { return Ok(Vec::new()) };
    match cluster.list(&resource, "", &Selection::default()).await {
        Ok(objects) => Ok(objects.into_iter().map(|object| (Arc::new(strip(object)), resource.has_status)).collect()),
        Err(failure) if failure.class == Class::NotFound => Ok(Vec::new()),
        Err(failure) => Err(failure.what),
    }
}

/// The events about each object, by its uid, newest first.
fn events_by_subject(found: &[(Arc<Value>, bool)]) -> HashMap<String, Vec<Arc<Value>>> {
    let mut events: HashMap<String, Vec<Arc<Value>>> = HashMap::new();
    for (event, _) in found.iter().filter(|(object, _)| kind_of(object) == "Event") {
        let about = event.get("involvedObject").or_else(|| event.get("regarding")).unwrap_or(&Value::Null);
        events.entry(text_at(about, "/uid").to_owned()).or_default().push(Arc::clone(event));
    }
    for list in events.values_mut() {
        list.sort_by(|one, other| time_of(other).cmp(time_of(one)));
    }
    events
}

/// Reads logs, as many as are allowed.
struct Logs<'c> {
    cluster: &'c Cluster,
    left: usize,
}

impl Logs<'_> {
    /// The last words of a pod's container: of the one in trouble, otherwise of the first.
    async fn of(&mut self, pod: &Value, trouble: Option<&Trouble>) -> String {
        let told = trouble.and_then(|trouble| trouble.log.as_ref());
        let first = text_at(pod, "/spec/containers/0/name");
        let (container, previous) = told.map_or((first, false), |log| (log.container.as_str(), log.previous));
        if self.left == 0 || container.is_empty() || text_at(pod, "/spec/nodeName").is_empty() {
            return String::new();
        }
        self.left -= 1;
        let place = (namespace_of(pod), name_of(pod), container);
        let part = LogPart { lines: Some(LINES), previous, ..LogPart::default() };
        let log = self.cluster.log(place, part).await.unwrap_or_default();
        if log.trim().is_empty() && previous {
            return self.cluster.log(place, LogPart { previous: false, ..part }).await.unwrap_or_default();
        }
        log
    }
}

async fn sight(
    object: &Arc<Value>,
    has_status: bool,
    events: &HashMap<String, Vec<Arc<Value>>>,
    logs: &mut Logs<'_>,
) -> Sighting {
    let about: Vec<&Value> = events.get(uid_of(object)).into_iter().flatten().map(Arc::as_ref).collect();
    let is_pod = kind_of(object) == "Pod";
    let trouble = is_pod.then(|| trouble_of(object, &about)).flatten();
    let why = trouble.as_ref().map(|trouble| trouble.line("", None)).or_else(|| unready(object, has_status));
    let log =
        if is_pod && speaks(object, why.is_some()) { logs.of(object, trouble.as_ref()).await } else { String::new() };
    // The events of what is ready tell of trouble that is over.
    let lines = about.iter().take(if why.is_some() { MOST_EVENTS } else { 0 });
    Sighting {
        command: command(object),
        subject: describe(object),
        namespace: namespace_of(object).to_owned(),
        text: why.map(|why| format!("{}: {why}", describe(object))).unwrap_or_default(),
        facts: Facts {
            conditions: condition_facts(object),
            events: lines.map(|event| line(event)).collect(),
            log,
            objects: Objects::new([object.as_ref()]),
            ..Facts::default()
        },
    }
}

/// Whether a pod's log is worth reading: it is in trouble, or is part of what serves models.
fn speaks(pod: &Value, in_trouble: bool) -> bool {
    let labels = pod.pointer("/metadata/labels").map(Value::to_string).unwrap_or_default();
    in_trouble || ["kserve", "llm-d", "inference", "body-based-routing"].iter().any(|word| labels.contains(word))
}

fn unready(object: &Value, has_status: bool) -> Option<String> {
    match judge(object, &Around { has_status, ..Around::default() }) {
        Readiness::Progressing(why) | Readiness::Failed(why) => Some(why),
        Readiness::Gone => Some("being deleted".to_owned()),
        Readiness::Ready => None,
    }
}

fn command(object: &Value) -> String {
    let kind = kind_of(object).to_lowercase();
    match namespace_of(object) {
        "" => format!("kubectl describe {kind} {}", name_of(object)),
        namespace => format!("kubectl -n {namespace} describe {kind} {}", name_of(object)),
    }
}

/// Helm's releases whose newest revision is neither deployed nor gone. Helm keeps each revision in a Secret.
fn releases(found: &[(Arc<Value>, bool)]) -> Vec<Sighting> {
    let mut newest: BTreeMap<(&str, &str), (u64, &str)> = BTreeMap::new();
    for (secret, _) in found.iter().filter(|(object, _)| object["type"] == "helm.sh/release.v1") {
        let label = |name: &str| label_of(secret, name).unwrap_or_default();
        let version = label("version").parse().unwrap_or(0);
        let known = newest.entry((namespace_of(secret), label("name"))).or_default();
        if version >= known.0 {
            *known = (version, label("status"));
        }
    }
    let bad = newest.into_iter().filter(|(_, (_, status))| !matches!(*status, "deployed" | "uninstalled"));
    let sighting = |((namespace, name), (_, status)): ((&str, &str), (u64, &str))| Sighting {
        command: format!("helm -n {namespace} history {name}"),
        subject: format!("release {name}"),
        namespace: namespace.to_owned(),
        text: format!("release {name} is {status}"),
        facts: Facts::default(),
    };
    bad.map(sighting).collect()
}

/// What only shows when objects are held against each other.
fn all_together(found: &[(Arc<Value>, bool)]) -> Sighting {
    let kept =
        found.iter().filter(|(object, _)| !matches!(kind_of(object), "Event" | "Secret" | "CustomResourceDefinition"));
    let objects = Objects::new(kept.map(|(object, _)| object.as_ref()));
    Sighting {
        command: "kubectl get all -A".to_owned(),
        subject: "the objects together".to_owned(),
        facts: Facts { objects, ..Facts::default() },
        ..Sighting::default()
    }
}

fn masked(cx: &Context, mut sighting: Sighting) -> Sighting {
    sighting.text = cx.redactor.mask(&sighting.text).into_owned();
    sighting.facts.events.iter_mut().for_each(|line| *line = cx.redactor.mask(line).into_owned());
    sighting
}

/// An object for an archive: of a Secret only which keys it has.
fn bare(object: &Value) -> Value {
    if kind_of(object) != "Secret" {
        return object.clone();
    }
    let keys: Vec<&String> =
        object.get("data").and_then(Value::as_object).into_iter().flat_map(|data| data.keys()).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": object["type"], "keys": keys,
        "metadata": { "name": name_of(object), "namespace": namespace_of(object), "labels": object["metadata"]["labels"] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_counts_by_its_newest_revision() {
        let revision = |version: &str, status: &str| {
            let labels = json!({ "owner": "helm", "name": "istio", "version": version, "status": status });
            let secret = json!({ "kind": "Secret", "type": "helm.sh/release.v1",
                                 "metadata": { "name": format!("v{version}"), "namespace": "a", "labels": labels } });
            (Arc::new(secret), false)
        };
        let texts = |found: &[(Arc<Value>, bool)]| releases(found).into_iter().map(|it| it.text).collect::<Vec<_>>();
        assert_eq!(
            texts(&[revision("9", "deployed"), revision("10", "pending-upgrade")]),
            ["release istio is pending-upgrade"]
        );
        assert!(texts(&[revision("1", "failed"), revision("2", "deployed")]).is_empty());
    }

    #[test]
    fn of_a_secret_only_the_keys_are_kept() {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": { "token": "aHVzaA==" },
                             "stringData": { "other": "hush" },
                             "metadata": { "name": "s", "namespace": "a", "annotations": { "x": "hush" } } });
        let kept = bare(&secret);
        assert_eq!(kept["keys"], json!(["token"]));
        assert!(!kept.to_string().contains("hush") && !kept.to_string().contains("aHVzaA"));
    }
}
