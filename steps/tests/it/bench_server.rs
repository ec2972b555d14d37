//! A server on loopback that does with each request what it is told: answers, waits, streams, goes silent, or hangs up.
#![expect(clippy::disallowed_methods, reason = "a server's delays are on the machine's clock")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// An answer: status line, content type, body.
    Answer(&'static str, &'static str, String),
    /// The same, after a while.
    Later(Duration, &'static str),
    /// Events with a pause before each.
    Events(Vec<(Duration, String)>),
    /// No answer, ever.
    Silence,
    /// The connection is reset.
    Reset,
}

pub(crate) fn ok() -> Act {
    Act::Answer("200 OK", "text/plain", "ok".to_owned())
}

pub(crate) fn status(line: &'static str) -> Act {
    Act::Answer(line, "text/plain", line.to_owned())
}

/// What decides about each request, by its number from 0 and its body.
pub(crate) type Rule = Arc<dyn Fn(u64, &str) -> Act + Send + Sync>;

/// A server that runs until the test ends; its address, and how many requests it has had.
pub(crate) async fn serve(rule: impl Fn(u64, &str) -> Act + Send + Sync + 'static) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/completions", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let (rule, counted): (Rule, _) = (Arc::new(rule), Arc::clone(&count));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(connection(socket, Arc::clone(&rule), Arc::clone(&counted)));
        }
    });
    (url, count)
}

/// Ends when the client hangs up, which it may at any time.
async fn connection(mut socket: TcpStream, rule: Rule, count: Arc<AtomicU64>) -> Option<()> {
    let mut rest = Vec::new();
    loop {
        let body = request(&mut socket, &mut rest).await?;
        match rule(count.fetch_add(1, Ordering::SeqCst), &body) {
            Act::Answer(line, kind, body) => answer(&mut socket, line, kind, &body).await?,
            Act::Later(pause, line) => {
                tokio::time::sleep(pause).await;
                answer(&mut socket, line, "text/plain", "ok").await?;
            }
            Act::Events(events) => stream(&mut socket, events).await?,
            Act::Silence => std::future::pending().await,
            Act::Reset => {
                socket.set_zero_linger().ok()?;
                return None;
            }
        }
    }
}

async fn answer(socket: &mut TcpStream, line: &str, kind: &str, body: &str) -> Option<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {line}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}");
    socket.write_all(text.as_bytes()).await.ok()
}

async fn stream(socket: &mut TcpStream, events: Vec<(Duration, String)>) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.ok()?;
    for (pause, event) in events {
        tokio::time::sleep(pause).await;
        let data = format!("data: {event}\n\n");
        socket.write_all(format!("{:x}\r\n{data}\r\n", data.len()).as_bytes()).await.ok()?;
    }
    socket.write_all(b"0\r\n\r\n").await.ok()
}

/// Reads one request; its body.
async fn request(socket: &mut TcpStream, rest: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(head) = rest.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&rest[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if rest.len() >= head + 4 + length {
                let body = String::from_utf8_lossy(&rest[head + 4..head + 4 + length]).into_owned();
                rest.drain(..head + 4 + length);
                return Some(body);
            }
        }
        let mut chunk = [0; 4096];
        let read = socket.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        rest.extend_from_slice(&chunk[..read]);
    }
}
