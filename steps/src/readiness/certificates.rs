//! cert-manager: certificates, requests for them, and issuers.

use serde_json::Value;

use super::conditions::{conditions_of, wants};
use super::{Around, Readiness};

/// While a certificate is issued anew the old one stays `Ready`; what was asked for is not there yet.
pub(super) fn certificate(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    if let Some(issuing) = conditions.get("Issuing").filter(|it| it.status == "True") {
        return Readiness::progressing(issuing.to_string());
    }
    let ready = wants(&conditions, "Ready");
    // It is tried again after an hour; why it failed says more than that there is no secret.
    let failed = conditions.denied("Issuing").filter(|it| it.reason == "Failed");
    match (ready, failed) {
        (Readiness::Progressing(_), Some(failed)) => Readiness::progressing(failed.to_string()),
        (ready, _) => ready,
    }
}

/// A request is made once: what failed or was denied stays so.
pub(super) fn request(object: &Value, _: &Around<'_>) -> Readiness {
    let conditions = conditions_of(object);
    let refused = ["Denied", "InvalidRequest"].iter().find_map(|kind| conditions.get(kind));
    if let Some(refused) = refused.filter(|it| it.status == "True") {
        return Readiness::failed(refused.to_string());
    }
    match conditions.denied("Ready").filter(|it| matches!(it.reason.as_str(), "Failed" | "Denied")) {
        Some(failed) => Readiness::failed(failed.to_string()),
        None => wants(&conditions, "Ready"),
    }
}

/// `Ready=False` may heal: the secret that it reads, or the server that it asks, may still come.
pub(super) fn issuer(object: &Value, _: &Around<'_>) -> Readiness {
    wants(&conditions_of(object), "Ready")
}
