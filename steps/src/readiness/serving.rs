//! KServe's services and Istio as the sail operator runs it: they sum up what they made, and the sum says little.

use serde_json::Value;

use super::conditions::{Shown, conditions_of, wants};
use super::{Around, Readiness};
use crate::cluster::text_at;

/// `Ready=False` is normal for minutes while a model loads; the parts that are not ready say more than the sum.
pub(super) fn llm_inference_service(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    if conditions.holds("Ready") {
        return Readiness::Ready;
    }
    let parts: Vec<_> = conditions.iter().filter(|it| it.status != "True" && it.kind != "Ready").collect();
    if let Some(hopeless) = parts.iter().find(|it| is_hopeless(it)) {
        return Readiness::failed(hopeless.to_string());
    }
    // `WorkloadsReady` and `RouterReady` sum up others: the most particular comes first.
    let sums = ["WorkloadsReady", "RouterReady"];
    let told =
        |sum: bool| parts.iter().find(move |it| sums.contains(&it.kind.as_str()) == sum && !it.message.is_empty());
    match told(false).or_else(|| told(true)).or(parts.first()) {
        Some(part) => Readiness::progressing(part.to_string()),
        None => wants(&conditions, "Ready"),
    }
}

/// Somebody has stopped it, or its authority has a key that the controller cannot use.
fn is_hopeless(condition: &Shown) -> bool {
    !condition.stale && (condition.reason == "Stopped" || condition.message.contains("not an RSA key"))
}

/// Knative's convention: `Ready` sums up; `modelStatus` knows what became of the model.
pub(super) fn inference_service(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(stopped) = conditions.get("Stopped").filter(|it| it.status == "True") {
        return Readiness::failed(stopped.to_string());
    }
    let (transition, failure) = (
        text_at(object, "/status/modelStatus/transitionStatus"),
        text_at(object, "/status/modelStatus/lastFailureInfo/message"),
    );
    if transition == "InvalidSpec" {
        return Readiness::failed(format!("{transition}: {failure}").trim_end_matches(": "));
    }
    if conditions.holds("Ready") {
        return Readiness::Ready;
    }
    if transition == "BlockedByFailedLoad" {
        return Readiness::progressing(format!("{transition}: {failure}").trim_end_matches(": "));
    }
    let part = conditions.iter().find(|it| it.kind != "Ready" && it.status != "True" && !it.message.is_empty());
    part.map_or_else(|| wants(&conditions, "Ready"), |part| Readiness::progressing(part.to_string()))
}

/// Istio, its CNI plugin, its revisions and ztunnel by the sail operator. `status.state` names the first trouble.
pub(super) fn istio(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(unreconciled) = conditions.get("Reconciled").filter(|it| it.status != "True") {
        return Readiness::progressing(unreconciled.to_string());
    }
    let state = text_at(object, "/status/state");
    match wants(&conditions, "Ready") {
        Readiness::Ready if !matches!(state, "" | "Healthy") => Readiness::progressing(format!("state {state}")),
        verdict => verdict,
    }
}
