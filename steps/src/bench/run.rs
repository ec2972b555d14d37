//! One scenario, from the first connection to the counts.
//!
//! Workers live on lanes: threads with an event loop each, as many as there are cores. On the runtime that all steps share, each
//! answer would wake a second thread that has nothing to do, on the core that the server may need.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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
    let stop = CancellationToken::new();
    let _stops = stop.clone().drop_guard();
    let mut lanes = lanes(load, &shared, &stop)?;
    let clock = cx.clock();
    loop {
        tokio::select! {
            biased;
            ended = lanes.next() => match ended {
                None => break,
                Some(ended) => ended.map_err(|_| Failure::permanent("the load generator broke in the middle of its work"))?,
            },
            () = clock.sleep(clock.model_span(TOLD)) => tell(load, &shared, cx),
        }
    }
    let took = shared.start.get().map(Instant::elapsed).unwrap_or_default();
    Ok(Ran { tally: gathered(&shared), took })
}

/// Starts all workers; each lane says when it has ended. What a forwarded port goes over belongs to the runtime that all steps
/// share, so there the workers stay on it.
fn lanes(
    load: &Load,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Result<FuturesUnordered<oneshot::Receiver<()>>, Failure> {
    let workers = usize::try_from(load.workers()).unwrap_or(1);
    let forwarded = shared.route.forward.is_some();
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let count = if forwarded { 1 } else { cores.min(workers) };
    let lanes = FuturesUnordered::new();
    for lane in 0..count {
        let (ends, ended) = oneshot::channel();
        lanes.push(ended);
        let work = lane_work(Arc::clone(shared), (lane..workers).step_by(count).collect(), stop.clone(), ends);
        if forwarded {
            tokio::spawn(work);
        } else {
            own_thread(work)
                .map_err(|error| Failure::transient(format!("cannot start a thread for the load: {error}")))?;
        }
    }
    Ok(lanes)
}

/// The workers of one lane, until they are done or told to stop.
async fn lane_work(shared: Arc<Shared>, numbers: Vec<usize>, stop: CancellationToken, ends: oneshot::Sender<()>) {
    let mut workers = JoinSet::new();
    for number in numbers {
        workers.spawn(Worker::new(Arc::clone(&shared), number).run());
    }
    let all = async {
        while let Some(ended) = workers.join_next().await {
            if ended.is_err() {
                return;
            }
        }
        // Nobody listens any more where all of it was told to stop.
        ends.send(()).ok();
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = all => {}
    }
}

fn own_thread(work: impl Future<Output = ()> + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("load".to_owned()).spawn(move || runtime.block_on(work)).map(drop)
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
