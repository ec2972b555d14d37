//! Whether one object, or the selected ones, are as a condition wants them. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Amount, Expected, Test, Wanted};
use crate::cluster::text_at;
use crate::jsonpath;
use crate::readiness::{Around, Readiness, conditions_of, judge, moment};

/// How one object stands against a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    AsWanted,
    Not(String),
    Hopeless(String),
}

/// An object against the test; `None` is an object that is not there.
pub(super) fn test(test: &Test, object: Option<&Value>, around: &Around<'_>) -> Stands {
    let Some(object) = object else {
        return if matches!(test, Test::Deleted) {
            Stands::AsWanted
        } else {
            Stands::Not("does not exist yet".to_owned())
        };
    };
    match test {
        Test::Exists => Stands::AsWanted,
        Test::Deleted => Stands::Not(why_still_there(object)),
        Test::Ready => readiness(object, around),
        Test::Condition { kind, status } => condition(object, kind, status, around),
        Test::Path { path, value } => expected(path, value, object),
        Test::Custom(_) if is_going(object) => Stands::Not(why_still_there(object)),
        Test::Custom(custom) => custom.judge(object),
        Test::Age { over, under } => age(*over, *under, object, around),
    }
}

fn is_going(object: &Value) -> bool {
    !text_at(object, "/metadata/deletionTimestamp").is_empty()
}

/// Grows by itself: who asks looks again when it is time (see [`older_in`]).
fn age(over: Option<Duration>, under: Option<Duration>, object: &Value, around: &Around<'_>) -> Stands {
    let Some(age) = age_of(object, around.now) else {
        return Stands::Not("nothing says when it was created".to_owned());
    };
    let seconds = |span: Duration| Duration::from_secs(span.as_secs());
    match (over, under) {
        (Some(over), _) if age < over => Stands::Not(format!("is {:?} old, not yet {over:?}", seconds(age))),
        (_, Some(under)) if age >= under => {
            Stands::Not(format!("is {:?} old already, more than {under:?}", seconds(age)))
        }
        _ => Stands::AsWanted,
    }
}

fn age_of(object: &Value, now: Option<Timestamp>) -> Option<Duration> {
    let created = moment(object, "/metadata/creationTimestamp")?;
    Some(Duration::try_from(now?.duration_since(created)).unwrap_or_default())
}

/// In how long an object will be old enough, if that is all it lacks.
pub(super) fn older_in(test: &Test, object: &Value, now: Timestamp) -> Option<Duration> {
    let Test::Age { over: Some(over), .. } = test else { return None };
    over.checked_sub(age_of(object, Some(now))?)
}

fn why_still_there(object: &Value) -> String {
    let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = finalizers.filter_map(Value::as_str).collect();
    match (text_at(object, "/metadata/deletionTimestamp").is_empty(), names.is_empty()) {
        (true, _) => "is there, and nobody has deleted it".to_owned(),
        (false, true) => "is being deleted".to_owned(),
        (false, false) => format!("is being deleted; waits for {}", names.join(", ")),
    }
}

fn readiness(object: &Value, around: &Around<'_>) -> Stands {
    match judge(object, around) {
        Readiness::Ready => Stands::AsWanted,
        Readiness::Progressing(why) => Stands::Not(why),
        Readiness::Failed(why) => Stands::Hopeless(why),
        Readiness::Gone => Stands::Not(why_still_there(object)),
    }
}

/// As kubectl compares: without regard to case, and only where the controller has seen the latest change.
fn condition(object: &Value, kind: &str, status: &str, around: &Around<'_>) -> Stands {
    let conditions = conditions_of(object);
    match conditions.get(kind) {
        Some(it) if it.status.eq_ignore_ascii_case(status) && !it.stale => Stands::AsWanted,
        found => {
            let why = found.map_or_else(|| format!("no condition {kind} yet"), ToString::to_string);
            match judge(object, around) {
                Readiness::Failed(hopeless) => Stands::Hopeless(hopeless),
                _ => Stands::Not(why),
            }
        }
    }
}

fn expected(path: &jsonpath::JsonPath, expected: &Expected, object: &Value) -> Stands {
    let found = path.find(object).into_iter().filter(|found| !jsonpath::is_blank(found));
    let found: Vec<String> = found.map(|found| jsonpath::text(&found)).collect();
    let told = || found.join(", ");
    match expected {
        Expected::Present if found.is_empty() => Stands::Not(format!("{path} leads to nothing yet")),
        Expected::Absent if !found.is_empty() => Stands::Not(format!("{path} is {}", told())),
        Expected::Equals(wanted) if found.is_empty() => {
            Stands::Not(format!("{path} leads to nothing yet, not to {wanted}"))
        }
        Expected::Equals(wanted) if found.iter().any(|it| it.trim() != wanted.trim()) => {
            Stands::Not(format!("{path} is {}, not {wanted}", told()))
        }
        Expected::NotEquals(unwanted) if found.iter().any(|it| it.trim() == unwanted.trim()) => {
            Stands::Not(format!("{path} is still {unwanted}"))
        }
        _ => Stands::AsWanted,
    }
}

/// How the selected objects stand together.
pub(super) struct Tally {
    pub(super) enough: bool,
    pub(super) text: String,
    /// Those that are not as wanted.
    pub(super) others: Vec<(Arc<Value>, Stands)>,
}

/// Counts the selected objects that are as wanted. Those on their way out count for nothing but `deleted`.
pub(super) fn tally(wanted: &Wanted, selected: &[Arc<Value>], around: &Around<'_>) -> Tally {
    if matches!(wanted.test, Test::Deleted) {
        let others = selected.iter().map(|it| (Arc::clone(it), Stands::Not(why_still_there(it)))).collect();
        return Tally { enough: selected.is_empty(), text: format!("{} still there", selected.len()), others };
    }
    let alive = selected.iter().filter(|it| text_at(it, "/metadata/deletionTimestamp").is_empty());
    let judged: Vec<_> = alive.map(|it| (Arc::clone(it), test(&wanted.test, Some(it), around))).collect();
    let good = judged.iter().filter(|(_, stands)| *stands == Stands::AsWanted).count();
    let total = judged.len();
    let others = judged.into_iter().filter(|(_, stands)| *stands != Stands::AsWanted).collect();
    let needed = match wanted.amount {
        Amount::All => total.max(1),
        Amount::Count(count) | Amount::Min(count) => count,
    };
    let enough = wanted.amount.is_met(good, total);
    Tally { enough, text: format!("{good} of {needed} as wanted"), others }
}

impl Amount {
    /// Whether so many of so many are enough.
    pub(super) fn is_met(self, good: usize, total: usize) -> bool {
        match self {
            Amount::All => total > 0 && good == total,
            Amount::Count(count) => good == count,
            Amount::Min(min) => good >= min,
        }
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests {
    use super::*;
    use crate::condition::{Condition, Form};
    use serde_json::json;

    fn wanted(value: &Value) -> Wanted {
        match Condition::read(value).expect("a condition").0 {
            Form::Object(wanted) => *wanted,
            other => panic!("{other:?}"),
        }
    }

    fn stands(condition: &Value, object: Option<&Value>) -> Stands {
        test(&wanted(condition).test, object, &Around { has_status: true, ..Around::default() })
    }

    fn not(text: &str) -> Stands {
        Stands::Not(text.to_owned())
    }

    #[test]
    fn one_object_against_each_test() {
        let object = json!({
            "kind": "Thing", "metadata": { "name": "t", "generation": 2, "finalizers": ["a/b"] },
            "status": { "phase": "Up", "conditions": [{ "type": "Ready", "status": "True", "observedGeneration": 1 }] }
        });
        let of = |rest: Value| {
            let mut condition = json!({ "object": "thing/t" });
            condition.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
            stands(&condition, Some(&object))
        };
        assert_eq!(of(json!({ "for": "exists" })), Stands::AsWanted);
        assert_eq!(of(json!({ "for": "deleted" })), not("is there, and nobody has deleted it"));
        assert_eq!(of(json!({ "for": "condition=ready" })), not("Ready=True [of an earlier generation]"));
        assert_eq!(of(json!({ "for": "condition=Other" })), not("no condition Other yet"));
        assert_eq!(of(json!({ "path": "{.status.phase}", "equals": "Up" })), Stands::AsWanted);
        assert_eq!(of(json!({ "path": "{.status.phase}", "equals": "Down" })), not("{.status.phase} is Up, not Down"));
        assert_eq!(of(json!({ "path": "{.status.phase}", "not_equals": "Up" })), not("{.status.phase} is still Up"));
        assert_eq!(of(json!({ "path": "{.status.none}" })), not("{.status.none} leads to nothing yet"));
        assert_eq!(of(json!({ "path": "{.status.none}", "absent": true })), Stands::AsWanted);
        assert_eq!(of(json!({ "path": "{.metadata.generation}", "equals": 2 })), Stands::AsWanted);
    }

    #[test]
    fn an_object_that_is_not_there_is_not_yet_or_gone() {
        assert_eq!(stands(&json!({ "object": "a/b", "for": "ready" }), None), not("does not exist yet"));
        assert_eq!(stands(&json!({ "object": "a/b", "for": "deleted" }), None), Stands::AsWanted);
    }

    #[test]
    fn selected_objects_are_counted() {
        let thing = |status: &str| {
            Arc::new(json!({ "kind": "T", "status": { "conditions": [{ "type": "Ready", "status": status }] } }))
        };
        let going = Arc::new(json!({ "kind": "T", "metadata": { "deletionTimestamp": "x" } }));
        let of = |rest: Value, objects: &[Arc<Value>]| {
            let mut condition = json!({ "object": "t", "selector": "a=b", "for": "ready" });
            condition.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
            tally(&wanted(&condition), objects, &Around::default()).enough
        };
        let (up, down) = (thing("True"), thing("False"));
        assert!(!of(json!({}), &[]));
        assert!(of(json!({}), &[Arc::clone(&up), going]));
        assert!(!of(json!({}), &[Arc::clone(&up), Arc::clone(&down)]));
        assert!(of(json!({ "min": 1 }), &[Arc::clone(&up), Arc::clone(&down)]));
        assert!(of(json!({ "count": 1 }), &[Arc::clone(&up), down]));
        assert!(!of(json!({ "count": 1 }), &[Arc::clone(&up), up]));
        assert!(of(json!({ "for": "deleted" }), &[]));
    }
}
