//! The rules of kstatus, as it publishes them (`sigs.k8s.io/cli-utils/pkg/kstatus/status`), to show beside ours: Flux and Helm 4 wait
//! by them. Written from its source; what depends on time (15 s for an unschedulable pod) is taken to be over.

use serde_json::Value;

use crate::cluster::{kind_of, text_at};
use crate::readiness::conditions::{Shown, conditions_of};

const CURRENT: &str = "Current";
const BUSY: &str = "InProgress";
const FAILED: &str = "Failed";

pub(super) fn status(object: &Value) -> &'static str {
    generic(object).or_else(|| legacy(object)).unwrap_or_else(|| match condition(object, "Ready") {
        Some(ready) if ready.status != "True" => BUSY,
        _ => CURRENT,
    })
}

fn condition(object: &Value, kind: &str) -> Option<Shown> {
    conditions_of(object).iter().find(|it| it.kind == kind).cloned()
}

fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|it| it.status == "True")
}

/// What it looks at whatever the kind is.
fn generic(object: &Value) -> Option<&'static str> {
    if !text_at(object, "/metadata/deletionTimestamp").is_empty() {
        return Some("Terminating");
    }
    let number = |place: &str| object.pointer(place).and_then(Value::as_i64);
    if let (Some(seen), Some(wanted)) = (number("/status/observedGeneration"), number("/metadata/generation"))
        && seen != wanted
    {
        return Some(BUSY);
    }
    [("Reconciling", BUSY), ("Stalled", FAILED)].into_iter().find(|(kind, _)| holds(object, kind)).map(|(_, it)| it)
}

fn legacy(object: &Value) -> Option<&'static str> {
    let group = text_at(object, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
    Some(match (group, kind_of(object)) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("", "Pod") => pod(object),
        ("batch", "Job") => job(object),
        ("", "Service") => service(object),
        ("", "PersistentVolumeClaim") if text_at(object, "/status/phase") == "Bound" => CURRENT,
        ("", "PersistentVolumeClaim") => BUSY,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("policy", "PodDisruptionBudget") | ("batch", "CronJob") | ("", "ConfigMap" | "Secret") => CURRENT,
        _ => return None,
    })
}

fn number(object: &Value, place: &str) -> i64 {
    object.pointer(place).and_then(Value::as_i64).unwrap_or(0)
}

fn replicas(object: &Value) -> i64 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn deployment(object: &Value) -> &'static str {
    let progress = condition(object, "Progressing");
    if progress.as_ref().is_some_and(|it| it.reason == "ProgressDeadlineExceeded") {
        return FAILED;
    }
    let [total, updated, available, ready] = ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"]
        .map(|it| number(object, &format!("/status/{it}")));
    let wanted = replicas(object);
    let short = wanted > total || wanted > updated || total > wanted || updated > available || wanted > ready;
    // Without a deadline there is nothing to say of progress.
    let has_deadline = object.pointer("/spec/progressDeadlineSeconds").is_some();
    let done = !has_deadline || progress.is_some_and(|it| it.reason == "NewReplicaSetAvailable");
    if short || !done || !holds(object, "Available") { BUSY } else { CURRENT }
}

fn stateful_set(object: &Value) -> &'static str {
    if text_at(object, "/spec/updateStrategy/type") == "OnDelete" {
        return CURRENT;
    }
    let [total, ready, current, updated] = ["replicas", "readyReplicas", "currentReplicas", "updatedReplicas"]
        .map(|it| number(object, &format!("/status/{it}")));
    let wanted = replicas(object);
    if wanted > total || wanted > ready || total > wanted {
        return BUSY;
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    if partition > 0 {
        return if updated < wanted - partition { BUSY } else { CURRENT };
    }
    let differ = text_at(object, "/status/currentRevision") != text_at(object, "/status/updateRevision");
    if wanted > current || differ { BUSY } else { CURRENT }
}

fn daemon_set(object: &Value) -> &'static str {
    if object.pointer("/status/observedGeneration").is_none()
        || object.pointer("/status/desiredNumberScheduled").is_none()
    {
        return BUSY;
    }
    let [wanted, current, updated, available, ready] = [
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberReady",
    ]
    .map(|it| number(object, &format!("/status/{it}")));
    if [current, updated, available, ready].into_iter().any(|it| wanted > it) { BUSY } else { CURRENT }
}

fn replica_set(object: &Value) -> &'static str {
    let [labelled, available, ready, total] =
        ["fullyLabeledReplicas", "availableReplicas", "readyReplicas", "replicas"]
            .map(|it| number(object, &format!("/status/{it}")));
    let wanted = replicas(object);
    let short = wanted > labelled || wanted > available || wanted > ready || total > wanted;
    if holds(object, "ReplicaFailure") || short { BUSY } else { CURRENT }
}

fn pod(object: &Value) -> &'static str {
    let unscheduled =
        condition(object, "PodScheduled").filter(|it| it.status == "False" && it.reason == "Unschedulable");
    let mut statuses = object.pointer("/status/containerStatuses").and_then(Value::as_array).into_iter().flatten();
    match text_at(object, "/status/phase") {
        "Succeeded" | "Failed" => CURRENT,
        "Running" if holds(object, "Ready") => CURRENT,
        "Running" if statuses.any(|it| text_at(it, "/state/waiting/reason") == "CrashLoopBackOff") => FAILED,
        "Pending" if unscheduled.is_some() => FAILED,
        _ => BUSY,
    }
}

fn job(object: &Value) -> &'static str {
    if holds(object, "Failed") {
        FAILED
    } else if holds(object, "Complete") || holds(object, "Suspended") {
        CURRENT
    } else if text_at(object, "/status/startTime").is_empty() {
        BUSY
    } else {
        CURRENT
    }
}

fn service(object: &Value) -> &'static str {
    let balanced = text_at(object, "/spec/type") == "LoadBalancer";
    if balanced && text_at(object, "/spec/clusterIP").is_empty() { BUSY } else { CURRENT }
}

fn definition(object: &Value) -> &'static str {
    let is = |kind: &str, status: &str| condition(object, kind).filter(|it| it.status == status);
    if is("NamesAccepted", "False").is_some() {
        return FAILED;
    }
    match (is("Established", "False"), is("Established", "True")) {
        (Some(it), _) if it.reason != "Installing" => FAILED,
        (None, Some(_)) => CURRENT,
        _ => BUSY,
    }
}
