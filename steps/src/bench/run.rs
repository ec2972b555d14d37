//! One scenario, from the first connection to the counts.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::figures;
use super::load::Load;
use super::pace::Pace;
use super::script::Script;
use super::tally::Tally;
use super::worker::{Shared, Worker};
use crate::context::Context;
use crate::failure::Failure;
use crate::http::connection::Route;
use crate::http::options::Expect;

/// Workers share this many tallies: each is some hundred kilobytes.
const TALLIES: u32 = 8;

/// How often it is said how far it is, on the machine's clock.
const TOLD: Duration = Duration::from_secs(1);

/// What a load is put on.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) script: Arc<Script>,
    pub(crate) route: Route,
    pub(crate) expect: Expect,
    /// How long one request may take, on the machine's clock.
    pub(crate) patience: Duration,
}

/// What came of a load.
pub(crate) struct Ran {
    pub(crate) tally: Tally,
    /// How long it took, on the machine's clock.
    pub(crate) took: Duration,
}

/// Puts a load on the target. Dropping this ends it.
pub(crate) async fn put(load: &Load, warm_up: u64, target: Target, cx: &Context) -> Result<Ran, Failure> {
    let shared = Arc::new(shared(load, warm_up, target, cx));
    let mut workers = JoinSet::new();
    for number in 0..load.workers() {
        let number = usize::try_from(number).unwrap_or_default();
        workers.spawn(Worker::new(Arc::clone(&shared), number).run());
    }
    let clock = cx.clock();
    loop {
        tokio::select! {
            biased;
            ended = workers.join_next() => match ended {
                None => break,
                Some(ended) => ended.map_err(|error| Failure::permanent(format!("a worker broke: {error}")))?,
            },
            () = clock.sleep(clock.model_span(TOLD)) => tell(load, &shared, cx),
        }
    }
    let took = shared.start.get().map(Instant::elapsed).unwrap_or_default();
    Ok(Ran { tally: gathered(&shared), took })
}

fn shared(load: &Load, warm_up: u64, target: Target, cx: &Context) -> Shared {
    let most = load.requests.map(|requests| u64::from(requests.get()));
    let lasts = load.duration.map(|span| cx.clock().real_span(span.0));
    let every = load.rate.map(|rate| cx.clock().real_span(Duration::from_secs_f64(rate.0.recip())));
    let workers = usize::try_from(load.workers()).unwrap_or(1);
    Shared {
        script: target.script,
        route: target.route,
        expect: target.expect,
        patience: target.patience,
        clock: cx.clock(),
        warm_up: Pace::new(Some(warm_up), None, None),
        pace: Pace::new(most, lasts, every),
        ready: Barrier::new(workers),
        start: OnceLock::new(),
        tallies: (0..load.workers().min(TALLIES)).map(|_| Mutex::new(Tally::new())).collect(),
    }
}

fn gathered(shared: &Shared) -> Tally {
    let mut all = Tally::new();
    for tally in &shared.tallies {
        all.add(tally.lock().unwrap_or_else(PoisonError::into_inner).clone());
    }
    all
}

fn tell(load: &Load, shared: &Shared, cx: &Context) {
    let tally = gathered(shared);
    let real = shared.start.get().map(Instant::elapsed).unwrap_or_default();
    cx.progress(figures::progress(load, &tally, cx.clock().model_span(real), cx));
}
