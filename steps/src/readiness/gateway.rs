//! The Gateway API and its relatives: gateways, routes, inference pools, attached policies.

use serde_json::Value;

use super::conditions::{Conditions, Shown, conditions_in, conditions_of, wants};
use super::{Around, Readiness};
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

pub(super) fn gateway_class(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    hopeless(&conditions).unwrap_or_else(|| wants(&conditions, "Accepted"))
}

/// Ready when programmed and reachable: accepted, programmed, every listener too, and with an address.
pub(super) fn gateway(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(failed) = hopeless(&conditions) {
        return failed;
    }
    let whole = wants_all(&conditions, &["Accepted", "Programmed"]);
    if whole != Readiness::Ready {
        return whole;
    }
    if let Some(listener) = listener_trouble(object) {
        return listener;
    }
    if text_at(object, "/status/addresses/0/value").is_empty() {
        return Readiness::progressing("programmed, but without an address yet");
    }
    Readiness::Ready
}

fn listeners(object: &Value) -> impl Iterator<Item = &Value> {
    items(object, "/status/listeners").iter()
}

/// What keeps a listener from serving. A controller that reports listeners at all reports each.
fn listener_trouble(object: &Value) -> Option<Readiness> {
    let reported = |name: &str| listeners(object).any(|listener| text_at(listener, "/name") == name);
    let mut wanted = items(object, "/spec/listeners").iter().map(|listener| text_at(listener, "/name"));
    if listeners(object).next().is_some()
        && let Some(missing) = wanted.find(|name| !reported(name))
    {
        return Some(Readiness::progressing(format!("listener {missing}: no status yet")));
    }
    listeners(object).find_map(|listener| {
        let conditions = conditions_in(listener, object);
        let clash = conditions.get("Conflicted").filter(|it| it.status == "True");
        let unmet = || LISTENER.iter().filter_map(|kind| conditions.get(kind)).find(|it| !it.is_true_now());
        let why = clash.or_else(unmet)?;
        Some(Readiness::progressing(format!("listener {}: {why}", text_at(listener, "/name"))))
    })
}

/// What a listener must be, the most telling first.
const LISTENER: [&str; 3] = ["ResolvedRefs", "Accepted", "Programmed"];

/// Ready when every parent that the route names has accepted it as it is now, and, where its controller says so, programmed it.
pub(super) fn route(object: &Value, _: &Around<'_>) -> Readiness {
    let parents = items(object, "/spec/parentRefs");
    if parents.is_empty() {
        return Readiness::progressing("it names no gateway as its parent");
    }
    first_unready(parents.iter().map(|wanted| by_parent(object, &Parent::of(wanted, object), route_parent)))
}

/// What fails says more than what is still to come.
fn first_unready(verdicts: impl Iterator<Item = Readiness>) -> Readiness {
    let unready: Vec<Readiness> = verdicts.filter(|verdict| *verdict != Readiness::Ready).collect();
    let failed = unready.iter().find(|verdict| matches!(verdict, Readiness::Failed(_)));
    failed.or(unready.first()).cloned().unwrap_or(Readiness::Ready)
}

/// How an object stands with one parent. Several controllers may have an entry for the same one: it is enough for one of them.
fn by_parent(object: &Value, wanted: &Parent<'_>, judge: fn(&Conditions) -> Readiness) -> Readiness {
    let of = |entry: &&Value| wanted.is_meant_by(&Parent::of(entry.get("parentRef").unwrap_or(&Value::Null), object));
    let verdicts: Vec<Readiness> =
        entries(object).filter(of).map(|entry| judge(&conditions_in(entry, object))).collect();
    best(verdicts).unwrap_or_else(|| Readiness::progressing(format!("{wanted} has not looked at it yet")))
}

fn best(verdicts: Vec<Readiness>) -> Option<Readiness> {
    let rank = |verdict: &Readiness| match verdict {
        Readiness::Ready => 0,
        Readiness::Failed(_) => 1,
        Readiness::Progressing(_) | Readiness::Gone => 2,
    };
    verdicts.into_iter().min_by_key(rank)
}

/// The entries of a status by parent. The old API of pools calls the list `parent`, and starts it with a placeholder.
fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    let all = items(object, "/status/parents").iter().chain(items(object, "/status/parent"));
    all.filter(|entry| text_at(entry, "/parentRef/kind") != "Status")
}

/// A parent, as a route names it or a status does.
struct Parent<'o> {
    group: &'o str,
    kind: &'o str,
    namespace: &'o str,
    name: &'o str,
    /// Only routes go to one listener of a gateway.
    section: Option<&'o str>,
    port: Option<i64>,
}

impl<'o> Parent<'o> {
    fn of(reference: &'o Value, object: &'o Value) -> Self {
        let or = |place: &str, other: &'o str| match text_at(reference, place) {
            "" => other,
            given => given,
        };
        Self {
            group: reference.get("group").and_then(Value::as_str).unwrap_or("gateway.networking.k8s.io"),
            kind: or("/kind", "Gateway"),
            namespace: or("/namespace", namespace_of(object)),
            name: text_at(reference, "/name"),
            section: reference.get("sectionName").and_then(Value::as_str),
            port: reference.get("port").and_then(Value::as_i64),
        }
    }

    /// A gateway as a plan names it: `name` or `namespace/name`.
    fn written(text: &'o str, object: &'o Value) -> Self {
        let (namespace, name) = text.split_once('/').unwrap_or((namespace_of(object), text));
        Self { group: "gateway.networking.k8s.io", kind: "Gateway", namespace, name, section: None, port: None }
    }

    fn is_meant_by(&self, told: &Parent<'_>) -> bool {
        (self.group, self.kind, self.namespace, self.name) == (told.group, told.kind, told.namespace, told.name)
            && self.section == told.section
            && self.port == told.port
    }
}

impl std::fmt::Display for Parent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.to_lowercase(), self.name)?;
        self.section.map_or(Ok(()), |section| write!(f, " (listener {section})"))
    }
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

fn items<'o>(object: &'o Value, pointer: &str) -> &'o [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A pool names no parents itself, they come with the routes: ready when those that were expected have accepted it and found what it
/// refers to, or at least one where none was named.
pub(super) fn inference_pool(object: &Value, around: &Around<'_>) -> Readiness {
    if !around.parents.is_empty() {
        let wanted = around.parents.iter().map(|parent| Parent::written(parent, object));
        return first_unready(wanted.map(|wanted| by_parent(object, &wanted, pool_parent)));
    }
    let verdicts = entries(object).map(|entry| pool_parent(&conditions_in(entry, object))).collect();
    best(verdicts).unwrap_or_else(|| Readiness::progressing("no gateway has looked at it yet"))
}

fn pool_parent(conditions: &Conditions) -> Readiness {
    hopeless(conditions).unwrap_or_else(|| match conditions.get("ResolvedRefs") {
        Some(_) => wants_all(conditions, &["Accepted", "ResolvedRefs"]),
        None => wants(conditions, "Accepted"),
    })
}

/// A policy of GKE: ready when attached to what it is for.
pub(super) fn attached_policy(object: &Value, _: &Around<'_>) -> Readiness {
    wants(&conditions_of(object), "Attached")
}

/// A policy that says itself, by ancestor, who has taken it: every one that is named must have.
pub(super) fn ancestors(object: &Value) -> Option<Readiness> {
    let named = items(object, "/status/ancestors");
    let verdict = |entry: &Value| {
        let conditions = conditions_in(entry, object);
        hopeless(&conditions).unwrap_or_else(|| wants(&conditions, "Accepted"))
    };
    (!named.is_empty()).then(|| first_unready(named.iter().map(verdict)))
}
