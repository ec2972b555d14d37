//! What belongs to the cluster and runs no pods: services, storage, namespaces, nodes, endpoints.

use serde_json::Value;

use super::conditions::{conditions_of, wants};
use super::{Around, Readiness};
use crate::cluster::{label_of, text_at};

/// For kinds that are ready as soon as they are there, whatever their status says.
pub(super) fn exists(_: &Value, _: &Around<'_>) -> Readiness {
    Readiness::Ready
}

fn has_items(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_array).is_some_and(|items| !items.is_empty())
}

/// A load balancer is ready when it has an address, not when it was merely asked for.
pub(super) fn service(object: &Value, _: &Around<'_>) -> Readiness {
    match text_at(object, "/spec/type") {
        "ExternalName" => Readiness::Ready,
        "LoadBalancer" if !has_items(object, "/status/loadBalancer/ingress") => {
            Readiness::progressing("the load balancer has no address yet")
        }
        _ if text_at(object, "/spec/clusterIP").is_empty() => Readiness::progressing("no cluster IP yet"),
        _ => Readiness::Ready,
    }
}

pub(super) fn ingress(object: &Value, _: &Around<'_>) -> Readiness {
    if has_items(object, "/status/loadBalancer/ingress") {
        return Readiness::Ready;
    }
    Readiness::progressing("the load balancer has no address yet")
}

pub(super) fn volume_claim(object: &Value, _: &Around<'_>) -> Readiness {
    match text_at(object, "/status/phase") {
        "Bound" => Readiness::Ready,
        "Lost" => Readiness::failed("its volume is lost"),
        "" => Readiness::progressing("no controller has written a status yet"),
        phase => Readiness::progressing(format!("phase {phase}")),
    }
}

pub(super) fn volume(object: &Value, _: &Around<'_>) -> Readiness {
    match text_at(object, "/status/phase") {
        "Bound" | "Available" => Readiness::Ready,
        "Failed" => Readiness::failed(format!("failed: {}", text_at(object, "/status/message"))),
        "" => Readiness::progressing("no controller has written a status yet"),
        phase => Readiness::progressing(format!("phase {phase}")),
    }
}

pub(super) fn namespace(object: &Value, _: &Around<'_>) -> Readiness {
    match text_at(object, "/status/phase") {
        "Active" => Readiness::Ready,
        "Terminating" => Readiness::Gone,
        _ => Readiness::progressing("not active yet"),
    }
}

/// GKE's own certificate for load balancers. Validation can fail while DNS is not there yet, so nothing is final.
pub(super) fn managed_certificate(object: &Value, _: &Around<'_>) -> Readiness {
    match text_at(object, "/status/certificateStatus") {
        "Active" => Readiness::Ready,
        "" => Readiness::progressing("no controller has written a status yet"),
        status => Readiness::progressing(format!("certificate {status}")),
    }
}

/// A node with accelerators is ready when the device plugin has offered them too.
pub(super) fn node(object: &Value, _: &Around<'_>) -> Readiness {
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

pub(super) fn endpoints(object: &Value, _: &Around<'_>) -> Readiness {
    let subsets = object.get("subsets").and_then(Value::as_array).into_iter().flatten();
    if subsets.into_iter().any(|subset| has_items(subset, "/addresses")) {
        return Readiness::Ready;
    }
    Readiness::progressing("no ready endpoint")
}

pub(super) fn endpoint_slice(object: &Value, _: &Around<'_>) -> Readiness {
    let mut all = object.get("endpoints").and_then(Value::as_array).into_iter().flatten();
    if all.any(is_ready_endpoint) { Readiness::Ready } else { Readiness::progressing("no ready endpoint") }
}

/// The API says to read a missing `ready` as true.
pub(crate) fn is_ready_endpoint(endpoint: &Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false)
}
