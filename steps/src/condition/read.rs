//! From a rendered value to a condition, with errors that point at the place.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value};

use super::custom::{Custom, Expression};
use super::endpoints::Endpoints;
use super::event::Happened;
use super::log::Logged;
use super::{Amount, Condition, Expected, Form, Target, Test, Wanted, Which};
use crate::cluster::Selector;
use crate::duration;
use crate::jsonpath::{self, JsonPath};
use crate::kind::ReadError;

/// Reads a condition that stands at `path`.
pub(super) fn condition(value: &Value, path: &str) -> Result<Condition, ReadError> {
    if let Value::Array(items) = value {
        return Ok(Condition(Form::All(conditions(items, path)?)));
    }
    let map = value
        .as_object()
        .ok_or_else(|| error(path, "a condition is a mapping, such as `{object: kind/name, for: ready}`"))?;
    if map.contains_key("object") {
        return Ok(Condition(Form::Object(Box::new(wanted(map, path)?))));
    }
    let only = |key: &str| map.get(key).filter(|_| map.len() == 1).and_then(Value::as_array);
    if let Some(items) = only("any") {
        return Ok(Condition(Form::Any(conditions(items, &below(path, "any"))?)));
    }
    if let Some(items) = only("all") {
        return Ok(Condition(Form::All(conditions(items, &below(path, "all"))?)));
    }
    match ["webhook", "endpoints", "log", "event"].into_iter().find(|key| map.contains_key(*key)) {
        Some("webhook") => webhook(map, path),
        Some("endpoints") => endpoints(map, path),
        Some("log") => log(map, path),
        Some(_) => event(map, path),
        None => {
            Err(error(path, "a condition has one of `object`, `webhook`, `endpoints`, `log`, `event`, `any`, `all`"))
        }
    }
}

fn conditions(items: &[Value], path: &str) -> Result<Vec<Condition>, ReadError> {
    if items.is_empty() {
        return Err(error(path, "an empty list of conditions means nothing"));
    }
    items.iter().enumerate().map(|(index, item)| condition(item, &format!("{path}[{index}]"))).collect()
}

fn webhook(map: &Map<String, Value>, path: &str) -> Result<Condition, ReadError> {
    known_keys(map, path, &["webhook", "for"])?;
    let name = text(map, "webhook", path)?.unwrap_or_default();
    match text(map, "for", path)?.as_deref() {
        Some("answers") => Ok(Condition(Form::Webhook(name))),
        _ => Err(error(&below(path, "for"), "a webhook can be waited for with `for: answers`")),
    }
}

fn endpoints(map: &Map<String, Value>, path: &str) -> Result<Condition, ReadError> {
    known_keys(map, path, &["endpoints", "namespace", "min"])?;
    let min = number(map, "min", path)?.unwrap_or(1);
    if min == 0 {
        return Err(error(&below(path, "min"), "no endpoint at all is nothing to wait for"));
    }
    let service = text(map, "endpoints", path)?.unwrap_or_default();
    let namespace = text(map, "namespace", path)?.unwrap_or_default();
    Ok(Condition(Form::Endpoints(Box::new(Endpoints { service, namespace, min }))))
}

/// The mapping below `key`, which is all that a condition has.
fn inner<'m>(
    map: &'m Map<String, Value>,
    key: &str,
    path: &str,
) -> Result<(&'m Map<String, Value>, String), ReadError> {
    known_keys(map, path, &[key])?;
    let at = below(path, key);
    match map.get(key).and_then(Value::as_object) {
        Some(inner) => Ok((inner, at)),
        None => Err(error(&at, "a mapping is expected")),
    }
}

fn log(map: &Map<String, Value>, path: &str) -> Result<Condition, ReadError> {
    let (map, at) = inner(map, "log", path)?;
    known_keys(map, &at, &["pod", "selector", "namespace", "container", "match", "min"])?;
    let which = match (text(map, "pod", &at)?, text(map, "selector", &at)?) {
        (Some(name), None) => Which::Named(name),
        (None, Some(written)) => Which::Selected(selector(&written, &at)?),
        _ => return Err(error(&at, "give either a `pod` or a `selector`")),
    };
    let amount = match (number(map, "min", &at)?, &which) {
        (None, _) => Amount::All,
        (Some(min), Which::Selected(_)) => Amount::Min(min),
        (Some(_), Which::Named(_)) => return Err(error(&below(&at, "min"), "`min` goes with a `selector`")),
    };
    let pattern = pattern(map, &at)?.ok_or_else(|| error(&at, "say what a line must `match`"))?;
    let namespace = text(map, "namespace", &at)?.unwrap_or_default();
    let container = text(map, "container", &at)?.unwrap_or_default();
    let target = Target { kind: "pods".to_owned(), which, namespace };
    Ok(Condition(Form::Log(Box::new(Logged { target, container, pattern, amount }))))
}

fn event(map: &Map<String, Value>, path: &str) -> Result<Condition, ReadError> {
    let (map, at) = inner(map, "event", path)?;
    known_keys(map, &at, &["reason", "match", "object", "type", "namespace"])?;
    let about = match text(map, "object", &at)? {
        None => None,
        Some(object) => match object.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => Some((kind.to_owned(), name.to_owned())),
            _ => return Err(error(&below(&at, "object"), format!("`{object}` is not `kind/name`"))),
        },
    };
    let sort = text(map, "type", &at)?;
    if let Some(sort) = sort.as_ref().filter(|sort| !matches!(sort.as_str(), "Normal" | "Warning")) {
        return Err(error(&below(&at, "type"), format!("`{sort}` is neither Normal nor Warning")));
    }
    let (reason, pattern) = (text(map, "reason", &at)?, pattern(map, &at)?);
    if reason.is_none() && pattern.is_none() {
        return Err(error(&at, "say which event: by its `reason`, or what its message must `match`"));
    }
    let namespace = text(map, "namespace", &at)?.unwrap_or_default();
    Ok(Condition(Form::Event(Box::new(Happened { reason, pattern, sort, about, namespace }))))
}

fn pattern(map: &Map<String, Value>, path: &str) -> Result<Option<Regex>, ReadError> {
    let Some(written) = text(map, "match", path)? else { return Ok(None) };
    let wrong = |wrong: regex::Error| {
        let why = wrong.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        error(&below(path, "match"), format!("`{written}` is no regular expression: {why}"))
    };
    Regex::new(&written).map(Some).map_err(wrong)
}

fn selector(written: &str, path: &str) -> Result<Selector, ReadError> {
    Selector::read(written).map_err(|message| error(&below(path, "selector"), message))
}

fn wanted(map: &Map<String, Value>, path: &str) -> Result<Wanted, ReadError> {
    known_keys(map, path, &OBJECT_KEYS)?;
    let target = target(map, path)?;
    let amount = amount(map, path)?;
    if amount != Amount::All && matches!(target.which, Which::Named(_)) {
        return Err(error(path, "`count` and `min` go with a `selector`"));
    }
    let test = test(map, path)?;
    let (parents, expected) = (parents(map, path)?, span_of(map, "expected", path)?);
    if !matches!(test, Test::Ready) && (!parents.is_empty() || expected.is_some()) {
        return Err(error(path, "`parents` and `expected` go with `for: ready`"));
    }
    Ok(Wanted { target, test, amount, parents, expected })
}

const OBJECT_KEYS: [&str; 13] = [
    "object",
    "selector",
    "namespace",
    "for",
    "path",
    "equals",
    "not_equals",
    "absent",
    "age",
    "count",
    "min",
    "parents",
    "expected",
];

fn parents(map: &Map<String, Value>, path: &str) -> Result<Vec<String>, ReadError> {
    let at = below(path, "parents");
    match map.get("parents") {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) if !items.is_empty() => {
            let name = |(index, item): (usize, &Value)| {
                let wrong =
                    || error(&format!("{at}[{index}]"), "the name of a gateway is expected, or `namespace/name`");
                item.as_str().filter(|name| !name.is_empty()).map(str::to_owned).ok_or_else(wrong)
            };
            items.iter().enumerate().map(name).collect()
        }
        Some(_) => Err(error(&at, "a list of gateways is expected")),
    }
}

fn span_of(map: &Map<String, Value>, key: &str, path: &str) -> Result<Option<Duration>, ReadError> {
    let Some(written) = text(map, key, path)? else { return Ok(None) };
    duration::parse(&written).map(Some).map_err(|why| error(&below(path, key), why))
}

/// The object that `object`, `selector` and `namespace` mean.
pub(super) fn target(map: &Map<String, Value>, path: &str) -> Result<Target, ReadError> {
    let object = text(map, "object", path)?.unwrap_or_default();
    let namespace = text(map, "namespace", path)?.unwrap_or_default();
    let selector = text(map, "selector", path)?;
    let at = below(path, "object");
    let (kind, which) = match (object.split_once('/'), selector) {
        (Some(_), Some(_)) => return Err(error(&at, "give either a name (`kind/name`) or a `selector`, not both")),
        (Some((kind, name)), None) => (kind, Which::Named(name.to_owned())),
        (None, Some(selector)) => (object.as_str(), Which::Selected(self::selector(&selector, path)?)),
        // Several are counted, and no selector says which: all of them.
        (None, None) if map.contains_key("count") || map.contains_key("min") => {
            (object.as_str(), Which::Selected(Selector::default()))
        }
        (None, None) => {
            let way_out = "write `kind/name`, or add a `selector`, `count` or `min`";
            return Err(error(&at, format!("`{object}` names no object: {way_out}")));
        }
    };
    let whole = !kind.is_empty() && !matches!(&which, Which::Named(name) if name.is_empty() || name.contains('/'));
    if whole {
        Ok(Target { kind: kind.to_owned(), which, namespace })
    } else {
        Err(error(&at, format!("`{object}` is not `kind/name`")))
    }
}

fn test(map: &Map<String, Value>, path: &str) -> Result<Test, ReadError> {
    let given: Vec<&str> = ["for", "path", "age"].into_iter().filter(|key| map.contains_key(*key)).collect();
    match given.as_slice() {
        [] => Err(error(path, "say what it must be: `for: ready`, or `path: '{.status.x}'`")),
        ["for"] => match map.get("for") {
            Some(Value::Object(inner)) => custom(inner, &below(path, "for")),
            _ => named(map, path),
        },
        ["path"] => {
            let written = text(map, "path", path)?.unwrap_or_default();
            let path_to = JsonPath::read(&written).map_err(|message| error(&below(path, "path"), message))?;
            Ok(Test::Path { path: path_to, value: expected(map, path)? })
        }
        ["age"] => age(map, path),
        _ => Err(error(path, "`for`, `path` and `age` are several conditions: write several, or one below `all`")),
    }
}

fn named(map: &Map<String, Value>, path: &str) -> Result<Test, ReadError> {
    let word = text(map, "for", path)?.unwrap_or_default();
    named_test(&word).ok_or_else(|| {
        let known = "exists, deleted, ready, condition=TYPE[=STATUS], {ready_when, progressing_when, failed_when}";
        error(&below(path, "for"), format!("`{word}` is none of {known}"))
    })
}

fn custom(map: &Map<String, Value>, path: &str) -> Result<Test, ReadError> {
    known_keys(map, path, &["ready_when", "progressing_when", "failed_when"])?;
    let expression = |key: &str| match text(map, key, path)? {
        None => Ok(None),
        Some(written) => Expression::read(&written).map(Some).map_err(|message| error(&below(path, key), message)),
    };
    let ready = expression("ready_when")?.ok_or_else(|| error(path, "`ready_when` says when it is ready"))?;
    let (progressing, failed) = (expression("progressing_when")?, expression("failed_when")?);
    Ok(Test::Custom(Arc::new(Custom { ready, progressing, failed })))
}

fn age(map: &Map<String, Value>, path: &str) -> Result<Test, ReadError> {
    let at = below(path, "age");
    let inner = map.get("age").and_then(Value::as_object);
    let inner = inner.ok_or_else(|| error(&at, "an age is `{over: 10m}` or `{under: 1h}`"))?;
    known_keys(inner, &at, &["over", "under"])?;
    match (span_of(inner, "over", &at)?, span_of(inner, "under", &at)?) {
        (None, None) => Err(error(&at, "an age is `{over: 10m}` or `{under: 1h}`")),
        (Some(over), Some(under)) if over >= under => {
            Err(error(&at, "nothing is older than `over` and younger than `under`"))
        }
        (over, under) => Ok(Test::Age { over, under }),
    }
}

fn named_test(word: &str) -> Option<Test> {
    match word {
        "exists" => Some(Test::Exists),
        "deleted" => Some(Test::Deleted),
        "ready" => Some(Test::Ready),
        _ => {
            let (kind, status) =
                word.strip_prefix("condition=").map(|rest| rest.split_once('=').unwrap_or((rest, "True")))?;
            (!kind.is_empty() && !status.is_empty())
                .then(|| Test::Condition { kind: kind.into(), status: status.into() })
        }
    }
}

fn expected(map: &Map<String, Value>, path: &str) -> Result<Expected, ReadError> {
    let given: Vec<&str> =
        ["equals", "not_equals", "absent"].into_iter().filter(|key| map.contains_key(*key)).collect();
    match given.as_slice() {
        [] => Ok(Expected::Present),
        ["equals"] => Ok(Expected::Equals(jsonpath::text(&map["equals"]))),
        ["not_equals"] => Ok(Expected::NotEquals(jsonpath::text(&map["not_equals"]))),
        ["absent"] if map["absent"] == Value::Bool(true) => Ok(Expected::Absent),
        ["absent"] => Err(error(&below(path, "absent"), "`absent` can only be true; leave it out otherwise")),
        _ => Err(error(path, "give at most one of `equals`, `not_equals`, `absent`")),
    }
}

fn number(map: &Map<String, Value>, key: &str, path: &str) -> Result<Option<usize>, ReadError> {
    match map.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(error(&below(path, key), "a whole number is expected")),
        },
    }
}

fn amount(map: &Map<String, Value>, path: &str) -> Result<Amount, ReadError> {
    match (number(map, "count", path)?, number(map, "min", path)?) {
        (Some(_), Some(_)) => Err(error(path, "give `count` (exactly) or `min` (at least), not both")),
        (Some(count), None) => Ok(Amount::Count(count)),
        (None, Some(min)) => Ok(Amount::Min(min)),
        (None, None) => Ok(Amount::All),
    }
}

pub(super) fn known_keys(map: &Map<String, Value>, path: &str, known: &[&str]) -> Result<(), ReadError> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(error(path, format!("unknown key `{key}`; known are {}", known.join(", ")))),
    }
}

pub(super) fn text(map: &Map<String, Value>, key: &str, path: &str) -> Result<Option<String>, ReadError> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Some(_) => Err(error(&below(path, key), "a text is expected")),
    }
}

pub(super) fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub(super) fn error(path: &str, message: impl Into<String>) -> ReadError {
    ReadError { path: path.to_owned(), message: message.into() }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(value: Value) -> String {
        condition(&value, "").map_or_else(|error| format!("{}: {}", error.path, error.message), |it| it.to_string())
    }

    #[test]
    fn conditions_are_read() {
        let cases = [
            (json!({ "object": "deployment/d", "namespace": "n", "for": "ready" }), "deployment/d -n n is ready"),
            (
                json!({ "object": "pod", "selector": "app=x", "for": "ready", "count": 3 }),
                "pod -l app=x is ready (exactly 3)",
            ),
            (json!({ "object": "crd/x", "for": "condition=Established" }), "crd/x has Established=True"),
            (json!({ "object": "gateway/g", "for": "condition=Programmed=False" }), "gateway/g has Programmed=False"),
            (json!({ "object": "gateway/g", "path": "{.status.x}", "equals": 3 }), "gateway/g has {.status.x} = 3"),
            (json!({ "object": "pod/p", "path": ".status.x", "absent": true }), "pod/p has no .status.x"),
            (json!({ "webhook": "w", "for": "answers" }), "webhook w answers"),
            (
                json!({ "any": [{ "object": "a/b", "for": "exists" }, { "object": "c/d", "for": "deleted" }] }),
                "a/b exists or c/d is deleted",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(said(value), expected);
        }
    }

    #[test]
    fn mistakes_are_pointed_at() {
        let cases = [
            (json!("x"), ": a condition is a mapping"),
            (json!({ "object": "deployment", "for": "ready" }), "object: `deployment` names no object"),
            (json!({ "object": "d/e", "for": "redy" }), "for: `redy` is none of"),
            (json!({ "object": "d/e", "fro": "ready" }), ": unknown key `fro`"),
            (json!({ "object": "d/e", "path": "{range .x}" }), "path: a `{range}` without its `{end}`"),
            (json!({ "all": [{ "object": "d/e", "for": "exists" }, { "object": "d/e" }] }), "all[1]: say what"),
            (json!({ "object": "d/e", "for": "ready", "count": 2 }), ": `count` and `min` go with"),
            (json!({ "any": [] }), "any: an empty list"),
        ];
        for (value, expected) in cases {
            let got = said(value);
            assert!(got.starts_with(expected), "{got}");
        }
    }
}
