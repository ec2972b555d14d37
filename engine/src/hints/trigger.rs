//! What was once seen when something went wrong, as it is written beside a hint: the hint's own test.

use std::time::Duration;

use runbook_steps::failure::{ConditionFact, Objects};
use runbook_steps::{Class, Facts};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::best::{About, Seen};
use crate::plan::duration;

/// A recorded sight. What is left out was not there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trigger {
    /// The failure's line, or what a waiting step said.
    error: String,
    /// Its further lines.
    detail: String,
    /// Its class; none for a step that waits.
    class: Option<Class>,
    stdout: String,
    stderr: String,
    log: String,
    events: Vec<String>,
    conditions: Vec<ConditionFact>,
    http: Http,
    objects: Vec<Value>,
    other: std::collections::BTreeMap<String, Value>,
    /// The step's id.
    step: String,
    /// The step's kind.
    kind: String,
    inputs: Map<String, Value>,
    /// How long it has lasted.
    elapsed: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    status: Option<u16>,
    body: String,
}

impl Trigger {
    /// Reads one from data.
    pub fn read(value: &Value) -> Result<Self, String> {
        let trigger: Self = Self::deserialize(value).map_err(|error| error.to_string())?;
        if !trigger.elapsed.is_empty() {
            duration::parse(&trigger.elapsed)?;
        }
        Ok(trigger)
    }

    /// The step's kind; empty where none is given.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What steps would have reported.
    pub fn facts(&self) -> Facts {
        Facts {
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
            log: self.log.clone(),
            events: self.events.clone(),
            conditions: self.conditions.clone(),
            http_status: self.http.status,
            http_body: self.http.body.clone(),
            objects: Objects::new(&self.objects),
            other: self.other.clone(),
            ..Facts::default()
        }
    }

    /// What hints look at, over those facts.
    pub fn seen<'a>(&'a self, facts: &'a Facts) -> Seen<'a> {
        let elapsed = duration::parse(&self.elapsed).unwrap_or(Duration::ZERO);
        let about = About { step: &self.step, kind: &self.kind, inputs: Some(&self.inputs), elapsed };
        Seen { class: self.class, texts: [&self.error, &self.detail], facts, about }
    }
}
