//! What runs pods: Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, LeaderWorkerSet.

use serde_json::Value;

use super::Readiness;
use super::conditions::{conditions_of, wants};
use crate::cluster::text_at;

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// `spec.replicas`, which is 1 when left out.
fn wanted_replicas(object: &Value) -> i64 {
    object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn never_observed(object: &Value) -> bool {
    object.pointer("/status/observedGeneration").is_none()
}

/// `ProgressDeadlineExceeded` is no failure here: a model server takes longer than the default deadline of ten minutes to load,
/// and the pods say better whether there is hope.
pub(super) fn deployment(object: &Value) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let wanted = wanted_replicas(object);
    let [total, updated, available, ready] = ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"]
        .map(|it| number(object, &format!("/status/{it}")));
    let conditions = conditions_of(object);
    let late = conditions.get("Progressing").filter(|it| it.reason == "ProgressDeadlineExceeded");
    let note = if late.is_some() { " (past its progress deadline)" } else { "" };
    let refused = conditions.get("ReplicaFailure").filter(|it| it.status == "True");
    if let Some(refused) = refused {
        return Readiness::progressing(refused.to_string());
    }
    if updated < wanted {
        return Readiness::progressing(format!("{updated} of {wanted} replicas updated{note}"));
    }
    if total > updated {
        return Readiness::progressing(format!("{} old replicas still there{note}", total - updated));
    }
    if available < wanted || ready < wanted {
        return Readiness::progressing(format!("{} of {wanted} replicas available{note}", available.min(ready)));
    }
    if wanted == 0 || conditions.get("Available").is_none() {
        Readiness::Ready
    } else {
        wants(&conditions, "Available")
    }
}

pub(super) fn stateful_set(object: &Value) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let wanted = wanted_replicas(object);
    let (ready, updated) = (number(object, "/status/readyReplicas"), number(object, "/status/updatedReplicas"));
    if ready < wanted {
        return Readiness::progressing(format!("{ready} of {wanted} replicas ready"));
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let by_hand = text_at(object, "/spec/updateStrategy/type") == "OnDelete";
    let differ = text_at(object, "/status/currentRevision") != text_at(object, "/status/updateRevision");
    let rolled = if partition > 0 { updated >= wanted - partition } else { !differ || updated >= wanted };
    if by_hand || rolled {
        Readiness::Ready
    } else {
        Readiness::progressing(format!("{updated} of {wanted} replicas updated"))
    }
}

pub(super) fn daemon_set(object: &Value) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let wanted = number(object, "/status/desiredNumberScheduled");
    let (updated, available) =
        (number(object, "/status/updatedNumberScheduled"), number(object, "/status/numberAvailable"));
    let by_hand = text_at(object, "/spec/updateStrategy/type") == "OnDelete";
    if updated < wanted && !by_hand {
        return Readiness::progressing(format!("{updated} of {wanted} pods updated"));
    }
    if available < wanted {
        Readiness::progressing(format!("{available} of {wanted} pods available"))
    } else {
        Readiness::Ready
    }
}

pub(super) fn replica_set(object: &Value) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let wanted = wanted_replicas(object);
    let (available, total) = (number(object, "/status/availableReplicas"), number(object, "/status/replicas"));
    if let Some(refused) = conditions_of(object).get("ReplicaFailure").filter(|it| it.status == "True") {
        return Readiness::progressing(refused.to_string());
    }
    if available < wanted || total > wanted {
        return Readiness::progressing(format!("{available} of {wanted} replicas available"));
    }
    Readiness::Ready
}

/// Ready means done: a Job that runs has not yet done what it is for.
pub(super) fn job(object: &Value) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(failed) = conditions.get("Failed").filter(|it| it.status == "True") {
        return Readiness::failed(failed.to_string());
    }
    if conditions.holds("Complete") {
        return Readiness::Ready;
    }
    if object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true) {
        return Readiness::progressing("suspended");
    }
    let [active, succeeded, failed] =
        ["active", "succeeded", "failed"].map(|it| number(object, &format!("/status/{it}")));
    Readiness::progressing(format!("{active} active, {succeeded} succeeded, {failed} failed"))
}

pub(super) fn leader_worker_set(object: &Value) -> Readiness {
    let (wanted, ready) = (wanted_replicas(object), number(object, "/status/readyReplicas"));
    let conditions = conditions_of(object);
    if let Some(updating) = conditions.get("UpdateInProgress").filter(|it| it.status == "True") {
        return Readiness::progressing(updating.to_string());
    }
    if ready < wanted && conditions.get("Available").is_some() {
        return Readiness::progressing(format!("{ready} of {wanted} groups ready"));
    }
    wants(&conditions, "Available")
}
