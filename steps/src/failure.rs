//! Why a step failed, as data: for a person to read, for the engine to decide on, and for hints to match.
//!
//! The step classifies; it does not know what the engine makes of a class.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::context::Child;

/// What sort of failure it is. The names are those that a plan's `retry.only` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Went wrong in a way that often goes away: a connection, a 5xx, a leader election.
    Transient,
    /// An admission webhook has no endpoint yet.
    WebhookNotReady,
    /// Somebody else is changing the same thing: an optimistic lock, a running operation.
    Conflict,
    /// Asked too often (429); honour `retry_after`.
    Throttled,
    /// Took longer than its `timeout`.
    Timeout,
    /// Credentials are missing, wrong or too old (401).
    AuthExpired,
    /// A quota forbids it. Waiting does not help; a person must ask for more.
    Quota,
    /// The zone has no capacity now; another zone may.
    Stockout,
    /// The request is wrong and stays wrong.
    Invalid,
    /// What it refers to does not exist.
    NotFound,
    /// Everything else that does not go away by itself.
    Permanent,
    /// Told to stop.
    Cancelled,
    /// Only a person can go on: an approval, a manual step without a terminal.
    NeedsPerson,
}

impl Class {
    /// Every class, in the order of the documentation.
    pub const ALL: [Class; 13] = [
        Class::Transient,
        Class::WebhookNotReady,
        Class::Conflict,
        Class::Throttled,
        Class::Timeout,
        Class::AuthExpired,
        Class::Quota,
        Class::Stockout,
        Class::Invalid,
        Class::NotFound,
        Class::Permanent,
        Class::Cancelled,
        Class::NeedsPerson,
    ];

    /// The name that plans and reports use.
    pub fn name(self) -> &'static str {
        match self {
            Class::Transient => "transient",
            Class::WebhookNotReady => "webhook-not-ready",
            Class::Conflict => "conflict",
            Class::Throttled => "throttled",
            Class::Timeout => "timeout",
            Class::AuthExpired => "auth-expired",
            Class::Quota => "quota",
            Class::Stockout => "stockout",
            Class::Invalid => "invalid",
            Class::NotFound => "not-found",
            Class::Permanent => "permanent",
            Class::Cancelled => "cancelled",
            Class::NeedsPerson => "needs-person",
        }
    }

    /// Whether a step with no `retry.only` of its own tries again after this.
    pub fn retried_by_default(self) -> bool {
        matches!(self, Class::Transient | Class::WebhookNotReady | Class::Conflict | Class::Throttled)
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What was seen when it failed, or while it waits; hints match on these. All text is already redacted and bounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// A program's exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The last lines of a program's standard output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// The last lines of a program's standard error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// The last HTTP answer's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The start of the last HTTP answer's body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub http_body: String,
    /// Conditions of the objects that were looked at: those that are not as wanted first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionFact>,
    /// Kubernetes events about those objects, `Reason: message`, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// The last lines that a container logged.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// Anything else worth matching, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, Value>,
    /// Processes that cannot be ended: nothing may start beside them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alive: Vec<Child>,
    /// The objects that were looked at, whole. Only for matching: they are never stored.
    #[serde(skip)]
    pub objects: Objects,
}

impl Facts {
    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        *self == Facts::default()
    }
}

/// The objects that were looked at, as text: a step that waits remembers them for as long, and parsed they take ten times as much
/// memory. Two sights of a thing are the same when what they say of it is, whatever else of it has moved.
#[derive(Clone, Debug, Default)]
pub struct Objects(Vec<Arc<str>>);

impl Objects {
    /// These objects.
    pub fn new<'o>(objects: impl IntoIterator<Item = &'o Value>) -> Self {
        Self(objects.into_iter().map(|object| object.to_string().into()).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All of them, parsed anew at each call.
    pub fn read(&self) -> Vec<Value> {
        self.0.iter().map(|text| serde_json::from_str(text).expect("what was written from a value")).collect()
    }

    /// Those of another sight, too.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }
}

impl PartialEq for Objects {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// One condition of a Kubernetes object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConditionFact {
    /// `kind/namespace/name`, lower-case kind.
    pub object: String,
    /// The condition's type, such as `Programmed`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// The machine-readable reason.
    pub reason: String,
    /// The sentence for people.
    pub message: String,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of failure it is.
    pub class: Class,
    /// What happened, in one line, lower case, without a full stop.
    pub what: String,
    /// More lines: a tail of output, a table of conflicts. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Why, where the step itself knows. Plans' hints may say more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it, where the step itself knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// The step that puts it right, where a hint of the plan names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// How long the far side asked us to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub facts: Box<Facts>,
}

impl Failure {
    /// A failure of a class, in one line.
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self {
            class,
            what: what.into(),
            detail: String::new(),
            cause: None,
            fix: None,
            remedy: None,
            retry_after: None,
            facts: Box::default(),
        }
    }

    /// A failure that does not go away by itself.
    pub fn permanent(what: impl Into<String>) -> Self {
        Self::new(Class::Permanent, what)
    }

    /// A failure that often goes away.
    pub fn transient(what: impl Into<String>) -> Self {
        Self::new(Class::Transient, what)
    }

    /// A request that is wrong and stays wrong.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(Class::Invalid, what)
    }

    /// The step was told to stop.
    pub fn cancelled() -> Self {
        Self::new(Class::Cancelled, "cancelled")
    }

    /// Adds the lines that explain it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds why it happened.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Adds what was seen.
    #[must_use]
    pub fn facts(mut self, facts: Facts) -> Self {
        *self.facts = facts;
        self
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_read_as_they_were_seen() {
        let (pod, node) = (json!({ "kind": "Pod", "z": 1, "a": [null, "ü"] }), json!({ "kind": "Node" }));
        let mut objects = Objects::new([&pod]);
        objects.extend(&Objects::new([&node]));
        assert_eq!((objects.count(), objects.read()), (2, vec![pod, node]));
    }
}
