//! What a plan may say of a request, shared by probes and benchmarks: from the options to a request that can be sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::connection::Route;
use super::exchange::Ask;
use super::forward::PortForward;
use super::judge;
use super::trust::Trust;
use crate::context::Context;
use crate::failure::Failure;
use crate::kind::ReadError;
use crate::scalar::Scalar;
use crate::secret::mentions_secret;

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(crate) enum HttpVersion {
    /// What old clients such as ApacheBench send, and Envoy refuses with 426.
    #[serde(rename = "1.0")]
    Http10,
    /// What everything else sends.
    #[default]
    #[serde(rename = "1.1")]
    Http11,
}

impl HttpVersion {
    pub(crate) fn of(self) -> Version {
        match self {
            HttpVersion::Http10 => Version::HTTP_10,
            HttpVersion::Http11 => Version::HTTP_11,
        }
    }
}

/// What an answer must be.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// The statuses that are good: one, several, or `any`; without it those from 200 to 299.
    pub(crate) status: Option<Statuses>,
    /// The version of HTTP that the answer must have.
    pub(crate) http_version: Option<HttpVersion>,
}

/// Statuses that are good.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a status such as 200, a list of them, or `any`")]
pub(crate) enum Statuses {
    /// One.
    One(u16),
    /// Any of several.
    Several(Vec<u16>),
    /// Whatever comes.
    Any(Any),
}

/// The word `any`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Any {
    /// Whatever comes.
    Any,
}

impl Expect {
    /// Whether a status is good.
    pub(crate) fn takes(&self, status: u16) -> bool {
        match &self.status {
            None => (200..300).contains(&status),
            Some(Statuses::One(one)) => *one == status,
            Some(Statuses::Several(several)) => several.contains(&status),
            Some(Statuses::Any(Any::Any)) => true,
        }
    }

    /// What is wrong with the version of an answer.
    pub(crate) fn version_problem(&self, found: Version) -> Option<String> {
        let wanted = self.http_version?.of();
        (wanted != found).then(|| format!("the answer is {found:?}, not {wanted:?}"))
    }
}

/// The parts of a request, as they stand in the plan.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) method: Option<&'a String>,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a BTreeMap<String, Scalar>,
    pub(crate) json: Option<&'a Value>,
    pub(crate) body: Option<&'a String>,
    pub(crate) form: Option<&'a BTreeMap<String, Scalar>>,
    pub(crate) version: HttpVersion,
}

impl Parts<'_> {
    /// The method; without one GET, or POST where there is a body.
    pub(crate) fn method(&self) -> String {
        let has_body = self.json.is_some() || self.body.is_some() || self.form.is_some();
        self.method.map_or_else(|| if has_body { "POST" } else { "GET" }.to_owned(), |method| method.to_uppercase())
    }

    /// What can be seen to be wrong before anything is sent. `known` are the names that may be filled in, where texts have `{{ }}`.
    pub(crate) fn verify(&self, known: Option<&[&str]>) -> Result<(), ReadError> {
        let bodies = [self.json.is_some(), self.body.is_some(), self.form.is_some()];
        if bodies.into_iter().filter(|given| *given).count() > 1 {
            return wrong("", "give at most one of `json`, `body`, `form`");
        }
        if self.method().parse::<Method>().is_err() {
            return wrong("method", format!("`{}` is no method", self.method()));
        }
        if mentions_secret(self.url) {
            return wrong("url", "a secret cannot stand in an address: put it into a header or the body");
        }
        let unfilled =
            known.map(|known| self.texts().into_iter().filter_map(|text| judge::template_problem(text, known)));
        let unfilled: Vec<String> = unfilled.into_iter().flatten().collect();
        if !unfilled.is_empty() {
            return wrong("", unfilled.join("; "));
        }
        if !(known.is_some() && judge::is_template(self.url)) {
            address(self.url).map_err(|message| ReadError { path: "url".to_owned(), message })?;
        }
        for name in self.headers.keys() {
            if name.parse::<HeaderName>().is_err() {
                return wrong("headers", format!("`{name}` cannot be the name of a header"));
            }
        }
        Ok(())
    }

    /// Every text that may have something to fill in.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let mut texts = vec![self.url];
        texts.extend(self.headers.values().map(|value| value.0.as_str()));
        texts.extend(self.form.into_iter().flatten().map(|(_, value)| value.0.as_str()));
        texts.extend(self.body.map(String::as_str));
        if let Some(json) = self.json {
            gather(json, &mut texts);
        }
        texts
    }

    /// The request with everything filled in: `{{ }}` by `names` where they are given, and secrets.
    pub(crate) fn ask(&self, names: Option<&Map<String, Value>>, cx: &Context) -> Result<Ask, Failure> {
        let filling = Filling { names, cx };
        let url = filling.text(self.url)?;
        let url = address(&url).map_err(Failure::invalid)?;
        let method = self.method();
        let method = method.parse().map_err(|_| Failure::invalid(format!("`{method}` is no method")))?;
        let mut headers = HeaderMap::new();
        let body = self.content(&filling, &mut headers)?;
        for (name, value) in self.headers {
            let (name, mut sent) = header(name, &filling.secret(&value.0)?)?;
            sent.set_sensitive(mentions_secret(&value.0));
            headers.insert(name, sent);
        }
        let ask = Ask::new(method, url, headers, body, self.version.of());
        let mut ask = ask.map_err(|broken| Failure::invalid(broken.text))?;
        ask.secret_body = self.has_secret_body();
        Ok(ask)
    }

    fn has_secret_body(&self) -> bool {
        let form = self.form.is_some_and(|form| form.values().any(|value| mentions_secret(&value.0)));
        form || self.body.is_some_and(|body| mentions_secret(body))
            || self.json.is_some_and(|json| mentions_secret(&json.to_string()))
    }

    /// The body alone, for a request that is sent with many.
    pub(crate) fn content(&self, filling: &Filling<'_>, headers: &mut HeaderMap) -> Result<Bytes, Failure> {
        if let Some(json) = self.json {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return Ok(filling.secrets(json)?.to_string().into());
        }
        if let Some(form) = self.form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let mut text = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in form {
                text.append_pair(name, &filling.secret(&value.0)?);
            }
            return Ok(text.finish().into());
        }
        self.body.map_or_else(|| Ok(Bytes::new()), |body| Ok(filling.secret(body)?.into()))
    }
}

/// What is put in place of `{{ }}` and of the markers of secrets.
pub(crate) struct Filling<'a> {
    pub(crate) names: Option<&'a Map<String, Value>>,
    pub(crate) cx: &'a Context,
}

impl Filling<'_> {
    fn text(&self, text: &str) -> Result<String, Failure> {
        self.names.map_or_else(|| Ok(text.to_owned()), |names| judge::filled(text, names))
    }

    fn secret(&self, text: &str) -> Result<String, Failure> {
        let secret = self.cx.secrets.reveal(&self.text(text)?).map_err(Failure::invalid)?;
        Ok(secret.expose().to_owned())
    }

    fn secrets(&self, value: &Value) -> Result<Value, Failure> {
        Ok(match value {
            Value::String(text) => Value::String(self.secret(text)?),
            Value::Array(items) => items.iter().map(|item| self.secrets(item)).collect::<Result<_, _>>()?,
            Value::Object(map) => {
                map.iter().map(|(key, item)| Ok((key.clone(), self.secrets(item)?))).collect::<Result<_, Failure>>()?
            }
            other => other.clone(),
        })
    }
}

fn wrong(path: &str, message: impl Into<String>) -> Result<(), ReadError> {
    Err(ReadError { path: path.to_owned(), message: message.into() })
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no address: {error}"))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        other => {
            Err(format!("`{text}` is no address that can be asked: its scheme is `{other}`, not `http` or `https`"))
        }
    }
}

/// The message does not show the value: it may be a secret.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let wrong = |what: &str| Failure::invalid(format!("{what} of the header `{name}` cannot be sent"));
    let key = name.parse().map_err(|_| wrong("the name"))?;
    let value = HeaderValue::from_str(value.trim_end_matches('\n')).map_err(|_| wrong("the value"))?;
    Ok((key, value))
}

fn gather<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| gather(item, texts)),
        Value::Object(map) => map.values().for_each(|item| gather(item, texts)),
        _ => {}
    }
}

/// How a request gets there, as it stands in the plan.
pub(crate) struct Way<'a> {
    pub(crate) ca_bundle: Option<&'a PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) server_name: Option<&'a String>,
    pub(crate) port_forward: Option<&'a PortForward>,
    pub(crate) connect_timeout: Duration,
}

impl Way<'_> {
    /// The way, with what it needs looked up.
    pub(crate) async fn route(&self, cx: &Context) -> Result<Route, Failure> {
        let bundle = self.ca_bundle.map(|path| cx.plan_path(path));
        let trust = Trust::read(bundle.as_ref(), self.insecure).await?;
        let forward = match self.port_forward {
            Some(forward) => Some(forward.resolve(cx).await?),
            None => None,
        };
        let proxy = cx.world.http_proxy.as_deref().map(Url::parse).transpose();
        Ok(Route {
            proxy: proxy.map_err(|error| Failure::invalid(format!("the proxy's address is none: {error}")))?,
            tls: trust.config()?,
            server_name: self.server_name.cloned(),
            patience: super::patience(self.connect_timeout, cx),
            forward,
            now: cx.clock().now(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_several_or_any() {
        let read = |text: &str| serde_json::from_str::<Expect>(text).expect("read");
        assert!(read("{}").takes(204) && !read("{}").takes(304));
        assert!(read(r#"{"status": 404}"#).takes(404) && !read(r#"{"status": 404}"#).takes(200));
        assert!(read(r#"{"status": [200, 404]}"#).takes(404));
        assert!(read(r#"{"status": "any"}"#).takes(503));
    }

    #[test]
    fn only_addresses_that_can_be_asked_are_addresses() {
        assert!(address("http://10.0.0.1:80/x").is_ok());
        for text in ["10.0.0.1/x", "ftp://a/b", "/v1/models", "http://"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_that_is_not_expected_is_a_problem() {
        let expect: Expect = serde_json::from_str(r#"{"http_version": "1.1"}"#).expect("read");
        assert_eq!(expect.version_problem(Version::HTTP_11), None);
        assert_eq!(expect.version_problem(Version::HTTP_10).as_deref(), Some("the answer is HTTP/1.0, not HTTP/1.1"));
    }
}
