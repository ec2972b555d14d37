//! HTTP for probes, load and downloads: TLS verified, bodies bounded, times taken where bytes arrive.
//!
//! `connection`, `line`, `framing` and `exchange` are one request as a probe and a load generator need it: driven by the task that waits, with the
//! times of its parts. Downloads go through reqwest. Knows the world's proxy; takes no proxy from the process's own environment.
//! Does not retry.

mod certificate;
pub(crate) mod connection;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod forward;
pub(crate) mod framing;
pub(crate) mod judge;
pub(crate) mod line;
pub(crate) mod options;
pub(crate) mod trouble;
mod trust;

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response};

use crate::cluster::install_crypto;
use crate::context::Context;
use crate::failure::{Class, Facts, Failure};

/// Which client a request needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    proxy: Option<String>,
    /// Certificates in PEM that are trusted besides the machine's.
    authorities: Vec<u8>,
    connect_timeout: Duration,
}

static CLIENTS: LazyLock<Mutex<HashMap<Way, Client>>> = LazyLock::new(Mutex::default);

/// On a clock that runs fast, a real connection still takes its real time.
const SHORTEST: Duration = Duration::from_secs(2);

/// How long a span of the plan may take on the machine's clock.
pub(crate) fn patience(span: Duration, cx: &Context) -> Duration {
    cx.clock().real_span(span).max(SHORTEST)
}

impl Way {
    pub(crate) fn new(cx: &Context, authorities: Vec<u8>, connect_timeout: Duration) -> Self {
        Self { proxy: cx.world.http_proxy.clone(), authorities, connect_timeout: patience(connect_timeout, cx) }
    }

    /// The client for this way, made once.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(self) {
            return Ok(client.clone());
        }
        install_crypto();
        let client = self.build().map_err(|error| {
            Failure::invalid(format!("cannot prepare HTTP: {}", chain(&error)))
                .fix("check the proxy's address and the certificates in `ca_bundle`")
        })?;
        clients.insert(self.clone(), client.clone());
        Ok(client)
    }

    fn build(&self) -> Result<Client, reqwest::Error> {
        let mut builder = Client::builder()
            .http1_only()
            .connect_timeout(self.connect_timeout)
            .redirect(Policy::custom(redirected))
            .user_agent(concat!("runbook/", env!("CARGO_PKG_VERSION")));
        builder = match &self.proxy {
            Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy)?),
            None => builder.no_proxy(),
        };
        if !self.authorities.is_empty() {
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&self.authorities)?);
        }
        builder.build()
    }
}

/// A few are followed, but none that leaves TLS: what comes without it may be anybody's.
fn redirected(attempt: Attempt<'_>) -> Action {
    let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
    if secure && attempt.url().scheme() != "https" {
        return attempt.error("the server sends on to an address without TLS");
    }
    Policy::limited(5).redirect(attempt)
}

/// The body of an answer up to a limit, and whether there was more.
pub(crate) async fn body(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > limit {
            bytes.truncate(limit);
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

/// Downloads a file over HTTPS.
pub(crate) async fn download(url: &str, limit: usize, cx: &Context) -> Result<Vec<u8>, Failure> {
    if !url.starts_with("https://") {
        return Err(Failure::invalid(format!("`{url}` is not an `https` address")));
    }
    let client = Way::new(cx, Vec::new(), Duration::from_secs(30)).client()?;
    let request = client.get(url).timeout(Duration::from_secs(120));
    let response = request.send().await.map_err(|error| unanswered(&error, url))?;
    let status = response.status().as_u16();
    if !response.status().is_success() {
        return Err(refused(status, url, "", None));
    }
    let (bytes, more) = body(response, limit).await.map_err(|error| unanswered(&error, url))?;
    if more { Err(Failure::invalid(format!("`{url}` is larger than {limit} bytes"))) } else { Ok(bytes) }
}

/// A request that got no answer.
pub(crate) fn unanswered(error: &reqwest::Error, url: &str) -> Failure {
    let text = chain(error);
    if error.is_builder() {
        return Failure::invalid(format!("cannot ask `{url}`: {text}"));
    }
    if error.is_redirect() {
        return Failure::permanent(format!("cannot follow where `{url}` sends: {text}"));
    }
    if text.contains("certificate") {
        return Failure::permanent(format!("cannot trust `{url}`: {text}"))
            .cause("its certificate is not signed by an authority that this machine trusts")
            .fix("name the authority's certificates in `ca_bundle`");
    }
    let what = if error.is_timeout() { "no answer in time" } else { "no answer" };
    Failure::transient(format!("`{url}`: {what}: {text}"))
}

/// An answer that was not what was asked for.
pub(crate) fn refused(status: u16, url: &str, body: &str, retry_after: Option<Duration>) -> Failure {
    let class = class_of(status);
    let start: String = body.chars().take(300).collect();
    let start = start.lines().next().unwrap_or_default().trim();
    let told = if start.is_empty() { String::new() } else { format!(": {start}") };
    let facts = Facts { http_status: Some(status), http_body: body.chars().take(4096).collect(), ..Facts::default() };
    let mut failure = Failure::new(class, format!("`{url}` answered {status}{told}")).facts(facts);
    failure.retry_after = retry_after;
    match class {
        Class::AuthExpired => failure.fix("check the token or the credentials that the request carries"),
        // What ApacheBench hid behind "failed requests: 0": Envoy answers nothing else to HTTP/1.0.
        _ if status == 426 => failure
            .cause("the server refuses this version of HTTP; Envoy, and so Istio's and GKE's gateways, refuse HTTP/1.0")
            .fix("ask with HTTP/1.1"),
        _ => failure,
    }
}

fn class_of(status: u16) -> Class {
    match status {
        401 => Class::AuthExpired,
        429 => Class::Throttled,
        408 | 425 | 500.. if status != 501 => Class::Transient,
        _ => Class::Invalid,
    }
}

/// The longest that a server's wish to be left alone is believed: no server means years.
pub(crate) const LONGEST_REST: Duration = Duration::from_secs(86_400);

/// How long an answer asks to be left alone: seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_REST));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default().min(LONGEST_REST))
}

/// An error with everything below it; the outer ones only say that something failed. The address is told apart.
fn chain(error: &reqwest::Error) -> String {
    let mut parts = Vec::new();
    let mut below = error.source();
    while let Some(error) = below {
        parts.push(error.to_string());
        below = error.source();
    }
    parts.dedup();
    if parts.is_empty() { error.to_string() } else { parts.join(": ") }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A server with TLS that sends everybody to that address; its own address, and the certificate of its authority.
    async fn sending_to(location: &str) -> (String, String) {
        install_crypto();
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = authority.self_signed(&authority_key).unwrap().pem();
        let key = rcgen::KeyPair::generate().unwrap();
        let wanted = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = wanted.signed_by(&key, &rcgen::Issuer::new(authority, authority_key)).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}/", listener.local_addr().unwrap());
        let answer =
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
        tokio::spawn(async move {
            loop {
                let mut socket = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
                assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
                socket.write_all(answer.as_bytes()).await.unwrap();
                socket.shutdown().await.ok();
            }
        });
        (address, pem)
    }

    #[tokio::test]
    async fn a_redirect_does_not_lead_out_of_tls() {
        // Nobody listens there.
        let (url, authority) = sending_to("http://127.0.0.1:1/").await;
        let way = Way { proxy: None, authorities: authority.into_bytes(), connect_timeout: SHORTEST };
        let error = way.client().unwrap().get(&url).send().await.expect_err("without TLS");
        let failure = unanswered(&error, &url);
        assert_eq!(failure.class, Class::Permanent);
        assert!(failure.what.ends_with("the server sends on to an address without TLS"), "{}", failure.what);
    }

    #[test]
    fn a_time_to_wait_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            retry_after(&headers, now).map(|span| span.as_secs())
        };
        assert_eq!(read("7"), Some(7));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:30 GMT"), Some(90));
        assert_eq!(read("Wed, 31 Dec 2025 00:00:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(read("18446744073709551615"), Some(86_400));
        assert_eq!(read("Thu, 31 Dec 9998 00:00:00 GMT"), Some(86_400));
    }

    #[test]
    fn statuses_have_their_classes() {
        let cases = [
            (401, Class::AuthExpired),
            (403, Class::Invalid),
            (404, Class::Invalid),
            (408, Class::Transient),
            (426, Class::Invalid),
            (429, Class::Throttled),
            (500, Class::Transient),
            (501, Class::Invalid),
            (503, Class::Transient),
        ];
        for (status, class) in cases {
            assert_eq!(class_of(status), class, "{status}");
        }
    }
}
