//! What runs pods: Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, LeaderWorkerSet.

use std::time::Duration;

use serde_json::Value;

use super::conditions::{Shown, conditions_of, wants};
use super::events::moment;
use super::{Around, Readiness};
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

/// `ProgressDeadlineExceeded` alone is no failure: a model server takes longer than the default deadline of ten minutes to load, and
/// the pods say better whether there is hope. It is one only after the time that is expected, where a plan gives it.
pub(super) fn deployment(object: &Value, around: &Around<'_>) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let conditions = conditions_of(object);
    let late = conditions.get("Progressing").filter(|it| it.reason == "ProgressDeadlineExceeded");
    match (deployed(object), late) {
        (Readiness::Progressing(why), Some(late)) if is_over(object, around) => {
            Readiness::failed(format!("{why}, longer than expected: {late}"))
        }
        (Readiness::Progressing(why), Some(_)) => Readiness::progressing(format!("{why} (past its progress deadline)")),
        (verdict, _) => verdict,
    }
}

fn deployed(object: &Value) -> Readiness {
    let wanted = wanted_replicas(object);
    let [total, updated, available, ready] = ["replicas", "updatedReplicas", "availableReplicas", "readyReplicas"]
        .map(|it| number(object, &format!("/status/{it}")));
    let conditions = conditions_of(object);
    if let Some(refused) = conditions.get("ReplicaFailure").filter(|it| it.status == "True") {
        return Readiness::progressing(refused.to_string());
    }
    if updated < wanted {
        let paused = object.pointer("/spec/paused").and_then(Value::as_bool) == Some(true);
        let note = if paused { "; it is paused" } else { "" };
        return Readiness::progressing(format!("{updated} of {wanted} replicas updated{note}"));
    }
    if total > updated {
        return Readiness::progressing(format!("{} old replicas still there", total - updated));
    }
    if available < wanted || ready < wanted {
        return Readiness::progressing(format!("{} of {wanted} replicas available", available.min(ready)));
    }
    if wanted == 0 || conditions.get("Available").is_none() {
        Readiness::Ready
    } else {
        wants(&conditions, "Available")
    }
}

/// Whether the present rollout has taken longer than what is expected of it. It began, or last got anywhere, one deadline before
/// the deadline was found to be exceeded.
fn is_over(object: &Value, around: &Around<'_>) -> bool {
    let (Some(expected), Some(now)) = (around.expected, around.now) else { return false };
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let late = conditions.into_iter().find(|it| text_at(it, "/type") == "Progressing");
    let found = late.and_then(|it| moment(it, "/lastUpdateTime").or_else(|| moment(it, "/lastTransitionTime")));
    let deadline = object.pointer("/spec/progressDeadlineSeconds").and_then(Value::as_u64).unwrap_or(600);
    let since = found.map(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default());
    since.is_some_and(|since| since + Duration::from_secs(deadline) > expected)
}

pub(super) fn stateful_set(object: &Value, _: &Around<'_>) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let wanted = wanted_replicas(object);
    let [total, ready, updated] =
        ["replicas", "readyReplicas", "updatedReplicas"].map(|it| number(object, &format!("/status/{it}")));
    if ready < wanted {
        return Readiness::progressing(format!("{ready} of {wanted} replicas ready"));
    }
    if total > wanted {
        return Readiness::progressing(format!("{} replicas too many still there", total - wanted));
    }
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
    let differ = text_at(object, "/status/currentRevision") != text_at(object, "/status/updateRevision");
    let needed = if partition > 0 { wanted - partition } else { wanted };
    if is_by_hand(object) || !differ || updated >= needed {
        Readiness::Ready
    } else {
        Readiness::progressing(format!("{updated} of {needed} replicas updated"))
    }
}

/// With `OnDelete` the controller leaves old pods alone until somebody deletes them.
fn is_by_hand(object: &Value) -> bool {
    text_at(object, "/spec/updateStrategy/type") == "OnDelete"
}

pub(super) fn daemon_set(object: &Value, _: &Around<'_>) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let [wanted, updated, available] = ["desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"]
        .map(|it| number(object, &format!("/status/{it}")));
    if updated < wanted && !is_by_hand(object) {
        return Readiness::progressing(format!("{updated} of {wanted} pods updated"));
    }
    if available < wanted {
        Readiness::progressing(format!("{available} of {wanted} pods available"))
    } else {
        Readiness::Ready
    }
}

pub(super) fn replica_set(object: &Value, _: &Around<'_>) -> Readiness {
    if never_observed(object) {
        return Readiness::progressing("the controller has not seen it yet");
    }
    let wanted = wanted_replicas(object);
    let [total, ready, available] =
        ["replicas", "readyReplicas", "availableReplicas"].map(|it| number(object, &format!("/status/{it}")));
    if let Some(refused) = conditions_of(object).get("ReplicaFailure").filter(|it| it.status == "True") {
        return Readiness::progressing(refused.to_string());
    }
    if available.min(ready) < wanted || total > wanted {
        return Readiness::progressing(format!("{} of {wanted} replicas available", available.min(ready)));
    }
    Readiness::Ready
}

/// Ready means done: a Job that runs has not yet done what it is for.
pub(super) fn job(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    // `FailureTarget` comes first, while the last pods still end.
    let failed = ["Failed", "FailureTarget"].iter().find_map(|kind| conditions.get(kind).filter(is_true));
    if let Some(failed) = failed {
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

fn is_true(condition: &&Shown) -> bool {
    condition.status == "True"
}

/// `Available` is true as soon as enough groups are: during an update also while old ones serve.
pub(super) fn leader_worker_set(object: &Value, _: &Around<'_>) -> Readiness {
    let (wanted, ready) = (wanted_replicas(object), number(object, "/status/readyReplicas"));
    let conditions = conditions_of(object);
    if let Some(updating) = conditions.get("UpdateInProgress").filter(is_true) {
        return Readiness::progressing(updating.to_string());
    }
    if ready < wanted && conditions.get("Available").is_some() {
        return Readiness::progressing(format!("{ready} of {wanted} groups ready"));
    }
    wants(&conditions, "Available")
}

/// A target that cannot be scaled, or measures that cannot be had yet, leave it without effect.
pub(super) fn autoscaler(object: &Value, _: &Around<'_>) -> Readiness {
    const HOPELESS: [&str; 3] = ["InvalidSelector", "AmbiguousSelector", "InvalidMetricSourceType"];
    let conditions = conditions_of(object);
    let wrong = conditions.iter().find(|it| it.status == "False" && HOPELESS.contains(&it.reason.as_str()));
    if let Some(wrong) = wrong {
        return Readiness::failed(wrong.to_string());
    }
    let able = wants(&conditions, "AbleToScale");
    if able != Readiness::Ready {
        return able;
    }
    match conditions.get("ScalingActive") {
        // Scaled to zero by somebody: it rests, as it should.
        Some(resting) if resting.reason == "ScalingDisabled" => Readiness::Ready,
        _ => wants(&conditions, "ScalingActive"),
    }
}

pub(super) fn disruption_budget(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    let broken = conditions.denied("DisruptionAllowed").filter(|it| it.reason == "SyncFailed");
    broken.map_or(Readiness::Ready, |it| Readiness::progressing(it.to_string()))
}
