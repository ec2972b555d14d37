//! One connection that speaks HTTP/1: a request, its answer, and the next, in the task that wants the answer.
//!
//! A load generator so pays for one write and one read, and for nothing that has to be woken between them. Knows nothing of
//! redirects, retries or what an answer means.

use std::io;

use bytes::{Buf as _, BytesMut};
use futures::FutureExt as _;
use http::Method;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::framing::{Body, Head, Next, Request};
use super::trouble::{Broken, Trouble};

/// What bytes go over: a socket, TLS on it, or a port of a pod.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// How much is read at once.
const READ: usize = 16 << 10;

/// A connection that is open.
pub(crate) struct Line {
    wire: Box<dyn Wire>,
    /// What goes out.
    sent: Vec<u8>,
    /// What has come: the piece that was handed out last, and what was not yet looked at.
    received: BytesMut,
    /// How long that piece is.
    piece: usize,
    /// What is yet to come of the answer.
    body: Body,
    /// Whether another request may follow this answer.
    lasts: bool,
    /// Whether nothing is under way and another request may follow.
    free: bool,
    /// Whether requests name the whole address, because a proxy gets them.
    absolute: bool,
    /// What is known of TLS; null without it.
    pub(crate) tls: Value,
}

impl Line {
    pub(super) fn new(wire: Box<dyn Wire>, tls: Value, absolute: bool) -> Self {
        let (sent, received, body) = (Vec::new(), BytesMut::new(), Body::Length(0));
        Self { wire, sent, received, piece: 0, body, lasts: true, free: true, absolute, tls }
    }

    /// Whether it cannot take another request: the server has ended it, or said what nobody asked for.
    pub(crate) fn is_over(&mut self) -> bool {
        !self.free || !self.received.is_empty() || self.receive().now_or_never().is_some()
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> Result<Head, Broken> {
        self.free = false;
        self.sent.clear();
        request.write(self.absolute, &mut self.sent);
        let sent = self.flush().await;
        // A server may answer and hang up before it has read all of a request.
        let head = self.head(request.method).await.map_err(|broken| sent.err().map_or(broken, Broken::from))?;
        self.lasts = request.lasts() && head.lasts();
        Ok(head)
    }

    /// The next piece of the answer's body.
    pub(crate) async fn piece(&mut self) -> Result<Option<&[u8]>, Broken> {
        self.received.advance(std::mem::take(&mut self.piece));
        loop {
            match self.body.next(&self.received)? {
                Next::Data(length) => {
                    self.piece = length;
                    break;
                }
                Next::Skip(length) => self.received.advance(length),
                Next::End => {
                    self.free = self.lasts;
                    return Ok(None);
                }
                Next::More if self.receive().await? > 0 => {}
                Next::More if self.body == Body::UntilClose => return Ok(None),
                Next::More => return Err(cut_off()),
            }
        }
        Ok(Some(&self.received[..self.piece]))
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.wire.write_all(&self.sent).await?;
        self.wire.flush().await
    }

    async fn head(&mut self, method: &Method) -> Result<Head, Broken> {
        loop {
            if self.receive().await? == 0 {
                return Err(cut_off());
            }
            while let Some((head, length)) = Head::read(&self.received)? {
                self.received.advance(length);
                if !head.is_interim() {
                    self.body = head.body(method)?;
                    return Ok(head);
                }
            }
        }
    }

    /// Reads what is there; nothing at the end of the connection.
    async fn receive(&mut self) -> io::Result<usize> {
        self.received.reserve(READ);
        self.wire.read_buf(&mut self.received).await
    }
}

fn cut_off() -> Broken {
    Broken::new(Trouble::Reset, "the connection ended before the answer was whole")
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Uri, Version};
    use tokio::io::DuplexStream;

    use super::*;

    fn line() -> (Line, DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 16);
        (Line::new(Box::new(near), Value::Null, false), far)
    }

    async fn ask(line: &mut Line, body: &[u8]) -> Result<(u16, String), Broken> {
        let (headers, uri) = (HeaderMap::new(), Uri::from_static("http://a/b"));
        let request = Request { method: &Method::PUT, uri: &uri, version: Version::HTTP_11, headers: &headers, body };
        let status = line.send(request).await?.status.as_u16();
        let mut text = String::new();
        while let Some(piece) = line.piece().await? {
            text.push_str(std::str::from_utf8(piece).unwrap());
        }
        Ok((status, text))
    }

    #[tokio::test]
    async fn answers_follow_each_other() {
        let (mut line, mut far) = line();
        for (number, answer) in ["Content-Length: 1\r\n\r\na", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"]
            .into_iter()
            .cycle()
            .take(4)
            .enumerate()
        {
            assert!(!line.is_over(), "before {number}");
            far.write_all(format!("HTTP/1.1 200 OK\r\n{answer}").as_bytes()).await.unwrap();
            assert_eq!(ask(&mut line, b"x").await, Ok((200, "a".to_owned())));
        }
        drop(line);
        let mut asked = String::new();
        far.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "PUT /b HTTP/1.1\r\ncontent-length: 1\r\n\r\nx".repeat(4));
    }

    #[tokio::test]
    async fn a_line_ends_where_the_server_ends_it() {
        for (answer, then) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", ""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 408 Request Timeout\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", ""),
        ] {
            let (mut line, mut far) = line();
            far.write_all(answer.as_bytes()).await.unwrap();
            assert_eq!(ask(&mut line, b"").await, Ok((200, "a".to_owned())));
            far.write_all(then.as_bytes()).await.unwrap();
            assert!(line.is_over(), "{answer:?} {then:?}");
        }
        let (mut line, far) = line();
        drop(far);
        assert!(line.is_over());
    }

    #[tokio::test]
    async fn an_answer_counts_though_the_server_hung_up_before_it_read_the_request() {
        let (mut line, mut far) = line();
        far.write_all(b"HTTP/1.1 413 Content Too Large\r\n\r\nno").await.unwrap();
        drop(far);
        assert_eq!(ask(&mut line, &[b'x'; 1 << 17]).await, Ok((413, "no".to_owned())));
        assert!(line.is_over());
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_reset() {
        for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"] {
            let (mut line, mut far) = line();
            far.write_all(answer.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
            assert_eq!(ask(&mut line, b"").await.map_err(|broken| broken.kind), Err(Trouble::Reset), "{answer:?}");
            assert!(line.is_over());
        }
    }
}
