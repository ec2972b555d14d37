//! What extends the API: definitions, aggregated APIs, webhooks.

use serde_json::Value;

use super::conditions::{conditions_of, wants};
use super::{Around, Readiness};
use crate::cluster::text_at;

/// Established, and not by names that another definition has: the kinds of such a one are served by the other.
pub(super) fn definition(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(clash) = conditions.denied("NamesAccepted") {
        return Readiness::failed(clash.to_string());
    }
    wants(&conditions, "Established")
}

pub(super) fn api_service(object: &Value, _: &Around<'_>) -> Readiness {
    wants(&conditions_of(object), "Available")
}

/// Without a CA bundle the API server cannot trust the service behind a webhook, so every call would fail. One that is reached by
/// URL may be trusted by the roots of the system.
pub(super) fn webhook_configuration(object: &Value, _: &Around<'_>) -> Readiness {
    let hooks = object.get("webhooks").and_then(Value::as_array).into_iter().flatten();
    let mut unsigned = hooks.filter(|hook| {
        text_at(hook, "/clientConfig/caBundle").is_empty() && text_at(hook, "/clientConfig/url").is_empty()
    });
    match unsigned.next() {
        Some(hook) => Readiness::progressing(format!("webhook {} has no CA bundle yet", text_at(hook, "/name"))),
        None => Readiness::Ready,
    }
}

/// A request for a certificate of the cluster's own authority.
pub(super) fn signing_request(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    let refused = ["Denied", "Failed"].iter().find_map(|kind| conditions.get(kind)).filter(|it| it.status == "True");
    if let Some(refused) = refused {
        return Readiness::failed(refused.to_string());
    }
    if !conditions.holds("Approved") {
        return Readiness::progressing("nobody has approved it yet");
    }
    if text_at(object, "/status/certificate").is_empty() {
        return Readiness::progressing("approved, but not signed yet");
    }
    Readiness::Ready
}
