//! Where the parts of an HTTP/1 message begin and end, as RFC 9112 has it. Pure: what goes out and what came in are bytes.
//!
//! Heads and sizes of chunks are read by `httparse`; this knows which of an answer's bytes are its body, and whether another request
//! may follow.

use std::io::Write as _;
use std::mem::MaybeUninit;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use httparse::{ParserConfig, Status};

use super::trouble::{Broken, Trouble};

/// The most headers of an answer.
const HEADERS: usize = 128;

/// The most bytes of a head, of a chunk's first line and of what follows the last chunk: an end that never comes is not waited for.
const LONGEST: usize = 256 << 10;

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a Method,
    /// The whole address; user, password and fragment have no place in it.
    pub(crate) uri: &'a Uri,
    pub(crate) version: Version,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    /// The bytes that go out, after what is there already. A proxy is told the whole address.
    pub(super) fn write(&self, absolute: bool, out: &mut Vec<u8>) {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let version = if self.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" };
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        if let (true, Some(scheme), Some(authority)) = (absolute, self.uri.scheme_str(), self.uri.authority()) {
            write!(out, "{scheme}://{authority}").expect("memory takes it");
        }
        for part in [path, " ", version, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        // How long the body is, and how that is told, is not for a plan to say.
        for (name, value) in self.headers.iter().filter(|(name, _)| ![CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
        {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        if !self.body.is_empty() || [Method::POST, Method::PUT, Method::PATCH].contains(self.method) {
            write!(out, "content-length: {}\r\n", self.body.len()).expect("memory takes it");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body);
    }

    /// Whether this allows another request after it.
    pub(super) fn lasts(&self) -> bool {
        lasts(self.version, self.headers)
    }
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

impl Head {
    /// The head of an answer and how many bytes it has, once all of them are here.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Broken> {
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS];
        let mut found = httparse::Response::new(&mut []);
        let read = ParserConfig::default().parse_response_with_uninit_headers(&mut found, bytes, &mut fields);
        let Status::Complete(length) = read.map_err(|error| garbled(&error))? else {
            return unfinished(bytes).map(|()| None);
        };
        let mut headers = HeaderMap::with_capacity(found.headers.len());
        for field in found.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| garbled(&error))?;
            headers.append(name, HeaderValue::from_bytes(field.value).map_err(|error| garbled(&error))?);
        }
        let status = StatusCode::from_u16(found.code.unwrap_or_default()).map_err(|error| garbled(&error))?;
        let version = if found.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
        Ok(Some((Self { status, version, headers }, length)))
    }

    /// Whether it only tells that another head will come.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// Whether this allows another request after it.
    pub(super) fn lasts(&self) -> bool {
        lasts(self.version, &self.headers) && self.status != StatusCode::SWITCHING_PROTOCOLS
    }

    /// The body that follows it, in the order of RFC 9112, section 6.3.
    pub(super) fn body(&self, method: &Method) -> Result<Body, Broken> {
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status);
        if *method == Method::HEAD || none || self.status.is_informational() {
            return Ok(Body::Length(0));
        }
        if let Some(last) = self.headers.get_all(TRANSFER_ENCODING).iter().next_back() {
            let chunked = words(last).next_back().is_some_and(|word| word.eq_ignore_ascii_case(b"chunked"));
            return Ok(if chunked { Body::Chunked(Chunk::Size) } else { Body::UntilClose });
        }
        let mut lengths = self.headers.get_all(CONTENT_LENGTH).iter().flat_map(words);
        let Some(first) = lengths.next() else { return Ok(Body::UntilClose) };
        let length = std::str::from_utf8(first).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = length.and_then(|text| text.parse().ok()).filter(|_| lengths.all(|other| other == first));
        length.map(Body::Length).ok_or_else(|| garbled(&"the length of the body is not a number"))
    }
}

/// What is yet to come of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks that tell how long they are.
    Chunked(Chunk),
    /// All until the connection ends.
    UntilClose,
}

/// What comes next of a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// The line that tells how long it is.
    Size,
    /// So many bytes of it.
    Data(u64),
    /// The end of its line.
    End,
    /// What may follow the last one.
    Trailers,
    /// Nothing.
    Over,
}

/// What the next bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many of the body.
    Data(usize),
    /// So many that only tell where it goes on.
    Skip(usize),
    /// That depends on those that are not here yet.
    More,
    /// Not the body's any more.
    End,
}

impl Body {
    /// Takes the next bytes.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Next, Broken> {
        Ok(match self {
            Body::Length(0) => Next::End,
            Body::Length(left) => data(left, bytes),
            Body::UntilClose if bytes.is_empty() => Next::More,
            Body::UntilClose => Next::Data(bytes.len()),
            Body::Chunked(chunk) => chunk.next(bytes)?,
        })
    }
}

impl Chunk {
    fn next(&mut self, bytes: &[u8]) -> Result<Next, Broken> {
        let (then, next) = match self {
            Chunk::Size => match size(bytes)? {
                Status::Complete((line, 0)) => (Chunk::Trailers, Next::Skip(line)),
                Status::Complete((line, size)) => (Chunk::Data(size), Next::Skip(line)),
                Status::Partial => return unfinished(bytes).map(|()| Next::More),
            },
            Chunk::Data(left) => match data(left, bytes) {
                next if *left == 0 => (Chunk::End, next),
                next => return Ok(next),
            },
            Chunk::End => match bytes {
                [b'\r', b'\n', ..] => (Chunk::Size, Next::Skip(2)),
                [] | [b'\r'] => return Ok(Next::More),
                _ => return Err(garbled(&"a chunk of it is longer than it said")),
            },
            Chunk::Trailers => match httparse::parse_headers(bytes, &mut [httparse::EMPTY_HEADER; HEADERS]) {
                Ok(Status::Complete((length, _))) => (Chunk::Over, Next::Skip(length)),
                Ok(Status::Partial) => return unfinished(bytes).map(|()| Next::More),
                Err(error) => return Err(garbled(&error)),
            },
            Chunk::Over => return Ok(Next::End),
        };
        *self = then;
        Ok(next)
    }
}

/// How long the next chunk is, and the line that tells it.
fn size(bytes: &[u8]) -> Result<Status<(usize, u64)>, Broken> {
    let wrong = || garbled(&"a chunk of it has no length");
    // The parser takes a line without a number for that of the last chunk.
    if bytes.first().is_some_and(|first| !first.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    httparse::parse_chunk_size(bytes).map_err(|_| wrong())
}

fn data(left: &mut u64, bytes: &[u8]) -> Next {
    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= here as u64;
    if here == 0 { Next::More } else { Next::Data(here) }
}

fn lasts(version: Version, headers: &HeaderMap) -> bool {
    let says =
        |what: &[u8]| headers.get_all(CONNECTION).iter().flat_map(words).any(|word| word.eq_ignore_ascii_case(what));
    if version == Version::HTTP_10 { says(b"keep-alive") } else { !says(b"close") }
}

/// The parts of a list.
fn words(value: &HeaderValue) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn unfinished(bytes: &[u8]) -> Result<(), Broken> {
    if bytes.len() > LONGEST { Err(garbled(&"its head, or that of a chunk, does not end")) } else { Ok(()) }
}

fn garbled(what: &dyn ToString) -> Broken {
    Broken::new(Trouble::Garbled, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(method: &Method, headers: &[(HeaderName, &'static str)], body: &str, absolute: bool) -> String {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let uri = Uri::from_static("http://a:8080/b?c=d");
        let request =
            Request { method, uri: &uri, version: Version::HTTP_11, headers: &headers, body: body.as_bytes() };
        let mut out = Vec::new();
        request.write(absolute, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_proxy_is_told_the_whole_address() {
        assert_eq!(written(&Method::GET, &[], "", false), "GET /b?c=d HTTP/1.1\r\n\r\n");
        assert_eq!(written(&Method::GET, &[], "", true), "GET http://a:8080/b?c=d HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn how_long_a_body_is_is_said_once_and_as_it_is() {
        let headers = [(CONTENT_LENGTH, "7"), (TRANSFER_ENCODING, "chunked"), (CONNECTION, "close")];
        let expected = "PUT /b?c=d HTTP/1.1\r\nconnection: close\r\ncontent-length: 2\r\n\r\nab";
        assert_eq!(written(&Method::PUT, &headers, "ab", false), expected);
        assert_eq!(written(&Method::POST, &[], "", false), "POST /b?c=d HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(written(&Method::DELETE, &headers[..1], "", false), "DELETE /b?c=d HTTP/1.1\r\n\r\n");
    }

    /// What is read of bytes that come in two parts: status, body, and how many bytes follow it.
    fn read(method: &Method, bytes: &[u8], cut: usize) -> Result<Option<(u16, Vec<u8>, usize)>, Broken> {
        let (mut here, mut at) = (cut, 0);
        let (head, mut body) = loop {
            match Head::read(&bytes[at..here])? {
                Some((head, length)) if head.is_interim() => at += length,
                Some((head, length)) => {
                    at += length;
                    break (head.status, head.body(method)?);
                }
                None if here == bytes.len() => return Ok(None),
                None => here = bytes.len(),
            }
        };
        let mut found = Vec::new();
        loop {
            match body.next(&bytes[at..here])? {
                Next::Data(length) => {
                    found.extend_from_slice(&bytes[at..at + length]);
                    at += length;
                }
                Next::Skip(length) => at += length,
                Next::More if here < bytes.len() => here = bytes.len(),
                Next::More if body != Body::UntilClose => return Ok(None),
                Next::More | Next::End => return Ok(Some((head.as_u16(), found, bytes.len() - at))),
            }
        }
    }

    #[test]
    fn answers_are_whole_however_they_are_cut() {
        let cases: [(Method, &str, u16, &str, usize); 9] = [
            (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\nmore", 200, "ok\n", 4),
            (Method::GET, "HTTP/1.1 503 \r\nContent-Length: 2, 2\r\ncontent-length: 2\r\n\r\nno", 503, "no", 0),
            (
                Method::GET,
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\nContent-Length: 1\r\n\r\n\
                 3;x=y\r\nabc\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: t\r\n\r\nHTTP",
                200,
                "abcabcdefghijklmnopqrstuvwxyz",
                4,
            ),
            (Method::GET, "HTTP/1.1 200 OK\r\n\r\nall of it", 200, "all of it", 0),
            (Method::GET, "HTTP/1.0 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nall", 200, "all", 0),
            (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, "", 0),
            (Method::GET, "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", 204, "", 0),
            (Method::GET, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 304, "", 0),
            (
                Method::POST,
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
                 HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
                201,
                "",
                0,
            ),
        ];
        for (method, text, status, body, left) in cases {
            for cut in 0..=text.len() {
                let expected = Some((status, body.as_bytes().to_vec(), left));
                assert_eq!(read(&method, text.as_bytes(), cut), Ok(expected), "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_not_whole() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert_eq!(read(&Method::GET, text.as_bytes(), 0), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_garbled() {
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(LONGEST));
        for text in [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n;x\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12345678901234567\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
            endless.as_str(),
        ] {
            let broken = read(&Method::GET, text.as_bytes(), 0).expect_err(text);
            assert_eq!(broken.kind, Trouble::Garbled, "{text:?}");
        }
    }

    #[test]
    fn whether_another_request_may_follow() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false),
        ] {
            let (head, length) = Head::read(text.as_bytes()).unwrap().expect(text);
            assert_eq!((head.lasts(), length), (expected, text.len()), "{text:?}");
        }
    }
}
