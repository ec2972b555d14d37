//! A step made ready: whether it is wanted, what exactly it does, and the value that does it. Runs nothing; of the world, it reads
//! the files that a step uses.

use std::collections::BTreeMap;

use runbook_steps::{Class, Effect, Failure, Outputs, Redactor};
use serde_json::{Map, Value, json};

use crate::plan::Plan;
use crate::plan::eval::{EvalError, Rendered, RenderedOutput};
use crate::plan::files::Odd;
use crate::plan::load::odd_thing;
use crate::plan::model::{Known, OutputRule, Step};
use crate::state::fingerprint::{fingerprint, short_digest};
use crate::state::record::{Fingerprint, Touches};

/// What a step is when its needs have ended.
#[derive(Debug)]
pub(crate) enum Prepared<R = Box<Ready>> {
    /// Its `when` is false.
    Unwanted(String),
    /// It cannot be evaluated, or its kind cannot read it.
    Refused(Failure),
    /// It can run.
    Ready(R),
}

/// A step in its words, with nothing of the files that it uses.
#[derive(Debug)]
pub(crate) struct Worded {
    pub(crate) rendered: Rendered,
    pub(crate) work: Option<Box<dyn runbook_steps::Step>>,
}

/// All that an attempt needs of its step.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) rendered: Rendered,
    pub(crate) work: Option<Box<dyn runbook_steps::Step>>,
    pub(crate) fingerprint: Fingerprint,
}

/// Evaluates a step over the outputs that are known, and reads the files that it uses.
pub(crate) fn prepare(plan: &Plan, step: &Step, known: &Known, redactor: &Redactor) -> Prepared {
    match word(step, known) {
        Prepared::Unwanted(why) => Prepared::Unwanted(why),
        Prepared::Refused(failure) => Prepared::Refused(failure),
        Prepared::Ready(worded) => match ready(plan, step, worded, redactor) {
            Ok(ready) => Prepared::Ready(Box::new(ready)),
            Err(failure) => Prepared::Refused(failure),
        },
    }
}

/// Evaluates a step over the outputs that are known. Pure.
pub(crate) fn word(step: &Step, known: &Known) -> Prepared<Worded> {
    match step.is_wanted(known) {
        Ok(true) => {}
        Ok(false) => return Prepared::Unwanted(unwanted(step)),
        Err(error) => return Prepared::Refused(refusal(&error)),
    }
    match worded(step, known) {
        Ok(worded) => Prepared::Ready(worded),
        Err(failure) => Prepared::Refused(failure),
    }
}

fn unwanted(step: &Step) -> String {
    step.when.as_ref().map_or_else(String::new, |when| format!("`when` is false: {}", when.text))
}

fn worded(step: &Step, known: &Known) -> Result<Worded, Failure> {
    let rendered = step.render(known).map_err(|error| refusal(&error))?;
    let work = match &step.work {
        None => None,
        Some(work) => Some((work.kind.read)(with_answers(step, &rendered.with)).map_err(|error| {
            let place = if error.path.is_empty() { "with".to_owned() } else { format!("with.{}", error.path) };
            Failure::invalid(format!("`{place}` of `{}`: {}", step.id, error.message))
        })?),
    };
    Ok(Worded { rendered, work })
}

fn ready(plan: &Plan, step: &Step, worded: Worded, redactor: &Redactor) -> Result<Ready, Failure> {
    let Worded { rendered, work } = worded;
    let files = work.as_ref().map(|work| work.files()).unwrap_or_default();
    if let Some(odd) = Odd::among(&files, &plan.dir, odd_thing) {
        return Err(Failure::invalid(odd.message()).fix(odd.fix()));
    }
    let fingerprint = fingerprint(step, &rendered, &files, &plan.dir).masked(redactor);
    Ok(Ready { rendered, work, fingerprint })
}

/// A step's `with` and what a person answered to it. The answers are no part of the fingerprint: they are given once.
fn with_answers(step: &Step, with: &Value) -> Value {
    let mut with = with.clone();
    if let (Some(answers), Some(map)) = (&step.answers, with.as_object_mut()) {
        map.insert("answers".to_owned(), Value::Object(Map::clone(answers)));
    }
    with
}

/// How the outputs of a step are had that are looked up in the world, by name, as short digests.
pub(crate) fn looked_up(step: &Step, known: &Known, outputs: &Outputs) -> BTreeMap<String, String> {
    if !step.outputs.values().any(|rule| matches!(rule, OutputRule::Lookup(_))) {
        return BTreeMap::new();
    }
    let digest = |(name, output)| match output {
        RenderedOutput::Lookup(rule) => Some((name, short_digest(&rule))),
        RenderedOutput::Value(_) => None,
    };
    step.own_outputs(known, outputs).unwrap_or_default().into_iter().filter_map(digest).collect()
}

/// The failure of a step whose requirement is not met, if one is not.
pub(crate) fn unmet(step: &Step, known: &Known) -> Option<Failure> {
    match step.unmet(known) {
        Ok(None) => None,
        Ok(Some(unmet)) => {
            let failure = Failure::permanent(unmet.message);
            Some(Failure { fix: unmet.fix, ..failure })
        }
        Err(error) => Some(refusal(&error)),
    }
}

/// An expression that has no value, as a failure.
pub(crate) fn refusal(error: &EvalError) -> Failure {
    let failure = Failure::new(Class::Invalid, error.message.clone());
    match &error.place {
        Some(place) => failure.detail(place.location()),
        None => failure,
    }
}

/// Whether a step is of a kind that changes nothing.
pub(crate) fn kind_reads(step: &Step) -> bool {
    step.work.as_ref().is_none_or(|work| work.kind.effect == Effect::Reads)
}

/// Whether a step changes nothing.
pub(crate) fn only_reads(step: &Step) -> bool {
    step.read_only || kind_reads(step)
}

/// Whether doing a step again is safe even if nobody can look.
pub(crate) fn repeatable(step: &Step) -> bool {
    only_reads(step) || step.idempotent || step.work.as_ref().is_none_or(|work| work.kind.idempotent)
}

/// Whether a crash in the middle of a step can be settled without a person.
pub(crate) fn recoverable(step: &Step, ready: &Ready) -> bool {
    let observes = step.work.as_ref().is_none_or(|work| work.kind.observes);
    let can_look = observes && ready.work.as_ref().is_none_or(|work| work.can_look());
    repeatable(step) || !step.check.is_empty() || can_look
}

/// When an attempt of a step begins to change the world: said by a record of its own where it looks first, or where what it makes
/// can be taken back by a recipe that belongs into that record.
pub(crate) fn touches(step: &Step) -> Touches {
    let looks = !step.check.is_empty() || step.work.as_ref().is_none_or(|work| work.kind.observes);
    let has_recipe = step.undo.as_ref().is_some_and(|undo| undo.work.is_some());
    if only_reads(step) || looks || has_recipe { Touches::WhenSaid } else { Touches::AtOnce }
}

/// A failure with every secret masked. Where a secret is also a word of its form, only what happened is left of it.
pub(crate) fn masked(redactor: &Redactor, failure: Failure) -> Failure {
    if redactor.is_idle() {
        return failure;
    }
    let bare = Failure::new(failure.class, redactor.mask(&failure.what));
    let Ok(mut plain) = serde_json::to_value(failure) else { return bare };
    redactor.mask_value(&mut plain);
    plain["class"] = json!(bare.class);
    serde_json::from_value(plain).unwrap_or(bare)
}

/// Masks the values of outputs or inputs.
pub(crate) fn mask_values(redactor: &Redactor, values: &mut Map<String, Value>) {
    values.values_mut().for_each(|value| redactor.mask_value(value));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use runbook_steps::{Secret, Secrets};

    use super::*;

    fn redactor(secret: &str) -> Redactor {
        Secrets::new(BTreeMap::from([("s".to_owned(), Secret::new(secret))])).redactor()
    }

    #[test]
    fn a_secret_that_is_also_a_word_of_a_failures_form_is_masked() {
        for secret in ["what", "transient", "detail", "class"] {
            let failure = Failure::transient(format!("the server said {secret}")).detail(format!("{secret} again"));
            let masked = masked(&redactor(secret), failure);
            assert_eq!((masked.class, masked.what.as_str()), (Class::Transient, "the server said [redacted]"));
            assert!(!masked.detail.contains(secret), "{masked:?}");
        }
    }
}
