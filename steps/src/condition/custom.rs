//! Readiness by a plan's own expressions over `object`: `{ready_when, progressing_when, failed_when}`.
//!
//! The order is that of Flux: an object whose controller has not seen its latest change is not judged; then what is in progress,
//! what failed, what is ready. A field that is not there yet is false, not an error.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, context};
use regex::Regex;
use serde_json::Value;

use super::leaf::Stands;
use crate::expression::{Scope, compiled, environment, problems, told};

/// The expressions.
#[derive(Debug)]
pub(super) struct Custom {
    pub(super) ready: Expression,
    pub(super) progressing: Option<Expression>,
    pub(super) failed: Option<Expression>,
}

/// One expression, compiled.
#[derive(Clone)]
pub(super) struct Expression {
    text: String,
    compiled: Arc<minijinja::Expression<'static, 'static>>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| environment(UndefinedBehavior::Chainable));

/// What expressions are over: an object may have any field.
const OBJECT: Scope<'static> = Scope { root: "object", paths: &["*"] };

/// What an expression names of the object.
static NAMES: LazyLock<Regex> = LazyLock::new(|| {
    let names = Regex::new(r#"\bobject(?:\.[A-Za-z_]\w*|\[-?\d+\]|\['[^']*'\]|\["[^"]*"\])+"#);
    names.expect("a pattern that does not change")
});

impl Expression {
    /// Reads an expression. Wrong names are found here, before anything runs.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let problems = problems(&ENVIRONMENT, text, &OBJECT);
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let compiled = compiled(&ENVIRONMENT, text).map_err(|error| told(&error))?;
        Ok(Self { text: text.to_owned(), compiled: Arc::new(compiled) })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn holds(&self, object: &Value) -> Result<bool, String> {
        let value = self.compiled.eval(context! { object => Serde(object) }).map_err(|error| told(&error))?;
        Ok(value.is_true())
    }

    /// What it names, each with its value; absent ones as `nothing`.
    fn values(&self, object: &Value) -> Vec<(String, Option<String>)> {
        let names: BTreeSet<&str> = NAMES.find_iter(&self.text).map(|found| found.as_str()).collect();
        let value = |name: &str| {
            let compiled = compiled(&ENVIRONMENT, name).ok()?;
            let value = compiled.eval(context! { object => Serde(object) }).ok()?;
            (!value.is_undefined())
                .then(|| serde_json::to_value(&value).map(|value| clipped(&value.to_string())).ok())?
        };
        names.into_iter().map(|name| (name.to_owned(), value(name))).collect()
    }

    /// ``: object.status.phase is "Pending"``.
    fn shown(&self, object: &Value) -> String {
        let told =
            |(name, value): (String, Option<String>)| format!("{name} is {}", value.as_deref().unwrap_or("not there"));
        let told: Vec<String> = self.values(object).into_iter().map(told).collect();
        if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
    }

    fn lacks_something(&self, object: &Value) -> bool {
        self.values(object).iter().any(|(_, value)| value.is_none())
    }
}

fn clipped(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST { text.to_owned() } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

impl Custom {
    /// The expressions as they were written.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let all = [Some(&self.ready), self.progressing.as_ref(), self.failed.as_ref()];
        all.into_iter().flatten().map(Expression::text)
    }

    /// How an object stands that is there and is not being deleted.
    pub(super) fn judge(&self, object: &Value) -> Stands {
        if let Some(why) = crate::readiness::stale(object) {
            return Stands::Not(why);
        }
        let holds = |expression: &Expression| match expression.holds(object) {
            Ok(holds) => Ok(holds),
            Err(why) => Err(broken(expression, object, &why)),
        };
        let told = |it: &Expression, word: &str| format!("`{}` {word}{}", it.text, it.shown(object));
        for (expression, failed) in [(&self.progressing, false), (&self.failed, true)] {
            let Some(expression) = expression else { continue };
            match holds(expression) {
                Ok(true) if failed => return Stands::Hopeless(told(expression, "holds")),
                Ok(true) => return Stands::Not(told(expression, "holds")),
                Ok(false) => {}
                Err(stands) => return stands,
            }
        }
        match holds(&self.ready) {
            Ok(true) => Stands::AsWanted,
            Ok(false) => Stands::Not(told(&self.ready, "does not hold")),
            Err(stands) => stands,
        }
    }
}

/// An expression that has no value: for want of a field that may still come, or because it is wrong.
fn broken(expression: &Expression, object: &Value, why: &str) -> Stands {
    let text = format!("`{}` cannot be evaluated: {why}{}", expression.text, expression.shown(object));
    if expression.lacks_something(object) { Stands::Not(text) } else { Stands::Hopeless(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn custom(ready: &str, progressing: Option<&str>, failed: Option<&str>) -> Custom {
        let read = |text: &str| Expression::read(text).expect(text);
        Custom { ready: read(ready), progressing: progressing.map(read), failed: failed.map(read) }
    }

    #[test]
    fn progress_comes_before_failure_and_failure_before_readiness() {
        let it = custom(
            "object.status.phase in ['Up', 'Busy', 'Bad']",
            Some("object.status.phase == 'Busy'"),
            Some("object.status.phase == 'Bad'"),
        );
        let of = |phase: &str| it.judge(&json!({ "status": { "phase": phase } }));
        assert_eq!(of("Up"), Stands::AsWanted);
        assert_eq!(
            of("Busy"),
            Stands::Not("`object.status.phase == 'Busy'` holds: object.status.phase is \"Busy\"".into())
        );
        assert!(matches!(of("Bad"), Stands::Hopeless(why) if why.starts_with("`object.status.phase == 'Bad'` holds")));
        assert!(
            matches!(of("Else"), Stands::Not(why) if why.contains("does not hold: object.status.phase is \"Else\""))
        );
    }

    #[test]
    fn what_is_not_there_yet_is_not_so_and_no_error() {
        let it = custom("object.status.replicas + 1 > 2", None, None);
        assert!(
            matches!(it.judge(&json!({})), Stands::Not(why) if why.contains("object.status.replicas is not there"))
        );
        assert!(matches!(it.judge(&json!({ "status": { "replicas": "x" } })), Stands::Hopeless(_)));
        assert_eq!(it.judge(&json!({ "status": { "replicas": 2 } })), Stands::AsWanted);
        let stale = json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 1, "replicas": 2 } });
        assert!(matches!(it.judge(&stale), Stands::Not(why) if why.contains("generation 2")));
    }

    #[test]
    fn functions_and_tests_are_those_of_plans() {
        let object = json!({ "status": { "url": "http://a", "conditions": [{ "type": "Ready", "status": "True" }] } });
        for text in
            ["cond(object, 'Ready') == 'True'", "duration('2m') == 120", "object.status.url is matching('^http:')"]
        {
            assert_eq!(custom(text, None, None).judge(&object), Stands::AsWanted, "{text}");
        }
    }

    #[test]
    fn mistakes_are_found_before_anything_runs() {
        let cases = [
            ("object.status.", "is no expression"),
            ("status.phase == 'Up'", "there is no `status`, only `object`"),
            ("object.a | uper == 'X'", "uper"),
            ("object.a is upp", "upp"),
            ("a && b", "is no expression"),
        ];
        for (text, part) in cases {
            let error = Expression::read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
