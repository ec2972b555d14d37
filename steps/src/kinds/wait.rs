//! `wait`: conditions that must come to hold.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::condition::{Condition, Verdict};
use crate::context::Context;
use crate::failure::Failure;
use crate::kind::{Effect, Kind, ReadError};
use crate::step::{Outputs, Standing, Step};

/// The kind `wait`.
pub(super) static KIND: Kind = Kind {
    name: "wait",
    summary: "Waits until conditions of the cluster hold",
    docs: "\
Waits by watches, without polling, and says while it waits the deepest reason that is known: object, condition, pod, container,
event, last log line. All conditions must hold: objects that are ready by the rules of their kind or by the plan's own expressions, have
a condition, lead by a path to a value, have an age, are deleted; webhooks that answer, endpoints of a service, lines of a log, events.

- **with**: `for`, a list of conditions, or one condition as it is. A condition has one of `object` (and `for`, `path` or `age`: what of
  it), `webhook`, `endpoints`, `log`, `event`, or is `any` or `all` of a list of them, just as in `check` and the `wait` that any step may
  have. steps/docs/readiness.md has all of them.
- **observe**: looks once; holds where all do.
- **perform**: waits until the step's timeout. Ends early on what cannot heal: an image that cannot be pulled for three minutes,
  three crashes of a container, a stock-out, a route that the gateway refuses, a `failed_when` that holds.
- **undo**: nothing to take back.
",
    example: "\
webhook:
  uses: wait
  with:
    for:
      - { object: deployment/cert-manager-webhook, namespace: cert-manager, for: ready }
      - { webhook: cert-manager-webhook, for: answers }
      - { endpoints: cert-manager-webhook, namespace: cert-manager }
",
    version: 1,
    effect: Effect::Reads,
    observes: true,
    idempotent: true,
    outputs: &[],
    open_outputs: false,
    schema,
    read,
};

fn schema() -> Value {
    let mut one = Condition::schema();
    let definitions = one["$defs"].take();
    let list = json!({
        "type": "object", "required": ["for"], "additionalProperties": false,
        "properties": { "for": {
            "type": "array", "minItems": 1, "items": { "$ref": one["$ref"] }, "description": "Conditions that must all hold."
        } }
    });
    json!({
        "description": "Conditions that must all hold, or one of them.", "anyOf": [list, { "$ref": one["$ref"] }],
        "$defs": definitions,
    })
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let condition = match with {
        Value::Object(mut map) if map.get("for").is_some_and(Value::is_array) => {
            let listed = map.shift_remove("for").unwrap_or_default();
            if let Some(key) = map.keys().next() {
                return Err(ReadError {
                    path: key.clone(),
                    message: format!("unknown key `{key}` beside a list `for`"),
                });
            }
            Condition::read(&listed).map_err(|error| ReadError { path: format!("for{}", error.path), ..error })?
        }
        one => Condition::read(&one)?,
    };
    Ok(Box::new(Wait { condition }))
}

#[derive(Debug)]
struct Wait {
    condition: Condition,
}

impl Step for Wait {
    fn intent(&self) -> Vec<String> {
        vec![format!("wait until {}", self.condition)]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async move {
            Ok(match self.condition.look(cx).await? {
                Verdict::Holds => Standing::Holds(Outputs::new()),
                Verdict::Not(why) => Standing::Lacks(why),
            })
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(async move {
            self.condition.wait(cx).await?;
            Ok(Outputs::new())
        })
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}
