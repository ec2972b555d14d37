//! The JSON Schema of a condition: says what `read` says, for editors and for checks before values are known.

use serde_json::{Value, json};

fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn span(about: &str) -> Value {
    json!({ "type": "string", "description": about, "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h|d))+$" })
}

fn closed(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
}

const NAMESPACE: &str = "The namespace; without it that of the kubeconfig.";

/// The schema of a condition. Conditions hold conditions: its only definition is for these, too.
pub(super) fn condition() -> Value {
    json!({ "$ref": "#/$defs/condition", "$defs": { "condition": definition() } })
}

/// What `#/$defs/condition` is.
fn definition() -> Value {
    let any = several("any", "One of these conditions must hold.");
    let all = several("all", "All of these conditions must hold.");
    let webhook = closed(
        &["webhook", "for"],
        &json!({ "webhook": text("The name of a webhook configuration, or of one webhook in one."), "for": { "const": "answers" } }),
    );
    json!({
        "description": "Something that can be true of the cluster.",
        "anyOf": [object(), webhook, endpoints(), log(), event(), any, all]
    })
}

fn object() -> Value {
    let mut object = closed(
        &["object"],
        &json!({
            "object": text("`kind/name`, or with `selector` only the kind. The kind may be plural, short or `kind.group`."),
            "selector": text("A label selector, such as `app=x,tier!=db`."),
            "namespace": text(NAMESPACE),
            "for": { "description": "What it must be.", "anyOf": [
                { "type": "string", "pattern": "^(exists|deleted|ready|condition=[^=]+(=.+)?)$" }, custom()] },
            "path": text("A JSONPath in kubectl's dialect that must lead to something: `{.status.addresses[0].value}`."),
            "equals": { "description": "What the path must lead to." },
            "not_equals": { "description": "What the path must not lead to." },
            "absent": { "const": true, "description": "The path must lead to nothing." },
            "age": age(),
            "count": { "type": "integer", "minimum": 0, "description": "Exactly so many selected objects." },
            "min": { "type": "integer", "minimum": 0, "description": "At least so many selected objects." },
            "parents": { "type": "array", "minItems": 1, "items": { "type": "string" },
                "description": "With `for: ready` of an InferencePool: the gateways that must accept it, `name` or `namespace/name`." },
            "expected": span("With `for: ready`: how long it may take; after that a Deployment's exceeded progress deadline is a failure."),
        }),
    );
    object["oneOf"] = json!([{ "required": ["for"] }, { "required": ["path"] }, { "required": ["age"] }]);
    object
}

fn custom() -> Value {
    let names = "`object` is the object, `cond(object, 'Ready')` the status of a condition. A field that is not there is false.";
    closed(
        &["ready_when"],
        &json!({
            "ready_when": text(&format!("An expression that is true when it is ready. {names}")),
            "progressing_when": text("An expression that is true while it is on its way. Asked first."),
            "failed_when": text("An expression that is true when waiting does not help. Asked second."),
        }),
    )
}

fn age() -> Value {
    let mut age = closed(
        &[],
        &json!({ "over": span("It was created longer ago than this."), "under": span("It was created less long ago than this.") }),
    );
    age["description"] = json!("How long ago it was created.");
    age["minProperties"] = json!(1);
    age
}

fn endpoints() -> Value {
    closed(
        &["endpoints"],
        &json!({
            "endpoints": text("A Service, whose endpoints must be ready."),
            "namespace": text(NAMESPACE),
            "min": { "type": "integer", "minimum": 1, "description": "At least so many; 1 where it is left out." },
        }),
    )
}

fn log() -> Value {
    let mut inner = closed(
        &["match"],
        &json!({
            "pod": text("The pod."),
            "selector": text("A label selector: all these pods, or `min` of them."),
            "namespace": text(NAMESPACE),
            "container": text("The container; without it the pod's default one."),
            "match": text("A regular expression that one line must match."),
            "min": { "type": "integer", "minimum": 1, "description": "So many of the selected pods are enough." },
        }),
    );
    inner["oneOf"] = json!([{ "required": ["pod"] }, { "required": ["selector"] }]);
    inner["description"] = json!("A line of a container's log.");
    closed(&["log"], &json!({ "log": inner }))
}

fn event() -> Value {
    let mut inner = closed(
        &[],
        &json!({
            "reason": text("Its reason, such as `TriggeredScaleUp`."),
            "match": text("A regular expression that its message must match."),
            "object": text("What it is about: `kind/name`."),
            "type": { "enum": ["Normal", "Warning"], "description": "Its type." },
            "namespace": text(NAMESPACE),
        }),
    );
    inner["anyOf"] = json!([{ "required": ["reason"] }, { "required": ["match"] }]);
    inner["description"] = json!("An event that the cluster still remembers.");
    closed(&["event"], &json!({ "event": inner }))
}

fn several(key: &str, about: &str) -> Value {
    let list =
        json!({ "type": "array", "minItems": 1, "description": about, "items": { "$ref": "#/$defs/condition" } });
    closed(&[key], &json!({ key: list }))
}
