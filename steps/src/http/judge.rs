//! Expressions over what came back: whether they hold, and what they saw where they do not; and texts with `{{ }}` in them.
//!
//! Pure, and bounded: an expression that never ends is an error.

use minijinja::value::{Serde, Value as Item};
use minijinja::{Environment, UndefinedBehavior};
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::LazyLock;

pub(crate) use crate::expression::shown as clipped;
use crate::expression::{Scope, compiled, problems, strangers, template, told};
use crate::failure::Failure;
use crate::secret::mentions_secret;

/// How much work one expression may be: an answer is longer than what other expressions look at.
const FUEL: u64 = 1_000_000;

/// What is not there is nothing.
static EXPRESSIONS: LazyLock<Environment<'static>> = LazyLock::new(|| environment(UndefinedBehavior::Chainable));

/// What is not there is a mistake.
static TEXTS: LazyLock<Environment<'static>> = LazyLock::new(|| environment(UndefinedBehavior::Strict));

fn environment(undefined: UndefinedBehavior) -> Environment<'static> {
    let mut environment = crate::expression::environment(undefined);
    environment.set_fuel(Some(FUEL));
    environment
}

/// A path such as `response.json.data[0].id`.
static PATHS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b(?:response|bench)(?:\.[A-Za-z_][A-Za-z0-9_]*|\[\d+\]|\['[^']*'\])+").expect("a good pattern")
});

/// What is wrong with an expression over one name: its form, and what it names that can never have a value.
pub(crate) fn expression_problems(expression: &str, scope: &Scope<'_>) -> Vec<String> {
    problems(&EXPRESSIONS, expression, scope)
}

/// The value of an expression over one name.
pub(crate) fn value(expression: &str, name: &str, seen: &Value) -> Result<Value, Failure> {
    let found = evaluated(expression, name, seen)?;
    if found.is_undefined() {
        return Ok(Value::Null);
    }
    serde_json::to_value(&found).map_err(|error| Failure::invalid(format!("cannot keep `{expression}`: {error}")))
}

/// Whether an expression over one name holds.
pub(crate) fn holds(expression: &str, name: &str, seen: &Value) -> Result<bool, Failure> {
    Ok(evaluated(expression, name, seen)?.is_true())
}

fn evaluated(expression: &str, name: &str, seen: &Value) -> Result<Item, Failure> {
    let wrong = |error: minijinja::Error| Failure::invalid(format!("cannot evaluate `{expression}`: {error}"));
    let compiled = compiled(&EXPRESSIONS, expression).map_err(wrong)?;
    compiled.eval(Item::from_pairs([(name, Item::from(Serde(seen)))])).map_err(wrong)
}

/// The assertions that do not hold, each with what it saw.
pub(crate) fn unmet(assertions: &[String], name: &str, seen: &Value) -> Result<Vec<String>, Failure> {
    let mut unmet = Vec::new();
    for assertion in assertions {
        if !holds(assertion, name, seen)? {
            unmet.push(format!("`{assertion}` does not hold{}", saw(assertion, name, seen)));
        }
    }
    Ok(unmet)
}

/// The failure of assertions that do not hold.
pub(crate) fn assertion_failure(unmet: &[String]) -> Option<Failure> {
    let (first, rest) = unmet.split_first()?;
    Some(Failure::permanent(format!("assertion does not hold: {first}")).detail(rest.join("\n")))
}

fn saw(assertion: &str, name: &str, seen: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    for path in PATHS.find_iter(assertion) {
        let Ok(value) = value(path.as_str(), name, seen) else { continue };
        let part = format!("{} is {}", path.as_str(), clipped(&value.to_string()));
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

/// What is wrong with a text with `{{ }}` where some names can be filled in.
pub(crate) fn template_problem(text: &str, known: &[&str]) -> Option<String> {
    let problem = match template(&TEXTS, text) {
        Ok(template) => strangers(&template, known).join("; "),
        Err(error) => told(&error),
    };
    (!problem.is_empty()).then(|| format!("`{}` cannot be filled in: {problem}", clipped(text)))
}

/// Whether a text has something to fill in.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// A text with `{{ name }}` filled in.
pub(crate) fn filled(text: &str, names: &Map<String, Value>) -> Result<String, Failure> {
    if !is_template(text) {
        return Ok(text.to_owned());
    }
    template(&TEXTS, text).and_then(|template| template.render(Serde(names))).map_err(|error| {
        let known: Vec<&str> = names.keys().map(String::as_str).collect();
        let known =
            if known.is_empty() { "nothing is known here".to_owned() } else { format!("known: {}", known.join(", ")) };
        Failure::invalid(format!("cannot fill in `{}`: {error} ({known})", clipped(text)))
    })
}

/// Whether a value from outside holds what would be taken for a secret's marker.
pub(crate) fn forges_secret(value: &Value) -> bool {
    mentions_secret(&value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_assertion_says_what_it_saw() {
        let seen = json!({ "status": 404, "json": { "data": [{ "id": "a" }] } });
        let assertions = ["response.status == 200".to_owned(), "response.json.data[0].id == 'b'".to_owned()];
        let unmet = unmet(&assertions, "response", &seen).expect("evaluated");
        assert_eq!(unmet[0], "`response.status == 200` does not hold: response.status is 404");
        assert_eq!(unmet[1], "`response.json.data[0].id == 'b'` does not hold: response.json.data[0].id is \"a\"");
        let failure = assertion_failure(&unmet).expect("unmet");
        assert_eq!(failure.detail, unmet[1]);
    }

    #[test]
    fn what_is_not_there_is_null_and_not_true() {
        let seen = json!({ "json": null });
        assert_eq!(value("response.json.data[0].id", "response", &seen), Ok(Value::Null));
        assert_eq!(holds("response.json.data[0].id == 'x'", "response", &seen), Ok(false));
    }

    #[test]
    fn texts_are_filled_in_or_say_what_is_missing() {
        let names = Map::from_iter([("model".to_owned(), json!("m"))]);
        assert_eq!(filled("use {{ model }}", &names).as_deref(), Ok("use m"));
        let failure = filled("use {{ other }}", &names).expect_err("unknown");
        assert!(failure.what.contains("known: model"), "{}", failure.what);
    }

    #[test]
    fn bad_forms_are_found_before_anything_runs() {
        let scope = Scope { root: "response", paths: &["status"] };
        assert_eq!(expression_problems("response.status ==", &scope).len(), 1);
        assert_eq!(expression_problems("1 < 2", &scope), [] as [String; 0]);
        assert!(template_problem("{{ model", &[]).is_some());
        assert_eq!(template_problem("{{ a }} {% for x in range(2) %}{{ x }}{% endfor %}", &["a"]), None);
        let problem = template_problem("{{ modle }}", &["model"]).expect("a slip");
        assert_eq!(
            problem,
            "`{{ modle }}` cannot be filled in: there is no `modle`; did you mean `model`? (known: model)"
        );
    }
}
