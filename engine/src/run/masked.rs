//! Masked values are for the eye. To do something with one would be to do it to something else. Pure.

use runbook_steps::{Failure, Redactor};
use serde_json::Value;

use crate::plan::eval::Rendered;
use crate::plan::model::{Step, Template};

/// Why a step must not run with what it is given, if it was given a masked value. A plan may speak of the mask in its own words.
pub(crate) fn refused(step: &Step, rendered: &Rendered) -> Option<Failure> {
    // Hardly any step has the mask anywhere, and its words are dear to write out.
    place_of(rendered, &Words::default())?;
    place_of(rendered, &Words::of(step)).map(|place| refusal(&place))
}

/// What the plan itself says, before anything is evaluated.
#[derive(Default)]
struct Words {
    with: Value,
    check: Vec<Value>,
    wait: Vec<Value>,
    locks: Vec<Value>,
}

impl Words {
    fn of(step: &Step) -> Self {
        let list = |templates: &[Template]| templates.iter().map(Template::as_written).collect();
        Self {
            with: step.work.as_ref().map(|work| work.with.as_written()).unwrap_or_default(),
            check: list(&step.check),
            wait: list(&step.wait),
            locks: list(&step.locks),
        }
    }
}

fn place_of(rendered: &Rendered, words: &Words) -> Option<String> {
    let named = |name: &str, values: &[Value], words: &[Value]| {
        let own = words.iter().chain(std::iter::repeat(&Value::Null));
        values.iter().zip(own).find_map(|(value, words)| place_in(value, words, name))
    };
    // Locks are sorted, so that which word became which of them is not known.
    let is_lock = || rendered.locks.iter().any(|lock| is_masked(lock)) && !words.locks.iter().any(speaks_of_it);
    place_in(&rendered.with, &words.with, "with")
        .or_else(|| named("check", &rendered.check, &words.check))
        .or_else(|| named("wait", &rendered.wait, &words.wait))
        .or_else(|| is_lock().then(|| "locks".to_owned()))
}

/// Why a step must not be taken back by a `with`. Words of the plan's own excuse themselves here, too.
pub(crate) fn refused_with(with: &Value, step: Option<&Step>) -> Option<Failure> {
    place_in(with, &Value::Null, "with")?;
    place_in(with, &words_for_undoing(step), "with").map(|place| refusal(&place))
}

/// What a plan says of how a step is taken back: by its `undo`, or by the kind of its work.
fn words_for_undoing(step: Option<&Step>) -> Value {
    let given = step.and_then(|step| step.undo.as_ref()?.work.as_ref());
    given.or_else(|| step?.work.as_ref()).map(|work| work.with.as_written()).unwrap_or_default()
}

/// Whether a text is not what it was, because it held a secret.
pub(crate) fn is_masked(text: &str) -> bool {
    text.contains(Redactor::MASK)
}

fn refusal(place: &str) -> Failure {
    let mask = Redactor::MASK;
    let what = format!(
        "`{place}` holds `{mask}`: it was made of an input or an output that held a secret, and those are not kept"
    );
    Failure::invalid(what)
        .fix("give a step the secret itself, through its `env` or `stdin`; or use a value that no secret is a part of")
}

/// Where in a value a masked text stands that was not in the words that it was made of.
fn place_in(value: &Value, words: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => (is_masked(text) && !speaks_of_it(words)).then(|| path.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| place_in(item, words.get(index).unwrap_or(words), &format!("{path}[{index}]"))),
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            let (own, path) = (words.get(key), format!("{path}.{key}"));
            if is_masked(key) && own.is_none() { Some(path) } else { place_in(item, own.unwrap_or(words), &path) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn speaks_of_it(words: &Value) -> bool {
    words.as_str().is_some_and(is_masked)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_masked_text_is_found_wherever_it_stands() {
        let found = |value: Value| place_in(&value, &Value::Null, "with");
        assert_eq!(found(json!({ "command": ["touch", "made-[redacted]-east"] })).as_deref(), Some("with.command[1]"));
        assert_eq!(found(json!({ "env": { "[redacted]": 1 } })).as_deref(), Some("with.env.[redacted]"));
        assert_eq!(found(json!({ "command": ["touch", "made"], "n": 1, "b": true })), None);
    }

    #[test]
    fn the_plans_own_words_excuse_themselves_and_nothing_beside_them() {
        let words = json!({ "argv": ["grep", "[redacted]", "${{ inputs.name }}"], "env": "${{ inputs.env }}" });
        let found = |name: &str, key: &str| {
            let value = json!({ "argv": ["grep", "[redacted]", name], "env": { key: "x" } });
            place_in(&value, &words, "with")
        };
        assert_eq!(found("plain", "A"), None);
        assert_eq!(found("made-[redacted]", "A").as_deref(), Some("with.argv[2]"));
        assert_eq!(found("plain", "[redacted]").as_deref(), Some("with.env.[redacted]"));
    }
}
