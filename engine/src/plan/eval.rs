//! Evaluation of a step's expressions, once what they refer to is known.
//!
//! Owns when what is evaluated and what comes out; pure. Does not know the journal or the world: it is handed outputs.

use std::fmt;

use runbook_steps::Outputs;
use serde_json::{Map, Value};

use super::model::{Known, OutputRule, Place, Plan, SecretSource, Step, Template, Work};
use super::sight::{Sight, shown};

/// An expression that has no value.
#[derive(Clone, Debug)]
pub struct EvalError {
    /// Why, in one line.
    pub message: String,
    /// Where in the plan.
    pub place: Option<Place>,
}

impl EvalError {
    pub(crate) fn new(message: impl Into<String>, place: Place) -> Self {
        Self { message: message.into(), place: Some(place) }
    }

    pub(crate) fn bare(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None }
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{}: {}", place.location(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for EvalError {}

/// A requirement that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// A step with all its expressions evaluated. Holds markers in place of secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The kind's `with`; null for a step that only waits.
    pub with: Value,
    /// The conditions of `check`.
    pub check: Vec<Value>,
    /// The conditions of `wait`.
    pub wait: Vec<Value>,
    /// The names of its locks, sorted, each once.
    pub locks: Vec<String>,
    /// The `with` of the plan's own undo, where it has one.
    pub undo: Option<Value>,
}

/// An output of a step, evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum RenderedOutput {
    /// Still to be read off the world.
    Lookup(Value),
    /// The value.
    Value(Value),
}

impl Step {
    fn sight<'a>(&'a self, known: &'a Known, own: Option<&'a Outputs>) -> Sight<'a> {
        Sight { units: &self.scope.units, unit: self.scope.unit, each: &self.scope.each, known, own, depth: 0 }
    }

    /// Whether `when` wants it to run.
    pub fn is_wanted(&self, known: &Known) -> Result<bool, EvalError> {
        self.when.as_ref().map_or(Ok(true), |when| self.sight(known, None).holds(when))
    }

    /// The first requirement that is not met.
    pub fn unmet(&self, known: &Known) -> Result<Option<Unmet>, EvalError> {
        let sight = self.sight(known, None);
        for requirement in &self.require {
            if !sight.holds(&requirement.assert)? {
                let message = text_of(&sight, &requirement.message)?;
                let fix = requirement.fix.as_ref().map(|fix| text_of(&sight, fix)).transpose()?;
                return Ok(Some(Unmet { message, fix }));
            }
        }
        Ok(None)
    }

    /// Everything that is needed to run it.
    pub fn render(&self, known: &Known) -> Result<Rendered, EvalError> {
        let sight = self.sight(known, None);
        let list = |templates: &[Template]| {
            templates.iter().map(|template| sight.template(template)).collect::<Result<Vec<_>, _>>()
        };
        let with = |work: &Work| sight.template(&work.with);
        let mut locks = self.locks.iter().map(|lock| text_of(&sight, lock)).collect::<Result<Vec<_>, _>>()?;
        locks.sort();
        locks.dedup();
        Ok(Rendered {
            with: self.work.as_ref().map(with).transpose()?.unwrap_or(Value::Null),
            check: list(&self.check)?,
            wait: list(&self.wait)?,
            locks,
            undo: self.undo.as_ref().and_then(|undo| undo.work.as_ref()).map(with).transpose()?,
        })
    }

    /// The `with` of some work of this step's alone, where the rest of the step may have no value any more.
    pub fn render_work(&self, work: &Work, known: &Known) -> Result<Value, EvalError> {
        self.sight(known, None).template(&work.with)
    }

    /// The assertions that do not hold, each with the values of what it names. `own` are the outputs of this step.
    pub fn failed_assertions(&self, known: &Known, own: &Outputs) -> Result<Vec<String>, EvalError> {
        let sight = self.sight(known, Some(own));
        let mut failed = Vec::new();
        for assertion in &self.assert {
            if !sight.holds(assertion)? {
                failed.push(describe(&assertion.text, &sight.values_of(&assertion.text)));
            }
        }
        Ok(failed)
    }

    /// The outputs that the plan adds, over those that the kind gave. In the order of the plan; later ones see earlier values.
    pub fn own_outputs(&self, known: &Known, own: &Outputs) -> Result<Vec<(String, RenderedOutput)>, EvalError> {
        let mut own = own.clone();
        let mut rendered = Vec::new();
        for (name, rule) in &self.outputs {
            let sight = self.sight(known, Some(&own));
            let output = match rule {
                OutputRule::Lookup(template) => RenderedOutput::Lookup(sight.template(template)?),
                OutputRule::Value(template) => RenderedOutput::Value(sight.template(template)?),
            };
            if let RenderedOutput::Value(value) = &output {
                own.insert(name.clone(), value.clone());
            }
            rendered.push((name.clone(), output));
        }
        Ok(rendered)
    }
}

impl Plan {
    /// The environment variables that secrets are taken from.
    pub fn secret_variables(&self) -> impl Iterator<Item = &str> {
        self.secrets.values().flat_map(|spec| &spec.from).filter_map(|source| match source {
            SecretSource::Env(name) => Some(name.as_str()),
            SecretSource::File(_) | SecretSource::Prompt(_) => None,
        })
    }

    /// The index of a step by its name.
    pub fn step(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// What the plan shows at its end. What has no value, because its step did not run, is left out.
    pub fn final_outputs(&self, known: &Known) -> Map<String, Value> {
        let nothing = Map::new();
        let sight = Sight { units: &self.units, unit: 0, each: &nothing, known, own: None, depth: 0 };
        self.outputs
            .iter()
            .filter_map(|(name, template)| Some((name.clone(), sight.template(template).ok()?)))
            .collect()
    }
}

/// A template that must come out as text.
fn text_of(sight: &Sight<'_>, template: &Template) -> Result<String, EvalError> {
    match sight.template(template)? {
        Value::String(text) => Ok(text),
        other => Ok(shown(&other)),
    }
}

fn describe(text: &str, values: &[(String, Value)]) -> String {
    let values: Vec<String> = values.iter().map(|(name, value)| format!("{name} is {}", shown(value))).collect();
    if values.is_empty() {
        return format!("`{}` does not hold", text.trim());
    }
    format!("`{}` does not hold: {}", text.trim(), values.join(", "))
}
