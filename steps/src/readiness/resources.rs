//! What does not run pods: services, storage, nodes, definitions, certificates, inference services.

use serde_json::Value;

use super::Readiness;
use super::conditions::{conditions_of, wants};
use crate::cluster::{label_of, text_at};

/// For kinds that are ready as soon as they are there, whatever their status says.
pub(super) fn exists(_: &Value) -> Readiness {
    Readiness::Ready
}

fn has_items(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
}

/// A load balancer is ready when it has an address, not when it was merely asked for.
pub(super) fn service(object: &Value) -> Readiness {
    match text_at(object, "/spec/type") {
        "ExternalName" => Readiness::Ready,
        "LoadBalancer" if !has_items(object, "/status/loadBalancer/ingress") => {
            Readiness::progressing("the load balancer has no address yet")
        }
        _ if text_at(object, "/spec/clusterIP").is_empty() => Readiness::progressing("no cluster IP yet"),
        _ => Readiness::Ready,
    }
}

pub(super) fn ingress(object: &Value) -> Readiness {
    if has_items(object, "/status/loadBalancer/ingress") {
        return Readiness::Ready;
    }
    Readiness::progressing("the load balancer has no address yet")
}

pub(super) fn volume_claim(object: &Value) -> Readiness {
    match text_at(object, "/status/phase") {
        "Bound" => Readiness::Ready,
        "Lost" => Readiness::failed("its volume is lost"),
        "" => Readiness::progressing("no controller has written a status yet"),
        phase => Readiness::progressing(format!("phase {phase}")),
    }
}

pub(super) fn namespace(object: &Value) -> Readiness {
    match text_at(object, "/status/phase") {
        "Active" => Readiness::Ready,
        "Terminating" => Readiness::Gone,
        _ => Readiness::progressing("not active yet"),
    }
}

/// A node with accelerators is ready when the device plugin has offered them too.
pub(super) fn node(object: &Value) -> Readiness {
    let ready = wants(&conditions_of(object), "Ready");
    if ready != Readiness::Ready {
        return ready;
    }
    let accelerators = [
        ("cloud.google.com/gke-tpu-accelerator", "google.com/tpu"),
        ("cloud.google.com/gke-accelerator", "nvidia.com/gpu"),
    ];
    let missing =
        accelerators.iter().find(|(label, device)| label_of(object, label).is_some() && !offers(object, device));
    missing.map_or(Readiness::Ready, |(_, device)| Readiness::progressing(format!("offers no {device} yet")))
}

fn offers(node: &Value, device: &str) -> bool {
    let count = node.pointer("/status/allocatable").and_then(|all| all.get(device));
    count.and_then(Value::as_str).is_some_and(|count| !matches!(count, "" | "0"))
}

pub(super) fn endpoints(object: &Value) -> Readiness {
    let subsets = object.get("subsets").and_then(Value::as_array).into_iter().flatten();
    if subsets.into_iter().any(|subset| has_items(subset, "/addresses")) {
        return Readiness::Ready;
    }
    Readiness::progressing("no ready endpoint")
}

pub(super) fn endpoint_slice(object: &Value) -> Readiness {
    let mut all = object.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    if all.any(is_ready_endpoint) { Readiness::Ready } else { Readiness::progressing("no ready endpoint") }
}

/// The API says to read a missing `ready` as true.
pub(crate) fn is_ready_endpoint(endpoint: &Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
}

pub(super) fn definition(object: &Value) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(clash) = conditions.denied("NamesAccepted") {
        return Readiness::failed(clash.to_string());
    }
    wants(&conditions, "Established")
}

pub(super) fn api_service(object: &Value) -> Readiness {
    wants(&conditions_of(object), "Available")
}

/// Without a CA bundle the API server cannot trust the webhook, so every call would fail.
pub(super) fn webhook_configuration(object: &Value) -> Readiness {
    let hooks = object.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let mut unsigned = hooks.filter(|hook| text_at(hook, "/clientConfig/caBundle").is_empty());
    match unsigned.next() {
        Some(hook) => Readiness::progressing(format!("webhook {} has no CA bundle yet", text_at(hook, "/name"))),
        None => Readiness::Ready,
    }
}

/// While a certificate is issued anew the old one stays `Ready`; what was asked for is not there yet.
pub(super) fn certificate(object: &Value) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(issuing) = conditions.get("Issuing").filter(|it| it.status == "True") {
        return Readiness::progressing(issuing.to_string());
    }
    wants(&conditions, "Ready")
}

/// `Ready=False` is normal for minutes while a model loads; the parts that are not ready say more than the sum.
pub(super) fn llm_inference_service(object: &Value) -> Readiness {
    let conditions = conditions_of(object);
    if conditions.holds("Ready") {
        return Readiness::Ready;
    }
    let parts: Vec<_> = conditions.iter().filter(|it| it.status != "True" && it.kind != "Ready").collect();
    if let Some(hopeless) = parts.iter().find(|it| is_hopeless(&it.reason, &it.message)) {
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

fn is_hopeless(reason: &str, message: &str) -> bool {
    reason == "Stopped" || message.contains("not an RSA key")
}
