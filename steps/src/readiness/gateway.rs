//! The Gateway API and its relatives: gateways, routes, inference pools, attached policies.

use serde_json::Value;

use super::Readiness;
use super::conditions::{Conditions, Shown, conditions_in, conditions_of, wants};
use crate::cluster::{namespace_of, text_at};

/// Reasons that say the object itself is wrong: no controller will come to another mind by itself.
const HOPELESS: [&str; 8] = [
    "InvalidParameters",
    "InvalidTopology",
    "UnsupportedAddress",
    "UnsupportedValue",
    "UnsupportedProtocol",
    "IncompatibleFilters",
    "InvalidKind",
    "NotSupportedByParent",
];

/// GKE's validation errors: the route asks for what its load balancers do not have.
const HOPELESS_TEXTS: [&str; 2] = ["GWCER104", "GWCER106"];

fn is_hopeless(condition: &Shown) -> bool {
    condition.status == "False"
        && !condition.stale
        && (HOPELESS.contains(&condition.reason.as_str())
            || HOPELESS_TEXTS.iter().any(|text| condition.message.contains(text)))
}

fn hopeless(conditions: &Conditions) -> Option<Readiness> {
    conditions.iter().find(|it| is_hopeless(it)).map(|it| Readiness::failed(it.to_string()))
}

/// Ready when all of these are true; else the first that is not, where one that was denied says most.
fn wants_all(conditions: &Conditions, kinds: &[&str]) -> Readiness {
    if let Some(denied) = kinds.iter().find_map(|kind| conditions.denied(kind)) {
        return Readiness::progressing(denied.to_string());
    }
    let verdicts = kinds.iter().map(|kind| wants(conditions, kind));
    verdicts.into_iter().find(|verdict| *verdict != Readiness::Ready).unwrap_or(Readiness::Ready)
}

pub(super) fn gateway_class(object: &Value) -> Readiness {
    let conditions = conditions_of(object);
    hopeless(&conditions).unwrap_or_else(|| wants(&conditions, "Accepted"))
}

/// Ready when programmed and reachable: accepted, programmed, every listener too, and with an address.
pub(super) fn gateway(object: &Value) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(failed) = hopeless(&conditions) {
        return failed;
    }
    let whole = wants_all(&conditions, &["Accepted", "Programmed"]);
    if whole != Readiness::Ready {
        return whole;
    }
    if let Some(listener) = listeners(object).find_map(|listener| listener_trouble(listener, object)) {
        return listener;
    }
    if text_at(object, "/status/addresses/0/value").is_empty() {
        return Readiness::progressing("programmed, but without an address yet");
    }
    Readiness::Ready
}

fn listeners(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/status/listeners").and_then(Value::as_array).into_iter().flatten()
}

fn listener_trouble(listener: &Value, object: &Value) -> Option<Readiness> {
    let conditions = conditions_in(listener, object);
    let denied = ["Accepted", "ResolvedRefs", "Programmed"].iter().find_map(|kind| conditions.denied(kind))?;
    Some(Readiness::progressing(format!("listener {}: {denied}", text_at(listener, "/name"))))
}

/// Ready when every parent that the route names has accepted it as it is now, and, where its controller says so, programmed it.
pub(super) fn route(object: &Value) -> Readiness {
    let parents = items(object, "/spec/parentRefs");
    if parents.is_empty() {
        return Readiness::progressing("it names no gateway as its parent");
    }
    let mut verdicts = parents.iter().map(|wanted| match entry_of(object, wanted) {
        Some(entry) => route_parent(&conditions_in(entry, object)),
        None => Readiness::progressing(format!("gateway {} has not looked at it yet", text_at(wanted, "/name"))),
    });
    verdicts.find(|verdict| *verdict != Readiness::Ready).unwrap_or(Readiness::Ready)
}

fn route_parent(conditions: &Conditions) -> Readiness {
    if let Some(failed) = hopeless(conditions) {
        return failed;
    }
    let accepted = wants_all(conditions, &["Accepted", "ResolvedRefs"]);
    match conditions.get("Reconciled") {
        // Only GKE's controller has it, and there it is the best sign that the load balancer was programmed.
        Some(_) if accepted == Readiness::Ready => wants(conditions, "Reconciled"),
        _ => accepted,
    }
}

/// What the status says about one of the parents that the spec names.
fn entry_of<'o>(object: &'o Value, wanted: &Value) -> Option<&'o Value> {
    let home = namespace_of(object);
    let place = |parent: &Value| -> (String, String) {
        let namespace = text_at(parent, "/namespace");
        let namespace = if namespace.is_empty() { home } else { namespace };
        (namespace.to_owned(), text_at(parent, "/name").to_owned())
    };
    let section = text_at(wanted, "/sectionName");
    items(object, "/status/parents").iter().find(|entry| {
        let parent = entry.get("parentRef").unwrap_or(&Value::Null);
        place(parent) == place(wanted) && text_at(parent, "/sectionName") == section
    })
}

fn items<'o>(object: &'o Value, pointer: &str) -> &'o [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Ready when at least one gateway has accepted the pool and found what it refers to. A pool names no parents itself: they
/// come with the routes. The old API calls the list `parent` and starts it with a placeholder.
pub(super) fn inference_pool(object: &Value) -> Readiness {
    let entries = items(object, "/status/parents").iter().chain(items(object, "/status/parent"));
    let real = entries.filter(|entry| text_at(entry, "/parentRef/kind") != "Status");
    let verdicts: Vec<Readiness> = real.map(|entry| pool_parent(&conditions_in(entry, object))).collect();
    let first_failed = verdicts.iter().find(|it| matches!(it, Readiness::Failed(_)));
    if verdicts.contains(&Readiness::Ready) {
        return Readiness::Ready;
    }
    let fallback = || Readiness::progressing("no gateway has looked at it yet");
    first_failed.or(verdicts.first()).cloned().unwrap_or_else(fallback)
}

fn pool_parent(conditions: &Conditions) -> Readiness {
    hopeless(conditions).unwrap_or_else(|| match conditions.get("ResolvedRefs") {
        Some(_) => wants_all(conditions, &["Accepted", "ResolvedRefs"]),
        None => wants(conditions, "Accepted"),
    })
}

/// A policy of GKE: ready when attached to what it is for.
pub(super) fn attached_policy(object: &Value) -> Readiness {
    wants(&conditions_of(object), "Attached")
}
