//! What a failed request means: its class, why, and what to do.

use std::error::Error as _;
use std::time::Duration;

use kube::core::Status;

use crate::failure::{Class, Facts, Failure};
use crate::http::LONGEST_REST;

/// The failure for a request that did not work. `doing` is what was tried: verb, resource, object.
pub(super) fn classify(error: &kube::Error, doing: &str, url: &str) -> Failure {
    match error {
        kube::Error::Api(status) => refused(status, doing),
        kube::Error::Auth(_) => login(&chain(error)),
        kube::Error::SerdeError(error) => garbled(error, doing, url),
        other => unreachable_server(&chain(other), doing, url),
    }
}

fn refused(status: &Status, doing: &str) -> Failure {
    let message = if status.message.is_empty() { &status.reason } else { &status.message };
    let class = class_of(status.code, &status.reason, message);
    let facts = Facts { http_status: Some(status.code), http_body: clip(message), ..Facts::default() };
    let failure = Failure::new(class, format!("cannot {doing}: {}", first_line(message))).facts(facts);
    let mut failure = explain(failure, status, doing);
    if class == Class::Conflict && !conflicts(status).is_empty() {
        failure = taken(failure, &conflicts(status), doing);
    }
    failure.retry_after = retry_after(status);
    failure
}

/// The class of an answer, by its code, machine-readable reason and message.
fn class_of(code: u16, reason: &str, message: &str) -> Class {
    if is_webhook_trouble(message) {
        return Class::WebhookNotReady;
    }
    // A misspelt field in an apply is the server's 500, but it stays misspelt.
    if message.contains("field not declared in schema") || message.contains("failed to create typed patch object") {
        return Class::Invalid;
    }
    match code {
        401 => Class::AuthExpired,
        403 if message.contains("exceeded quota") => Class::Quota,
        404 if is_unknown_endpoint(reason, message) => Class::Transient,
        404 => Class::NotFound,
        409 if message.contains("is being terminated") => Class::Transient,
        409 => Class::Conflict,
        408 | 410 => Class::Transient,
        429 => Class::Throttled,
        501 => Class::Permanent,
        500.. => Class::Transient,
        _ => Class::Invalid,
    }
}

/// An admission or conversion webhook could not be asked, as opposed to one that said no.
fn is_webhook_trouble(message: &str) -> bool {
    let called = ["failed calling webhook", "failed calling admission webhook"];
    called.iter().any(|text| message.contains(text))
        || (message.contains("conversion webhook for") && message.contains("failed"))
}

/// The endpoint itself is not there (yet): just after a CRD was created its kind is announced before it is served.
fn is_unknown_endpoint(reason: &str, message: &str) -> bool {
    message.contains("could not find the requested resource")
        || message.contains("404 page not found")
        || (reason != "NotFound" && !message.contains("\" not found"))
}

fn explain(failure: Failure, status: &Status, doing: &str) -> Failure {
    match failure.class {
        Class::AuthExpired => failure
            .cause("the cluster does not accept these credentials")
            .fix("log in again (`gcloud auth login`), then run the step with `gke.credentials` again"),
        Class::WebhookNotReady => failure
            .cause("an admission webhook is registered, but nothing answers behind it yet")
            .fix("wait for the webhook's Deployment; if it never comes, delete its webhook configuration"),
        Class::Invalid if status.code == 403 && !status.message.contains("admission webhook") => failure
            .cause(format!("the account may not {}", verb_and_resource(doing)))
            .fix("grant the role that allows it, such as `roles/container.admin`, or ask who can"),
        Class::NotFound if status.message.contains("namespaces \"") => {
            failure.fix("create the namespace first: an object of kind Namespace in an earlier step")
        }
        Class::Transient if status.code == 404 => {
            failure.cause("the server does not serve this kind yet: its CRD may have been created a moment ago")
        }
        _ => failure,
    }
}

/// ``get pods `a/b` `` without the object.
fn verb_and_resource(doing: &str) -> &str {
    doing.split('`').next().unwrap_or(doing).trim_end()
}

fn retry_after(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref()?.retry_after_seconds;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST_REST))
}

/// Manager and field of every conflict that server-side apply reports.
fn conflicts(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let clashes = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    clashes.map(|cause| (manager_of(&cause.message), cause.field.clone())).collect()
}

/// The manager in `conflict with "kubectl" using v1`.
fn manager_of(message: &str) -> String {
    message.split('"').nth(1).unwrap_or(message).to_owned()
}

fn taken(failure: Failure, conflicts: &[(String, String)], doing: &str) -> Failure {
    let width = conflicts.iter().map(|(manager, _)| manager.len()).max().unwrap_or(0).max("MANAGER".len());
    let rows = conflicts.iter().map(|(manager, field)| format!("{manager:width$}  {field}"));
    let table: Vec<String> = std::iter::once(format!("{:width$}  FIELD", "MANAGER")).chain(rows).collect();
    let mut failure = failure
        .detail(table.join("\n"))
        .cause("another field manager owns these fields and wants other values")
        .fix("set `force: true` to take the fields over, or leave them out of the manifest");
    failure.what = format!("cannot {doing}: {} field(s) belong to other managers", conflicts.len());
    failure
}

fn login(text: &str) -> Failure {
    let started = text.contains("unable to run auth exec");
    let class = if started { Class::NotFound } else { Class::AuthExpired };
    Failure::new(class, format!("cannot log in to the cluster: {}", first_line(text)))
        .detail(clip(text))
        .cause("the credential plugin of the kubeconfig gave no token")
        .fix("log in again (`gcloud auth login`), then run the step with `gke.credentials` again")
}

fn unreachable_server(text: &str, doing: &str, url: &str) -> Failure {
    if text.contains("auth exec") || text.contains("exec-plugin") {
        return login(text);
    }
    if text.contains("invalid peer certificate") {
        return Failure::permanent(format!("cannot trust the cluster at `{url}`: {}", first_line(text)))
            .cause("its certificate is not signed by the authority in the kubeconfig")
            .fix("run the step with `gke.credentials` again: the cluster may have been created anew");
    }
    Failure::transient(format!("cannot {doing}: the cluster at `{url}` does not answer: {}", first_line(text)))
        .cause("the control plane is starting or being upgraded, or this machine cannot reach it")
        .fix("try `kubectl cluster-info`; a private control plane needs its network or an authorised one")
}

/// An answer that is no JSON, or broken off.
fn garbled(error: &serde_json::Error, doing: &str, url: &str) -> Failure {
    Failure::transient(format!("cannot {doing}: the answer of the cluster at `{url}` cannot be read: {error}"))
        .cause("the answer broke off, or something between here and the cluster answered in its place")
        .fix("try `kubectl cluster-info`; if that works, this passes by itself")
}

/// An error with everything below it: the outer ones only say that something failed.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = error.source();
    }
    text
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or("no message")
}

const LONGEST: usize = 4096;

fn clip(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, reason: &str, message: &str) -> Failure {
        refused(&Status::failure(message, reason).with_code(code), "get pods `a/b`")
    }

    #[test]
    fn answers_get_their_classes() {
        let cases = [
            (401, "Unauthorized", "Unauthorized", Class::AuthExpired),
            (403, "Forbidden", "pods \"x\" is forbidden: User \"u\" cannot get resource", Class::Invalid),
            (403, "Forbidden", "pods \"x\" is forbidden: exceeded quota: q", Class::Quota),
            (404, "NotFound", "namespaces \"x\" not found", Class::NotFound),
            (404, "NotFound", "the server could not find the requested resource", Class::Transient),
            (404, "Failed to parse error data", "404 page not found", Class::Transient),
            (409, "Conflict", "the object has been modified", Class::Conflict),
            (409, "Conflict", "namespace x is being terminated", Class::Transient),
            (422, "Invalid", "spec.selector: field is immutable", Class::Invalid),
            (429, "TooManyRequests", "slow down", Class::Throttled),
            (500, "InternalError", "etcdserver: leader changed", Class::Transient),
            (503, "ServiceUnavailable", "apiserver is shutting down", Class::Transient),
            (
                500,
                "",
                "failed to create typed patch object (a/b; v1): .dta: field not declared in schema",
                Class::Invalid,
            ),
            (501, "", "not simulated", Class::Permanent),
            (500, "InternalError", "failed calling webhook \"w\": no endpoints available", Class::WebhookNotReady),
            (400, "BadRequest", "admission webhook \"w\" denied the request: no", Class::Invalid),
        ];
        for (code, reason, message, class) in cases {
            assert_eq!(answer(code, reason, message).class, class, "{code} {message}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_told_from_none() {
        let error = serde_json::from_str::<serde_json::Value>("<html>").expect_err("no JSON");
        let failure = classify(&kube::Error::SerdeError(error), "list pods", "https://x");
        let expected = "cannot list pods: the answer of the cluster at `https://x` cannot be read: expected value at line 1 column 1";
        assert_eq!((failure.class, failure.what.as_str()), (Class::Transient, expected));
    }

    #[test]
    fn a_forbidden_verb_and_resource_are_named() {
        let failure = answer(403, "Forbidden", "pods \"b\" is forbidden");
        assert_eq!(failure.cause.as_deref(), Some("the account may not get pods"));
    }

    #[test]
    fn a_conflict_is_a_table_of_managers_and_fields() {
        let status: Status = serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": 409, "reason": "Conflict", "message": "Apply failed with 1 conflict",
            "details": { "causes": [{
                "reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"
            }] }
        }))
        .expect("a status");
        let failure = refused(&status, "apply deployments.apps `a/b`");
        assert_eq!(failure.class, Class::Conflict);
        assert_eq!(failure.detail, "MANAGER  FIELD\nkubectl  .spec.replicas");
        assert!(failure.fix.expect("a fix").contains("force: true"));
    }
}
