//! One turn of a run: what has ended is written down, and what may start now is started.
//!
//! Whoever sees an attempt end takes the turn, on its own thread: to wake another for it would cost a good part of what starting a
//! program does. So the driver is shared, and locked for a turn. Does not know where attempts run (`lanes`, `listen`), nor what they
//! are (the drivers).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;

use super::bell::Bell;
use super::course::Course;
use super::schedule;
use crate::state::journal::Tail;

/// What a run is about: making things, or taking them back.
pub(super) trait Driver: Send + 'static {
    /// How an attempt ends.
    type Ended: Send + 'static;
    /// A step whose start is in the journal.
    type Launch: Send;

    /// What all runs have in common.
    fn course(&mut self) -> &mut Course;

    /// Writes down how an attempt of a step ended, and tells the schedule.
    fn ended(&mut self, step: usize, ended: Self::Ended);

    /// Writes the start of all that may start now.
    fn announce(&mut self) -> Announced<Self::Launch>;

    /// Makes the attempt whose start is in the journal.
    fn start(&mut self, step: usize, launch: Self::Launch) -> BoxFuture<'static, Self::Ended>;
}

/// What was written and may be started, once it is safe.
pub(super) struct Announced<L> {
    pub(super) launches: Vec<(usize, L)>,
    /// Whether some of it must survive a power cut before it happens.
    pub(super) must_sync: bool,
}

/// An attempt of a step, under way or about to be.
pub(super) struct Begun<E> {
    pub(super) step: usize,
    pub(super) attempt: BoxFuture<'static, E>,
}

/// A driver that several threads take turns with.
pub(super) struct Conductor<D> {
    /// Nothing once the run has ended: what still runs then changes nothing any more.
    driver: Mutex<Option<D>>,
    tail: Arc<Tail>,
    bell: Arc<Bell>,
}

impl<D: Driver> Conductor<D> {
    pub(super) fn new(mut driver: D) -> Self {
        let scribe = &driver.course().scribe;
        let (tail, bell) = (Arc::clone(scribe.tail()), Arc::clone(scribe.bell()));
        Self { driver: Mutex::new(Some(driver)), tail, bell }
    }

    fn driver(&self) -> MutexGuard<'_, Option<D>> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has something done with the driver, if the run has not ended.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut D) -> T) -> Option<T> {
        self.driver().as_mut().map(act)
    }

    /// Ends the run.
    pub(super) fn dismiss(&self) -> Option<D> {
        self.driver().take()
    }

    /// Writes down what has ended, and gives what is to be started because of it. All that is written is synced at once.
    pub(super) fn turn(&self, ended: Vec<(usize, D::Ended)>) -> Vec<Begun<D::Ended>> {
        let ends = ended.len();
        let Some(announced) = self.with(|driver| take_down(driver, ended)) else { return Vec::new() };
        tracing::debug!(ends, starts = announced.launches.len(), syncs = announced.must_sync, "a turn");
        // Nobody waits for the disk who has something else to do: the driver is free meanwhile.
        let synced = if announced.must_sync { self.tail.sync() } else { Ok(()) };
        let begun = self.with(|driver| {
            let safe = driver.course().held(synced);
            let begun = begin(driver, announced.launches, safe);
            if driver.course().wants_attention() {
                self.bell.ring();
            }
            begun
        });
        begun.unwrap_or_default()
    }
}

fn take_down<D: Driver>(driver: &mut D, ended: Vec<(usize, D::Ended)>) -> Announced<D::Launch> {
    if !ended.is_empty() {
        // What they said comes before their end.
        driver.course().scribe.show_passing();
    }
    for (step, ended) in ended {
        driver.course().has_ended();
        driver.ended(step, ended);
    }
    driver.announce()
}

fn begin<D: Driver>(driver: &mut D, launches: Vec<(usize, D::Launch)>, safe: bool) -> Vec<Begun<D::Ended>> {
    let mut begun = Vec::with_capacity(launches.len());
    for (step, launch) in launches {
        if safe {
            let attempt = driver.start(step, launch);
            driver.course().has_begun();
            begun.push(Begun { step, attempt });
        } else {
            driver.course().schedule.finished(step, schedule::Ended::NotRun);
        }
    }
    begun
}
