//! Why an object is not as wanted: down through what it owns to the pod, the container, its probe, event and log. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{annotation, describe, kind_of, name_of, namespace_of, text_at, uid_of};
use crate::failure::{ConditionFact, Facts, Objects};
use crate::readiness::{Around, Readiness, Trouble, events_about, judge, line, time_of, trouble_of};

/// What surrounds an object in its namespace, as far as it may tell why.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Whatever it owns that is no pod, at any depth: what owns pods, and what a service made to be reached.
    pub(super) controllers: Vec<Arc<Value>>,
    /// The pods below that count.
    pub(super) pods: Vec<Arc<Value>>,
    /// The events about all of them.
    pub(super) events: Vec<Arc<Value>>,
}

/// Which kinds tell more about an object of this one. The kinds are words that the server resolves.
pub(super) fn family_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "Event" => &[],
        "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => &["pods", "events"],
        "CronJob" => &["jobs.batch", "pods", "events"],
        "Deployment" => &["replicasets.apps", "pods", "events"],
        "LeaderWorkerSet" => &["statefulsets.apps", "pods", "events"],
        "Certificate" => &["certificaterequests.cert-manager.io", "events"],
        "LLMInferenceService" | "InferenceService" => &[
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
            "leaderworkersets.leaderworkerset.x-k8s.io",
            "httproutes.gateway.networking.k8s.io",
            "inferencepools.inference.networking.k8s.io",
            "pods",
            "events",
        ],
        _ => &["events"],
    }
}

/// The deepest known reason.
#[derive(Debug)]
pub(super) struct Explained {
    /// From the object down to where no pod tells more.
    pub(super) above: String,
    pub(super) facts: Facts,
    /// What is the matter with pods below, the worst first.
    pub(super) troubles: Vec<(Arc<Value>, Trouble)>,
}

impl Explained {
    /// In one line: the worst pod, with the last words of its log, where there is one.
    pub(super) fn text(&self, words: &str, now: Timestamp) -> String {
        match self.troubles.first() {
            Some((pod, trouble)) => {
                let others = match self.troubles.len() - 1 {
                    0 => String::new(),
                    1 => " · and 1 more pod".to_owned(),
                    more => format!(" · and {more} more pods"),
                };
                format!("pod {} · {}{others}", short(name_of(pod)), trouble.line(words, Some(now)))
            }
            None => self.above.clone(),
        }
    }
}

/// A long name of a pod by its ends: what it is called and what tells it from its like.
fn short(name: &str) -> String {
    const LONGEST: usize = 32;
    let parts: Vec<&str> = name.split('-').collect();
    match parts.as_slice() {
        [first, second, .., last] if name.len() > LONGEST => format!("{first}-{second}-…-{last}"),
        _ => name.to_owned(),
    }
}

/// Explains why an object is not as wanted, given what it says itself.
pub(super) fn explain(
    object: &Arc<Value>,
    why: &str,
    family: &Family,
    troubles: Vec<(Arc<Value>, Trouble)>,
) -> Explained {
    let mut above = format!("{}: {why}", describe(object));
    let middle = family.controllers.iter().find_map(|it| unready(it).map(|why| (it, why)));
    let waiting = family.pods.iter().find_map(|it| unready(it).map(|why| (it, why)));
    for (child, why) in middle.into_iter().chain(waiting).filter(|(child, _)| uid_of(child) != uid_of(object)) {
        above.push_str(&format!(" · {}: {why}", describe(child)));
    }
    if let Some(event) = telling_event(object, family).filter(|event| !says(&above, event)) {
        above.push_str(&format!(" · {event}"));
    }
    let relatives: Vec<&Arc<Value>> = std::iter::once(object).chain(&family.controllers).chain(&family.pods).collect();
    Explained { above, facts: facts(&relatives, family), troubles }
}

/// What an object owns that is no pod, at any depth, and the pods below. Of a Deployment's ReplicaSets only the newest: the others
/// are on their way out, and their pods' troubles are history.
pub(super) fn narrow(object: &Arc<Value>, all: Family) -> Family {
    let controllers = controllers_below(object, &all.controllers);
    let pods = pods_below(object, &controllers, &all.pods);
    Family { controllers, pods, events: all.events }
}

fn controllers_below(object: &Value, all: &[Arc<Value>]) -> Vec<Arc<Value>> {
    let owned: Vec<&Arc<Value>> = all.iter().filter(|it| is_owned_by(it, object)).collect();
    let newest = |it: &&Arc<Value>| {
        annotation(it, "deployment.kubernetes.io/revision").and_then(|text| text.parse::<u64>().ok())
    };
    let owned = match kind_of(object) {
        "Deployment" => owned.into_iter().max_by_key(newest).into_iter().collect(),
        _ => owned,
    };
    owned.into_iter().flat_map(|it| std::iter::once(Arc::clone(it)).chain(controllers_below(it, all))).collect()
}

fn is_owned_by(object: &Value, owner: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let uid = uid_of(owner);
    !uid.is_empty() && owners.into_iter().any(|reference| text_at(reference, "/uid") == uid)
}

fn pods_below(object: &Arc<Value>, below: &[Arc<Value>], all: &[Arc<Value>]) -> Vec<Arc<Value>> {
    if kind_of(object) == "Pod" {
        return vec![Arc::clone(object)];
    }
    let is_below = |pod: &Value| is_owned_by(pod, object) || below.iter().any(|it| is_owned_by(pod, it));
    let alive = |pod: &Value| text_at(pod, "/metadata/deletionTimestamp").is_empty();
    all.iter().filter(|pod| alive(pod) && is_below(pod)).cloned().collect()
}

/// Troubles of pods, those without hope first, then those that died before.
pub(super) fn troubles(family: &Family) -> Vec<(Arc<Value>, Trouble)> {
    let of = |pod: &Arc<Value>| trouble_of(pod, &events_about(pod, &family.events)).map(|it| (Arc::clone(pod), it));
    let mut all: Vec<_> = family.pods.iter().filter_map(of).collect();
    all.sort_by_key(|(_, it)| (it.hopeless_after.is_none(), it.restarts == 0, it.log.is_none(), it.hopeless_after));
    all
}

/// Why an owned object is not ready, if it is not.
fn unready(object: &Value) -> Option<String> {
    match judge(object, &Around { has_status: true, ..Around::default() }) {
        Readiness::Progressing(why) | Readiness::Failed(why) => Some(why),
        Readiness::Ready | Readiness::Gone => None,
    }
}

/// The latest warning about the object or what it owns. A claim's events say why it waits even where that is normal.
fn telling_event(object: &Arc<Value>, family: &Family) -> Option<String> {
    let any = kind_of(object) == "PersistentVolumeClaim";
    let all = std::iter::once(object).chain(&family.controllers);
    let mut events = all.flat_map(|it| events_about(it, &family.events));
    events.find(|event| any || text_at(event, "/type") == "Warning").map(line)
}

/// Whether a text has an event's message already: controllers say the same in a condition.
fn says(text: &str, event: &str) -> bool {
    event.split_once(": ").is_some_and(|(_, message)| text.contains(message))
}

const MOST_EVENTS: usize = 20;

fn facts(relatives: &[&Arc<Value>], family: &Family) -> Facts {
    let mut conditions: Vec<_> = relatives.iter().flat_map(|it| condition_facts(it)).collect();
    conditions.sort_by_key(is_as_wanted);
    let mut events: Vec<&Value> = relatives.iter().flat_map(|it| events_about(it, &family.events)).collect();
    events.sort_by(|one, other| time_of(other).cmp(time_of(one)));
    let events = events.into_iter().take(MOST_EVENTS).map(line).collect();
    let objects = Objects::new(relatives.iter().map(AsRef::as_ref));
    let mut facts = Facts { conditions, events, objects, ..Facts::default() };
    if !family.pods.is_empty() {
        facts.other.insert("restarts".to_owned(), family.pods.iter().map(|pod| restarts(pod)).sum::<u64>().into());
    }
    facts
}

fn restarts(pod: &Value) -> u64 {
    let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    statuses.filter_map(|it| it.get("restartCount")?.as_u64()).sum()
}

/// Every condition of an object, also of its listeners and by its parents.
pub(crate) fn condition_facts(object: &Value) -> Vec<ConditionFact> {
    let status = object.get("status").unwrap_or(&Value::Null);
    let parts = ["parents", "parent", "listeners"].iter().filter_map(|part| status.get(part)?.as_array()).flatten();
    let place = match namespace_of(object) {
        "" => describe(object),
        namespace => format!("{}/{namespace}/{}", kind_of(object).to_lowercase(), name_of(object)),
    };
    let all = std::iter::once(status).chain(parts).filter_map(|part| part.get("conditions")?.as_array()).flatten();
    all.map(|it| ConditionFact {
        object: place.clone(),
        r#type: text_at(it, "/type").to_owned(),
        status: text_at(it, "/status").to_owned(),
        reason: text_at(it, "/reason").to_owned(),
        message: text_at(it, "/message").to_owned(),
    })
    .collect()
}

/// Conditions that are good when they are false.
const BAD_NEWS: [&str; 12] = [
    "Stalled",
    "Reconciling",
    "Issuing",
    "ReplicaFailure",
    "Failed",
    "UpdateInProgress",
    "Conflicted",
    "Degraded",
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "NetworkUnavailable",
];

fn is_as_wanted(condition: &ConditionFact) -> bool {
    let wanted = if BAD_NEWS.contains(&condition.r#type.as_str()) { "False" } else { "True" };
    condition.status == wanted
}

#[cfg(test)]
mod tests;
