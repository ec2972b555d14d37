//! From a rendered value to a condition, with errors that point at the place; and the schema that says the same.

use serde_json::{Map, Value, json};

use super::{Amount, Condition, Expected, Form, Target, Test, Wanted, Which};
use crate::cluster::Selector;
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
    if map.contains_key("webhook") {
        return webhook(map, path);
    }
    Err(error(path, "a condition has one of `object`, `webhook`, `any`, `all`"))
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

fn wanted(map: &Map<String, Value>, path: &str) -> Result<Wanted, ReadError> {
    known_keys(
        map,
        path,
        &["object", "selector", "namespace", "for", "path", "equals", "not_equals", "absent", "count", "min"],
    )?;
    let target = target(map, path)?;
    let amount = amount(map, path)?;
    if amount != Amount::All && matches!(target.which, Which::Named(_)) {
        return Err(error(path, "`count` and `min` go with a `selector`"));
    }
    Ok(Wanted { target, test: test(map, path)?, amount })
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
        (None, Some(selector)) => {
            let selector = Selector::read(&selector).map_err(|message| error(&below(path, "selector"), message))?;
            (object.as_str(), Which::Selected(selector))
        }
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
    match (text(map, "for", path)?, text(map, "path", path)?) {
        (Some(_), Some(_)) => Err(error(path, "`for` and `path` are two conditions: write two, or one below `all`")),
        (None, None) => Err(error(path, "say what it must be: `for: ready`, or `path: '{.status.x}'`")),
        (Some(word), None) => named_test(&word).ok_or_else(|| {
            error(&below(path, "for"), format!("`{word}` is none of exists, deleted, ready, condition=TYPE[=STATUS]"))
        }),
        (None, Some(written)) => {
            let path_to = JsonPath::read(&written).map_err(|message| error(&below(path, "path"), message))?;
            Ok(Test::Path { path: path_to, value: expected(map, path)? })
        }
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

fn amount(map: &Map<String, Value>, path: &str) -> Result<Amount, ReadError> {
    let number = |key: &str| match map.get(key) {
        None => Ok(None),
        Some(value) => match value.as_u64().and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(error(&below(path, key), "a whole number is expected")),
        },
    };
    match (number("count")?, number("min")?) {
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

/// The schema of a condition. It names itself by `$defs/condition` where it recurs, and carries that definition along.
pub(super) fn schema() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let flat = json!({
        "object": text("`kind/name`, or with `selector` only the kind. The kind may be plural, short or `kind.group`."),
        "selector": text("A label selector, such as `app=x,tier!=db`."),
        "namespace": text("The namespace; without it that of the kubeconfig."),
        "for": { "type": "string", "description": "What it must be.", "pattern": "^(exists|deleted|ready|condition=[^=]+(=.+)?)$" },
        "path": text("A JSONPath in kubectl's dialect that must lead to something: `{.status.addresses[0].value}`."),
        "equals": { "description": "What the path must lead to." },
        "not_equals": { "description": "What the path must not lead to." },
        "absent": { "const": true, "description": "The path must lead to nothing." },
        "count": { "type": "integer", "minimum": 0, "description": "Exactly so many selected objects." },
        "min": { "type": "integer", "minimum": 0, "description": "At least so many selected objects." }
    });
    let object = json!({
        "type": "object", "required": ["object"], "additionalProperties": false, "properties": flat,
        "oneOf": [{ "required": ["for"] }, { "required": ["path"] }]
    });
    let webhook = json!({
        "type": "object", "required": ["webhook", "for"], "additionalProperties": false,
        "properties": { "webhook": text("The name of a webhook configuration."), "for": { "const": "answers" } }
    });
    let several = |key: &str, about: &str| {
        json!({
            "type": "object", "required": [key], "additionalProperties": false,
            "properties": { key: { "type": "array", "minItems": 1, "description": about, "items": { "type": "object" } } }
        })
    };
    let any = several("any", "One of these conditions must hold.");
    let all = several("all", "All of these conditions must hold.");
    json!({ "description": "Something that can be true of the cluster.", "anyOf": [object, webhook, any, all] })
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests {
    use super::*;

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
            (json!({ "object": "d/e", "path": "{range .x}" }), "path: `{range .x}` is more than one path"),
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
