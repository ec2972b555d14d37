//! Is this object ready, and if not, why?
//!
//! Pure: judges an object as it was read, without asking for more. `Failed` is kept for what cannot heal by waiting; everything
//! else that is not ready is `Progressing`, with the controller's own words where it has any. The generic rules differ from
//! kstatus where that is wrong: an object whose kind has a status, but which has none yet, is not ready; a running Job is not
//! complete; a failed Pod is not current; a load balancer without an address is not ready; routes and pools are judged by their
//! parents.

mod conditions;
mod gateway;
mod pods;
mod resources;
mod workloads;

use serde_json::Value;

use crate::cluster::{kind_of, text_at};

pub(crate) use conditions::conditions_of;
pub use pods::{Trouble, trouble_of};

/// How an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does what it is for.
    Ready,
    /// It is on its way; why it is not there yet.
    Progressing(String),
    /// Waiting does not help; why.
    Failed(String),
    /// It is being deleted.
    Gone,
}

impl Readiness {
    fn progressing(why: impl Into<String>) -> Self {
        Self::Progressing(why.into())
    }

    fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

/// What is known of an object's kind beyond the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around {
    /// Whether the kind has a status subresource, so that a controller is expected to fill it.
    pub has_status: bool,
}

/// Judges an object.
pub fn judge(object: &Value, around: Around) -> Readiness {
    if !text_at(object, "/metadata/deletionTimestamp").is_empty() {
        return Readiness::Gone;
    }
    if let Some(why) = stale(object) {
        return Readiness::Progressing(why);
    }
    rule_of(object).map_or_else(|| generic(object, around), |rule| rule(object))
}

type Rule = fn(&Value) -> Readiness;

/// The rules by API group and kind, for everything that the generic rule would judge wrongly or say too little about.
const RULES: &[(&str, &str, Rule)] = &[
    ("apps", "Deployment", workloads::deployment),
    ("apps", "StatefulSet", workloads::stateful_set),
    ("apps", "DaemonSet", workloads::daemon_set),
    ("apps", "ReplicaSet", workloads::replica_set),
    ("batch", "Job", workloads::job),
    ("batch", "CronJob", resources::exists),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet", workloads::leader_worker_set),
    ("", "Pod", pods::judge),
    ("", "Service", resources::service),
    ("", "PersistentVolumeClaim", resources::volume_claim),
    ("", "Namespace", resources::namespace),
    ("", "Node", resources::node),
    ("", "Endpoints", resources::endpoints),
    ("discovery.k8s.io", "EndpointSlice", resources::endpoint_slice),
    ("", "ResourceQuota", resources::exists),
    ("", "Event", resources::exists),
    ("policy", "PodDisruptionBudget", resources::exists),
    ("networking.k8s.io", "Ingress", resources::ingress),
    ("networking.k8s.io", "NetworkPolicy", resources::exists),
    ("apiextensions.k8s.io", "CustomResourceDefinition", resources::definition),
    ("apiregistration.k8s.io", "APIService", resources::api_service),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", resources::webhook_configuration),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", resources::webhook_configuration),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", resources::exists),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", resources::exists),
    ("gateway.networking.k8s.io", "GatewayClass", gateway::gateway_class),
    ("gateway.networking.k8s.io", "Gateway", gateway::gateway),
    ("gateway.networking.k8s.io", "HTTPRoute", gateway::route),
    ("gateway.networking.k8s.io", "GRPCRoute", gateway::route),
    ("gateway.networking.k8s.io", "ReferenceGrant", resources::exists),
    ("inference.networking.k8s.io", "InferencePool", gateway::inference_pool),
    ("inference.networking.x-k8s.io", "InferencePool", gateway::inference_pool),
    ("inference.networking.x-k8s.io", "InferenceModel", resources::exists),
    ("inference.networking.x-k8s.io", "InferenceObjective", resources::exists),
    ("networking.gke.io", "HealthCheckPolicy", gateway::attached_policy),
    ("networking.gke.io", "GCPBackendPolicy", gateway::attached_policy),
    ("serving.kserve.io", "LLMInferenceService", resources::llm_inference_service),
    ("serving.kserve.io", "LLMInferenceServiceConfig", resources::exists),
    ("cert-manager.io", "Certificate", resources::certificate),
];

fn rule_of(object: &Value) -> Option<Rule> {
    let version = text_at(object, "/apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = kind_of(object);
    RULES.iter().find(|rule| rule.0 == group && rule.1 == kind).map(|rule| rule.2)
}

/// The controller has not looked at the latest change yet.
fn stale(object: &Value) -> Option<String> {
    let wanted = object.pointer("/metadata/generation")?.as_i64()?;
    let seen = object.pointer("/status/observedGeneration")?.as_i64()?;
    (seen < wanted).then(|| format!("the controller has not seen generation {wanted} yet"))
}

/// The rule for any other kind: the conditions that all controllers agree on, and no status where there should be one.
fn generic(object: &Value, around: Around) -> Readiness {
    let conditions = conditions_of(object);
    let is = |kind: &str, status: &str| conditions.iter().find(|it| it.kind == kind && it.status == status);
    if let Some(stalled) = is("Stalled", "True") {
        return Readiness::failed(stalled.to_string());
    }
    if let Some(busy) = is("Reconciling", "True").or_else(|| is("Progressing", "False")) {
        return Readiness::progressing(busy.to_string());
    }
    if let Some(main) = ["Ready", "Available", "Accepted", "Healthy"].iter().find_map(|kind| conditions.get(kind)) {
        return conditions::as_wanted(main);
    }
    let untouched = object.get("status").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if around.has_status && untouched {
        return Readiness::progressing("no controller has written a status yet");
    }
    Readiness::Ready
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests;
