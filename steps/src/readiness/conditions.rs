//! The conditions of an object: `status.conditions`, and those of a parent or listener inside the status.

use std::fmt;

use serde_json::Value;

use super::Readiness;
use crate::cluster::text_at;

/// One condition, as a line for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Set before the latest change of the object, so it says nothing of how the object stands now.
    pub(crate) stale: bool,
}

impl Shown {
    /// Whether it is true of the object as it is now.
    pub(super) fn is_true_now(&self) -> bool {
        self.status == "True" && !self.stale
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, status, reason, message, stale } = self;
        write!(f, "{kind}={status}")?;
        if !reason.is_empty() && reason != kind {
            write!(f, " ({reason})")?;
        }
        if !message.is_empty() {
            write!(f, ": {}", message.trim())?;
        }
        if *stale {
            f.write_str(" [of an earlier generation]")?;
        }
        Ok(())
    }
}

/// The conditions of one place in a status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions(Vec<Shown>);

impl Conditions {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Shown> {
        self.0.iter()
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&Shown> {
        self.0.iter().find(|it| it.kind.eq_ignore_ascii_case(kind))
    }

    /// Whether a condition is true of the object as it is now.
    pub(crate) fn holds(&self, kind: &str) -> bool {
        self.get(kind).is_some_and(Shown::is_true_now)
    }

    /// A condition that is `False` of the object as it is now.
    pub(crate) fn denied(&self, kind: &str) -> Option<&Shown> {
        self.get(kind).filter(|it| it.status == "False" && !it.stale)
    }
}

/// `status.conditions` of an object.
pub(crate) fn conditions_of(object: &Value) -> Conditions {
    object.get("status").map_or_else(Conditions::default, |status| conditions_in(status, object))
}

/// The `conditions` of a part of an object's status; their generation is compared with the object's.
pub(crate) fn conditions_in(part: &Value, object: &Value) -> Conditions {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    let all = part.get("conditions").and_then(Value::as_array).into_iter().flatten();
    Conditions(all.map(|it| read(it, generation)).collect())
}

fn read(condition: &Value, generation: Option<i64>) -> Shown {
    let seen = condition.get("observedGeneration").and_then(Value::as_i64);
    Shown {
        kind: text_at(condition, "/type").to_owned(),
        status: text_at(condition, "/status").to_owned(),
        reason: text_at(condition, "/reason").to_owned(),
        message: text_at(condition, "/message").to_owned(),
        stale: matches!((seen, generation), (Some(seen), Some(wanted)) if seen < wanted),
    }
}

/// Ready if the condition is true of the object as it is now, else what it says.
pub(super) fn as_wanted(condition: &Shown) -> Readiness {
    if condition.is_true_now() { Readiness::Ready } else { Readiness::progressing(condition.to_string()) }
}

/// Ready if the condition of that type is true, else what it says, or that it is missing.
pub(super) fn wants(conditions: &Conditions, kind: &str) -> Readiness {
    conditions.get(kind).map_or_else(|| Readiness::progressing(format!("no condition {kind} yet")), as_wanted)
}
