//! Starting steps: from "its needs have ended" to an attempt under way.
//!
//! A record is written before what it announces happens: `Started` first, synced where a repeat could hurt, then the attempt. All
//! that can start at a moment is written first and synced once.

use std::sync::Arc;

use jiff::SignedDuration;
use runbook_steps::{Class, Context, Failure, Outputs};

use super::attempt::{Attempt, Watch};
use super::bounded::Limit;
use super::cleanup::is_owed;
use super::common::This;
use super::conductor::Announced;
use super::drive::Making;
use super::insight::Insight;
use super::masked;
use super::orphans;
use super::prepare::{self, Prepared, Ready};
use super::resume::{Shaken, changes_since, lookable};
use super::schedule::{Ended, Next};
use crate::plan::StepId;
use crate::plan::model::Step;
use crate::state::record::{Failed, Record, Started, Touches};
use crate::state::{Journal, RunState, StepState};

/// A step whose start is in the journal.
pub(super) struct Launch {
    ready: Box<Ready>,
    forced: bool,
    touches: Touches,
    after_crash: bool,
    half_undone: bool,
}

/// What becomes of a step that is evaluated for the first time in a run.
enum Turn {
    Skip(String),
    Refuse(Failure),
    Reuse,
    Run {
        ready: Box<Ready>,
        changes: Vec<String>,
    },
    /// It holds as it is, but something that it stands on changed.
    Look {
        ready: Box<Ready>,
        by: usize,
    },
}

impl Making {
    /// Writes the start of all that may start now.
    pub(super) fn write_starts(&mut self) -> Announced<Launch> {
        let mut announced = Announced { launches: Vec::new(), must_sync: false };
        while let Some(next) = self.course.schedule.next_move() {
            let Some((index, ready)) = self.take_up(next) else { continue };
            if let Some(failure) = self.too_late(index) {
                let step = self.plan.steps[index].id.clone();
                self.refuse(index, &step, failure);
                continue;
            }
            announced.must_sync |= !prepare::recoverable(&self.plan.steps[index], &ready);
            announced.launches.extend(self.write_start(index, ready).map(|launch| (index, launch)));
        }
        self.tell_blocked();
        announced
    }

    /// A step that waited so long for its next attempt, or for a lock, that there is no time left for it.
    fn too_late(&self, index: usize) -> Option<Failure> {
        let step = &self.plan.steps[index];
        let deadline = step.deadline.filter(|deadline| self.course.spent(index) >= *deadline)?;
        let attempt = self.course.attempt(index) + 1;
        let deadline = SignedDuration::try_from(deadline).unwrap_or(SignedDuration::MAX);
        let what = format!("its `deadline` of {deadline:#} passed before attempt {attempt} could begin");
        let failure = Failure::new(Class::Timeout, what);
        let last = self.course.scribe.with_state(|state| state.step(&step.id)?.failure().cloned());
        Some(match last {
            Some(last) => failure.detail(format!("attempt {}: {}", attempt - 1, last.what)).facts(*last.facts),
            None => failure,
        })
    }

    /// The step to start, if the schedule's answer leads to one.
    fn take_up(&mut self, next: Next) -> Option<(usize, Box<Ready>)> {
        match next {
            Next::Start(index) => {
                let ready = self.queued.remove(&index)?;
                Some((index, self.afresh(index).unwrap_or(ready)))
            }
            Next::Evaluate(index) => {
                let ready = self.evaluate(index)?;
                if self.course.schedule.admit(index, &ready.rendered.locks) {
                    return Some((index, ready));
                }
                self.queued.insert(index, ready);
                None
            }
        }
    }

    /// A step that stood in a queue, as it is now: who held the lock meanwhile may have changed its files.
    fn afresh(&self, index: usize) -> Option<Box<Ready>> {
        let book = self.course.scribe.book();
        let known = book.as_ref()?.state().known();
        match prepare::prepare(&self.plan, &self.plan.steps[index], known, &self.course.common.redactor) {
            Prepared::Ready(ready) => Some(ready),
            Prepared::Unwanted(_) | Prepared::Refused(_) => None,
        }
    }

    /// Finds out whether a step is to run. If not, it has its end afterwards.
    fn evaluate(&mut self, index: usize) -> Option<Box<Ready>> {
        let plan = Arc::clone(&self.plan);
        let step = &plan.steps[index];
        self.feel(index);
        if self.course.attempt(index) == 0 && self.options.leaves_alone(step) {
            self.course.schedule.finished(index, Ended::Skipped);
            return None;
        }
        self.let_go(index, step);
        match self.turn(index, step) {
            Turn::Run { ready, changes } => {
                if !changes.is_empty() {
                    let does = if self.only_looks(step, &ready) { "is looked at again" } else { "runs again" };
                    self.course.scribe.notice(&format!("`{}` {does}: {}", step.id, changes.join("; ")));
                }
                return Some(ready);
            }
            Turn::Look { ready, by } => {
                self.course
                    .scribe
                    .notice(&format!("`{}` is looked at again: `{}` changed", step.id, plan.steps[by].id));
                return Some(ready);
            }
            Turn::Reuse => {
                self.reused.push(step.id.clone());
                self.course.schedule.finished(index, Ended::Succeeded);
            }
            Turn::Skip(why) => {
                self.tell_doubt(&step.id, "is left out now, and an earlier run ended in the middle of it");
                self.course.record(Record::Skipped { step: step.id.clone(), why });
                self.course.schedule.finished(index, Ended::Skipped);
            }
            Turn::Refuse(failure) => self.refuse(index, &step.id, failure),
        }
        None
    }

    /// A step that stood on something that was taken back since does not hold any more, and the journal is told so now: whoever took that
    /// back did not know what stands on what.
    fn let_go(&mut self, index: usize, step: &Step) {
        if !self.ripple.is_undone(index) || self.options.keep_stale || self.options.skip.contains(&step.id) {
            return;
        }
        let undone = |state: &RunState| self.ripple.undone(&self.plan, index, state.step(&step.id)?.done()?);
        if let Some(why) = self.course.scribe.with_state(undone) {
            self.course.scribe.notice(&format!("`{}` runs again: {why}", step.id));
            let (step, outputs) = (step.id.clone(), Outputs::new());
            self.course.record(Record::Settled { step, done: false, outputs });
        }
    }

    /// Whether this run has started a step that is not in `finally`.
    fn has_acted(&self) -> bool {
        self.last_acted == self.course.common.run
    }

    /// Takes note of the changes that a step stands on.
    fn feel(&mut self, index: usize) {
        let book = self.course.scribe.book();
        let Some(state) = book.as_ref().map(Journal::state) else { return };
        self.ripple.feel(&self.plan.graph, index, |need| Shaken::of(state.step(&self.plan.steps[need].id)));
    }

    fn turn(&self, index: usize, step: &Step) -> Turn {
        if !self.has_acted() && self.course.attempt(index) == 0 && self.options.reuse.contains(&step.id) {
            return Turn::Reuse;
        }
        let book = self.course.scribe.book();
        let Some(state) = book.as_ref().map(Journal::state) else {
            return Turn::Skip("the run has ended".to_owned());
        };
        if self.options.skip.contains(&step.id) {
            let holds = state.step(&step.id).is_some_and(|step| step.done().is_some());
            return if holds { Turn::Reuse } else { Turn::Skip("left out by --skip".to_owned()) };
        }
        let ready = match prepare::prepare(&self.plan, step, state.known(), &self.course.common.redactor) {
            Prepared::Ready(ready) => ready,
            Prepared::Unwanted(why) => return Turn::Skip(why),
            Prepared::Refused(failure) => return Turn::Refuse(failure),
        };
        let done = state.step(&step.id).and_then(|step| step.done()).filter(|_| self.course.attempt(index) == 0);
        let changes = done.map(|done| changes_since(done, step, &ready, state.known()));
        let again = done.is_some_and(|done| is_owed(step, done, self.last_acted));
        let holds = changes.as_ref().is_some_and(|changes| changes.is_empty() || self.options.keep_stale) && !again;
        // What is kept although it would now do something else is not looked at by its new words.
        let same = changes.as_ref().is_some_and(Vec::is_empty) && lookable(step, &ready);
        let shaken = done.filter(|_| same).and_then(|done| self.ripple.reaches(index, done));
        if holds && shaken.is_none() {
            return Turn::Reuse;
        }
        if let Some(failure) = masked::refused(step, &ready.rendered) {
            return Turn::Refuse(failure);
        }
        if let Some(by) = shaken.filter(|_| holds) {
            return Turn::Look { ready, by };
        }
        if let Some(orphan) = self.course.haunted.get(&step.id) {
            return Turn::Refuse(orphans::still_at_it(orphan));
        }
        match prepare::unmet(step, state.known()) {
            Some(failure) => Turn::Refuse(failure),
            None => Turn::Run { ready, changes: changes.unwrap_or_default() },
        }
    }

    /// A step that fails before it could be started.
    fn refuse(&mut self, index: usize, step: &StepId, failure: Failure) {
        let failure = self.explained(index, failure);
        self.course.record(Record::Failed(Failed {
            step: step.clone(),
            attempt: 0,
            failure,
            retry_in_ms: None,
            took_ms: 0,
            untouched: true,
        }));
        self.fail(index);
    }

    fn write_start(&mut self, index: usize, ready: Box<Ready>) -> Option<Launch> {
        let plan = Arc::clone(&self.plan);
        let step = &plan.steps[index];
        let attempt = self.course.attempt(index) + 1;
        // What is in flight now is from an earlier run, or an attempt of this one would be running. An attempt that failed before it
        // did anything leaves it so, and one that only looked leaves no doubt.
        let in_doubt = |state: &RunState| {
            let flight = state.step(&step.id)?.in_flight().filter(|flight| flight.is_doubtful());
            flight.map(|flight| flight.undoing)
        };
        let flight = self.course.scribe.with_state(in_doubt);
        let started = Started {
            step: step.id.clone(),
            attempt,
            fingerprint: ready.fingerprint.clone(),
            recoverable: prepare::recoverable(step, &ready),
            touches: if self.only_looks(step, &ready) { Touches::WhenSaid } else { prepare::touches(step) },
        };
        let (forced, touches) = (self.is_forced(step), started.touches);
        if !self.course.record(Record::Started(started)) {
            self.course.schedule.finished(index, Ended::NotRun);
            return None;
        }
        self.course.count_attempt(index);
        if !step.finally {
            self.last_acted = self.course.common.run;
        }
        Some(Launch { ready, forced, touches, after_crash: flight.is_some(), half_undone: flight == Some(true) })
    }

    /// Whether it holds and does the same, so that nothing is done but for what somebody finds lacking.
    fn only_looks(&self, step: &Step, ready: &Ready) -> bool {
        let same = |state: &RunState| Some(state.step(&step.id)?.done()?.fingerprint == ready.fingerprint);
        !step.finally && !self.is_forced(step) && self.course.scribe.with_state(same) == Some(true)
    }

    /// Whether the user wants it done even if it holds, also by an earlier run that did not come to it.
    fn is_forced(&self, step: &Step) -> bool {
        let earlier = |state: &RunState| state.step(&step.id).is_some_and(StepState::is_forced);
        self.options.redo.contains(&step.id) || self.course.scribe.with_state(earlier)
    }

    /// The attempt whose start is in the journal.
    pub(super) fn attempt(&mut self, index: usize, launch: Launch) -> Attempt {
        let Launch { ready, forced, touches, after_crash, half_undone } = launch;
        let spent = self.course.begin(index);
        let (watch, cx) = self.surroundings(index, after_crash);
        let step = &self.plan.steps[index];
        let limit = Limit::of(step.timeout, step.deadline, spent);
        let before = self.before(step);
        Attempt { plan: Arc::clone(&self.plan), index, ready, cx, watch, limit, before, forced, touches, half_undone }
    }

    /// What a step gave when it last held, if it is only looked at again. What `finally` does is done again, not looked at.
    fn before(&self, step: &Step) -> Option<Outputs> {
        let before = |state: &RunState| state.step(&step.id)?.before().map(|done| done.outputs.clone());
        if step.finally { None } else { self.course.scribe.with_state(before) }
    }

    fn surroundings(&self, index: usize, after_crash: bool) -> (Arc<Watch>, Context) {
        let (step, common) = (&self.plan.steps[index], &self.course.common);
        let attempt = self.course.attempt(index);
        let insight = Insight::new(Arc::clone(&self.plan), index, common.world.clock);
        let watch = Arc::new(self.course.scribe.watch(&step.id, attempt).with(insight));
        let cancel = if step.finally { &common.cancel_finally } else { &common.cancel };
        let this = This { step: &step.id, attempt, cancel, after_crash };
        let observer = Arc::clone(&watch) as Arc<dyn runbook_steps::Observer>;
        let cx = common.surround(&this, observer, &self.course.scribe);
        (watch, cx)
    }

    pub(super) fn tell_blocked(&mut self) {
        while let Some((step, by)) = self.course.schedule.take_blocked() {
            // What was not asked for stays as it is, whatever becomes of the others.
            if self.options.leaves_alone(&self.plan.steps[step]) {
                continue;
            }
            let step = self.plan.steps[step].id.clone();
            let by = by.into_iter().map(|root| self.plan.steps[root].id.clone()).collect();
            self.course.record(Record::Blocked { step, by });
        }
    }
}
