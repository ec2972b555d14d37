//! The language of expressions that plans, conditions and probes share: its functions and tests, and how much work one may be.
//!
//! Knows no names: whoever evaluates gives them.

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use regex::Regex;
use serde_json::Value;

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
