//! Pods: whether one is ready.

use serde_json::Value;

use super::conditions::conditions_of;
use super::events::events_about;
use super::trouble::{death, statuses, trouble_of};
use super::{Around, Readiness};
use crate::cluster::text_at;

pub(super) fn judge(pod: &Value, around: &Around<'_>) -> Readiness {
    let conditions = conditions_of(pod);
    match text_at(pod, "/status/phase") {
        // It has done what it was for.
        "Succeeded" => Readiness::Ready,
        "Failed" => Readiness::failed(format!("failed: {}", failed_reason(pod))),
        "Running" if conditions.holds("Ready") => Readiness::Ready,
        _ => match trouble_of(pod, &events_about(pod, around.events)) {
            Some(trouble) if trouble.is_hopeless(pod, around) => Readiness::failed(trouble.line("", around.now)),
            Some(trouble) => Readiness::progressing(trouble.line("", around.now)),
            None => Readiness::progressing(not_ready(pod)),
        },
    }
}

/// What a pod without a trouble of its own still waits for.
fn not_ready(pod: &Value) -> String {
    let gate = conditions_of(pod).denied("Ready").filter(|it| it.reason == "ReadinessGatesNotReady").cloned();
    match (text_at(pod, "/status/phase"), gate) {
        ("", _) => "no node has taken it yet".to_owned(),
        ("Running", Some(gate)) => format!("running, but {}", gate.message),
        ("Running", None) => "running, but not ready".to_owned(),
        (phase, _) => format!("phase {phase}"),
    }
}

fn failed_reason(pod: &Value) -> String {
    let own = [text_at(pod, "/status/reason"), text_at(pod, "/status/message")];
    let own: Vec<&str> = own.into_iter().filter(|text| !text.is_empty()).collect();
    let dead = || {
        let containers = statuses(pod, "initContainerStatuses").chain(statuses(pod, "containerStatuses"));
        containers.filter_map(|status| death(status.pointer("/state/terminated")?)).next()
    };
    if own.is_empty() { dead().unwrap_or_else(|| "no reason given".to_owned()) } else { own.join(": ") }
}
