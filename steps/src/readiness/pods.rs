//! Pods: whether one is ready, and what is the matter with one that is not.

use std::time::Duration;

use serde_json::Value;

use super::Readiness;
use super::conditions::conditions_of;
use crate::cluster::text_at;
use crate::failure::Class;

/// What is the matter with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One line: the container and why it does not run, or why the pod has no node.
    pub text: String,
    /// Names this trouble, so that one can tell how long it has been there.
    pub key: String,
    /// After how long there is no hope left; `None` while there is.
    pub hopeless_after: Option<Duration>,
    /// The class of the failure that it then is.
    pub class: Class,
    /// The container whose log tells more, and whether it is the log of its previous life.
    pub log: Option<(String, bool)>,
}

impl Trouble {
    fn new(key: &str, text: impl Into<String>) -> Self {
        Self { text: text.into(), key: key.to_owned(), hopeless_after: None, class: Class::Permanent, log: None }
    }

    fn hopeless_after(mut self, seconds: u64) -> Self {
        self.hopeless_after = Some(Duration::from_secs(seconds));
        self
    }
}

/// A container that has been started this often and died each time will not live by itself.
const HOPELESS_RESTARTS: u64 = 3;

pub(super) fn judge(pod: &Value) -> Readiness {
    let phase = text_at(pod, "/status/phase");
    match phase {
        "Succeeded" => Readiness::Ready,
        "Failed" => Readiness::failed(format!("failed: {}", failed_reason(pod))),
        "Running" if conditions_of(pod).holds("Ready") => Readiness::Ready,
        _ => Readiness::progressing(trouble_of(pod, &[]).map_or_else(|| not_ready(pod), |trouble| trouble.text)),
    }
}

fn not_ready(pod: &Value) -> String {
    match text_at(pod, "/status/phase") {
        "" => "no node has taken it yet".to_owned(),
        "Running" => "running, but not ready".to_owned(),
        phase => format!("phase {phase}"),
    }
}

fn failed_reason(pod: &Value) -> String {
    let own = [text_at(pod, "/status/reason"), text_at(pod, "/status/message")].join(" ").trim().to_owned();
    let dead = || statuses(pod, "containerStatuses").find_map(died).map(|death| death.text);
    if own.is_empty() { dead().unwrap_or_else(|| "no reason given".to_owned()) } else { own }
}

/// What is the matter with a pod, if anything is. `events` are those about it, newest first.
pub fn trouble_of(pod: &Value, events: &[&Value]) -> Option<Trouble> {
    if matches!(text_at(pod, "/status/phase"), "Succeeded") || conditions_of(pod).holds("Ready") {
        return None;
    }
    if let Some(trouble) = unscheduled(pod, events) {
        return Some(trouble);
    }
    let init =
        statuses(pod, "initContainerStatuses").find_map(|status| container_trouble(status, "init container ", events));
    let main = || statuses(pod, "containerStatuses").find_map(|status| container_trouble(status, "container ", events));
    init.or_else(main)
}

fn statuses<'p>(pod: &'p Value, field: &str) -> impl Iterator<Item = &'p Value> {
    pod.pointer("/status").and_then(|status| status.get(field)).and_then(Value::as_array).into_iter().flatten()
}

/// Why the pod has no node. An autoscaler that is making one is progress; one that has given up is not.
fn unscheduled(pod: &Value, events: &[&Value]) -> Option<Trouble> {
    let conditions = conditions_of(pod);
    let scheduled = conditions.get("PodScheduled").filter(|it| it.status == "False")?;
    let why = if scheduled.message.is_empty() { &scheduled.reason } else { &scheduled.message };
    let scaling = events.iter().find(|event| text_at(event, "/reason").contains("ScaleUp"));
    let Some(event) = scaling else { return Some(Trouble::new("unscheduled", format!("no node fits: {why}"))) };
    let said = text_at(event, "/message");
    Some(match text_at(event, "/reason") {
        "TriggeredScaleUp" => Trouble::new("scale-up", format!("waits for a new node: {said}")),
        "FailedScaleUp" if is_stockout(said) => Trouble {
            class: Class::Stockout,
            ..Trouble::new("stockout", format!("no new node: {said}")).hopeless_after(0)
        },
        "FailedScaleUp" if said.to_lowercase().contains("quota") => {
            Trouble { class: Class::Quota, ..Trouble::new("quota", format!("no new node: {said}")).hopeless_after(0) }
        }
        "NotTriggerScaleUp" => Trouble::new("no-scale-up", format!("no node fits: {why}; {said}")).hopeless_after(180),
        _ => Trouble::new("scale-up", format!("no node fits: {why}; {said}")),
    })
}

fn is_stockout(text: &str) -> bool {
    let signs = ["stockout", "out of resources", "enough resources", "resource_pool_exhausted"];
    signs.iter().any(|sign| text.to_lowercase().contains(sign))
}

fn container_trouble(status: &Value, sort: &str, events: &[&Value]) -> Option<Trouble> {
    let name = text_at(status, "/name");
    let mut trouble = waiting(status, events).or_else(|| died(status)).or_else(|| unready(status, events))?;
    trouble.text = format!("{sort}{name} {}", trouble.text);
    trouble.key = format!("{name} {}", trouble.key);
    if let Some((container, _)) = &mut trouble.log {
        name.clone_into(container);
    }
    Some(trouble)
}

fn restarts(status: &Value) -> u64 {
    status.get("restartCount").and_then(Value::as_u64).unwrap_or(0)
}

fn waiting(status: &Value, events: &[&Value]) -> Option<Trouble> {
    let state = status.pointer("/state/waiting")?;
    let (reason, message) = (text_at(state, "/reason"), text_at(state, "/message"));
    let text = if message.is_empty() { format!("waiting {reason}") } else { format!("waiting {reason}: {message}") };
    Some(match reason {
        "CrashLoopBackOff" => crash_loop(status),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => image_pull(message, events),
        "InvalidImageName" => Trouble::new("image", text).hopeless_after(0),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            Trouble::new(reason, text).hopeless_after(180)
        }
        _ => Trouble::new(reason, latest_warning(events).map_or(text, |event| format!("waiting {reason}: {event}"))),
    })
}

/// The kubelet alternates between two reasons, of which the second hides why; the event still has it.
fn image_pull(message: &str, events: &[&Value]) -> Trouble {
    let failed =
        events.iter().find(|event| text_at(event, "/reason") == "Failed" && says_why(text_at(event, "/message")));
    let why = failed.map_or(message, |event| text_at(event, "/message"));
    let why = if says_why(message) { message } else { why };
    let text = format!("waiting ErrImagePull: {why}");
    let refused = ["401", "403", "unauthorized", "denied", "authentication required"];
    let is_refused = refused.iter().any(|sign| why.to_lowercase().contains(sign));
    Trouble::new("image", text).hopeless_after(if is_refused { 60 } else { 180 })
}

fn says_why(message: &str) -> bool {
    message.contains("ailed to pull") || message.contains("rpc error") || message.contains("nauthorized")
}

fn crash_loop(status: &Value) -> Trouble {
    let times = restarts(status);
    let last = status.pointer("/lastState/terminated").map(death_of).unwrap_or_default();
    let mut trouble = Trouble::new("crash", format!("waiting CrashLoopBackOff after {times} restarts{last}"));
    trouble.log = Some((String::new(), true));
    if times >= HOPELESS_RESTARTS { trouble.hopeless_after(0) } else { trouble }
}

/// `, last exit 137 OOMKilled`.
fn death_of(terminated: &Value) -> String {
    let code = terminated.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    let reason = text_at(terminated, "/reason");
    let reason = if reason == "Error" { "" } else { reason };
    format!(", last exit {code} {reason}").trim_end().to_owned()
}

fn died(status: &Value) -> Option<Trouble> {
    let terminated = status.pointer("/state/terminated")?;
    let code = terminated.get("exitCode").and_then(Value::as_i64).unwrap_or(0);
    if code == 0 {
        return None;
    }
    let reason = text_at(terminated, "/reason");
    let mut trouble = Trouble::new("crash", format!("exited with code {code} {reason}").trim_end());
    trouble.log = Some((String::new(), false));
    Some(if restarts(status) >= HOPELESS_RESTARTS { trouble.hopeless_after(0) } else { trouble })
}

/// It runs, but is not ready: a probe that fails says why.
fn unready(status: &Value, events: &[&Value]) -> Option<Trouble> {
    status.pointer("/state/running")?;
    if status.get("ready").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let probe = events.iter().find(|event| text_at(event, "/reason") == "Unhealthy");
    let again = match restarts(status) {
        0 => String::new(),
        times => format!(
            ", restarted {times} times{}",
            status.pointer("/lastState/terminated").map(death_of).unwrap_or_default()
        ),
    };
    let why = probe.map(|event| format!(": {}", text_at(event, "/message").trim())).unwrap_or_default();
    Some(Trouble::new("unready", format!("runs, but is not ready{again}{why}")))
}

fn latest_warning(events: &[&Value]) -> Option<String> {
    let warning = events.iter().find(|event| text_at(event, "/type") == "Warning")?;
    Some(format!("{}: {}", text_at(warning, "/reason"), text_at(warning, "/message").trim()))
}
