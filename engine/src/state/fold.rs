//! What follows from the records: the state of a deployment.
//!
//! [`RunState::apply`] is the one transition function, for a live run and for replay alike; a record that does not follow from
//! those before it is an error, and nothing changes. No clock, no files.

mod flight;
mod legal;
mod status;
mod undo;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use runbook_steps::{Child, Failure, Outputs};
use serde::{Deserialize, Serialize};

pub use flight::{Done, InFlight};
pub use status::Status;

use super::error::IllegalTransition;
use super::record::{self, Entry, Fingerprint, Outcome, Recipe, Record, Touches, Verdict};
use super::relocate::{relocate, relocate_value};
use crate::maps::OrderedMap;
use crate::plan::StepId;
use crate::plan::model::Known;

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
    changed_at: u64,
    #[serde(skip_serializing_if = "is_never")]
    undone_at: u64,
    perhaps: bool,
    recipes: Vec<Recipe>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unrecorded: bool,
    /// How it held, where that does not count any more: somebody said so, or it was begun to be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    former: Option<Box<Done>>,
    run: u32,
    acted: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    to_redo: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    forced: bool,
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

    /// The last run in which it was attempted, or was to be taken back; 0 where an older program put it away in a snapshot.
    pub fn acted(&self) -> u32 {
        self.acted
    }

    /// When it last changed something, or may have, as [`Done::told`] counts; 0 if it has not.
    pub fn changed_at(&self) -> u64 {
        self.changed_at
    }

    /// When it was last begun to be taken back, as [`Done::told`] counts; 0 if never, or before a format that says so.
    pub fn undone_at(&self) -> u64 {
        self.undone_at
    }

    /// Whether any run has come to it.
    pub fn has_begun(&self) -> bool {
        self.acted > 0 || self.attempts > 0 || self.done.is_some() || self.is_open()
    }

    /// Whether a run was to do it again even if it holds, and none has begun to.
    pub fn is_forced(&self) -> bool {
        self.forced
    }

    /// Whether a person has settled that it is done again, and it has not begun since.
    pub fn is_to_be_redone(&self) -> bool {
        self.to_redo
    }

    /// Whether nobody knows how it stands: a run could not tell, or one ended in the middle of it and none has looked since.
    pub fn is_open(&self) -> bool {
        self.in_flight.is_some() || matches!(self.status, Status::Unknown { .. })
    }

    /// Whether its last word on how it stands outlives the run.
    fn is_sure(&self) -> bool {
        !matches!(self.status, Status::Unknown { .. } | Status::Undone)
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
    steps: OrderedMap<StepId, StepState>,
    runs: Vec<RunSummary>,
    /// Follows from the steps, so that no snapshot holds it.
    #[serde(skip)]
    known: Known,
    seq: u64,
    /// How many records have been told, those included that a snapshot stands for: the clock of what came before what.
    #[serde(default)]
    told: u64,
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

    /// The steps that run or are being taken back, and since when.
    pub fn running(&self) -> Vec<(StepId, Timestamp)> {
        let running = |(id, step): (&StepId, &StepState)| match step.status {
            Status::Running { since, .. } | Status::Undoing { since, .. } => Some((id.clone(), since)),
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
        self.told += u64::from(!matches!(entry.record, Record::Snapshot(_)));
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
            Record::Closed { verdict } => self.close(verdict),
            Record::Snapshot(snapshot) => self.restore(snapshot.state),
            Record::Later => {}
        }
    }

    /// Goes on from a snapshot.
    fn restore(&mut self, state: RunState) {
        *self = RunState { seq: self.seq, ..state };
        let over = self.current().is_some_and(|run| run.verdict.is_some());
        let holds = |step: &StepState| over && step.is_sure() || matches!(step.status, Status::Succeeded { .. });
        let holding = self.steps.iter().filter(|(_, step)| holds(step));
        self.known = holding.filter_map(|(id, step)| Some((id.clone(), step.outputs()?.clone()))).collect();
    }

    /// What held before the run left it out, or could not come to it, gives what it gave, as the next one will find it.
    fn close(&mut self, verdict: Verdict) {
        self.with_run(|run| run.verdict = Some(verdict));
        // What succeeded is known already, and that is nearly all.
        let is_left_out = |step: &StepState| step.is_sure() && !matches!(step.status, Status::Succeeded { .. });
        for (id, step) in self.steps.iter().filter(|(_, step)| is_left_out(step)) {
            if let Some(done) = &step.done {
                self.known.entry(id.clone()).or_insert_with(|| done.outputs.clone());
            }
        }
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
                changed_at: step.changed_at,
                undone_at: step.undone_at,
                perhaps: step.perhaps,
                recipes: std::mem::take(&mut step.recipes),
                unrecorded: step.unrecorded,
                former: step.former.take(),
                acted: step.acted,
                to_redo: step.to_redo,
                forced: step.forced,
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
            for done in step.done.iter_mut().chain(step.before.as_deref_mut()).chain(step.former.as_deref_mut()) {
                relocate(&mut done.outputs, &old, home);
                done.fingerprint.relocate(&old, home);
            }
            if let Some(flight) = &mut step.in_flight {
                let found = flight.found.as_deref_mut();
                found.into_iter().chain([&mut flight.fingerprint]).for_each(|it| it.relocate(&old, home));
            }
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
        for id in &redo {
            let step = self.steps.entry(id.clone()).or_default();
            step.forced = true;
            // Of one that is open, somebody must find out first whether it still runs.
            if !step.is_open() {
                self.settle(id, false, Outputs::new());
            }
        }
    }

    fn start(&mut self, started: record::Started, at: Timestamp) {
        let told = self.told;
        self.known.remove(&started.step);
        let step = self.touch(&started.step);
        step.status = Status::Running { attempt: started.attempt, since: at };
        (step.attempts, step.acted) = (started.attempt, step.run);
        step.to_redo = false;
        step.started.get_or_insert(at);
        let at_once = started.touches == Touches::AtOnce;
        if at_once {
            // Whatever becomes of it.
            (step.forced, step.changed_at) = (false, told);
        }
        let before = step.done.take().map(Box::new).or(step.before.take());
        step.before = before.filter(|done| done.fingerprint == started.fingerprint);
        let earlier = step.leave_flight();
        let doubt = earlier.as_ref().filter(|flight| flight.is_doubtful());
        // What can be repeated is, and then nothing of the earlier attempt is left to be said.
        let found = doubt.filter(|_| !(at_once && started.recoverable)).map(InFlight::doing);
        let found = found.filter(|found| **found != Fingerprint::default()).cloned().map(Box::new);
        step.in_flight = Some(Box::new(InFlight {
            run: step.run,
            attempt: started.attempt,
            recoverable: started.recoverable,
            touches: started.touches,
            fingerprint: started.fingerprint,
            found,
            in_doubt: doubt.is_some(),
            undoing: !at_once && earlier.as_ref().is_some_and(|flight| flight.undoing),
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
        let told = self.told;
        self.known.insert(record.step.clone(), record.outputs.clone());
        let step = self.touch(&record.step);
        let flight = step.in_flight.take();
        // What it began it did not have to end: it was expected to fail.
        step.perhaps |= flight.as_ref().is_some_and(|flight| flight.touches == Touches::AtOnce);
        let fingerprint = flight.map(|flight| flight.fingerprint).unwrap_or_default();
        let (run, outcome, outputs, looked_up) = (step.run, record.outcome, record.outputs, record.looked_up);
        step.done = Some(Done { run, told, outcome, outputs, looked_up, fingerprint, settled: false });
        (step.before, step.former, step.forced) = (None, None, false);
        step.status = Status::Succeeded { outcome };
        if outcome == Outcome::Changed {
            (step.changed, step.changed_at) = (true, told);
        }
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
        let (run, told) = (self.run_number(), self.told);
        let step = self.touch(id);
        step.to_redo = !done && step.is_open();
        let flight = step.leave_flight();
        let stands = flight.as_ref().is_some_and(|flight| flight.undoing);
        let fingerprint = flight.map(|flight| flight.doing().clone());
        let earlier = step.done.take();
        step.before = None;
        if !done {
            step.former = earlier.map(Box::new).or(step.former.take());
            step.status = Status::Pending;
            self.known.remove(id);
            return;
        }
        let fingerprint = fingerprint.unwrap_or_default();
        let outcome = Outcome::Changed;
        let outputs = step.former.take().filter(|_| stands).map(|former| former.outputs).unwrap_or_default();
        let looked_up = BTreeMap::new();
        let fresh = || Done { run, told, outcome, outputs, looked_up, fingerprint, settled: true };
        let mut settled = Done { told, settled: true, ..earlier.unwrap_or_else(fresh) };
        settled.outputs.extend(given);
        let outputs = settled.outputs.clone();
        step.status = Status::Succeeded { outcome };
        (step.changed, step.changed_at, step.forced) = (true, told, false);
        step.failure = None;
        step.done = Some(settled);
        self.known.insert(id.clone(), outputs);
    }
}

fn is_never(at: &u64) -> bool {
    *at == 0
}

fn later(at: Timestamp, milliseconds: u64) -> Timestamp {
    let pause = SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX));
    at.checked_add(pause).unwrap_or(Timestamp::MAX)
}
