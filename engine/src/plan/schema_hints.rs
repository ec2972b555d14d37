//! What an editor is told of hints and stages: in a step of a plan, and in a file of hints.

use serde_json::{Map, Value, json};

use super::hints::NAMES;
use super::schema::{described, reference};

/// The definitions of hints and stages.
pub(super) fn definitions() -> Map<String, Value> {
    let definitions = json!({
        "hint": {
            "type": "object", "additionalProperties": false, "required": ["cause", "fix"],
            "anyOf": [ { "required": ["match"] }, { "required": ["when"] } ],
            "properties": {
                "id": { "type": "string", "description": "Its name, in a file of hints. One that has the name of another that comes with the program takes its place." },
                "match": reference("match"),
                "when": described("bare", &format!("Must hold besides. It sees {}.", NAMES.join(", "))),
                "cause": { "type": "string", "description": "Why it happens." },
                "fix": { "type": "string", "description": "What to do." },
                "docs": { "type": "string", "description": "Where to read more." },
                "class": described("class", "Overrides the failure's class."),
                "remedy": { "type": "string", "description": "The step with `on_demand: true` that puts it right; it is offered on a terminal." },
                "trigger": { "description": "What was once seen, and must be recognised by it: its own test.", "anyOf": [ reference("trigger"), { "type": "array", "items": reference("trigger") } ] },
            },
        },
        "stage": {
            "type": "object", "additionalProperties": false, "required": ["name", "match"],
            "properties": {
                "name": { "type": "string", "description": "What it is called to people." },
                "match": reference("match"),
                "expected": { "type": "string", "description": "How long it usually takes: `90s`, or `1m..3m`." },
                "normal": { "type": "string", "description": "What to say while nothing seems to happen in it." },
            },
        },
        "match": {
            "type": "object", "additionalProperties": false, "minProperties": 1, "description": "What it applies to; all must match.",
            "properties": {
                "error": described("pattern", "The failure's line, detail, standard error or standard output."),
                "stdout": described("pattern", "Standard output."),
                "log": described("pattern", "A container's log."),
                "event": described("pattern", "A Kubernetes event, `Reason: message`."),
                "condition": {
                    "type": "object", "additionalProperties": false, "description": "A condition of a Kubernetes object.",
                    "properties": { "type": reference("pattern"), "status": reference("pattern"), "reason": reference("pattern"), "message": reference("pattern") },
                },
                "http": {
                    "type": "object", "additionalProperties": false, "description": "An HTTP answer.",
                    "properties": { "status": { "type": "integer", "minimum": 100, "maximum": 599 }, "body": reference("pattern") },
                },
                "object": {
                    "type": "object", "additionalProperties": false, "description": "An object that was looked at; all must fit the same one.",
                    "properties": {
                        "kind": described("pattern", "Its kind."),
                        "path": { "type": "string", "description": "A path in it, in kubectl's dialect: `{.spec.replicas}`." },
                        "matches": described("pattern", "What one of the values there is like."),
                        "absent": { "type": "boolean", "description": "The path leads nowhere." },
                    },
                },
                "class": reference("class"),
            },
        },
        "trigger": { "type": "object", "description": "A recorded sight: error, detail, class, stdout, stderr, log, events, conditions, http, objects, other, step, kind, inputs, elapsed." },
    });
    match definitions {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    }
}

/// The JSON Schema of a file of hints.
pub fn of_file() -> Value {
    let mut own = definitions();
    own.insert(
        "pattern".into(),
        json!({ "type": "string", "format": "regex", "description": "A regular expression." }),
    );
    own.insert("bare".into(), json!({ "type": "string", "description": "An expression." }));
    let names = runbook_steps::Class::ALL.map(runbook_steps::Class::name);
    own.insert("class".into(), json!({ "enum": names, "description": "What sort of failure it is." }));
    own.sort_keys();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "runbook hints",
        "description": "What is known to go wrong: stands as hints/NAME.yaml beside a plan.",
        "type": "object",
        "required": ["runbook_hints", "hints"],
        "additionalProperties": false,
        "properties": {
            "runbook_hints": { "const": 1, "description": "The version of the format. First line, always 1." },
            "about": { "type": "string", "description": "What these are about, in a line." },
            "kind": { "type": "string", "description": "The kind of step that they speak of; all where it is left out." },
            "hints": { "type": "array", "items": { "allOf": [ reference("hint"), { "required": ["id"] } ] } },
        },
        "definitions": own,
    })
}
