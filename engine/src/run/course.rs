//! What making things and taking them back have in common: attempts under way, signals, pauses, records.
//!
//! Nothing here waits. Which steps there are, what an attempt is and what its end means belongs to the two drivers; who listens, to
//! `listen`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runbook_steps::tools::Orphan;
use runbook_steps::{Failure, Secrets, World};
use tokio::time::Instant;

use super::cancel::{Signal, Stop};
use super::common::Common;
use super::drive::{Header, Watcher};
use super::orphans;
use super::pauses::Pauses;
use super::prepare::mask_values;
use super::retry::{self, Decision, Tried};
use super::schedule::Schedule;
use super::scribe::Scribe;
use crate::plan::model::Retry;
use crate::plan::{Plan, StepId};
use crate::state::record::{FORMAT, Opened, Record, Verdict};
use crate::state::{Journal, StateError};

/// What a course starts from.
pub(super) struct Start<'a> {
    pub(super) plan: &'a Plan,
    pub(super) world: Arc<World>,
    pub(super) journal: Journal,
    pub(super) secrets: Arc<Secrets>,
    pub(super) schedule: Schedule,
    pub(super) header: Header,
    pub(super) watcher: Box<dyn Watcher>,
    pub(super) seed: u64,
}

/// A run under way.
pub(super) struct Course {
    pub(super) common: Common,
    pub(super) scribe: Scribe,
    pub(super) schedule: Schedule,
    /// How many attempts have begun and not ended.
    under_way: usize,
    pauses: Pauses,
    /// Whether a pause was added since the listener looked.
    paused: bool,
    tracks: Vec<Track>,
    seed: u64,
    header: Header,
    stop: Stop,
    signal: Option<Signal>,
    /// Steps of an earlier run whose programs cannot be ended: they neither start again nor are taken back.
    pub(super) haunted: HashMap<StepId, Orphan>,
}

/// A step's attempts in this run.
#[derive(Clone, Copy, Default)]
struct Track {
    attempt: u32,
    first: Option<Instant>,
    began: Option<Instant>,
}

impl Course {
    pub(super) fn new(start: Start<'_>) -> Self {
        let Start { plan, world, journal, secrets, schedule, header, watcher, seed } = start;
        let common = Common::new(&journal, world, secrets, &plan.dir);
        let scribe = Scribe::new(journal, watcher, Arc::clone(&common.redactor));
        Self {
            tracks: vec![Track::default(); schedule.steps()],
            under_way: 0,
            pauses: Pauses::default(),
            paused: false,
            stop: Stop::No,
            signal: None,
            haunted: HashMap::new(),
            common,
            scribe,
            schedule,
            seed,
            header,
        }
    }

    /// The header of this run, as if all of the plan were meant.
    pub(super) fn opened(&self, plan: &Plan) -> Opened {
        let mut inputs = plan.inputs.clone();
        mask_values(&self.common.redactor, &mut inputs);
        Opened {
            format: FORMAT,
            run: self.common.run,
            command: self.header.command.clone(),
            plan: plan.name.clone(),
            file: absolute(&plan.file),
            digest: plan.digest.clone(),
            inputs,
            version: self.header.version.clone(),
            who: self.header.who.clone(),
            pid: std::process::id(),
            mark: self.common.mark.clone(),
            simulated: self.common.world.simulated.clone(),
            selection: String::new(),
            asked: None,
            redo: Vec::new(),
            home: absolute(&self.common.state_dir),
            secret_env: plan.secret_variables().map(str::to_owned).collect(),
        }
    }

    /// Ends what an earlier run or look left running, before anything is made or taken back, and says so.
    pub(super) async fn end_orphans(&mut self) {
        let (marks, clock) = (self.scribe.with_state(orphans::marks), self.common.world.clock);
        let orphans = orphans::end(&marks, clock).await;
        for orphan in &orphans {
            self.scribe.notice(&orphans::had_left(orphan, orphan.fate()));
        }
        let alive = orphans.into_iter().filter(|orphan| !orphan.gone);
        self.haunted = alive.map(|orphan| (StepId::from(orphan.step.as_str()), orphan)).collect();
        let looked = orphans::end_looks(&self.common.home, clock).await;
        looked.iter().for_each(|words| self.scribe.notice(words));
    }

    /// Says what steps have left running on purpose: nobody ends it, and nobody else knows of it.
    pub(super) fn tell_leftovers(&mut self) {
        if self.tracks.iter().all(|track| track.attempt == 0) {
            return;
        }
        for Orphan { pid, program, step, .. } in orphans::left_by(&self.common.mark) {
            self.scribe.notice(&format!(
                "`{step}` leaves `{program}` (pid {pid}) running: it has left the step's process group"
            ));
        }
    }

    /// Whether there is nothing more to hear.
    pub(super) fn is_over(&self) -> bool {
        self.stop == Stop::Leave || (self.schedule.is_finished() && self.under_way == 0)
    }

    /// Whether the listener has something to mind that it does not know of yet.
    pub(super) fn wants_attention(&mut self) -> bool {
        std::mem::take(&mut self.paused) || self.is_over() || self.scribe.wants_sync()
    }

    /// Whether the watcher is to be told that time passes.
    pub(super) fn wants_ticks(&self) -> bool {
        self.scribe.wants.ticks && (self.under_way > 0 || self.pauses.next().is_some())
    }

    /// When the first pause is over, if a step pauses.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pauses.next()
    }

    /// An attempt is under way from now on.
    pub(super) fn has_begun(&mut self) {
        self.under_way += 1;
    }

    /// An attempt is under way no more.
    pub(super) fn has_ended(&mut self) {
        self.under_way -= 1;
    }

    /// The first signal ends what runs gently, the second kills it, the third leaves.
    pub(super) fn interrupt(&mut self, signal: Signal) {
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
    pub(super) fn wake(&mut self) {
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

    /// How much model time has passed since a step's first attempt in this run began.
    pub(super) fn spent(&self, step: usize) -> Duration {
        let first = self.tracks[step].first;
        first.map(|first| self.common.world.clock.model_span(first.elapsed())).unwrap_or_default()
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
        let (attempt, spent) = (self.attempt(step), self.spent(step));
        let decision = retry::decide(retry, failure, Tried { step: name, attempt, spent, deadline, seed: self.seed });
        tracing::debug!(step = name, attempt, class = ?failure.class, ?decision, "an attempt has failed");
        match decision {
            Decision::Again { after } => Some(after),
            Decision::Enough => None,
        }
    }

    /// Has a step wait for its next attempt.
    pub(super) fn pause(&mut self, step: usize, pause: Duration) {
        self.schedule.pause(step);
        self.paused = true;
        self.pauses.push(self.common.world.clock.real_span(pause), step);
    }

    /// Writes a record. If it cannot be written, nothing more is started, and what runs is let finish.
    pub(super) fn record(&mut self, record: Record) -> bool {
        let written = self.scribe.record(record);
        self.go_on_if(written)
    }

    /// Writes how something ended, without secrets. If that cannot be stored, all of it is at least said.
    pub(super) fn store(&mut self, record: Record, in_words: impl FnOnce(&Record) -> String) {
        let unstored = record.clone();
        if !self.record(record) {
            let whole = serde_json::to_string(&unstored).unwrap_or_default();
            self.scribe.notice(&format!("{}, but that could not be stored: {whole}", in_words(&unstored)));
        }
    }

    /// Takes the result of a sync.
    pub(super) fn held(&mut self, result: Result<(), StateError>) -> bool {
        let held = self.scribe.held(result);
        self.go_on_if(held)
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
