//! One request of a probe, as it stands in the plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::seen::ANSWER;
use crate::context::Context;
use crate::failure::Failure;
use crate::http::exchange::Ask;
use crate::http::forward::PortForward;
use crate::http::judge;
use crate::http::options::{Expect, HttpVersion, Parts, Way};
use crate::kind::ReadError;
use crate::scalar::Scalar;
use crate::span::Span;

/// A request and what its answer must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// What messages and `responses` call it; without it its number.
    pub(super) name: Option<String>,
    /// The address.
    pub(super) url: String,
    /// The method; without it GET, or POST where there is a body.
    pub(super) method: Option<String>,
    /// Headers by name.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Scalar>,
    /// A body as data.
    pub(super) json: Option<Value>,
    /// A body as text.
    pub(super) body: Option<String>,
    /// A body as a form.
    pub(super) form: Option<BTreeMap<String, Scalar>>,
    /// The version of HTTP to ask with.
    #[serde(default)]
    pub(super) http_version: HttpVersion,
    /// How long connecting may take; 10s where not given.
    #[serde(default = "ten_seconds")]
    pub(super) connect_timeout: Span,
    /// How long one answer may take, redirects and all; 60s where not given.
    #[serde(default = "minute")]
    pub(super) timeout: Span,
    /// How many redirects are followed; 5 where not given.
    #[serde(default = "five")]
    pub(super) redirects: u8,
    /// What the answer must be.
    pub(super) expect: Option<Expect>,
    /// An expression over `response`; the request is repeated while it is false.
    pub(super) until: Option<String>,
    /// How long to pause between requests that `until` repeats; 5s where not given.
    #[serde(default = "five_seconds")]
    pub(super) interval: Span,
    /// Expressions over `response` that must all be true, judged once at the end.
    #[serde(default)]
    pub(super) assert: Vec<String>,
    /// Outputs by name, each an expression over `response`.
    #[serde(default)]
    pub(super) capture: BTreeMap<String, String>,
    /// How often to ask again, by what went wrong.
    #[serde(default)]
    pub(super) retries: Retries,
    /// A file of certificates (PEM) that are trusted besides the machine's.
    pub(super) ca_bundle: Option<PathBuf>,
    /// Takes any certificate: for a server whose authority nobody has, and only for that.
    #[serde(default)]
    pub(super) insecure: bool,
    /// The name that the certificate must be for, where it is not the address's.
    pub(super) server_name: Option<String>,
    /// Sends it to a port of a pod through the Kubernetes API.
    pub(super) port_forward: Option<PortForward>,
}

/// How often to ask again, by what went wrong.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retries {
    /// After a connection that could not be made, broke, or gave no answer in time.
    pub(super) connection: u32,
    /// After 408, 425 and 5xx.
    pub(super) server_error: u32,
    /// After 429.
    pub(super) throttled: u32,
    /// How long to pause before the first of them; doubled each time, up to 30 s. Retry-After goes first.
    pub(super) pause: Span,
}

impl Default for Retries {
    fn default() -> Self {
        Self { connection: 0, server_error: 0, throttled: 0, pause: Span(Duration::from_secs(1)) }
    }
}

fn five() -> u8 {
    5
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

/// Outputs that a probe has anyway.
const TAKEN: [&str; 7] = ["status", "headers", "body", "json", "time_ms", "response", "responses"];

impl Request {
    /// All that can be seen to be wrong before anything is sent. `known` are the names that may be filled in, where texts have `{{ }}`.
    pub(super) fn problems(&self, known: Option<&[&str]>) -> Vec<ReadError> {
        let mut found: Vec<ReadError> = self.parts().verify(known).err().into_iter().collect();
        found.extend(self.expressions().flat_map(|(path, text)| {
            let problems = judge::expression_problems(text, &ANSWER);
            problems.into_iter().map(move |message| ReadError { path: path.clone(), message })
        }));
        found.extend(self.misfit().map(|(path, message)| ReadError { path: path.to_owned(), message }));
        found
    }

    /// Every expression over the answer, with its place.
    fn expressions(&self) -> impl Iterator<Item = (String, &String)> {
        let until = self.until.iter().map(|text| ("until".to_owned(), text));
        let asserted = self.assert.iter().enumerate().map(|(at, text)| (format!("assert[{at}]"), text));
        let captured = self.capture.iter().map(|(name, text)| (format!("capture.{name}"), text));
        until.chain(asserted).chain(captured)
    }

    /// What does not go together.
    fn misfit(&self) -> Option<(&'static str, String)> {
        if let Some(name) = self.capture.keys().find(|name| TAKEN.contains(&name.as_str())) {
            return Some(("capture", format!("`{name}` is an output of every probe: choose another name")));
        }
        if let Some(problem) = self.port_forward.as_ref().and_then(PortForward::problem) {
            return Some(("port_forward", problem.to_owned()));
        }
        (self.insecure && self.ca_bundle.is_some())
            .then(|| ("insecure", "with `insecure` any certificate is taken, so `ca_bundle` means nothing".to_owned()))
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            method: self.method.as_ref(),
            url: &self.url,
            headers: &self.headers,
            json: self.json.as_ref(),
            body: self.body.as_ref(),
            form: self.form.as_ref(),
            version: self.http_version,
        }
    }

    /// The request with everything filled in.
    pub(super) fn ask(&self, captured: Option<&Map<String, Value>>, cx: &Context) -> Result<Ask, Failure> {
        self.parts().ask(captured, cx)
    }

    /// How it gets there.
    pub(super) fn way(&self) -> Way<'_> {
        Way {
            ca_bundle: self.ca_bundle.as_ref(),
            insecure: self.insecure,
            server_name: self.server_name.as_ref(),
            port_forward: self.port_forward.as_ref(),
            connect_timeout: self.connect_timeout.0,
        }
    }

    /// How messages name it.
    pub(super) fn title(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        format!("{name}{} {}", self.parts().method(), self.url)
    }

    /// As a person would type it.
    pub(super) fn commands(&self) -> Vec<String> {
        let mut curl = format!("curl -X {} {}", self.parts().method(), quoted(&self.url));
        for (name, value) in &self.headers {
            curl.push_str(&format!(" -H {}", quoted(&format!("{name}: {}", value.0))));
        }
        if let Some(json) = &self.json {
            curl.push_str(&format!(" --json {}", quoted(&json.to_string())));
        }
        if let Some(body) = &self.body {
            curl.push_str(&format!(" --data {}", quoted(body)));
        }
        for (name, value) in self.form.iter().flatten() {
            curl.push_str(&format!(" --data-urlencode {}", quoted(&format!("{name}={}", value.0))));
        }
        if self.http_version == HttpVersion::Http10 {
            curl.push_str(" --http1.0");
        }
        if self.insecure {
            curl.push_str(" --insecure");
        }
        self.port_forward.iter().map(PortForward::command).chain([curl]).collect()
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
