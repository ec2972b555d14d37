//! An answer as expressions and outputs see it.

use std::time::{Duration, Instant};

use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::expression::Scope;
use crate::failure::Facts;
use crate::http::events::Streamed;
use crate::http::exchange::Answer;

/// The most of a body that expressions see.
pub(super) const LARGEST_BODY: usize = 1 << 20;

/// The most of a body that stays in the outputs.
const KEPT_BODY: usize = 64 << 10;

/// What expressions may name of an answer.
pub(super) const ANSWER: Scope<'static> = Scope {
    root: "response",
    paths: &[
        "status",
        "headers.*a",
        "body",
        "truncated",
        "json.*",
        "time_ms",
        "connect_ms",
        "first_byte_ms",
        "http_version",
        "url",
        "tls.version",
        "tls.cipher",
        "tls.certificate.subject",
        "tls.certificate.issuer",
        "tls.certificate.names",
        "tls.certificate.not_before",
        "tls.certificate.not_after",
        "tls.certificate.days_left",
        "tls.certificate.sha256",
        "stream.events",
        "stream.first_token_ms",
        "stream.tokens",
        "stream.token_ms",
        "stream.tokens_per_second",
        "stream.text",
        "stream.done",
        "simulated",
    ],
};

/// An answer, with what decides about it.
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) version: http::Version,
    /// As expressions and outputs see it.
    pub(super) response: Value,
    pub(super) retry_after: Option<Duration>,
    /// Why its stream is not whole.
    pub(super) fault: Option<String>,
}

impl Seen {
    /// Reads an answer. Times are the plan's, and nothing secret stays.
    pub(super) fn of(answer: &Answer, cx: &Context) -> Self {
        let body = cx.redactor.mask(&String::from_utf8_lossy(&answer.body)).into_owned();
        let mut headers = shown(&answer.headers);
        cx.redactor.mask_value(&mut headers);
        let times = answer.times;
        let since = |end: Instant, start: Instant| milliseconds(end.saturating_duration_since(start), cx);
        let mut stream = answer.streamed.as_ref().map_or(Value::Null, |streamed| stream(streamed, times.connected, cx));
        cx.redactor.mask_value(&mut stream);
        let json: Value = if stream.is_null() { serde_json::from_str(&body).unwrap_or_default() } else { Value::Null };
        let response = json!({
            "status": answer.status, "headers": headers, "body": body, "json": json, "truncated": answer.truncated,
            "time_ms": since(times.end, times.began), "connect_ms": since(times.connected, times.began),
            "first_byte_ms": since(times.head, times.began), "http_version": format!("{:?}", answer.version),
            "tls": answer.tls, "url": answer.url.as_str(), "stream": stream, "simulated": cx.world.simulated.is_some(),
        });
        Self {
            status: answer.status,
            version: answer.version,
            response,
            retry_after: crate::http::retry_after(&answer.headers, cx.clock().now()),
            fault: answer.streamed.as_ref().and_then(Streamed::fault),
        }
    }

    pub(super) fn body(&self) -> &str {
        self.response["body"].as_str().unwrap_or_default()
    }

    pub(super) fn facts(&self) -> Facts {
        let http_body = self.body().chars().take(4096).collect();
        Facts { http_status: Some(self.status), http_body, ..Facts::default() }
    }

    /// The response with no more of the body than outputs may hold.
    pub(super) fn bounded(self) -> Value {
        let mut response = self.response;
        if let Some(Value::String(body)) = response.get_mut("body") {
            let end = (0..=KEPT_BODY.min(body.len())).rev().find(|end| body.is_char_boundary(*end));
            body.truncate(end.unwrap_or_default());
        }
        response
    }
}

fn stream(streamed: &Streamed, sent: Instant, cx: &Context) -> Value {
    let each = streamed.each_token();
    let per_second =
        each.map(|each| cx.clock().model_span(each).as_secs_f64()).filter(|each| *each > 0.0).map(f64::recip);
    json!({
        "events": streamed.count, "first_token_ms": streamed.first_after(sent).map(|span| milliseconds(span, cx)),
        "tokens": streamed.tokens(), "token_ms": each.map(|span| milliseconds(span, cx)), "tokens_per_second": per_second,
        "text": streamed.text, "done": streamed.done,
    })
}

/// A span of the machine's time as milliseconds of the plan's, to the microsecond.
fn milliseconds(real: Duration, cx: &Context) -> f64 {
    (cx.clock().model_span(real).as_secs_f64() * 1e6).round() / 1e3
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// That an answer has all that the table names is shown where the examples of the docs run.
    #[test]
    fn what_may_be_named_is_what_the_docs_name() {
        let docs = include_str!("../../../docs/http.md");
        let table = docs.split("| `response.` |").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("the table");
        let rows = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next());
        let named: BTreeSet<&str> = ANSWER.paths.iter().filter_map(|path| path.split('.').next()).collect();
        assert_eq!(rows.collect::<BTreeSet<_>>(), named);
        for path in ANSWER.paths.iter().flat_map(|path| path.split('.')).filter(|name| !name.starts_with('*')) {
            assert!(table.contains(&format!("`{path}`")), "{path}");
        }
    }
}
