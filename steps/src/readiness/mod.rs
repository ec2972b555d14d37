//! Is this object ready, and if not, why?
//!
//! Pure: judges an object as it was read, by itself and by what is around it. `Failed` is kept for what cannot heal by waiting;
//! everything else that is not ready is `Progressing`, with the controller's own words where it has any. Where the rules differ from
//! those of kstatus, kubectl and others, and why, is in `docs/readiness.md`, whose tables the tests read.

mod certificates;
mod conditions;
mod events;
mod gateway;
mod machinery;
mod pods;
mod resources;
mod serving;
mod trouble;
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{kind_of, name_of, text_at};

pub(crate) use conditions::conditions_of;
pub(crate) use events::{events_about, line, moment, time_of};
pub(crate) use resources::is_ready_endpoint;
pub(crate) use trouble::trouble_of;
pub use trouble::{Log, Trouble};

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

/// What is known beyond the object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// Whether its kind, by its CRD or the server's own book, has a status subresource, so that a controller is expected to fill it.
    pub has_status: bool,
    /// Events about it and about its pods.
    pub events: &'a [Arc<Value>],
    /// The pods below it that count: of a Deployment those of its newest ReplicaSet.
    pub pods: &'a [Arc<Value>],
    /// The gateways that are expected to accept it, `name` or `namespace/name`.
    pub parents: &'a [String],
    /// How long it may take.
    pub expected: Option<Duration>,
    /// The time, for what has a limit.
    pub now: Option<Timestamp>,
    /// Since when it is watched: what went wrong before may have been put right.
    pub watched: Option<Timestamp>,
    /// For how long troubles of pods have been seen, by their names (see [`Trouble`]); without it, events tell.
    pub held: Option<&'a BTreeMap<String, Duration>>,
}

/// Judges an object.
pub fn judge(object: &Value, around: &Around<'_>) -> Readiness {
    if !text_at(object, "/metadata/deletionTimestamp").is_empty() {
        return Readiness::Gone;
    }
    if let Some(why) = stale(object) {
        return Readiness::Progressing(why);
    }
    match rule_of(object).map_or_else(|| generic(object, around), |rule| rule(object, around)) {
        Readiness::Progressing(why) => lost_pod(around).unwrap_or(Readiness::Progressing(why)),
        verdict => verdict,
    }
}

/// What is not ready yet will not be while one of its pods cannot run.
fn lost_pod(around: &Around<'_>) -> Option<Readiness> {
    let of = |pod: &Arc<Value>| {
        let trouble = trouble_of(pod, &events_about(pod, around.events))?;
        let told = || Readiness::failed(format!("pod {} · {}", name_of(pod), trouble.line("", around.now)));
        trouble.is_hopeless(pod, around).then(told)
    };
    around.pods.iter().find_map(of)
}

type Rule = fn(&Value, &Around<'_>) -> Readiness;

/// The rules by API group and kind, for everything that the generic rule would judge wrongly or say too little about.
const RULES: &[(&str, &str, Rule)] = &[
    ("apps", "Deployment", workloads::deployment),
    ("apps", "StatefulSet", workloads::stateful_set),
    ("apps", "DaemonSet", workloads::daemon_set),
    ("apps", "ReplicaSet", workloads::replica_set),
    ("batch", "Job", workloads::job),
    ("batch", "CronJob", resources::exists),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet", workloads::leader_worker_set),
    ("autoscaling", "HorizontalPodAutoscaler", workloads::autoscaler),
    ("policy", "PodDisruptionBudget", workloads::disruption_budget),
    ("", "Pod", pods::judge),
    ("", "Service", resources::service),
    ("", "Endpoints", resources::endpoints),
    ("", "PersistentVolumeClaim", resources::volume_claim),
    ("", "PersistentVolume", resources::volume),
    ("", "Namespace", resources::namespace),
    ("", "Node", resources::node),
    ("", "ResourceQuota", resources::exists),
    ("", "Event", resources::exists),
    ("discovery.k8s.io", "EndpointSlice", resources::endpoint_slice),
    ("networking.k8s.io", "Ingress", resources::ingress),
    ("networking.k8s.io", "NetworkPolicy", resources::exists),
    ("apiextensions.k8s.io", "CustomResourceDefinition", machinery::definition),
    ("apiregistration.k8s.io", "APIService", machinery::api_service),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", machinery::webhook_configuration),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", machinery::webhook_configuration),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", resources::exists),
    ("certificates.k8s.io", "CertificateSigningRequest", machinery::signing_request),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema", resources::exists),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", resources::exists),
    ("resource.k8s.io", "ResourceClaim", resources::exists),
    ("gateway.networking.k8s.io", "GatewayClass", gateway::gateway_class),
    ("gateway.networking.k8s.io", "Gateway", gateway::gateway),
    ("gateway.networking.k8s.io", "HTTPRoute", gateway::route),
    ("gateway.networking.k8s.io", "GRPCRoute", gateway::route),
    ("gateway.networking.k8s.io", "TLSRoute", gateway::route),
    ("gateway.networking.k8s.io", "TCPRoute", gateway::route),
    ("gateway.networking.k8s.io", "UDPRoute", gateway::route),
    ("gateway.networking.k8s.io", "ReferenceGrant", resources::exists),
    ("inference.networking.k8s.io", "InferencePool", gateway::inference_pool),
    ("inference.networking.x-k8s.io", "InferencePool", gateway::inference_pool),
    ("inference.networking.x-k8s.io", "InferenceModel", resources::exists),
    ("inference.networking.x-k8s.io", "InferenceModelRewrite", resources::exists),
    ("inference.networking.x-k8s.io", "InferenceObjective", resources::exists),
    ("networking.gke.io", "HealthCheckPolicy", gateway::attached_policy),
    ("networking.gke.io", "GCPBackendPolicy", gateway::attached_policy),
    ("networking.gke.io", "GCPGatewayPolicy", gateway::attached_policy),
    ("networking.gke.io", "ManagedCertificate", resources::managed_certificate),
    ("cloud.google.com", "BackendConfig", resources::exists),
    ("serving.kserve.io", "LLMInferenceService", serving::llm_inference_service),
    ("serving.kserve.io", "LLMInferenceServiceConfig", resources::exists),
    ("serving.kserve.io", "InferenceService", serving::inference_service),
    ("cert-manager.io", "Certificate", certificates::certificate),
    ("cert-manager.io", "CertificateRequest", certificates::request),
    ("cert-manager.io", "Issuer", certificates::issuer),
    ("cert-manager.io", "ClusterIssuer", certificates::issuer),
    ("sailoperator.io", "Istio", serving::istio),
    ("sailoperator.io", "IstioCNI", serving::istio),
    ("sailoperator.io", "IstioRevision", serving::istio),
    ("sailoperator.io", "ZTunnel", serving::istio),
    ("networking.istio.io", "DestinationRule", resources::exists),
    ("networking.istio.io", "EnvoyFilter", resources::exists),
    ("networking.istio.io", "Gateway", resources::exists),
    ("networking.istio.io", "ProxyConfig", resources::exists),
    ("networking.istio.io", "ServiceEntry", resources::exists),
    ("networking.istio.io", "Sidecar", resources::exists),
    ("networking.istio.io", "VirtualService", resources::exists),
    ("networking.istio.io", "WorkloadEntry", resources::exists),
    ("networking.istio.io", "WorkloadGroup", resources::exists),
    ("security.istio.io", "AuthorizationPolicy", resources::exists),
    ("security.istio.io", "PeerAuthentication", resources::exists),
    ("security.istio.io", "RequestAuthentication", resources::exists),
    ("telemetry.istio.io", "Telemetry", resources::exists),
    ("extensions.istio.io", "WasmPlugin", resources::exists),
];

fn rule_of(object: &Value) -> Option<Rule> {
    let version = text_at(object, "/apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = kind_of(object);
    RULES.iter().find(|rule| rule.0 == group && rule.1 == kind).map(|rule| rule.2)
}

/// The controller has not looked at the latest change yet.
pub(crate) fn stale(object: &Value) -> Option<String> {
    let wanted = object.pointer("/metadata/generation")?.as_i64()?;
    let seen = object.pointer("/status/observedGeneration")?.as_i64()?;
    (seen < wanted).then(|| format!("the controller has not seen generation {wanted} yet"))
}

/// The rule for any other kind: the conditions that all controllers agree on, and no status where there should be one.
fn generic(object: &Value, around: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    let is = |kind: &str| conditions.get(kind).filter(|it| it.is_true_now());
    if let Some(stalled) = is("Stalled").or_else(|| is("Failed")) {
        return Readiness::failed(stalled.to_string());
    }
    if let Some(busy) = is("Reconciling").or_else(|| is("Degraded")) {
        return Readiness::progressing(busy.to_string());
    }
    if let Some(main) = MAIN.iter().find_map(|kind| conditions.get(kind)) {
        return conditions::as_wanted(main);
    }
    if let Some(by_ancestors) = gateway::ancestors(object) {
        return by_ancestors;
    }
    let untouched = object.get("status").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    if around.has_status && untouched {
        return Readiness::progressing("no controller has written a status yet");
    }
    Readiness::Ready
}

/// The conditions that sum an object up, by the custom of most controllers; the first that is there decides.
const MAIN: [&str; 6] = ["Ready", "Available", "Healthy", "Accepted", "Attached", "Established"];

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests;
