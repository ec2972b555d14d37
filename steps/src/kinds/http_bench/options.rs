//! What a plan says of a benchmark.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::bench::baseline::{COMPARED, Percent};
use crate::bench::figures;
use crate::bench::load::Load;
use crate::bench::replicas::CacheTest;
use crate::expression::Scope;
use crate::http::forward::PortForward;
use crate::http::judge;
use crate::http::options::{Expect, HttpVersion, Parts, Way};
use crate::kind::{ReadError, read_with};
use crate::scalar::Scalar;
use crate::span::Span;
use crate::step::Step;

/// Load on a server, and how it must bear it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Bench {
    /// The address.
    pub(super) url: String,
    /// The method; without it GET, or POST where there is a body.
    method: Option<String>,
    /// Headers by name.
    #[serde(default)]
    headers: BTreeMap<String, Scalar>,
    /// A body as data. In its texts `{{ prompt }}` and `{{ number }}` are filled in.
    json: Option<Value>,
    /// A body as text, filled in the same way.
    body: Option<String>,
    /// A body as a form, filled in the same way.
    form: Option<BTreeMap<String, Scalar>>,
    /// The version of HTTP to ask with.
    #[serde(default)]
    http_version: HttpVersion,
    /// How long connecting may take.
    #[serde(default = "ten_seconds")]
    connect_timeout: Span,
    /// How long one answer may take; one that takes longer has failed.
    #[serde(default = "minute")]
    pub(super) timeout: Span,
    /// What a good answer is.
    #[serde(default)]
    pub(super) expect: Expect,
    /// A file of certificates (PEM) that are trusted besides the machine's.
    pub(super) ca_bundle: Option<PathBuf>,
    /// Takes any certificate.
    #[serde(default)]
    insecure: bool,
    /// The name that the certificate must be for, where it is not the address's.
    server_name: Option<String>,
    /// Sends the requests to a port of a pod through the Kubernetes API: good for figures of the model, not of the gateway.
    port_forward: Option<PortForward>,
    /// What stands for `{{ prompt }}`, one after the other; `{{ number }}` in it is the request's number, from 1.
    #[serde(default)]
    pub(super) prompts: Vec<String>,
    /// The loads, one after the other.
    pub(super) scenarios: Vec<Load>,
    /// How many requests go before each scenario and are not counted.
    #[serde(default)]
    pub(super) warm_up: u32,
    /// Which share of the requests may fail; without it none.
    #[serde(default = "none")]
    pub(super) tolerate: Percent,
    /// Expressions over `bench` that must all be true.
    #[serde(default)]
    pub(super) assert: Vec<String>,
    /// By how much a figure may be worse than in the last good run.
    #[serde(default)]
    pub(super) baseline: BTreeMap<String, Percent>,
    /// Whether requests with a common beginning reach the replica that has it in its cache.
    pub(super) cache_test: Option<CacheTest>,
    /// The folder for the results, relative to the plan; without it the deployment's own.
    pub(super) results: Option<PathBuf>,
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

fn minute() -> Span {
    Span(Duration::from_secs(60))
}

fn none() -> Percent {
    Percent(0.0)
}

/// Reads a benchmark's options.
pub(super) fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let bench: Bench = read_with(with)?;
    bench.verify()?;
    Ok(Box::new(bench))
}

fn wrong(path: impl Into<String>, message: impl Into<String>) -> Result<(), ReadError> {
    Err(ReadError { path: path.into(), message: message.into() })
}

impl Bench {
    fn verify(&self) -> Result<(), ReadError> {
        let names = if self.prompts.is_empty() { &["number"][..] } else { &["number", "prompt"] };
        self.parts().verify(Some(names))?;
        if judge::is_template(&self.url) {
            return wrong("url", "the address is the same for all requests: `{{ }}` stands in bodies only");
        }
        self.verify_loads()?;
        ReadError::all(self.verify_texts())?;
        if let Some(name) = self.baseline.keys().find(|name| !COMPARED.contains(&name.as_str())) {
            return wrong("baseline", format!("`{name}` is not compared; these are: {}", COMPARED.join(", ")));
        }
        if let Some(problem) = self.port_forward.as_ref().and_then(PortForward::problem) {
            return wrong("port_forward", problem);
        }
        match &self.cache_test {
            Some(test) => self.verify_cache_test(test),
            None => Ok(()),
        }
    }

    fn verify_texts(&self) -> Vec<ReadError> {
        let named = self.named();
        let named: Vec<&str> = named.iter().map(String::as_str).collect();
        let scope = Scope { root: "bench", paths: &named };
        let prompts = self.prompts.iter().map(|text| judge::template_problem(text, &["number"]).into_iter().collect());
        let assertions = self.assert.iter().map(|text| judge::expression_problems(text, &scope));
        let prompts = prompts.enumerate().map(|(at, problems)| (format!("prompts[{at}]"), problems));
        let all = prompts.chain(assertions.enumerate().map(|(at, problems)| (format!("assert[{at}]"), problems)));
        let errors = all.flat_map(|(path, problems): (String, Vec<String>)| {
            problems.into_iter().map(move |message| ReadError { path: path.clone(), message })
        });
        errors.collect()
    }

    /// What assertions may name of the figures.
    fn named(&self) -> Vec<String> {
        let figures = figures::named();
        let below = |name: &str, figures: &[String]| -> Vec<String> {
            figures.iter().map(|figure| format!("{name}.{figure}")).collect()
        };
        let mut all: Vec<String> = self.scenarios.iter().flat_map(|load| below(&load.name, &figures)).collect();
        all.extend(below("total", &figures::TOTAL.map(str::to_owned)));
        all.extend(["since.*", "simulated", "when"].map(str::to_owned));
        all.extend(self.cache_test.iter().map(|_| "cache.*".to_owned()));
        all
    }

    fn verify_cache_test(&self, test: &CacheTest) -> Result<(), ReadError> {
        if let Some(problem) = test.problem() {
            return wrong("cache_test", problem);
        }
        let fits = self.parts().texts().iter().any(|text| judge::is_template(text) && text.contains("prompt"));
        if fits {
            Ok(())
        } else {
            wrong("cache_test", "the body must hold `{{ prompt }}`, for the test to put its own there")
        }
    }

    fn verify_loads(&self) -> Result<(), ReadError> {
        let mut names = HashSet::new();
        if self.scenarios.is_empty() {
            return wrong("scenarios", "there is no scenario");
        }
        for (index, load) in self.scenarios.iter().enumerate() {
            if let Some((key, problem)) = load.problem() {
                let dot = if key.is_empty() { "" } else { "." };
                return wrong(format!("scenarios[{index}]{dot}{key}"), problem);
            }
            if !names.insert(&load.name) {
                return wrong(format!("scenarios[{index}].name"), format!("there are two scenarios `{}`", load.name));
            }
        }
        Ok(())
    }

    /// The request's parts.
    pub(super) fn parts(&self) -> Parts<'_> {
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

    /// How requests get there.
    pub(super) fn way(&self) -> Way<'_> {
        Way {
            ca_bundle: self.ca_bundle.as_ref(),
            insecure: self.insecure,
            server_name: self.server_name.as_ref(),
            port_forward: self.port_forward.as_ref(),
            connect_timeout: self.connect_timeout.0,
        }
    }

    /// What is sent, in a few letters. The host is not part of it: an address may be another one in the next run.
    pub(super) fn digest(&self) -> String {
        let path = self.url.splitn(4, '/').nth(3).unwrap_or_default();
        let form: BTreeMap<&String, &String> =
            self.form.iter().flatten().map(|(name, value)| (name, &value.0)).collect();
        let sent = json!([self.parts().method(), path, self.json, self.body, form, self.prompts]);
        Sha256::digest(sent.to_string()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// What does about the same, as a person could type it.
    pub(super) fn commands(&self) -> Vec<String> {
        let command = |load: &Load| {
            let amount = match (&load.requests, &load.duration) {
                (Some(requests), _) => format!("-n {requests}"),
                (None, span) => format!("-z {}s", span.map(|span| span.0.as_secs_f64()).unwrap_or_default()),
            };
            let rate = load.rate.map(|rate| format!(" -q {} --latency-correction", rate.0)).unwrap_or_default();
            let body = self.json.as_ref().map(|json| format!(" -T application/json -d '{json}'")).unwrap_or_default();
            format!("oha {amount} -c {}{rate} -m {}{body} '{}'", load.concurrency, self.parts().method(), self.url)
        };
        let forward = self.port_forward.iter().map(PortForward::command);
        forward.chain(self.scenarios.iter().map(command)).collect()
    }
}
