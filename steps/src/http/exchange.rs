//! One request and its whole answer, over a connection of its own, redirects followed.
//!
//! Knows nothing of what the answer should be.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use serde_json::Value;
use url::Url;

use super::connection::{Route, in_words};
use super::events::Streamed;
use super::framing::Request;
use super::line::Line;
use super::trouble::{Broken, Trouble};

/// What this program calls itself.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("runbook/", env!("CARGO_PKG_VERSION")));

/// A request that can be sent any number of times.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) version: Version,
    /// Whether there is a secret in the body.
    pub(crate) secret_body: bool,
    uri: Uri,
}

impl Ask {
    /// Puts a request together; the headers that every request has are added.
    pub(crate) fn new(
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Bytes,
        version: Version,
    ) -> Result<Self, Broken> {
        let wrong = |what: &str| Broken::new(Trouble::Unreachable, format!("`{url}` {what}"));
        let host = url.host_str().ok_or_else(|| wrong("names no host"))?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let host = HeaderValue::from_str(&host).map_err(|_| wrong("has a host that cannot be asked for"))?;
        headers.entry(HOST).or_insert(host);
        headers.entry(USER_AGENT).or_insert(AGENT);
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let uri = sent_form(&url).ok_or_else(|| wrong("cannot be asked for"))?;
        Ok(Self { method, url, headers, body, version, secret_body: false, uri })
    }

    /// The request with this body.
    pub(crate) fn request<'a>(&'a self, body: &'a [u8]) -> Request<'a> {
        Request { method: &self.method, uri: &self.uri, version: self.version, headers: &self.headers, body }
    }

    /// What is asked next, after an answer that sends elsewhere. Secrets stay with the host that they were meant for.
    fn redirected(&self, status: StatusCode, headers: &HeaderMap) -> Option<Result<Self, Broken>> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let url = self.url.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
        let mut next = self.headers.clone();
        next.remove(HOST);
        let elsewhere = url.origin() != self.url.origin();
        if elsewhere {
            let staying = self.headers.iter().filter(|(name, value)| !may_leave(name, value));
            staying.for_each(|(name, _)| drop(next.remove(name)));
        }
        let becomes_get = status == StatusCode::SEE_OTHER || (self.method == Method::POST && status.as_u16() < 303);
        if becomes_get && self.method != Method::HEAD {
            next.remove(CONTENT_TYPE);
            next.remove(CONTENT_LENGTH);
            return Some(Self::new(Method::GET, url, next, Bytes::new(), self.version));
        }
        if elsewhere && self.secret_body {
            return Some(Err(withheld(status, &url)));
        }
        let again = Self::new(self.method.clone(), url, next, self.body.clone(), self.version);
        Some(again.map(|again| Self { secret_body: self.secret_body, ..again }))
    }
}

/// Whether a header may go to another host than it was meant for.
fn may_leave(name: &HeaderName, value: &HeaderValue) -> bool {
    !value.is_sensitive() && ![AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION].contains(name)
}

fn withheld(status: StatusCode, url: &Url) -> Broken {
    let host = url.origin().ascii_serialization();
    let text = format!("the answer ({status}) sends the request on to `{host}`, but its body holds a secret");
    Broken::new(Trouble::Withheld, text)
}

/// The address as it may be sent: without user, password and fragment.
fn sent_form(url: &Url) -> Option<Uri> {
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let authority = url
        .port()
        .map_or_else(|| url.host_str().map(ToOwned::to_owned), |port| Some(format!("{}:{port}", url.host_str()?)))?;
    Uri::builder().scheme(url.scheme()).authority(authority).path_and_query(path).build().ok()
}

/// How far to go for an answer.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How many redirects are followed.
    pub(crate) redirects: u8,
    /// How long all of it may take, on the machine's clock.
    pub(crate) patience: Duration,
    /// How many bytes of a body are kept.
    pub(crate) body: usize,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether there was more of the body than is kept.
    pub(crate) truncated: bool,
    pub(crate) tls: Value,
    pub(crate) times: Times,
    /// What came event by event.
    pub(crate) streamed: Option<Streamed>,
}

/// When things happened.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// When the first connection was begun.
    pub(crate) began: Instant,
    /// When the last one was open.
    pub(crate) connected: Instant,
    /// When the head of the answer was here.
    pub(crate) head: Instant,
    /// When all of it was here.
    pub(crate) end: Instant,
}

/// Asks, and follows where the answer sends.
pub(crate) async fn exchange(route: &Route, ask: &Ask, limits: Limits) -> Result<Answer, Broken> {
    let late = || Broken::new(Trouble::Timeout, format!("nothing within {}", in_words(limits.patience)));
    let asked = tokio::time::timeout(limits.patience, followed(route, ask, limits)).await;
    let asked = asked.unwrap_or_else(|_| Err(late()));
    // The path and the query may hold secrets, and so may what was in the way.
    let (host, status) = (ask.url.host_str(), asked.as_ref().ok().map(|answer| answer.status));
    tracing::debug!(method = %ask.method, host, status, "a server was asked");
    match (asked, &route.forward) {
        (Err(broken), Some(forward)) => Err(forward.explain(broken).await),
        (asked, _) => asked,
    }
}

async fn followed(route: &Route, ask: &Ask, limits: Limits) -> Result<Answer, Broken> {
    let began = Instant::now();
    let mut ask = ask.clone();
    let mut left = limits.redirects;
    loop {
        let mut line = route.open(&ask.url).await?;
        let connected = Instant::now();
        let answered = line.send(ask.request(&ask.body)).await?;
        let head = Instant::now();
        if let Some(next) = ask.redirected(answered.status, &answered.headers).filter(|_| left > 0) {
            (ask, left) = (next?, left - 1);
            continue;
        }
        let streams = is_stream(&answered.headers);
        let read = read(&mut line, limits.body, streams.then(Streamed::keeping)).await?;
        return Ok(Answer {
            url: ask.url,
            status: answered.status.as_u16(),
            version: answered.version,
            headers: answered.headers,
            body: read.bytes,
            truncated: read.more,
            tls: line.tls,
            times: Times { began, connected, head, end: Instant::now() },
            streamed: read.streamed,
        });
    }
}

/// Whether an answer comes event by event.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

struct Read {
    bytes: Vec<u8>,
    more: bool,
    streamed: Option<Streamed>,
}

async fn read(line: &mut Line, limit: usize, mut streamed: Option<Streamed>) -> Result<Read, Broken> {
    let mut bytes = Vec::new();
    while let Some(piece) = line.piece().await? {
        if let Some(streamed) = &mut streamed {
            streamed.feed(piece, Instant::now());
        }
        bytes.extend_from_slice(&piece[..piece.len().min(limit.saturating_add(1).saturating_sub(bytes.len()))]);
        if streamed.as_ref().map_or(bytes.len() > limit, Streamed::is_broken) {
            break;
        }
    }
    let more = bytes.len() > limit;
    bytes.truncate(limit);
    Ok(Read { bytes, more, streamed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, url: &str) -> Ask {
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, HeaderValue::from_static("Bearer x")),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        Ask::new(method, url.parse().unwrap(), headers, Bytes::from_static(b"{}"), Version::HTTP_11)
            .unwrap_or_else(|broken| panic!("{broken}"))
    }

    fn redirected(ask: &Ask, status: u16, to: &'static str) -> Ask {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(to))]);
        let next = ask.redirected(StatusCode::from_u16(status).unwrap(), &headers).expect("a redirect");
        next.unwrap_or_else(|broken| panic!("{broken}"))
    }

    #[test]
    fn user_password_and_fragment_stay_here() {
        let ask = ask(Method::GET, "http://user:word@[::1]:8080/a/b?c=d#e");
        assert_eq!(ask.uri, "http://[::1]:8080/a/b?c=d");
        assert_eq!(ask.headers[HOST], "[::1]:8080");
    }

    #[test]
    fn a_redirect_keeps_what_may_be_kept() {
        let post = ask(Method::POST, "http://a/x/y");
        let seen = redirected(&post, 303, "/z");
        assert_eq!((seen.method, seen.url.as_str(), seen.body.len()), (Method::GET, "http://a/z", 0));
        let moved = redirected(&post, 308, "w");
        assert_eq!((moved.method, moved.url.as_str(), moved.body.len()), (Method::POST, "http://a/x/w", 2));
        assert_eq!(moved.headers[AUTHORIZATION], "Bearer x");
        let away = redirected(&post, 307, "http://b/");
        assert_eq!((away.headers.get(AUTHORIZATION), &away.headers[HOST]), (None, &HeaderValue::from_static("b")));
    }

    #[test]
    fn a_secret_does_not_leave_its_host() {
        let mut post = ask(Method::POST, "http://a/");
        let mut key = HeaderValue::from_static("hunter2");
        key.set_sensitive(true);
        post.headers.insert("x-api-key", key);
        post.headers.insert("x-kind", HeaderValue::from_static("plain"));
        assert_eq!(redirected(&post, 307, "/here").headers["x-api-key"], "hunter2");
        let away = redirected(&post, 307, "http://b/");
        assert_eq!((away.headers.get("x-api-key"), away.headers.get("x-kind").is_some()), (None, true));

        let secret = Ask { secret_body: true, ..post };
        assert!(redirected(&secret, 308, "/here").secret_body);
        assert!(redirected(&secret, 303, "http://b/").body.is_empty());
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("http://b/x"))]);
        let refused = secret.redirected(StatusCode::PERMANENT_REDIRECT, &headers).expect("a redirect").err();
        assert_eq!(refused.map(|broken| broken.kind), Some(Trouble::Withheld));
    }

    #[test]
    fn other_answers_send_nowhere() {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("/z"))]);
        assert!(ask(Method::GET, "http://a/").redirected(StatusCode::CREATED, &headers).is_none());
        assert!(ask(Method::GET, "http://a/").redirected(StatusCode::FOUND, &HeaderMap::new()).is_none());
    }
}
