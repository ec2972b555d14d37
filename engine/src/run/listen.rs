//! What a run hears besides its lanes: signals, syncs, pauses that are over, attempts that run as tasks, things to show, time.
//!
//! Owns the order in which these are minded. What follows from an end is the business of the `conductor`.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::bell::Bell;
use super::cancel::{Interrupts, Signal};
use super::conductor::{Begun, Conductor, Driver};
use super::group::Group;
use super::lanes::{Handed, Lanes};
use crate::state::StateError;

/// How often a watcher that asks for it is told that time passes.
const TICK: Duration = Duration::from_millis(100);

const NOT_DISMISSED: &str = "only the end of a run dismisses the driver";

/// How a run goes about it.
pub(super) struct Terms {
    pub(super) interrupts: Interrupts,
    /// Whether grouped syncs hold it up.
    pub(super) sync_inline: bool,
    /// How many threads wait for short programs; none leaves all to the runtime's tasks.
    pub(super) lanes: usize,
}

/// What is heard.
enum Heard<E> {
    Signal(Signal),
    Synced(Result<(), StateError>),
    Ended(Result<(usize, E), JoinError>),
    Handed(Handed<E>),
    Due,
    Rung,
    Tick,
}

/// What is to be heard next, as the driver sees it.
struct Outlook {
    over: bool,
    due: Option<Instant>,
    ticks: bool,
}

struct Listener<D: Driver> {
    conductor: Arc<Conductor<D>>,
    lanes: Arc<Lanes<D>>,
    handed: mpsc::UnboundedReceiver<Handed<D::Ended>>,
    tasks: JoinSet<(usize, D::Ended)>,
    group: Group,
    bell: Arc<Bell>,
    interrupts: Interrupts,
    ticker: Interval,
}

/// Runs a driver to the end of its run, and gives it back.
pub(super) async fn run<D: Driver>(mut driver: D, terms: Terms) -> D {
    let scribe = &driver.course().scribe;
    let bell = Arc::clone(scribe.bell());
    let group = Group::new(Arc::clone(scribe.tail()), Arc::clone(&bell), terms.sync_inline);
    let conductor = Arc::new(Conductor::new(driver));
    let (lanes, handed) = Lanes::new(Arc::clone(&conductor), terms.lanes);
    let (tasks, interrupts) = (JoinSet::new(), terms.interrupts);
    Listener { conductor, lanes, handed, tasks, group, bell, interrupts, ticker: ticker() }.run().await
}

impl<D: Driver> Listener<D> {
    async fn run(mut self) -> D {
        self.turn(Vec::new());
        loop {
            let Outlook { over, due, ticks } = self.outlook();
            if over {
                break;
            }
            self.group.mind();
            match self.listen(due, ticks).await {
                Heard::Signal(signal) => self.interrupt(signal),
                Heard::Synced(result) => self.synced(result),
                Heard::Ended(first) => self.ended(first),
                Heard::Handed(Handed::Begun(begun)) => self.task(begun),
                Heard::Handed(Handed::Panicked(panic)) => std::panic::resume_unwind(panic),
                Heard::Due => self.wake(),
                Heard::Rung => self.show(),
                Heard::Tick => self.tick(),
            }
        }
        self.conductor.dismiss().expect(NOT_DISMISSED)
    }

    fn outlook(&self) -> Outlook {
        let outlook = self.conductor.with(|driver| {
            let course = driver.course();
            Outlook { over: course.is_over(), due: course.next_due(), ticks: course.wants_ticks() }
        });
        outlook.expect(NOT_DISMISSED)
    }

    async fn listen(&mut self, due: Option<Instant>, ticks: bool) -> Heard<D::Ended> {
        let due = pin!(async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        });
        tokio::select! {
            biased;
            signal = self.interrupts.next() => Heard::Signal(signal),
            result = self.group.synced() => Heard::Synced(result),
            Some(ended) = self.tasks.join_next() => Heard::Ended(ended),
            Some(handed) = self.handed.recv() => Heard::Handed(handed),
            () = due => Heard::Due,
            () = self.bell.rung() => Heard::Rung,
            _ = self.ticker.tick(), if ticks => Heard::Tick,
        }
    }

    /// Takes a turn. What begins by it goes where there is room.
    fn turn(&mut self, ended: Vec<(usize, D::Ended)>) {
        for begun in self.conductor.turn(ended) {
            if let Some(begun) = self.lanes.offer(begun) {
                self.task(begun);
            }
        }
    }

    fn task(&mut self, Begun { step, attempt }: Begun<D::Ended>) {
        self.tasks.spawn(async move { (step, attempt.await) });
    }

    /// An attempt has ended, and others perhaps meanwhile: what follows from all of them is then written, and synced, at once.
    fn ended(&mut self, first: Result<(usize, D::Ended), JoinError>) {
        let more = std::iter::from_fn(|| self.tasks.try_join_next());
        // A panic of a step is caught inside the attempt; one that is not is a bug of the engine, and must be seen as one.
        let whole = |ended: Result<(usize, D::Ended), JoinError>| {
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        let ended = std::iter::once(first).chain(more).map(whole).collect();
        self.turn(ended);
    }

    fn interrupt(&mut self, signal: Signal) {
        self.conductor.with(|driver| driver.course().interrupt(signal));
        self.turn(Vec::new());
    }

    fn synced(&mut self, result: Result<(), StateError>) {
        self.conductor.with(|driver| driver.course().held(result));
        self.turn(Vec::new());
    }

    /// Steps whose pause is over.
    fn wake(&mut self) {
        self.conductor.with(|driver| driver.course().wake());
        self.turn(Vec::new());
    }

    fn show(&self) {
        self.conductor.with(|driver| driver.course().scribe.show_news());
    }

    fn tick(&self) {
        self.conductor.with(|driver| driver.course().scribe.tick());
    }
}

impl<D: Driver> Drop for Listener<D> {
    fn drop(&mut self) {
        self.lanes.close();
        // A lane may be in the middle of something, but not of the run that is given up here.
        drop(self.conductor.dismiss());
    }
}

fn ticker() -> Interval {
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticker
}
