//! Masked values are for the eye. To do something with one would be to do it to something else. Pure.

use runbook_steps::{Failure, Redactor};
use serde_json::Value;

use crate::plan::eval::Rendered;
use crate::plan::model::Step;

/// Why a step must not run with what it is given, if it was given a masked value. A plan may speak of the mask in its own words.
pub(crate) fn refused(step: &Step, rendered: &Rendered) -> Option<Failure> {
    let place = place_of(rendered)?;
    let words = step.work.iter().map(|work| &work.with).chain(&step.check).chain(&step.wait);
    let own = words.into_iter().any(|words| place_in(&words.as_written(), "").is_some());
    (!own).then(|| refusal(&place))
}

fn place_of(rendered: &Rendered) -> Option<String> {
    let named = |name: &str, values: &[Value]| values.iter().find_map(|value| place_in(value, name));
    place_in(&rendered.with, "with")
        .or_else(|| named("check", &rendered.check))
        .or_else(|| named("wait", &rendered.wait))
        .or_else(|| rendered.locks.iter().any(|lock| is_masked(lock)).then(|| "locks".to_owned()))
}

/// Why a step must not be taken back by a `with`.
pub(crate) fn refused_with(with: &Value) -> Option<Failure> {
    place_in(with, "with").map(|place| refusal(&place))
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

/// Where in a value a masked text stands.
fn place_in(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => is_masked(text).then(|| path.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| place_in(item, &format!("{path}[{index}]")))
        }
        Value::Object(fields) => fields.iter().find_map(|(key, item)| {
            let path = format!("{path}.{key}");
            if is_masked(key) { Some(path) } else { place_in(item, &path) }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_masked_text_is_found_wherever_it_stands() {
        let found = |value: Value| place_in(&value, "with");
        assert_eq!(found(json!({ "command": ["touch", "made-[redacted]-east"] })).as_deref(), Some("with.command[1]"));
        assert_eq!(found(json!({ "env": { "[redacted]": 1 } })).as_deref(), Some("with.env.[redacted]"));
        assert_eq!(found(json!({ "command": ["touch", "made"], "n": 1, "b": true })), None);
    }
}
