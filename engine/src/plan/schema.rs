//! The plan language as a JSON Schema, for editors: completion of keys, of kinds, and of each kind's `with`.
//!
//! Owns what an editor is told; what is true is decided by `check`. The same program always gives the same text.

use runbook_steps::{Class, Condition, Kind, Lookup};
use serde_json::{Map, Value, json};

use super::inputs::TYPES;
use super::schema_hints;

/// The JSON Schema of the plan language with the kinds of this program.
pub fn schema() -> Value {
    schema_with(runbook_steps::KINDS)
}

/// The JSON Schema of the plan language with a set of kinds.
pub fn schema_with(kinds: &[&Kind]) -> Value {
    let mut definitions = definitions();
    let mut inner = Map::new();
    for (name, schema) in [("condition", Condition::schema()), ("lookup", Lookup::schema())] {
        let own = hoisted(schema, name, &mut inner);
        definitions.insert(name.into(), lenient(own));
    }
    for kind in kinds {
        let own = hoisted((kind.schema)(), kind.name, &mut inner);
        definitions.insert(format!("with.{}", kind.name), lenient(own));
    }
    for (name, schema) in inner {
        definitions.insert(name, lenient(schema));
    }
    definitions.extend(schema_hints::definitions());
    definitions.insert("step".into(), step(kinds));
    definitions.insert("undo".into(), undo(kinds));
    definitions.sort_keys();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "runbook plan",
        "description": "A deployment as a graph of typed steps. Run it with `runbook apply`, rehearse it with `runbook rehearse`.",
        "type": "object",
        "required": ["runbook"],
        "additionalProperties": false,
        "properties": plan_properties(),
        "definitions": definitions,
    })
}

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// Moves a schema's own definitions to the top, under names that begin with the schema's.
fn hoisted(mut schema: Value, prefix: &str, inner: &mut Map<String, Value>) -> Value {
    let own = schema.as_object_mut().and_then(|object| object.remove("$defs"));
    if let Some(Value::Object(own)) = own {
        for (name, mut definition) in own {
            redirect(&mut definition, prefix);
            inner.insert(format!("{prefix}.{name}"), definition);
        }
    }
    redirect(&mut schema, prefix);
    schema
}

fn redirect(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/definitions/{prefix}.{name}");
            }
            object.values_mut().for_each(|value| redirect(value, prefix));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| redirect(value, prefix)),
        _ => {}
    }
}

/// Lets `${{ }}` stand wherever something other than free text is asked for.
fn lenient(schema: Value) -> Value {
    let Value::Object(mut object) = schema else { return schema };
    for key in ["properties", "patternProperties"] {
        if let Some(Value::Object(properties)) = object.get_mut(key) {
            properties.values_mut().for_each(|value| *value = or_expression(lenient(value.take())));
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(value) = object.get_mut(key).filter(|value| value.is_object()) {
            *value = or_expression(lenient(value.take()));
        }
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(Value::Array(branches)) = object.get_mut(key) {
            branches.iter_mut().for_each(|value| *value = lenient(value.take()));
        }
    }
    Value::Object(object)
}

fn or_expression(schema: Value) -> Value {
    let takes_text = match schema.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => schema.as_object().is_none_or(Map::is_empty),
    };
    let restricted = ["enum", "const", "pattern", "format", "maxLength"].iter().any(|key| schema.get(key).is_some());
    if takes_text && !restricted {
        return schema;
    }
    let mut outer = Map::new();
    if let Some(description) = schema.get("description") {
        outer.insert("description".into(), description.clone());
    }
    if let Some(default) = schema.get("default") {
        outer.insert("default".into(), default.clone());
    }
    outer.insert("anyOf".into(), json!([schema, reference("expression")]));
    Value::Object(outer)
}

fn plan_properties() -> Value {
    json!({
        "runbook": { "const": 1, "description": "The version of the plan language. First line, always 1." },
        "name": { "type": "string", "description": "What a deployment of it is called; the file's name where it is left out." },
        "description": { "type": "string", "description": "What it deploys, in a line or two." },
        "inputs": { "description": "What can be set with `--input NAME=VALUE`; checked before anything runs.", "type": "object", "additionalProperties": reference("input") },
        "secrets": { "description": "Values that are never stored, shown, or put into arguments. Use them as `${{ secrets.NAME }}` in `with` and `env`.", "type": "object", "additionalProperties": reference("secret") },
        "vars": { "description": "Values computed from inputs and other vars; use them as `${{ vars.NAME }}`.", "type": "object" },
        "defaults": {
            "description": "What every step has unless it says otherwise.", "type": "object", "additionalProperties": false,
            "properties": { "timeout": described("duration", "Bounds one attempt of a step."), "retry": reference("retry") },
        },
        "include": { "description": "Other plans as parts of this one. Their steps are called `NAME.step`, their exported outputs `steps.NAME.outputs.X`.", "type": "object", "additionalProperties": reference("include") },
        "steps": { "description": "What is done, by name. Order has no meaning; `needs` and references have.", "type": "object", "additionalProperties": reference("step") },
        "finally": { "description": "Steps that run at the end whatever happened.", "type": "object", "additionalProperties": reference("step") },
        "outputs": { "description": "What is shown at the end, and what an including plan can use.", "type": "object" },
    })
}

pub(super) fn described(name: &str, description: &str) -> Value {
    json!({ "description": description, "allOf": [reference(name)] })
}

fn definitions() -> Map<String, Value> {
    let types: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    let classes: Vec<&str> = Class::ALL.into_iter().map(Class::name).collect();
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let definitions = json!({
        "expression": { "type": "string", "pattern": "\\$\\{\\{", "description": "A text with `${{ … }}`; if it is nothing but one expression, its value keeps its type." },
        "bare": { "type": ["string", "boolean"], "description": "An expression without `${{ }}` that is true or false." },
        "duration": { "type": "string", "description": "`500ms`, `90s`, `5m`, `1h30m`.", "pattern": "^([0-9.]+(d|h|m|s|ms))+$|\\$\\{\\{" },
        "class": { "enum": classes, "description": "The class of a failure, which decides whether it is tried again." },
        "pattern": { "type": "string", "format": "regex", "description": "A regular expression." },
        "input": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "type": { "enum": types, "description": "What it may hold." },
                "default": { "description": "The value where none is given." },
                "required": { "type": "boolean", "description": "Whether it must be given." },
                "pattern": described("pattern", "What a text must match."),
                "min": { "type": "number", "description": "The least number, or the shortest text or list." },
                "max": { "type": "number", "description": "The greatest number, or the longest text or list." },
                "values": { "type": "array", "description": "The choices of an enum." },
                "description": { "type": "string", "description": "What it is for." },
                "example": { "description": "A value that would do; shown where it is missing." },
            },
        },
        "secret": {
            "type": "object", "additionalProperties": false, "required": ["from"],
            "properties": {
                "from": { "type": "array", "description": "Where to look, in order.", "items": {
                    "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1,
                    "properties": {
                        "env": { "type": "string", "description": "An environment variable." },
                        "file": { "type": "string", "description": "A file; `~/` is the home folder." },
                        "prompt": { "type": "string", "description": "Asked for on a terminal, with this text." },
                    },
                } },
                "description": { "type": "string", "description": "What it is." },
                "required": { "type": "boolean", "default": true, "description": "Whether the plan cannot do without." },
            },
        },
        "include": {
            "type": "object", "additionalProperties": false, "required": ["plan"],
            "properties": {
                "plan": { "type": "string", "description": "The file, from this one's folder." },
                "with": { "type": "object", "description": "Its inputs." },
                "needs": reference("needs"),
            },
        },
        "needs": {
            "description": "What must have ended well before: a name, a list, or a map from names to `succeeded` or `finished`.",
            "anyOf": [ { "type": "string" }, texts, { "type": "object", "additionalProperties": { "enum": ["succeeded", "finished"] } } ],
        },
        "retry": {
            "type": "object", "additionalProperties": false, "description": "How often, when and after what a failed attempt is repeated.",
            "properties": {
                "attempts": { "type": "integer", "minimum": 1, "maximum": 1000, "description": "Tries in all." },
                "backoff": {
                    "type": "object", "additionalProperties": false, "description": "The pauses between.",
                    "properties": {
                        "initial": described("duration", "The first pause."),
                        "factor": { "type": "number", "minimum": 1, "maximum": 100, "description": "What each pause is multiplied by." },
                        "max": described("duration", "The longest pause."),
                    },
                },
                "only": { "type": "array", "items": reference("class"), "description": "The classes that are tried again; by default those that may pass by themselves, and for the `retry` of a `run` or `command` also `permanent`, which is any other exit code." },
            },
        },
        "conditions": { "anyOf": [ { "type": "array", "items": reference("condition") }, reference("condition") ] },
        "requirement": {
            "type": "object", "additionalProperties": false, "required": ["assert"],
            "properties": {
                "assert": described("bare", "Must be true."),
                "message": { "type": "string", "description": "What to say if it is not." },
                "fix": { "type": "string", "description": "What to do about it." },
            },
        },
    });
    match definitions {
        Value::Object(definitions) => definitions,
        _ => Map::new(),
    }
}

/// The ways to do something, with each kind's `with`.
fn work_properties(kinds: &[&Kind]) -> Map<String, Value> {
    let uses: Vec<Value> =
        kinds.iter().map(|kind| json!({ "const": kind.name, "description": kind.summary })).collect();
    let mut properties = Map::new();
    properties.insert(
        "uses".into(),
        json!({ "description": "The kind of step; `runbook kinds` lists them.", "oneOf": uses }),
    );
    properties.insert("with".into(), json!({ "type": ["object", "null"], "description": "What the kind takes." }));
    properties.insert(
        "run".into(),
        json!({ "type": "string", "description": "A shell script. No `${{ }}` in it: pass values by `env`." }),
    );
    properties.insert("command".into(), json!({ "type": "array", "description": "A program and its arguments, without a shell.", "items": { "type": ["string", "number", "boolean"] } }));
    properties.insert(
        "env".into(),
        json!({ "type": "object", "description": "Environment variables of the script, command or kind." }),
    );
    properties.insert("dir".into(), json!({ "type": "string", "description": "The folder that it runs in." }));
    properties
}

/// For each kind: if `uses` names it, `with` is what it takes.
fn by_kind(kinds: &[&Kind]) -> Vec<Value> {
    let rule = |kind: &&Kind| {
        json!({
            "if": { "properties": { "uses": { "const": kind.name } }, "required": ["uses"] },
            "then": { "properties": { "with": reference(&format!("with.{}", kind.name)) } },
        })
    };
    kinds.iter().map(rule).collect()
}

fn undo(kinds: &[&Kind]) -> Value {
    let mut properties = work_properties(kinds);
    properties.insert("confirm".into(), json!({ "type": "string", "description": "What to ask before." }));
    json!({
        "description": "How it is taken back: `false` leaves it, `true` lets the kind do it, a map says how.",
        "anyOf": [ { "type": "boolean" }, { "type": "object", "additionalProperties": false, "properties": properties, "allOf": by_kind(kinds) } ],
    })
}

fn step(kinds: &[&Kind]) -> Value {
    let mut properties = work_properties(kinds);
    let rest = json!({
        "name": { "type": "string", "description": "What it is called to people." },
        "needs": reference("needs"),
        "when": described("bare", "Skipped unless true."),
        "require": { "description": "Fails, with a message, unless these are true.", "anyOf": [ { "type": "array", "items": reference("requirement") }, reference("requirement") ] },
        "manual": { "description": "A person's step: what to ask.", "anyOf": [ { "type": "string" }, manual(kinds) ] },
        "check": described("conditions", "True already: nothing is done, and the outcome is `ok`."),
        "wait": described("conditions", "Waited for after the work; all must hold."),
        "assert": { "description": "Expressions over the step's own outputs that must be true at the end.", "anyOf": [ { "type": "array", "items": reference("bare") }, reference("bare") ] },
        "outputs": { "type": "object", "description": "What it gives to others: a template, or a look-up `{object, namespace, path}`.", "additionalProperties": { "anyOf": [ reference("lookup"), { "type": ["string", "number", "boolean", "array"] } ] } },
        "retry": reference("retry"),
        "timeout": described("duration", "Bounds one attempt."),
        "deadline": described("duration", "Bounds all attempts and the pauses between."),
        "expected": { "type": "string", "description": "How long it usually takes: `5m`, or `5m..10m`." },
        "normal": { "type": "string", "description": "What to say while nothing seems to happen." },
        "locks": { "description": "Names of locks; steps with a name in common never run at once.", "anyOf": [ { "type": "string" }, { "type": "array", "items": { "type": "string" } } ] },
        "hints": { "type": "array", "items": reference("hint"), "description": "What is known to go wrong, why, and what to do." },
        "stages": { "type": "array", "items": reference("stage"), "description": "The parts that it goes through, in order; shown while it waits." },
        "on_demand": { "type": "boolean", "description": "No part of a run unless it is asked for by name (`--only`): the remedy of a hint. Nothing may need it." },
        "undo": reference("undo"),
        "protect": { "type": "boolean", "description": "Never taken back without a word more." },
        "foreach": { "type": "object", "description": "One step for every item: name → list of inputs and vars. The item is `each.NAME`.", "minProperties": 1 },
        "read_only": { "type": "boolean", "description": "Changes nothing; its outcome is `ok`." },
        "idempotent": { "type": "boolean", "description": "A repeat is safe, so that it is run again after a crash in the middle." },
        "cost": { "type": "object", "additionalProperties": false, "description": "In US dollars.", "properties": { "per_hour": { "type": "number", "minimum": 0, "description": "For as long as what it made stands." } } },
        "known_issue": { "type": "object", "additionalProperties": false, "required": ["reason"], "description": "Expected to fail.", "properties": { "reason": { "type": "string" } } },
    });
    if let Value::Object(rest) = rest {
        properties.extend(rest);
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "allOf": by_kind(kinds) })
}

fn manual(kinds: &[&Kind]) -> Value {
    if kinds.iter().any(|kind| kind.name == "manual") { reference("with.manual") } else { json!({ "type": "object" }) }
}
