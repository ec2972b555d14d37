//! The language of expressions that plans, conditions and probes share: its functions and tests, and how much work one may be.
//!
//! Knows no names: whoever evaluates gives them. Whoever reads an expression does it here, or asks [`too_long`] first.

mod names;
mod words;

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Expression, Template, UndefinedBehavior};
use regex::Regex;
use serde_json::Value;

pub use self::names::{FILTERS, FUNCTIONS, TESTS};
pub(crate) use self::names::{Scope, problems, strangers};
pub use self::words::{MOST_OPERATORS, Token, WORDY, What, Words, too_long, words};
use crate::duration;

/// Enough for any sensible expression, and over within milliseconds.
const FUEL: u64 = 200_000;

/// What expressions are evaluated in, with `cond()`, `duration()` and `matching`; whoever needs more adds it.
pub fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(undefined);
    environment.set_fuel(Some(FUEL));
    environment.add_function("cond", condition_status);
    environment.add_function("duration", seconds);
    environment.add_test("matching", matches);
    environment
}

/// Reads an expression, unless it is too long.
pub(crate) fn compiled<'e>(
    environment: &'e Environment<'static>,
    text: &str,
) -> Result<Expression<'e, 'static>, Error> {
    too_long(text).map_or(Ok(()), |why| Err(invalid(why)))?;
    environment.compile_expression_owned(text.to_owned())
}

/// Reads a text with `{{ }}` in it, unless what stands in there is too long.
pub(crate) fn template<'t>(environment: &'t Environment<'static>, text: &'t str) -> Result<Template<'t, 't>, Error> {
    words::too_long_within(text).map_or(Ok(()), |why| Err(invalid(why)))?;
    environment.template_from_str(text)
}

/// Why an expression cannot be read or has no value, in a few words.
pub(crate) fn told(error: &Error) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => "it takes too long".to_owned(),
        kind => error.detail().map_or_else(|| kind.to_string(), str::to_owned),
    }
}

/// An expression as messages show it: the start of a long one.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `cond(object, 'Ready')`: the status of a condition of an object, `Unknown` where it has none.
#[expect(clippy::needless_pass_by_value, reason = "the form that a function of the expression language must have")]
fn condition_status(object: Serde<Value>, wanted: &str) -> String {
    let conditions = object.0.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == wanted);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("Unknown").to_owned()
}

/// `duration('6m')`: seconds.
fn seconds(text: &str) -> Result<f64, Error> {
    duration::parse(text).map(|duration| duration.as_secs_f64()).map_err(invalid)
}

/// `is matching('^ready')`: whether a text has a part that a pattern describes.
fn matches(text: &str, pattern: &str) -> Result<bool, Error> {
    Regex::new(pattern).map(|pattern| pattern.is_match(text)).map_err(|error| invalid(error.to_string()))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_tests_have_their_values() {
        let object = serde_json::json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let environment = environment(UndefinedBehavior::Strict);
        let holds = |text: &str| {
            let compiled = environment.compile_expression(text)?;
            compiled.eval(minijinja::context! { object => Serde(&object) }).map(|value| value.is_true())
        };
        for text in [
            "cond(object, 'Ready') == 'True'",
            "cond(object, 'Other') == 'Unknown'",
            "duration('2m') == 120",
            "'ready in 3 s' is matching('^ready')",
        ] {
            assert_eq!(holds(text).ok(), Some(true), "{text}");
        }
        for text in ["duration('5')", "'x' is matching('(')", "range(1000000) | length"] {
            assert!(holds(text).is_err(), "{text}");
        }
    }
}
