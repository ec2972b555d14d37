//! A server that delays as its path says, and remembers what it really did. It runs in a process of its own.
#![expect(clippy::disallowed_methods, reason = "this is no step: it starts itself")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// The server's process; it ends with this.
pub(super) struct Running {
    child: Child,
    address: String,
}

impl Running {
    pub(super) fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Forgets what was; the next request, which goes before any load, is not remembered either.
    pub(super) async fn reset(&self) {
        self.ask("/reset").await;
    }

    /// What it did since.
    pub(super) async fn truth(&self) -> Value {
        serde_json::from_str(&self.ask("/truth").await).unwrap()
    }

    async fn ask(&self, path: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: it\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What was done since the last reset.
#[derive(Default)]
struct Did {
    requests: u64,
    delays: Vec<Duration>,
    statuses: BTreeMap<u16, u64>,
    troubles: BTreeMap<&'static str, u64>,
}

type Shared = Arc<Mutex<Did>>;

/// The end of a connection without an answer.
#[derive(Debug)]
struct HangUp;

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hung up on purpose")
    }
}

impl std::error::Error for HangUp {}

/// Serves until it is killed.
pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let did = Shared::default();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            tokio::spawn(connection(socket, Arc::clone(&did)));
        }
    });
}

async fn connection(socket: TcpStream, did: Shared) {
    let service = service_fn(|request| answer(request, &did));
    // A client may hang up, and so may this.
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await.ok();
}

async fn answer(request: Request<Incoming>, did: &Shared) -> Result<Response<Full<Bytes>>, HangUp> {
    let began = Instant::now();
    let path = request.uri().path();
    match path {
        "/plain" => return Ok(Response::new(Full::new(Bytes::from_static(b"ok\n")))),
        "/reset" => {
            *did.lock().unwrap() = Did::default();
            return Ok(whole(200, "reset"));
        }
        "/truth" => return Ok(whole(200, &truth(&did.lock().unwrap()).to_string())),
        _ => {}
    }
    let number = {
        let mut did = did.lock().unwrap();
        did.requests += 1;
        did.requests - 1
    };
    if path == "/mixed" {
        return mixed(number, did).await;
    }
    let delay = match path.strip_prefix("/constant/") {
        Some(millis) => Duration::from_millis(millis.parse().unwrap()),
        None => pareto(number),
    };
    wait(delay).await;
    if number > 0 {
        did.lock().unwrap().delays.push(began.elapsed());
    }
    Ok(whole(200, "ok"))
}

/// Waits to a twentieth of a millisecond. The runtime's own timers fire together once a millisecond: delays would be rounded up, and
/// their ends would come in bursts, as those of no other server do.
async fn wait(delay: Duration) {
    static ALARMS: LazyLock<mpsc::Sender<Alarm>> = LazyLock::new(|| {
        let (sender, alarms) = mpsc::channel();
        std::thread::spawn(move || ring(&alarms));
        sender
    });
    let (rings, rang) = oneshot::channel();
    ALARMS.send(Alarm { at: Instant::now() + delay, rings }).unwrap();
    rang.await.ok();
}

struct Alarm {
    at: Instant,
    rings: oneshot::Sender<()>,
}

/// Rings each alarm in its time.
fn ring(alarms: &mpsc::Receiver<Alarm>) {
    let mut waiting: BTreeMap<(Instant, u64), oneshot::Sender<()>> = BTreeMap::new();
    let mut number = 0;
    loop {
        let now = Instant::now();
        while let Some(first) = waiting.first_entry().filter(|first| first.key().0 <= now) {
            first.remove().send(()).ok();
        }
        let next = waiting.keys().next().map_or(Duration::from_secs(1), |(at, _)| at.saturating_duration_since(now));
        match alarms.recv_timeout(next) {
            Ok(alarm) => {
                number += 1;
                waiting.insert((alarm.at, number), alarm.rings);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A Pareto distribution from 5 ms with the exponent 1.4, cut at 2 s: p50 8 ms, p95 42 ms, p99 134 ms. The golden ratio spreads the
/// numbers evenly, so that few of them already have its quantiles.
fn pareto(number: u64) -> Duration {
    let even = (number as f64 * 0.618_033_988_749_895).fract();
    let millis = 5.0 / (1.0 - even).powf(1.0 / 1.4);
    Duration::from_secs_f64(millis.min(2000.0) / 1000.0)
}

/// Good answers, refusals, and no answers, in a fixed order.
async fn mixed(number: u64, did: &Shared) -> Result<Response<Full<Bytes>>, HangUp> {
    let trouble = |name| {
        *did.lock().unwrap().troubles.entry(name).or_default() += 1;
    };
    let status = match number {
        0 => return Ok(whole(200, "before all")),
        number if number % 250 == 125 => {
            trouble("timeout");
            std::future::pending().await
        }
        number if number % 10 == 3 => {
            trouble("reset");
            return Err(HangUp);
        }
        number if number % 10 == 5 => 426,
        number if number % 10 == 7 => 503,
        _ => 200,
    };
    *did.lock().unwrap().statuses.entry(status).or_default() += 1;
    Ok(whole(status, "mixed"))
}

fn whole(status: u16, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    response
}

fn truth(did: &Did) -> Value {
    let mut delays = did.delays.clone();
    delays.sort();
    let at = |share: f64| {
        let rank = (delays.len() as f64 * share).ceil() as usize;
        delays.get(rank.saturating_sub(1)).map(|delay| delay.as_secs_f64() * 1e3)
    };
    json!({ "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99), "statuses": did.statuses, "troubles": did.troubles })
}
