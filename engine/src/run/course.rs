//! What making things and taking them back have in common: attempts under way, what is heard of them, signals, pauses, records.
//!
//! Owns the order of things around the schedule's answers. Which steps there are, what an attempt is and what its end means belongs to
//! the two drivers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runbook_steps::tools::Orphan;
use runbook_steps::{Failure, Secrets, World};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::cancel::{Interrupts, Signal, Stop};
use super::common::Common;
use super::drive::{Header, Watcher};
use super::orphans;
use super::pauses::Pauses;
use super::prepare::masked;
use super::retry::{self, Decision, Tried};
use super::schedule::Schedule;
use super::scribe::Scribe;
use crate::event::Event;
use crate::plan::Plan;
use crate::plan::model::Retry;
use crate::state::record::{self, Entry, FORMAT, Record, Verdict};
use crate::state::{Journal, RunState, StateError};

/// How often a watcher that asks for it is told that time passes.
const TICK: Duration = Duration::from_millis(100);

/// What a course starts from.
pub(super) struct Start<'a> {
    pub(super) plan: &'a Plan,
    pub(super) world: Arc<World>,
    pub(super) journal: Journal,
    pub(super) secrets: Arc<Secrets>,
    pub(super) schedule: Schedule,
    pub(super) header: Header,
    pub(super) watcher: Box<dyn Watcher>,
    pub(super) interrupts: Interrupts,
    pub(super) seed: u64,
    /// Whether grouped syncs hold it up.
    pub(super) sync_inline: bool,
}

/// A run under way; its attempts end with an `E`.
pub(super) struct Course<E> {
    pub(super) common: Common,
    pub(super) scribe: Scribe,
    pub(super) schedule: Schedule,
    attempts: JoinSet<(usize, E)>,
    pauses: Pauses,
    tracks: Vec<Track>,
    seed: u64,
    header: Header,
    interrupts: Interrupts,
    ticker: Option<Interval>,
    stop: Stop,
    signal: Option<Signal>,
}

/// A step's attempts in this run.
#[derive(Clone, Copy, Default)]
struct Track {
    attempt: u32,
    first: Option<Instant>,
    began: Option<Instant>,
}

/// What the loop hears.
enum Heard<E> {
    Signal(Signal),
    Synced(Result<(), StateError>),
    Ended(Result<(usize, E), JoinError>),
    Due,
    Written(Entry),
    Passing(Event),
    Tick,
}

impl<E: Send + 'static> Course<E> {
    pub(super) fn new(start: Start<'_>) -> Self {
        let Start { plan, world, journal, secrets, schedule, header, watcher, interrupts, seed, sync_inline } = start;
        let common = Common::new(&journal, world, secrets, &plan.dir);
        let scribe = Scribe::new(journal, watcher, Arc::clone(&common.redactor), sync_inline);
        Self {
            tracks: vec![Track::default(); schedule.steps()],
            attempts: JoinSet::new(),
            pauses: Pauses::default(),
            ticker: None,
            stop: Stop::No,
            signal: None,
            common,
            scribe,
            schedule,
            seed,
            header,
            interrupts,
        }
    }

    /// The header of this run.
    pub(super) fn opened(&self, plan: &Plan, selection: &str) -> Record {
        Record::Opened(record::Opened {
            format: FORMAT,
            run: self.common.run,
            command: self.header.command.clone(),
            plan: plan.name.clone(),
            file: absolute(&plan.file),
            digest: plan.digest.clone(),
            inputs: masked(&self.common.redactor, plan.inputs.clone()),
            version: self.header.version.clone(),
            who: self.header.who.clone(),
            pid: std::process::id(),
            mark: self.common.mark.clone(),
            simulated: self.common.world.simulated.clone(),
            selection: selection.to_owned(),
            home: absolute(&self.common.state_dir),
        })
    }

    /// Ends what an earlier run left running, before anything is made or taken back, and says so. Those that cannot be ended are in the
    /// answer, too.
    pub(super) async fn end_orphans(&mut self) -> Vec<Orphan> {
        let state = self.scribe.with_state(RunState::clone);
        let orphans = orphans::end(&state, self.common.world.clock).await;
        for orphan in &orphans {
            let Orphan { pid, program, step, .. } = orphan;
            self.scribe.notice(&format!("`{step}` had left `{program}` (pid {pid}) running; {}", orphan.fate()));
        }
        orphans
    }

    /// Whether there is nothing more to hear.
    pub(super) fn is_over(&self) -> bool {
        self.stop == Stop::Leave || (self.schedule.is_finished() && self.attempts.is_empty())
    }

    /// The attempts that have ended by the next thing that happens; mostly none has.
    pub(super) async fn next(&mut self) -> Vec<(usize, E)> {
        self.scribe.group.mind();
        match self.listen().await {
            Heard::Signal(signal) => self.interrupt(signal),
            Heard::Synced(result) => {
                let held = self.scribe.held(result);
                self.go_on_if(held);
            }
            Heard::Ended(first) => return self.ended(first),
            Heard::Due => self.wake(),
            Heard::Written(entry) => self.scribe.show(&Event::Recorded(entry)),
            Heard::Passing(event) => self.scribe.show(&event),
            Heard::Tick => self.scribe.tick(),
        }
        Vec::new()
    }

    async fn listen(&mut self) -> Heard<E> {
        let ticks = self.scribe.wants.ticks && !self.attempts.is_empty();
        let ticker = self.ticker.get_or_insert_with(ticker);
        tokio::select! {
            biased;
            signal = self.interrupts.next() => Heard::Signal(signal),
            result = self.scribe.group.synced() => Heard::Synced(result),
            Some(ended) = self.attempts.join_next() => Heard::Ended(ended),
            () = self.pauses.due() => Heard::Due,
            // Who only wants to see where things stand sees it with the next record.
            Some(entry) = self.scribe.written.recv(), if self.scribe.wants.output => Heard::Written(entry),
            Some(event) = self.scribe.passed.recv() => Heard::Passing(event),
            _ = ticker.tick(), if ticks => Heard::Tick,
        }
    }

    /// An attempt has ended, and others perhaps meanwhile: what follows from all of them is then written, and synced, at once.
    fn ended(&mut self, first: Result<(usize, E), JoinError>) -> Vec<(usize, E)> {
        let more = std::iter::from_fn(|| self.attempts.try_join_next());
        // A panic of a step is caught inside the attempt; one that is not is a bug of the engine, and must be seen as one.
        let whole = |ended: Result<(usize, E), JoinError>| {
            ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        };
        let ended = std::iter::once(first).chain(more).map(whole).collect();
        self.scribe.show_passing();
        ended
    }

    /// The first signal ends what runs gently, the second kills it, the third leaves.
    fn interrupt(&mut self, signal: Signal) {
        self.stop = self.stop.harder();
        match self.stop {
            Stop::Gently => {
                self.signal = Some(signal);
                self.record(Record::Interrupted { signal: signal.name().to_owned() });
                self.schedule.stop();
                self.common.cancel.soft.cancel();
            }
            Stop::Kill => {
                self.schedule.halt();
                for cancel in [&self.common.cancel, &self.common.cancel_finally] {
                    cancel.soft.cancel();
                    cancel.hard.cancel();
                }
            }
            Stop::No | Stop::Leave => {}
        }
    }

    /// Steps whose pause is over.
    fn wake(&mut self) {
        while let Some(step) = self.pauses.take_due() {
            self.schedule.due(step);
        }
    }

    /// The signal that it was first told to stop by.
    pub(super) fn signal(&self) -> Option<Signal> {
        self.signal
    }

    /// Which attempt of a step is under way or was the last, from 1; 0 before the first.
    pub(super) fn attempt(&self, step: usize) -> u32 {
        self.tracks[step].attempt
    }

    /// The start of a step's next attempt is in the journal.
    pub(super) fn count_attempt(&mut self, step: usize) {
        self.tracks[step].attempt += 1;
    }

    /// An attempt of a step begins now. How much model time has passed since its first one began.
    pub(super) fn begin(&mut self, step: usize) -> Duration {
        let now = Instant::now();
        let track = &mut self.tracks[step];
        track.began = Some(now);
        let first = *track.first.get_or_insert(now);
        self.common.world.clock.model_span(now - first)
    }

    /// Has an attempt run.
    pub(super) fn spawn(&mut self, step: usize, attempt: impl Future<Output = E> + Send + 'static) {
        self.attempts.spawn(async move { (step, attempt.await) });
    }

    /// How long the last attempt has taken, in milliseconds of model time.
    pub(super) fn took_ms(&self, step: usize) -> u64 {
        let took = self.tracks[step].began.map(|began| self.common.world.clock.model_span(began.elapsed()));
        took.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether a step is tried again after a failure, and after which pause (model time).
    pub(super) fn decide(
        &self,
        step: usize,
        name: &str,
        (retry, deadline): (&Retry, Option<Duration>),
        failure: &Failure,
    ) -> Option<Duration> {
        if self.schedule.given_up(step) {
            return None;
        }
        let Track { attempt, first, .. } = self.tracks[step];
        let spent = first.map(|first| self.common.world.clock.model_span(first.elapsed())).unwrap_or_default();
        match retry::decide(retry, failure, Tried { step: name, attempt, spent, deadline, seed: self.seed }) {
            Decision::Again { after } => Some(after),
            Decision::Enough => None,
        }
    }

    /// Has a step wait for its next attempt.
    pub(super) fn pause(&mut self, step: usize, pause: Duration) {
        self.schedule.pause(step);
        self.pauses.push(Instant::now() + self.common.world.clock.real_span(pause), step);
    }

    /// Writes a record. If it cannot be written, nothing more is started, and what runs is let finish.
    pub(super) fn record(&mut self, record: Record) -> bool {
        let written = self.scribe.record(record);
        self.go_on_if(written)
    }

    /// Syncs what was written.
    pub(super) fn synced(&mut self) -> bool {
        let synced = self.scribe.synced();
        self.go_on_if(synced)
    }

    fn go_on_if(&mut self, stored: bool) -> bool {
        if !stored {
            self.schedule.halt();
        }
        stored
    }

    /// Says how the run ended, syncs, and gives the journal back.
    pub(super) fn close(self, verdict: Verdict) -> Result<Journal, StateError> {
        // Steps that a third signal left running have no end, so the run has none either: the next one looks at them first.
        self.scribe.close((self.stop != Stop::Leave).then_some(verdict))
    }
}

/// A path as the journal has it: whoever reads it may stand elsewhere.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn ticker() -> Interval {
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticker
}
