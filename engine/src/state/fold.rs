//! What follows from the records: the state of a deployment.
//!
//! [`RunState::apply`] is the one transition function, for a live run and for replay alike; a record that does not follow from
//! those before it is an error, and nothing changes. No clock, no files.

mod legal;
mod undo;

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp};
use runbook_steps::{Child, Failure, Outputs};
use serde::{Deserialize, Serialize};

use super::error::IllegalTransition;
use super::record::{self, Entry, Fingerprint, Outcome, Recipe, Record, Touches, Verdict};
use super::relocate::{relocate, relocate_value};
use crate::plan::StepId;
use crate::plan::model::Known;

/// What has become of a step. Ends of an earlier run give way to `Pending` when the next begins, but for `Succeeded`, `Unknown` and
/// `Undone`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Status {
    /// Nothing yet in this run.
    #[default]
    Pending,
    /// An attempt is under way.
    Running {
        /// Which.
        attempt: u32,
        /// When it began.
        since: Timestamp,
    },
    /// An attempt failed, and there will be another.
    Retrying {
        /// The one that failed.
        attempt: u32,
        /// When the next begins.
        until: Timestamp,
    },
    /// It holds.
    Succeeded {
        /// Whether anything was done.
        outcome: Outcome,
    },
    /// Its last attempt failed.
    Failed,
    /// It was not wanted.
    Skipped {
        /// Why.
        why: String,
    },
    /// What it needs did not end well.
    Blocked {
        /// The steps at the root of it.
        by: Vec<StepId>,
    },
    /// It was told to stop in the middle.
    Cancelled,
    /// Nobody can tell whether it was done.
    Unknown {
        /// Why.
        why: String,
    },
    /// It is being taken back.
    Undoing {
        /// The attempt at that.
        attempt: u32,
        /// When it began.
        since: Timestamp,
    },
    /// It could not be taken back.
    UndoFailed {
        /// When that is tried again, if it is.
        until: Option<Timestamp>,
    },
    /// What it made was taken back.
    Undone,
}

impl Status {
    /// Whether it is to be looked into: it did not end well, or has not ended. What only waits for others is not.
    pub fn wants_a_look(&self) -> bool {
        match self {
            Status::Running { .. }
            | Status::Retrying { .. }
            | Status::Failed
            | Status::Cancelled
            | Status::Unknown { .. }
            | Status::Undoing { .. }
            | Status::UndoFailed { .. } => true,
            Status::Pending
            | Status::Succeeded { .. }
            | Status::Skipped { .. }
            | Status::Blocked { .. }
            | Status::Undone => false,
        }
    }
}

/// Whether a deployment made something by a step that is still to be taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Made {
    /// It only looked, or found everything as it should be.
    #[default]
    Nothing,
    /// An attempt began to change the world, and did not come to its end.
    Perhaps,
    /// It changed the world.
    Surely,
}

/// The last time that a step came to hold, which stands until it starts again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// In which run.
    pub run: u32,
    /// Whether anything was done.
    pub outcome: Outcome,
    /// What it gives to others.
    pub outputs: Outputs,
    /// What exactly was done.
    pub fingerprint: Fingerprint,
    /// Whether a person said so, and what it gave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
}

/// An attempt that began and whose end nobody saw, or that was stopped in the middle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// In which run.
    pub run: u32,
    /// Which attempt.
    pub attempt: u32,
    /// Whether looking or repeating can settle it without a person, by what its plan said then.
    pub recoverable: bool,
    /// What exactly it was doing.
    pub fingerprint: Fingerprint,
    /// The process groups that it had started; they may still run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    /// Since when it may have changed the world.
    #[serde(default)]
    pub touches: Touches,
    /// Whether an earlier attempt was in flight when it began: then it settles nothing by failing before it did anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// Whether it was to take back what the step had made, or found such an attempt in flight and has not begun to make it anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undoing: bool,
}

/// One step's state. As JSON it is a part of snapshots: fields may be added, and what a snapshot lacks is the default. What few steps
/// have for long stands in a box: a deployment may have very many steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepState {
    status: Status,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<Box<InFlight>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<Done>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Box<Failure>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    took_ms: u64,
    changed: bool,
    perhaps: bool,
    recipes: Vec<Recipe>,
    run: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    to_redo: bool,
}

impl StepState {
    /// What has become of it.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How many attempts it had in the run that touched it last.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The last time that it came to hold, if it has not been started again since.
    pub fn done(&self) -> Option<&Done> {
        self.done.as_ref()
    }

    /// The attempt whose end nobody saw. While a step runs, that attempt.
    pub fn in_flight(&self) -> Option<&InFlight> {
        self.in_flight.as_deref()
    }

    /// How it held before it was started again to do the same: what looking at it again confirms or not.
    pub fn before(&self) -> Option<&Done> {
        self.before.as_deref()
    }

    /// The last failure, until it succeeds.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// What is to be said about a known issue.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// When its first attempt in the run that touched it last began.
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }

    /// When it ended.
    pub fn ended(&self) -> Option<Timestamp> {
        self.ended
    }

    /// How long its last attempt took, in milliseconds.
    pub fn took_ms(&self) -> u64 {
        self.took_ms
    }

    /// What it gives to others, as long as it holds.
    pub fn outputs(&self) -> Option<&Outputs> {
        self.done.as_ref().map(|done| &done.outputs)
    }

    /// The run that touched it last.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Whether a person has settled that it is done again, and it has not begun since.
    pub fn is_to_be_redone(&self) -> bool {
        self.to_redo
    }

    /// Whether nobody knows how it stands: a run could not tell, or one ended in the middle of it and none has looked since.
    pub fn is_open(&self) -> bool {
        self.in_flight.is_some() || matches!(self.status, Status::Unknown { .. })
    }

    /// Whether the attempt in flight found another in flight.
    fn is_in_doubt(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|flight| flight.in_doubt)
    }
}

/// One run of the deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its header.
    pub opened: record::Opened,
    /// When it began.
    pub began: Timestamp,
    /// Its last record.
    pub last: Timestamp,
    /// How it ended; `None` while it runs, or after a crash.
    pub verdict: Option<Verdict>,
    /// The signal that it was told to stop by.
    pub signal: Option<String>,
}

/// The state of a deployment: what follows from its journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    steps: IndexMap<StepId, StepState>,
    runs: Vec<RunSummary>,
    /// Follows from the steps, so that no snapshot holds it.
    #[serde(skip)]
    known: Known,
    seq: u64,
    /// The folder that paths in outputs and fingerprints speak of; empty where no run has said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    home: String,
}

impl RunState {
    /// A step's state, if any record speaks of it.
    pub fn step(&self, id: &StepId) -> Option<&StepState> {
        self.steps.get(id)
    }

    /// What has become of a step.
    pub fn status(&self, id: &StepId) -> &Status {
        self.steps.get(id).map_or(&Status::Pending, |step| &step.status)
    }

    /// Every step that a record speaks of, in the order of first mention.
    pub fn steps(&self) -> impl Iterator<Item = (&StepId, &StepState)> {
        self.steps.iter()
    }

    /// The runs, oldest first.
    pub fn runs(&self) -> &[RunSummary] {
        &self.runs
    }

    /// The newest run.
    pub fn current(&self) -> Option<&RunSummary> {
        self.runs.last()
    }

    /// The outputs of the steps that hold.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Whether all but the number of the last record is the same, orders included.
    pub(super) fn says_the_same(&self, other: &RunState) -> bool {
        self.steps.iter().eq(&other.steps) && self.runs == other.runs && self.known == other.known
    }

    /// The number of the last record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The steps that run, and since when.
    pub fn running(&self) -> Vec<(StepId, Timestamp)> {
        let running = |(id, step): (&StepId, &StepState)| match step.status {
            Status::Running { since, .. } => Some((id.clone(), since)),
            _ => None,
        };
        self.steps.iter().filter_map(running).collect()
    }

    /// What is simulated, if this is the state of a rehearsal.
    pub fn simulated(&self) -> Option<&str> {
        self.current()?.opened.simulated.as_deref()
    }

    /// Folds a record in. An illegal one is refused and changes nothing.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), IllegalTransition> {
        self.absorb(entry.clone())
    }

    /// The same with a record that nobody else wants: what is large in it is kept as it is.
    pub(super) fn absorb(&mut self, entry: Entry) -> Result<(), IllegalTransition> {
        self.legal(&entry)?;
        self.seq = entry.seq;
        let (at, happened) = (entry.time, !matches!(entry.record, Record::Snapshot(_) | Record::Settled { .. }));
        self.transition(entry);
        // A snapshot is no part of what happened in the run, and a person's word mostly comes long after it.
        if happened {
            self.with_run(|run| run.last = at);
        }
        Ok(())
    }

    fn attempts_in_this_run(&self, step: Option<&StepState>) -> u32 {
        step.filter(|step| step.run == self.run_number()).map_or(0, |step| step.attempts)
    }

    fn run_number(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.opened.run)
    }

    fn transition(&mut self, entry: Entry) {
        let at = entry.time;
        match entry.record {
            Record::Opened(opened) => self.open(opened, at),
            Record::Started(started) => self.start(started, at),
            Record::Spawned { step, child, .. } => self.spawned(&step, child),
            Record::Succeeded(succeeded) => self.succeed(succeeded, at),
            Record::Failed(failed) => self.fail(failed, at),
            Record::Skipped { step, why } => self.end(&step, Status::Skipped { why }, at),
            Record::Blocked { step, by } => self.end(&step, Status::Blocked { by }, at),
            Record::Cancelled { step, untouched, .. } => self.cancel(&step, untouched, at),
            Record::Unknown { step, why } => self.end(&step, Status::Unknown { why }, at),
            Record::Settled { step, done, outputs } => self.settle(&step, done, outputs),
            Record::Performing { step, undo, .. } => self.perform(&step, undo),
            Record::UndoStarted { step, attempt } => self.start_undo(&step, attempt, at),
            Record::UndoneInPart { step, left, .. } => self.touch(&step).recipes.truncate(left),
            Record::Undone { step, took_ms, .. } => self.undone(&step, took_ms, at),
            Record::UndoFailed(failed) => self.fail_undo(failed, at),
            Record::UndoSkipped { .. } => {}
            Record::Interrupted { signal } => self.with_run(|run| run.signal = Some(signal)),
            Record::Closed { verdict } => self.with_run(|run| run.verdict = Some(verdict)),
            Record::Snapshot(snapshot) => self.restore(snapshot.state),
            Record::Later => {}
        }
    }

    /// Goes on from a snapshot.
    fn restore(&mut self, state: RunState) {
        *self = RunState { seq: self.seq, ..state };
        let holding = self.steps.iter().filter(|(_, step)| matches!(step.status, Status::Succeeded { .. }));
        self.known = holding.filter_map(|(id, step)| Some((id.clone(), step.outputs()?.clone()))).collect();
    }

    fn with_run(&mut self, change: impl FnOnce(&mut RunSummary)) {
        if let Some(run) = self.runs.last_mut() {
            change(run);
        }
    }

    /// The step, as this run touches it: what an earlier run left of attempts and times goes.
    fn touch(&mut self, id: &StepId) -> &mut StepState {
        let run = self.run_number();
        let step = self.steps.entry(id.clone()).or_default();
        if step.run != run {
            *step = StepState {
                run,
                done: step.done.take(),
                in_flight: step.in_flight.take(),
                before: step.before.take(),
                failure: step.failure.take(),
                changed: step.changed,
                perhaps: step.perhaps,
                recipes: std::mem::take(&mut step.recipes),
                to_redo: step.to_redo,
                ..StepState::default()
            };
        }
        step
    }

    /// The deployment's folder is here now: what is said of paths in it is said of this place.
    pub(super) fn relocate(&mut self, home: &str) {
        if self.home.is_empty() || home.is_empty() || self.home == home {
            return;
        }
        let old = std::mem::replace(&mut self.home, home.to_owned());
        for step in self.steps.values_mut() {
            for done in step.done.iter_mut().chain(step.before.as_deref_mut()) {
                relocate(&mut done.outputs, &old, home);
                done.fingerprint.relocate(&old, home);
            }
            step.in_flight.iter_mut().for_each(|flight| flight.fingerprint.relocate(&old, home));
            step.recipes.iter_mut().for_each(|recipe| relocate_value(&mut recipe.with, &old, home));
        }
        self.known.values_mut().for_each(|outputs| relocate(outputs, &old, home));
    }

    /// A new run begins: what was under way is in flight, what held still holds, all else is pending again.
    fn open(&mut self, opened: record::Opened, at: Timestamp) {
        for (id, step) in &mut self.steps {
            step.status = match (&step.done, std::mem::take(&mut step.status)) {
                (_, lasting @ (Status::Unknown { .. } | Status::Undone)) => lasting,
                (Some(done), _) => {
                    self.known.entry(id.clone()).or_insert_with(|| done.outputs.clone());
                    Status::Succeeded { outcome: done.outcome }
                }
                (None, _) => Status::Pending,
            };
        }
        self.relocate(&opened.home);
        self.home.clone_from(&opened.home);
        let redo = opened.redo.clone();
        self.runs.push(RunSummary { opened, began: at, last: at, verdict: None, signal: None });
        // Of one that is open, somebody must find out first how it stands.
        for id in redo.iter().filter(|id| self.steps.get(*id).is_some_and(|step| !step.is_open())).collect::<Vec<_>>() {
            self.settle(id, false, Outputs::new());
        }
    }

    fn start(&mut self, started: record::Started, at: Timestamp) {
        self.known.remove(&started.step);
        let step = self.touch(&started.step);
        step.status = Status::Running { attempt: started.attempt, since: at };
        step.attempts = started.attempt;
        step.to_redo = false;
        step.started.get_or_insert(at);
        let before = step.done.take().map(Box::new).or(step.before.take());
        step.before = before.filter(|done| done.fingerprint == started.fingerprint);
        let earlier = step.leave_flight();
        step.in_flight = Some(Box::new(InFlight {
            run: step.run,
            attempt: started.attempt,
            recoverable: started.recoverable,
            touches: started.touches,
            fingerprint: started.fingerprint,
            in_doubt: earlier.is_some(),
            undoing: earlier.as_ref().is_some_and(|flight| flight.undoing),
            // Those that could not be ended may run still.
            children: earlier.map(|flight| flight.children).unwrap_or_default(),
        }));
    }

    fn spawned(&mut self, id: &StepId, child: Child) {
        if let Some(in_flight) = &mut self.touch(id).in_flight {
            in_flight.children.push(child);
        }
    }

    fn succeed(&mut self, record: record::Succeeded, at: Timestamp) {
        self.known.insert(record.step.clone(), record.outputs.clone());
        let step = self.touch(&record.step);
        let flight = step.in_flight.take();
        // What it began it did not have to end: it was expected to fail.
        step.perhaps |= flight.as_ref().is_some_and(|flight| flight.touches == Touches::AtOnce);
        let fingerprint = flight.map(|flight| flight.fingerprint).unwrap_or_default();
        let (run, outcome, outputs) = (step.run, record.outcome, record.outputs);
        step.done = Some(Done { run, outcome, outputs, fingerprint, settled: false });
        step.before = None;
        step.status = Status::Succeeded { outcome };
        step.changed |= outcome == Outcome::Changed;
        step.failure = None;
        step.note = record.note;
        step.took_ms = record.took_ms;
        step.ended = Some(at);
    }

    fn fail(&mut self, record: record::Failed, at: Timestamp) {
        self.known.remove(&record.step);
        let step = self.touch(&record.step);
        // To give up a pause says nothing new, and neither does a failure before the first attempt.
        let ended = record.attempt > 0 && !matches!(step.status, Status::Retrying { .. });
        step.status = match record.retry_in_ms {
            Some(pause) => Status::Retrying { attempt: record.attempt, until: later(at, pause) },
            None => Status::Failed,
        };
        match (record.untouched, step.is_in_doubt()) {
            _ if !ended => {}
            (true, true) => {}
            (true, false) => step.in_flight = None,
            (false, _) => drop(step.leave_flight()),
        }
        step.failure = Some(Box::new(record.failure));
        step.took_ms = record.took_ms;
        step.ended = Some(at);
    }

    fn end(&mut self, id: &StepId, status: Status, at: Timestamp) {
        self.known.remove(id);
        let step = self.touch(id);
        step.status = status;
        step.ended = Some(at);
    }

    fn cancel(&mut self, id: &StepId, untouched: bool, at: Timestamp) {
        self.end(id, Status::Cancelled, at);
        let step = self.touch(id);
        if untouched && !step.is_in_doubt() {
            step.in_flight = None;
        }
    }

    /// A person's word, which ends whatever was in doubt; or that of an undo, under which what held does so no more.
    fn settle(&mut self, id: &StepId, done: bool, given: Outputs) {
        let run = self.run_number();
        let step = self.touch(id);
        step.to_redo = !done && step.is_open();
        let fingerprint = step.leave_flight().map(|flight| flight.fingerprint);
        let earlier = step.done.take();
        step.before = None;
        if !done {
            step.status = Status::Pending;
            self.known.remove(id);
            return;
        }
        let fingerprint = fingerprint.unwrap_or_default();
        let fresh = || Done { run, outcome: Outcome::Changed, outputs: Outputs::new(), fingerprint, settled: true };
        let mut settled = Done { settled: true, ..earlier.unwrap_or_else(fresh) };
        settled.outputs.extend(given);
        let outputs = settled.outputs.clone();
        step.status = Status::Succeeded { outcome: Outcome::Changed };
        step.changed = true;
        step.failure = None;
        step.done = Some(settled);
        self.known.insert(id.clone(), outputs);
    }
}

fn later(at: Timestamp, milliseconds: u64) -> Timestamp {
    let pause = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}

fn name(status: &Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Running { .. } => "running",
        Status::Retrying { .. } => "waiting to be tried again",
        Status::Succeeded { .. } => "done",
        Status::Failed => "failed",
        Status::Skipped { .. } => "skipped",
        Status::Blocked { .. } => "blocked",
        Status::Cancelled => "cancelled",
        Status::Unknown { .. } => "unknown",
        Status::Undoing { .. } => "being undone",
        Status::UndoFailed { .. } => "not undone",
        Status::Undone => "undone",
    }
}
