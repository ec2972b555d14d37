//! Why an object is not as wanted: down through what it owns to the pod, the container and the event. Pure.

use std::sync::Arc;

use serde_json::Value;

use crate::cluster::{annotation, describe, kind_of, name_of, namespace_of, text_at, uid_of};
use crate::failure::{ConditionFact, Facts, Objects};
use crate::readiness::{Around, Readiness, Trouble, judge, trouble_of};

/// What surrounds an object in its namespace, as far as it may tell why.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// Whatever owns pods, or owns what owns them.
    pub(super) controllers: Vec<Arc<Value>>,
    pub(super) pods: Vec<Arc<Value>>,
    pub(super) events: Vec<Arc<Value>>,
}

/// Which kinds tell more about an object of this one. The kinds are words that the server resolves.
pub(super) fn family_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "Event" => &[],
        "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => &["pods", "events"],
        "Deployment" => &["replicasets.apps", "pods", "events"],
        "LeaderWorkerSet" => &["statefulsets.apps", "pods", "events"],
        "LLMInferenceService" | "InferenceService" => &[
            "deployments.apps",
            "replicasets.apps",
            "statefulsets.apps",
            "leaderworkersets.leaderworkerset.x-k8s.io",
            "pods",
            "events",
        ],
        _ => &["events"],
    }
}

/// The deepest known reason.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) text: String,
    pub(super) facts: Facts,
    /// What is the matter with pods below, the worst first.
    pub(super) troubles: Vec<(Arc<Value>, Trouble)>,
}

/// Explains why an object is not as wanted, given what it says itself.
pub(super) fn explain(object: &Arc<Value>, why: &str, family: &Family) -> Explained {
    let below = controllers_below(object, family);
    let pods = pods_below(object, &below, family);
    let troubles = troubles(&pods, family);
    let mut text = format!("{}: {why}", describe(object));
    let middle = below.iter().find_map(|it| unready(it).map(|why| format!(" · {}: {why}", describe(it))));
    text.push_str(&middle.filter(|_| kind_of(object) != "Deployment").unwrap_or_default());
    match troubles.first() {
        Some((pod, trouble)) if uid_of(pod) == uid_of(object) && why.contains(&trouble.text) => {}
        Some((pod, trouble)) => text.push_str(&format!(" · {}: {}", describe(pod), trouble.text)),
        None => text.push_str(&latest_warning(object, &below, family).map(|it| format!(" · {it}")).unwrap_or_default()),
    }
    let relatives: Vec<&Arc<Value>> = std::iter::once(object).chain(&below).chain(&pods).collect();
    Explained { text, facts: facts(&relatives, family, &pods), troubles }
}

/// What an object owns that owns pods, at any depth. Of a Deployment's ReplicaSets only the newest: the others are on their way
/// out, and their pods' troubles are history.
fn controllers_below(object: &Value, family: &Family) -> Vec<Arc<Value>> {
    let owned: Vec<&Arc<Value>> = family.controllers.iter().filter(|it| is_owned_by(it, object)).collect();
    let newest = |it: &&Arc<Value>| {
        annotation(it, "deployment.kubernetes.io/revision").and_then(|text| text.parse::<u64>().ok())
    };
    let owned = match kind_of(object) {
        "Deployment" => owned.into_iter().max_by_key(newest).into_iter().collect(),
        _ => owned,
    };
    owned.into_iter().flat_map(|it| std::iter::once(Arc::clone(it)).chain(controllers_below(it, family))).collect()
}

fn is_owned_by(object: &Value, owner: &Value) -> bool {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let uid = uid_of(owner);
    !uid.is_empty() && owners.into_iter().any(|reference| text_at(reference, "/uid") == uid)
}

fn pods_below(object: &Arc<Value>, below: &[Arc<Value>], family: &Family) -> Vec<Arc<Value>> {
    if kind_of(object) == "Pod" {
        return vec![Arc::clone(object)];
    }
    let is_below = |pod: &Value| is_owned_by(pod, object) || below.iter().any(|it| is_owned_by(pod, it));
    let alive = |pod: &Value| text_at(pod, "/metadata/deletionTimestamp").is_empty();
    family.pods.iter().filter(|pod| alive(pod) && is_below(pod)).cloned().collect()
}

/// Troubles of pods, those without hope first, then those that died before.
fn troubles(pods: &[Arc<Value>], family: &Family) -> Vec<(Arc<Value>, Trouble)> {
    let of = |pod: &Arc<Value>| trouble_of(pod, &events_about(pod, family)).map(|trouble| (Arc::clone(pod), trouble));
    let mut all: Vec<_> = pods.iter().filter_map(of).collect();
    all.sort_by_key(|(_, it)| (it.hopeless_after.is_none(), it.log.is_none(), it.hopeless_after));
    all
}

/// Why an owned controller is not ready, if it is not.
fn unready(object: &Value) -> Option<String> {
    match judge(object, Around { has_status: true }) {
        Readiness::Progressing(why) | Readiness::Failed(why) => Some(why),
        Readiness::Ready | Readiness::Gone => None,
    }
}

/// The events about an object, newest first.
fn events_about<'f>(object: &Value, family: &'f Family) -> Vec<&'f Value> {
    let about = |event: &Value| {
        let it = event.get("involvedObject").or_else(|| event.get("regarding")).unwrap_or(&Value::Null);
        let uid = text_at(it, "/uid");
        if uid.is_empty() || uid_of(object).is_empty() {
            text_at(it, "/kind") == kind_of(object) && text_at(it, "/name") == name_of(object)
        } else {
            uid == uid_of(object)
        }
    };
    let mut found: Vec<&Value> = family.events.iter().map(Arc::as_ref).filter(|event| about(event)).collect();
    found.sort_by(|one, other| time_of(other).cmp(time_of(one)));
    found
}

fn time_of(event: &Value) -> &str {
    let places = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    places.iter().map(|place| text_at(event, place)).find(|time| !time.is_empty()).unwrap_or_default()
}

fn latest_warning(object: &Arc<Value>, below: &[Arc<Value>], family: &Family) -> Option<String> {
    let mut warnings = std::iter::once(object).chain(below).flat_map(|it| events_about(it, family));
    warnings.find(|event| text_at(event, "/type") == "Warning").map(line)
}

fn line(event: &Value) -> String {
    format!("{}: {}", text_at(event, "/reason"), text_at(event, "/message").trim())
}

const MOST_EVENTS: usize = 20;

fn facts(relatives: &[&Arc<Value>], family: &Family, pods: &[Arc<Value>]) -> Facts {
    let mut conditions: Vec<_> = relatives.iter().flat_map(|it| condition_facts(it)).collect();
    conditions.sort_by_key(is_as_wanted);
    let mut events: Vec<&Value> = relatives.iter().flat_map(|it| events_about(it, family)).collect();
    events.sort_by(|one, other| time_of(other).cmp(time_of(one)));
    let events = events.into_iter().take(MOST_EVENTS).map(line).collect();
    let objects = Objects(relatives.iter().map(|it| Arc::clone(it)).collect());
    let mut facts = Facts { conditions, events, objects, ..Facts::default() };
    if !pods.is_empty() {
        facts.other.insert("restarts".to_owned(), pods.iter().map(|pod| restarts(pod)).sum::<u64>().into());
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
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests {
    use super::*;
    use serde_json::json;

    fn owned(kind: &str, name: &str, uid: &str, owner: &str, rest: Value) -> Arc<Value> {
        let mut object = json!({
            "kind": kind, "apiVersion": "apps/v1",
            "metadata": { "name": name, "namespace": "a", "uid": uid, "ownerReferences": [{ "uid": owner }] }
        });
        object.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
        Arc::new(object)
    }

    fn revision(mut object: Arc<Value>, number: &str) -> Arc<Value> {
        let it = Arc::get_mut(&mut object).expect("unshared");
        it["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": number });
        object
    }

    fn crashing(name: &str, owner: &str) -> Arc<Value> {
        let status = json!({ "phase": "Running", "containerStatuses": [{
            "name": "main", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } } }] });
        owned("Pod", name, name, owner, json!({ "status": status }))
    }

    #[test]
    fn the_reason_goes_down_to_the_container_of_the_newest_pod() {
        let service = owned("LLMInferenceService", "m", "1", "", json!({}));
        let family = Family {
            controllers: vec![
                owned("Deployment", "m-kserve", "2", "1", json!({ "status": {} })),
                revision(owned("ReplicaSet", "m-kserve-a", "3", "2", json!({})), "9"),
                revision(owned("ReplicaSet", "m-kserve-b", "4", "2", json!({})), "10"),
            ],
            pods: vec![crashing("old", "3"), crashing("new", "4"), crashing("other", "7")],
            events: Vec::new(),
        };
        let explained = explain(&service, "MainWorkloadReady=False", &family);
        assert_eq!(
            explained.text,
            "llminferenceservice/m: MainWorkloadReady=False · deployment/m-kserve: the controller has not seen it yet \
             · pod/new: container main waiting CrashLoopBackOff after 3 restarts"
        );
        assert_eq!(explained.troubles.len(), 1);
        assert_eq!(explained.facts.other["restarts"], 3);
    }

    #[test]
    fn without_pods_the_latest_warning_tells() {
        let deployment = owned("Deployment", "d", "1", "", json!({}));
        let event = |time: &str, kind: &str, message: &str| {
            Arc::new(json!({ "type": kind, "reason": "FailedCreate", "message": message, "lastTimestamp": time,
                             "involvedObject": { "uid": "2" } }))
        };
        let family = Family {
            controllers: vec![owned("ReplicaSet", "d-a", "2", "1", json!({}))],
            pods: Vec::new(),
            events: vec![
                event("2026-01-01T00:00:01Z", "Warning", "older"),
                event("2026-01-01T00:00:02Z", "Warning", "exceeded quota"),
            ],
        };
        let explained = explain(&deployment, "0 of 1 replicas available", &family);
        assert_eq!(explained.text, "deployment/d: 0 of 1 replicas available · FailedCreate: exceeded quota");
        assert_eq!(explained.facts.events, ["FailedCreate: exceeded quota", "FailedCreate: older"]);
    }

    #[test]
    fn conditions_that_are_not_as_wanted_come_first() {
        let object = owned(
            "Gateway",
            "g",
            "1",
            "",
            json!({ "status": { "conditions": [
            { "type": "Accepted", "status": "True" }, { "type": "Conflicted", "status": "False" },
            { "type": "Programmed", "status": "False", "message": "no proxy-only subnet" } ] } }),
        );
        let facts = explain(&object, "x", &Family::default()).facts;
        assert_eq!(facts.conditions[0].r#type, "Programmed");
        assert_eq!(facts.conditions[0].object, "gateway/a/g");
        assert_eq!(facts.conditions.len(), 3);
    }
}
