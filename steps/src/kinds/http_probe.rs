//! `http.probe`: requests, and what their answers must be.

mod request;
mod seen;
mod turns;

use std::path::PathBuf;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use self::request::Request;
use crate::context::Context;
use crate::failure::Failure;
use crate::http::judge;
use crate::kind::{Effect, Kind, OutputDoc, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};

/// The kind `http.probe`.
pub(super) static KIND: Kind = Kind {
    name: "http.probe",
    summary: "Sends HTTP requests and judges the answers",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Reads,
    observes: false,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "status", about: "the status code" },
        OutputDoc { name: "headers", about: "the headers, by lower-case name" },
        OutputDoc { name: "body", about: "the body as text, at most 64 KiB of it" },
        OutputDoc { name: "json", about: "the body as data, or null" },
        OutputDoc { name: "time_ms", about: "how long the answer took, in milliseconds of the plan's time" },
        OutputDoc { name: "response", about: "all that expressions see of the answer" },
        OutputDoc { name: "responses", about: "with `requests`: each answer by the name of its request" },
    ],
    open_outputs: true,
    schema,
    read,
};

const DOCS: &str = "\
Sends HTTP/1.1 requests over verified TLS. Without `expect` any 2xx answer is good; everything else is a failure.

- **observe**: cannot look. Later runs do not ask again where the answer was good and the step still says the same;
  `runbook verify` does, and `apply --redo STEP`.
- **perform**: asks. With `until`, asks again every `interval` while the expression over `response` is false or nothing answers,
  until the step's timeout; an answer that cannot get better (400, 401, 405, 422, 426, a model that does not exist) ends it early.
  Then `assert` is judged, once. `retries` repeats a request after a connection that failed, a 5xx, or a 429, each so many times;
  Retry-After is honoured. Events (`text/event-stream`) are read one by one, with the time of the first token.
- **several requests**: `requests` are sent in order; what stands beside it holds for each of them. `capture` names values of an
  answer, which become outputs, and which later requests use as `{{ NAME }}`.
- **port_forward**: sends the requests to a port of a pod, through the Kubernetes API, whatever host the address names.
- **undo**: nothing to take back.
- **failures**: no answer, 408, 5xx are `transient`; 429 is `throttled` and honours Retry-After; 401 is `auth-expired`; other
  statuses are `invalid`; a certificate that is not trusted, and an assertion that does not hold, are `permanent`.

`response` has `status`, `headers` (by lower-case name), `body`, `truncated`, `json`, `time_ms`, `first_byte_ms`, `connect_ms`,
`http_version`, `tls`, `url`, `stream`, `simulated`; what else an expression names is refused before anything is sent. A secret may stand in a header or the body, not in the address. All options: steps/docs/http.md.
";

const EXAMPLE: &str = "\
models:
  uses: http.probe
  with:
    url: http://10.0.0.1/v1/models
    until: response.status == 200
    interval: 10s
    assert: [response.http_version == 'HTTP/1.1', response.json.data | length > 0]
    capture: { model: 'response.json.data[0].id' }
";

/// Requests in order.
#[derive(Debug)]
struct Probe {
    requests: Vec<Request>,
    /// Whether they stood under `requests`, so that later ones may use what earlier ones captured.
    several: bool,
}

fn schema() -> Value {
    let one = schema_of::<Request>();
    let mut schema = one.clone();
    let item = json!({ "type": "object", "additionalProperties": false, "properties": one["properties"] });
    let list = json!({
        "description": "Several requests, sent in order. What stands beside this holds for each that does not say otherwise.",
        "type": "array", "minItems": 1, "items": item,
    });
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.insert("requests".to_owned(), list);
    }
    if let Some(all) = schema.as_object_mut() {
        all.remove("required");
    }
    schema
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let Value::Object(mut shared) = with else { return Ok(Box::new(one(with)?)) };
    match shared.remove("requests") {
        None => Ok(Box::new(one(Value::Object(shared))?)),
        Some(Value::Array(entries)) if !entries.is_empty() => Ok(Box::new(several(&shared, entries)?)),
        Some(_) => Err(ReadError { path: "requests".to_owned(), message: "expected a list of requests".to_owned() }),
    }
}

fn one(with: Value) -> Result<Probe, ReadError> {
    let request: Request = read_with(with)?;
    ReadError::all(request.problems(None))?;
    Ok(Probe { requests: vec![request], several: false })
}

fn several(shared: &Map<String, Value>, entries: Vec<Value>) -> Result<Probe, ReadError> {
    let (mut requests, mut problems) = (Vec::<Request>::new(), Vec::new());
    for (index, entry) in entries.into_iter().enumerate() {
        let under = |error: ReadError| {
            let dot = if error.path.is_empty() { "" } else { "." };
            ReadError { path: format!("requests[{index}]{dot}{}", error.path), message: error.message }
        };
        match read_with::<Request>(joined(shared, entry)) {
            Err(error) => problems.push(under(error)),
            Ok(request) => {
                let captured: Vec<&str> =
                    requests.iter().flat_map(|earlier| earlier.capture.keys()).map(String::as_str).collect();
                problems.extend(request.problems(Some(&captured)).into_iter().map(under));
                requests.push(request);
            }
        }
    }
    ReadError::all(problems)?;
    Ok(Probe { requests, several: true })
}

/// A request with what holds for all: its own word wins, header by header.
fn joined(shared: &Map<String, Value>, entry: Value) -> Value {
    let Value::Object(own) = entry else { return entry };
    let mut all = shared.clone();
    for (name, value) in own {
        match (all.get_mut(&name), value) {
            (Some(Value::Object(known)), Value::Object(more)) if name == "headers" => known.extend(more),
            (_, value) => {
                all.insert(name, value);
            }
        }
    }
    Value::Object(all)
}

impl Probe {
    async fn run(&self, cx: &Context) -> Result<Outputs, Failure> {
        let mut captured = Map::new();
        let mut responses = Map::new();
        let mut last = Outputs::new();
        for (index, request) in self.requests.iter().enumerate() {
            let seen = turns::ask(request, self.several.then_some(&captured), cx).await?;
            self.capture(request, &seen.response, &mut captured)?;
            let name = request.name.clone().unwrap_or_else(|| (index + 1).to_string());
            let response = seen.bounded();
            responses.insert(name, response.clone());
            last = outputs(response);
        }
        if self.several {
            last.insert("responses".to_owned(), Value::Object(responses));
        }
        last.extend(captured);
        Ok(last)
    }

    fn capture(&self, request: &Request, response: &Value, captured: &mut Map<String, Value>) -> Result<(), Failure> {
        for (name, expression) in &request.capture {
            let value = judge::value(expression, "response", response)?;
            if value.is_null() {
                let status = &response["status"];
                return Err(Failure::permanent(format!("cannot capture `{name}`: `{expression}` has no value"))
                    .cause(format!("the answer ({status}) does not hold it"))
                    .detail(judge::clipped(response["body"].as_str().unwrap_or_default())));
            }
            if judge::forges_secret(&value) {
                return Err(Failure::permanent(format!(
                    "`{name}` holds what would be taken for a secret of this plan"
                )));
            }
            captured.insert(name.clone(), value);
        }
        Ok(())
    }
}

fn outputs(response: Value) -> Outputs {
    let names = ["status", "headers", "body", "json", "time_ms"];
    let mut outputs: Outputs = names.iter().map(|name| ((*name).to_owned(), response[*name].clone())).collect();
    outputs.insert("response".to_owned(), response);
    outputs
}

impl Step for Probe {
    fn intent(&self) -> Vec<String> {
        self.requests.iter().flat_map(Request::commands).collect()
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(self.run(cx)))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.requests.iter().filter_map(|request| request.ca_bundle.clone()).collect()
    }
}
