//! `http.probe`: a request, and what its answer must be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use minijinja::{Environment, UndefinedBehavior};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::context::{Context, Progress};
use crate::failure::{Class, Facts, Failure};
use crate::http::{self, Way};
use crate::kind::{Effect, Kind, OutputDoc, ReadError, read_with, schema_of};
use crate::scalar::Scalar;
use crate::secret::mentions_secret;
use crate::span::Span;
use crate::step::{Outputs, Standing, Step};

/// The kind `http.probe`.
pub(super) static KIND: Kind = Kind {
    name: "http.probe",
    summary: "Sends an HTTP request and judges the answer",
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
        OutputDoc { name: "time_ms", about: "how long the answer took, in milliseconds" },
        OutputDoc { name: "response", about: "all of these together, and `http_version`" },
    ],
    open_outputs: false,
    schema: schema_of::<Probe>,
    read,
};

const DOCS: &str = "\
Sends one HTTP/1.1 request over verified TLS. Without `expect` any 2xx answer is good; everything else is a failure.

- **observe**: cannot look; every run asks.
- **perform**: asks. With `until`, asks again every `interval` while the expression over `response` is false or nothing answers,
  until the step's timeout; an answer that cannot get better (400, 401, 405, 422, 426, a model that does not exist) ends it early.
- **undo**: nothing to take back.
- **failures**: no answer, 408, 5xx are `transient`; 429 is `throttled` and honours Retry-After; 401 is `auth-expired`; other
  statuses are `invalid`.

`response` has `status`, `headers`, `body`, `json`, `time_ms`, `http_version`. A secret may stand in a header or the body, not
in the address.
";

const EXAMPLE: &str = "\
models:
  uses: http.probe
  with:
    url: http://10.0.0.1/v1/models
    until: response.status == 200
    interval: 10s
";

/// A request and what its answer must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {
    /// The address.
    url: String,
    /// The method; without it GET, or POST where there is a body.
    method: Option<String>,
    /// Headers by name.
    #[serde(default)]
    headers: BTreeMap<String, Scalar>,
    /// A body as data.
    json: Option<Value>,
    /// A body as text.
    body: Option<String>,
    /// A body as a form.
    form: Option<BTreeMap<String, Scalar>>,
    /// How long connecting may take.
    #[serde(default = "ten_seconds")]
    connect_timeout: Span,
    /// How long one answer may take.
    #[serde(default = "minute")]
    timeout: Span,
    /// What the answer must be.
    expect: Option<Expect>,
    /// An expression over `response`; the request is repeated while it is false.
    until: Option<String>,
    /// How long to pause between requests.
    #[serde(default = "five_seconds")]
    interval: Span,
    /// A file of certificates (PEM) that are trusted besides the machine's.
    ca_bundle: Option<PathBuf>,
}

/// What an answer must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expect {
    /// The statuses that are good.
    status: Statuses,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Statuses {
    One(u16),
    Several(Vec<u16>),
}

impl Statuses {
    fn contain(&self, status: u16) -> bool {
        match self {
            Statuses::One(one) => *one == status,
            Statuses::Several(several) => several.contains(&status),
        }
    }
}

fn five_seconds() -> Span {
    Span(Duration::from_secs(5))
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

fn minute() -> Span {
    Span(Duration::from_secs(60))
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let probe: Probe = read_with(with)?;
    let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
    let bodies = [probe.json.is_some(), probe.body.is_some(), probe.form.is_some()];
    if bodies.into_iter().filter(|given| *given).count() > 1 {
        return wrong("", "give at most one of `json`, `body`, `form`".to_owned());
    }
    if mentions_secret(&probe.url) {
        return wrong("url", "a secret cannot stand in an address: put it into a header or the body".to_owned());
    }
    if let Err(error) = reqwest::Url::parse(&probe.url) {
        return wrong("url", format!("`{}` is no address: {error}", probe.url));
    }
    if let Some(Err(error)) = probe.until.as_ref().map(|until| expressions().compile_expression(until).map(|_| ())) {
        return wrong("until", format!("`{}` is no expression: {error}", probe.until.unwrap_or_default()));
    }
    Ok(Box::new(probe))
}

fn expressions() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_fuel(Some(1_000_000));
    environment
}

const LARGEST_BODY: usize = 1 << 20;
const KEPT_BODY: usize = 64 << 10;

/// An answer.
struct Answer {
    status: u16,
    /// As expressions and outputs see it.
    response: Value,
    retry_after: Option<Duration>,
}

impl Answer {
    fn body(&self) -> &str {
        self.response["body"].as_str().unwrap_or_default()
    }

    fn facts(&self) -> Facts {
        let http_body = self.body().chars().take(4096).collect();
        Facts { http_status: Some(self.status), http_body, ..Facts::default() }
    }
}

impl Probe {
    fn method(&self) -> String {
        let has_body = self.json.is_some() || self.body.is_some() || self.form.is_some();
        self.method.as_ref().map_or_else(|| if has_body { "POST" } else { "GET" }.to_owned(), |it| it.to_uppercase())
    }

    /// Asks once.
    async fn ask(&self, cx: &Context) -> Result<Answer, Failure> {
        let request = self.request(cx).await?;
        let started = Instant::now();
        let response = request.send().await.map_err(|error| http::unanswered(&error, &self.url))?;
        let (status, version) = (response.status().as_u16(), format!("{:?}", response.version()));
        let headers = response.headers().clone();
        let read = http::body(response, LARGEST_BODY).await;
        let (bytes, truncated) = read.map_err(|error| http::unanswered(&error, &self.url))?;
        let took = cx.clock().model_span(started.elapsed());
        let body = cx.redactor.mask(&String::from_utf8_lossy(&bytes)).into_owned();
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        let mut shown = shown(&headers);
        cx.redactor.mask_value(&mut shown);
        let response = json!({
            "status": status, "headers": shown, "body": body, "json": json, "truncated": truncated,
            "time_ms": took.as_secs_f64() * 1000.0, "http_version": version,
        });
        Ok(Answer { status, response, retry_after: retry_after(&headers) })
    }

    async fn request(&self, cx: &Context) -> Result<reqwest::RequestBuilder, Failure> {
        let authorities = match &self.ca_bundle {
            Some(path) => read_file(&cx.plan_path(path)).await?,
            None => Vec::new(),
        };
        let client = Way::new(cx, authorities, self.connect_timeout.0).client()?;
        let method =
            self.method().parse().map_err(|_| Failure::invalid(format!("`{}` is no method", self.method())))?;
        let mut request = client.request(method, &self.url).timeout(http::patience(self.timeout.0, cx));
        for (name, value) in &self.headers {
            let value = cx.secrets.reveal(&value.0).map_err(Failure::invalid)?;
            request = request.header(name, value.expose());
        }
        self.with_body(request, cx)
    }

    fn with_body(&self, request: reqwest::RequestBuilder, cx: &Context) -> Result<reqwest::RequestBuilder, Failure> {
        if let Some(json) = &self.json {
            return Ok(request.header(CONTENT_TYPE, "application/json").body(revealed(json, cx)?.to_string()));
        }
        if let Some(form) = &self.form {
            let one = |(name, value): (&String, &Scalar)| {
                let value = cx.secrets.reveal(&value.0).map_err(Failure::invalid)?;
                Ok((name.clone(), value.expose().to_owned()))
            };
            return Ok(request.form(&form.iter().map(one).collect::<Result<BTreeMap<_, _>, Failure>>()?));
        }
        match &self.body {
            Some(body) => Ok(request.body(cx.secrets.reveal(body).map_err(Failure::invalid)?.expose().to_owned())),
            None => Ok(request),
        }
    }

    /// Asks until the answer is as wanted.
    async fn run(&self, cx: &Context) -> Result<Outputs, Failure> {
        cx.note(&format!("{} {}", self.method(), self.url));
        loop {
            let asked = self.ask(cx).await;
            if let Ok(answer) = &asked {
                cx.note(&format!("{} in {} ms", answer.status, answer.response["time_ms"]));
            }
            match self.judge(asked)? {
                Judged::Good(answer) => return Ok(outputs(answer)),
                Judged::Again { why, facts, after } => {
                    cx.observer.progress(Progress { text: why, facts });
                    cx.clock().sleep(after.unwrap_or(self.interval.0)).await;
                }
            }
        }
    }

    /// Whether an answer is good, bad, or a reason to ask again.
    fn judge(&self, asked: Result<Answer, Failure>) -> Result<Judged, Failure> {
        let Some(until) = &self.until else {
            return asked.and_then(|answer| self.expected(answer)).map(Judged::Good);
        };
        let answer = match asked {
            Err(failure) if failure.class == Class::Transient => {
                return Ok(Judged::Again { why: failure.what, facts: *failure.facts, after: None });
            }
            other => other?,
        };
        if holds(until, &answer.response)? {
            let answer = if self.expect.is_some() { self.expected(answer)? } else { answer };
            return Ok(Judged::Good(answer));
        }
        if cannot_get_better(&answer) {
            return Err(self.refusal(&answer));
        }
        let why = format!("{} answered {}: {}", self.url, answer.status, first_line(answer.body()));
        Ok(Judged::Again { why, facts: answer.facts(), after: answer.retry_after })
    }

    fn expected(&self, answer: Answer) -> Result<Answer, Failure> {
        let good = match &self.expect {
            Some(expect) => expect.status.contain(answer.status),
            None => (200..300).contains(&answer.status),
        };
        if good { Ok(answer) } else { Err(self.refusal(&answer)) }
    }

    fn refusal(&self, answer: &Answer) -> Failure {
        http::refused(answer.status, &self.url, answer.body(), answer.retry_after)
    }
}

enum Judged {
    Good(Answer),
    Again { why: String, facts: Facts, after: Option<Duration> },
}

fn holds(expression: &str, response: &Value) -> Result<bool, Failure> {
    let environment = expressions();
    let wrong = |error: minijinja::Error| Failure::invalid(format!("cannot evaluate `until: {expression}`: {error}"));
    let compiled = environment.compile_expression(expression).map_err(wrong)?;
    let found = compiled.eval(minijinja::context! { response => minijinja::value::Serde(response) }).map_err(wrong)?;
    Ok(found.is_true())
}

/// The same request gets the same answer for ever.
fn cannot_get_better(answer: &Answer) -> bool {
    let no_such_model =
        answer.status == 404 && answer.body().contains("does not exist") && !answer.response["json"].is_null();
    no_such_model || matches!(answer.status, 400 | 401 | 405 | 422 | 426)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(160).collect()
}

async fn read_file(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(path)
        .await
        .map_err(|error| Failure::invalid(format!("cannot read the certificates `{}`: {error}", path.display())))
}

/// A value with every text's secrets in place.
fn revealed(value: &Value, cx: &Context) -> Result<Value, Failure> {
    match value {
        Value::String(text) => {
            Ok(Value::String(cx.secrets.reveal(text).map_err(Failure::invalid)?.expose().to_owned()))
        }
        Value::Array(items) => items.iter().map(|item| revealed(item, cx)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| Ok((key.clone(), revealed(item, cx)?))).collect(),
        other => Ok(other.clone()),
    }
}

fn shown(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let entry = map.entry(name.as_str()).or_insert_with(|| json!(""));
        let before = entry.as_str().unwrap_or_default();
        *entry = if before.is_empty() { json!(text) } else { json!(format!("{before}, {text}")) };
    }
    Value::Object(map)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn outputs(answer: Answer) -> Outputs {
    let mut response = answer.response;
    if let Some(Value::String(body)) = response.get_mut("body")
        && body.len() > KEPT_BODY
    {
        let end = (0..=KEPT_BODY).rev().find(|end| body.is_char_boundary(*end)).unwrap_or(0);
        body.truncate(end);
    }
    let names = ["status", "headers", "body", "json", "time_ms"];
    let mut outputs: Outputs = names.iter().map(|name| ((*name).to_owned(), response[*name].clone())).collect();
    outputs.insert("response".to_owned(), response);
    outputs
}

impl Step for Probe {
    fn intent(&self) -> Vec<String> {
        let headers = self.headers.iter().map(|(name, value)| format!(" -H '{name}: {}'", value.0)).collect::<String>();
        let body = match (&self.json, &self.body) {
            (Some(json), _) => format!(" --json '{json}'"),
            (None, Some(body)) => format!(" --data '{body}'"),
            (None, None) => String::new(),
        };
        vec![format!("curl -X {} '{}'{headers}{body}", self.method(), self.url)]
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
        self.ca_bundle.iter().cloned().collect()
    }
}
