//! What is the matter with a pod that is not ready: its scheduling, or the first container that does not run as it should.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::Around;
use super::conditions::{Shown, conditions_of};
use super::events::{began, latest_warning, moment};
use crate::cluster::{text_at, uid_of};
use crate::failure::Class;

/// What is the matter with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Names this trouble, so that one can tell how long it has been there.
    pub key: String,
    /// The container (`main`, `init download`); empty where it is the pod's own.
    pub place: String,
    /// What it does: `waiting CrashLoopBackOff`.
    pub what: String,
    /// Why, as far as the API says; a container's log may say more.
    pub why: String,
    /// How its last life ended, to be said where nothing else tells why.
    pub ending: String,
    /// How often the container was started again.
    pub restarts: u64,
    /// When it last died.
    pub died: Option<Timestamp>,
    /// Since when the trouble is known to be there.
    pub since: Option<Timestamp>,
    /// After how long there is no hope left; `None` while there is.
    pub hopeless_after: Option<Duration>,
    /// The class of the failure that it then is.
    pub class: Class,
    /// The container whose log tells more, and which of its lives.
    pub log: Option<Log>,
}

/// Which log tells more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The container.
    pub container: String,
    /// That of its previous life.
    pub previous: bool,
    /// It still grows: what is read now is not all of it.
    pub grows: bool,
}

/// A container that has been started this often and died each time will not live by itself.
const HOPELESS_RESTARTS: u64 = 3;

/// Longer than the kubelet waits at most before it starts a container again.
const SECOND_CHANCE: Duration = Duration::from_secs(360);

impl Trouble {
    fn new(key: &str, what: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            place: String::new(),
            what: what.into(),
            why: String::new(),
            ending: String::new(),
            restarts: 0,
            died: None,
            since: None,
            hopeless_after: None,
            class: Class::Permanent,
            log: None,
        }
    }

    fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    fn hopeless_after(mut self, seconds: u64) -> Self {
        self.hopeless_after = Some(Duration::from_secs(seconds));
        self
    }

    fn since(mut self, since: Option<Timestamp>) -> Self {
        self.since = since;
        self
    }

    fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// For how long it has been there by the cluster's own words.
    fn held(&self, now: Option<Timestamp>) -> Duration {
        match (self.since, now) {
            (Some(since), Some(now)) => Duration::try_from(now.duration_since(since)).unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// After how long there is no hope left, for somebody who looks since a certain time: what died before that may have been
    /// put right meanwhile, and gets another chance.
    pub(crate) fn limit(&self, around: &Around<'_>) -> Option<Duration> {
        match (self.hopeless_after, self.died, around.watched) {
            (Some(Duration::ZERO), Some(died), Some(watched)) if died < watched => Some(SECOND_CHANCE),
            (limit, _, _) => limit,
        }
    }

    /// Whether waiting does not help.
    pub(crate) fn is_hopeless(&self, pod: &Value, around: &Around<'_>) -> bool {
        let seen = around.held.map(|held| held.get(&self.name(pod)).copied().unwrap_or_default());
        let held = seen.unwrap_or_else(|| self.held(around.now));
        self.limit(around).is_some_and(|limit| limit <= held)
    }

    /// What tells it from other troubles of this pod and of others.
    pub(crate) fn name(&self, pod: &Value) -> String {
        format!("{} {}", uid_of(pod), self.key)
    }

    /// One line: `main · waiting CrashLoopBackOff: error: no such file (3rd restart, 40 s ago)`. `words` are the last of a log.
    pub fn line(&self, words: &str, now: Option<Timestamp>) -> String {
        let place = if self.place.is_empty() { String::new() } else { format!("{} · ", self.place) };
        let told: Vec<&str> = [self.why.trim(), words.trim()].into_iter().filter(|text| !text.is_empty()).collect();
        let told = if told.is_empty() { self.ending.clone() } else { told.join(" · ") };
        let told = if told.is_empty() { told } else { format!(": {told}") };
        format!("{place}{}{told}{}", self.what, self.lives(now))
    }

    /// ` (3rd restart, 40 s ago)`.
    fn lives(&self, now: Option<Timestamp>) -> String {
        let ago =
            self.died.zip(now).map(|(died, now)| ago(Duration::try_from(now.duration_since(died)).unwrap_or_default()));
        match (self.restarts, ago) {
            (0, None) => String::new(),
            (0, Some(ago)) => format!(" ({ago})"),
            (times, None) => format!(" ({} restart)", ordinal(times)),
            (times, Some(ago)) => format!(" ({} restart, {ago})", ordinal(times)),
        }
    }
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn ago(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s ago"),
        seconds @ 60..5400 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3600),
    }
}

/// What is the matter with a pod, if anything is. `events` are those about it, newest first.
pub(crate) fn trouble_of(pod: &Value, events: &[&Value]) -> Option<Trouble> {
    if matches!(text_at(pod, "/status/phase"), "Succeeded") || conditions_of(pod).holds("Ready") {
        return None;
    }
    if let Some(trouble) = unscheduled(pod, events) {
        return Some(trouble);
    }
    let init = statuses(pod, "initContainerStatuses").find_map(|status| container_trouble(status, "init ", events));
    init.or_else(|| statuses(pod, "containerStatuses").find_map(|status| container_trouble(status, "", events)))
}

pub(super) fn statuses<'p>(pod: &'p Value, field: &str) -> impl Iterator<Item = &'p Value> {
    pod.pointer("/status").and_then(|status| status.get(field)).and_then(Value::as_array).into_iter().flatten()
}

/// Why the pod has no node.
fn unscheduled(pod: &Value, events: &[&Value]) -> Option<Trouble> {
    let conditions = conditions_of(pod);
    let scheduled = conditions.get("PodScheduled").filter(|it| it.status == "False")?;
    let why = if scheduled.message.is_empty() { &scheduled.reason } else { &scheduled.message };
    if scheduled.reason == "SchedulingGated" {
        return Some(Trouble::new("gated", "held back by its scheduling gates").because(why));
    }
    let mut scaling = events.iter().copied().filter(|event| text_at(event, "/reason").contains("ScaleUp"));
    let Some(event) = scaling.next() else { return Some(Trouble::new("unscheduled", "no node fits").because(why)) };
    Some(scaled(scheduled, event, scaling))
}

/// An autoscaler that is making a node is progress; one that has given up is not.
fn scaled<'e>(scheduled: &Shown, event: &Value, before: impl Iterator<Item = &'e Value>) -> Trouble {
    let said = text_at(event, "/message").trim();
    let both = || format!("{}; {said}", scheduled.message);
    match text_at(event, "/reason") {
        "TriggeredScaleUp" => Trouble::new("scale-up", "waits for a new node").because(said),
        "FailedScaleUp" => failed_scale_up(said),
        "NotTriggerScaleUp" => {
            let failed = before.filter(|event| text_at(event, "/reason") == "FailedScaleUp");
            let class = match failed.map(|event| failed_scale_up(text_at(event, "/message")).class).next() {
                Some(class) => class,
                None if said.contains("in backoff after failed scale-up") => Class::Stockout,
                None => Class::Permanent,
            };
            let trouble = Trouble::new("no-scale-up", "no node fits, and none is made").because(both());
            trouble.since(began(event)).hopeless_after(180).class(class)
        }
        _ => Trouble::new("scale-up", "no node fits").because(both()),
    }
}

fn failed_scale_up(said: &str) -> Trouble {
    let trouble = |key| Trouble::new(key, "no new node").because(said);
    let lower = said.to_lowercase();
    if is_stockout(&lower) {
        trouble("stockout").hopeless_after(0).class(Class::Stockout)
    } else if lower.contains("quota") {
        trouble("quota").hopeless_after(0).class(Class::Quota)
    } else if lower.contains("ip space exhausted") {
        trouble("addresses").hopeless_after(0)
    } else {
        trouble("scale-up")
    }
}

fn is_stockout(text: &str) -> bool {
    let signs = ["stockout", "out of resources", "enough resources", "resource_pool_exhausted"];
    signs.iter().any(|sign| text.contains(sign))
}

fn container_trouble(status: &Value, sort: &str, events: &[&Value]) -> Option<Trouble> {
    let name = text_at(status, "/name");
    let mut trouble = waiting(status, events).or_else(|| died(status)).or_else(|| unready(status, sort, events))?;
    trouble.place = format!("{sort}{name}");
    trouble.key = format!("{name} {}", trouble.key);
    if let Some(log) = &mut trouble.log {
        name.clone_into(&mut log.container);
    }
    Some(trouble)
}

fn restarts(status: &Value) -> u64 {
    status.get("restartCount").and_then(Value::as_u64).unwrap_or(0)
}

fn waiting(status: &Value, events: &[&Value]) -> Option<Trouble> {
    let state = status.pointer("/state/waiting")?;
    let (reason, message) = (text_at(state, "/reason"), text_at(state, "/message"));
    let what = format!("waiting {reason}");
    let failed = || events.iter().copied().find(|event| text_at(event, "/reason") == "Failed").and_then(began);
    Some(match reason {
        "CrashLoopBackOff" => crash(status, what, "/lastState/terminated", true),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" => image_pull(message, events).since(failed()),
        "InvalidImageName" | "ErrImageNeverPull" => Trouble::new("image", what).because(message).hopeless_after(0),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "SignatureValidationFailed" => {
            Trouble::new(reason, what).because(message).hopeless_after(180).since(failed())
        }
        // Some init container still works, which has its own line.
        "PodInitializing" => Trouble::new(reason, what).because(message),
        _ => Trouble::new(reason, what).because(latest_warning(events).unwrap_or_else(|| message.to_owned())),
    })
}

/// The kubelet alternates between two reasons, of which the second hides why; the event still has it.
fn image_pull(message: &str, events: &[&Value]) -> Trouble {
    let failed =
        events.iter().find(|event| text_at(event, "/reason") == "Failed" && says_why(text_at(event, "/message")));
    let why = failed.map_or(message, |event| text_at(event, "/message"));
    let why = if says_why(message) { message } else { why };
    let refused = ["401", "403", "unauthorized", "denied", "authentication required"];
    let is_refused = refused.iter().any(|sign| why.to_lowercase().contains(sign));
    let trouble = Trouble::new("image", "waiting ErrImagePull").because(why);
    trouble.hopeless_after(if is_refused { 60 } else { 180 })
}

fn says_why(message: &str) -> bool {
    message.contains("ailed to pull") || message.contains("rpc error") || message.contains("nauthorized")
}

/// A container that dies. Its exit code tells less than its log, except where it was killed.
fn crash(status: &Value, what: impl Into<String>, place: &str, previous: bool) -> Trouble {
    let terminated = status.pointer(place).unwrap_or(&Value::Null);
    let mut trouble = Trouble::new("crash", what);
    match death(terminated) {
        Some(killed) if !text_at(terminated, "/reason").is_empty() && text_at(terminated, "/reason") != "Error" => {
            trouble.why = killed;
        }
        ended => trouble.ending = ended.unwrap_or_default(),
    }
    trouble.restarts = restarts(status);
    trouble.died = moment(terminated, "/finishedAt");
    trouble.log = Some(Log { container: String::new(), previous, grows: false });
    if trouble.restarts >= HOPELESS_RESTARTS { trouble.hopeless_after(0) } else { trouble }
}

/// `exit 137 OOMKilled`, unless it ended well.
pub(super) fn death(terminated: &Value) -> Option<String> {
    let code = terminated.get("exitCode").and_then(Value::as_i64)?;
    let (reason, message) = (text_at(terminated, "/reason"), text_at(terminated, "/message").trim());
    let reason = if matches!(reason, "Error" | "Completed") { "" } else { reason };
    let told = format!("exit {code} {reason}").trim_end().to_owned();
    let told = if message.is_empty() { told } else { format!("{told}: {message}") };
    (code != 0).then_some(told)
}

fn died(status: &Value) -> Option<Trouble> {
    death(status.pointer("/state/terminated")?)?;
    Some(crash(status, "died", "/state/terminated", false))
}

/// It runs, but is not ready: a probe that fails says why. An init container that runs is at work.
fn unready(status: &Value, sort: &str, events: &[&Value]) -> Option<Trouble> {
    status.pointer("/state/running")?;
    if status.get("ready").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    let log = Some(Log { container: String::new(), previous: false, grows: true });
    if !sort.is_empty() {
        return Some(Trouble { log, ..Trouble::new("init", "running") });
    }
    let probe = events.iter().find(|event| text_at(event, "/reason") == "Unhealthy");
    let probe = probe.map(|event| text_at(event, "/message").trim().to_owned()).unwrap_or_default();
    let last = status.pointer("/lastState/terminated").unwrap_or(&Value::Null);
    Some(Trouble {
        why: probe,
        ending: death(last).map(|death| format!("its last life ended with {death}")).unwrap_or_default(),
        restarts: restarts(status),
        died: moment(last, "/finishedAt"),
        log,
        ..Trouble::new("unready", "running, not ready")
    })
}
