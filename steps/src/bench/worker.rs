//! One connection's share of the load.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::sync::Barrier;

use super::limit::Limit;
use super::pace::{Due, Pace, counts_from};
use super::script::Script;
use super::tally::{Bad, End, Good, Tally, What};
use crate::clock::Clock;
use crate::http::connection::Route;
use crate::http::events::{Streamed, Usage, usage};
use crate::http::exchange::is_stream;
use crate::http::framing::Head;
use crate::http::line::Line;
use crate::http::options::Expect;
use crate::http::trouble::{Broken, Trouble};

/// The most of a body that is kept: to count tokens, or to show what a failed request was told.
const KEPT: usize = 1 << 20;

/// How far apart workers start, on the machine's clock. Answers to requests that went out together come together, and all but the
/// first of them would be charged with their wait for us.
const APART: Duration = Duration::from_micros(100);

/// What all workers share.
pub(super) struct Shared {
    pub(super) script: Arc<Script>,
    pub(super) route: Route,
    pub(super) expect: Expect,
    /// How long one request may take, on the machine's clock.
    pub(super) patience: Duration,
    pub(super) clock: Clock,
    /// Requests that are not counted, before the clock runs.
    pub(super) warm_up: Pace,
    pub(super) pace: Pace,
    /// All are connected and warm.
    pub(super) ready: Barrier,
    /// When the clock began to run.
    pub(super) start: OnceLock<Instant>,
    /// Several, so that workers rarely wait for each other.
    pub(super) tallies: Vec<Mutex<Tally>>,
}

/// One connection, and where its counts go.
pub(super) struct Worker {
    shared: Arc<Shared>,
    number: usize,
    line: Option<Line>,
    limit: Limit,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number, line: None, limit: Limit::default() }
    }

    /// Sends until there is nothing more to send.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        self.warm_up(&shared).await;
        shared.ready.wait().await;
        let start = *shared.start.get_or_init(Instant::now);
        if !shared.pace.is_timed() {
            let apart = APART.saturating_mul(u32::try_from(self.number).unwrap_or(u32::MAX));
            shared.clock.sleep(shared.clock.model_span(apart)).await;
        }
        let tally = &shared.tallies[self.number % shared.tallies.len()];
        let mut free = Instant::now();
        while let Some(due) = shared.pace.take(start, free) {
            let (end, ended) = self.turn(&shared, due, free).await;
            tally.lock().unwrap_or_else(PoisonError::into_inner).count(end);
            free = ended;
        }
    }

    /// Opens the connection, and sends what is not counted. What goes wrong here will go wrong again where it counts.
    async fn warm_up(&mut self, shared: &Shared) {
        let start = Instant::now();
        let mut free = start;
        while let Some(due) = shared.warm_up.take(start, free) {
            (_, free) = self.turn(shared, due, free).await;
        }
        if self.line.is_none() {
            self.line = shared.route.open(&shared.script.ask.url).await.ok();
        }
    }

    /// One request, when it is due; what came of it, and when.
    async fn turn(&mut self, shared: &Shared, due: Due, free: Instant) -> (End, Instant) {
        let body = shared.script.body(due.number);
        let sent = match due.at {
            Some(at) => shared.wait_until(at).await,
            None => free,
        };
        let asked = self.limit.within(sent + shared.patience, ask(shared, &mut self.line, body, sent)).await;
        let now = Instant::now();
        let asked = asked.unwrap_or_else(|| Err(Broken::new(Trouble::Timeout, "no answer in time")));
        let end = match asked {
            Ok(End::Good(good)) => {
                let latency = now.saturating_duration_since(counts_from(due, free, sent));
                End::Good(Good { latency, service: due.at.map(|_| now - sent), ..good })
            }
            Ok(bad) => bad,
            Err(broken) => {
                self.line = None;
                End::Bad(Bad { what: What::Trouble(broken.kind.name()), text: broken.text })
            }
        };
        (end, now)
    }
}

impl Shared {
    /// When that time has come, or now where it is past.
    async fn wait_until(&self, at: Instant) -> Instant {
        let wait = at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            self.clock.sleep(self.clock.model_span(wait)).await;
        }
        Instant::now()
    }
}

/// Asks over the connection that is open, or a new one where the server has ended it between two requests.
async fn ask(shared: &Shared, line: &mut Option<Line>, body: Bytes, sent: Instant) -> Result<End, Broken> {
    let Shared { script, route, expect, .. } = shared;
    if line.as_mut().is_none_or(Line::is_over) {
        *line = Some(route.open(&script.ask.url).await?);
    }
    let line = line.as_mut().expect("it has just been opened");
    let head = line.send(script.ask.request(&body)).await?;
    read(line, &head, expect, sent).await
}

/// Reads the answer, and says whether it is good.
async fn read(line: &mut Line, head: &Head, expect: &Expect, sent: Instant) -> Result<End, Broken> {
    let status = head.status.as_u16();
    let good = expect.takes(status);
    let mut streamed = is_stream(&head.headers).then(Streamed::default);
    let keeps = !good || (streamed.is_none() && is_json(&head.headers));
    let (mut kept, mut bytes) = (Vec::new(), 0);
    while let Some(piece) = line.piece().await? {
        bytes += piece.len() as u64;
        if let Some(streamed) = &mut streamed {
            streamed.feed(piece, Instant::now());
        }
        if keeps && kept.len() < KEPT {
            kept.extend_from_slice(piece);
        }
    }
    let bad = |what, text: String| Ok(End::Bad(Bad { what, text }));
    if !good {
        return bad(What::Status(status), String::from_utf8_lossy(&kept).chars().take(4096).collect());
    }
    if let Some(problem) = expect.version_problem(head.version) {
        return bad(What::Trouble("version"), problem);
    }
    if let Some(fault) = streamed.as_ref().and_then(Streamed::fault) {
        return bad(What::Trouble("stream"), fault);
    }
    let tokens = match &streamed {
        Some(streamed) => Usage { completion_tokens: streamed.tokens(), ..streamed.usage.unwrap_or_default() },
        None if keeps => usage(&kept).unwrap_or_default(),
        None => Usage::default(),
    };
    let first = streamed.as_ref().and_then(|streamed| streamed.first_after(sent));
    let each = streamed.as_ref().and_then(Streamed::each_token);
    Ok(End::Good(Good { status, first, each, tokens, bytes, ..Good::default() }))
}

fn is_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}
