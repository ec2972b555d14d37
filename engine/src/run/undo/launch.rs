//! Starting to take steps back: from "whoever needs it is gone" to an attempt under way.
//!
//! All that can start at a moment is written first and synced once; only then is anything taken away.

use std::sync::Arc;

use runbook_steps::{Context, Failure, Outputs};

use super::super::attempt::Watch;
use super::super::bounded::Limit;
use super::super::common::This;
use super::super::conductor::Announced;
use super::super::masked::refused_with;
use super::super::orphans;
use super::super::schedule::{Ended, Next};
use super::attempt::Attempt;
use super::drive::Unmaking;
use crate::state::record::Record;

impl Unmaking {
    /// Writes the start of all that may start now: synced before anything is taken away.
    pub(super) fn write_starts(&mut self) -> Announced<()> {
        let mut launches = Vec::new();
        while let Some(next) = self.course.schedule.next_move() {
            let Some(node) = self.take_up(next) else { continue };
            if self.write_start(node) {
                launches.push((node, ()));
            } else {
                self.course.schedule.finished(node, Ended::NotRun);
            }
        }
        self.tell_blocked();
        Announced { must_sync: !launches.is_empty(), launches }
    }

    /// The step to start, if the schedule's answer leads to one.
    fn take_up(&mut self, next: Next) -> Option<usize> {
        let node = match next {
            Next::Start(node) => return Some(node),
            Next::Evaluate(node) => node,
        };
        if let Some(failure) = self.refusal(node) {
            self.refuse(node, &failure);
            return None;
        }
        match self.steps.get(&node) {
            Some(work) => self.course.schedule.admit(node, &work.locks).then_some(node),
            None => {
                self.course.schedule.finished(node, Ended::Skipped);
                None
            }
        }
    }

    /// Why a step cannot be taken back now; nor, with that, what it stands on.
    fn refusal(&self, node: usize) -> Option<Failure> {
        let deeds = self.steps.get(&node).into_iter().flat_map(|work| work.deeds.iter());
        let masked = deeds.map(|deed| &deed.with).find_map(|with| refused_with(with, self.plan.steps.get(node)));
        masked.or_else(|| self.course.haunted.get(self.id(node)).map(orphans::still_at_it))
    }

    /// A step that is still at work is not taken back, nor one of which only a masked text is known. What the journal says of its programs
    /// stays, so that the next run looks for them.
    fn refuse(&mut self, node: usize, failure: &Failure) {
        let step = self.id(node).clone();
        let fix = failure.fix.as_deref().unwrap_or_default();
        self.course.scribe.notice(&format!("`{step}` is not undone: {}; {fix}", failure.what));
        self.course.record(Record::UndoSkipped { step, why: failure.what.clone() });
        self.course.schedule.finished(node, Ended::Failed);
    }

    fn write_start(&mut self, node: usize) -> bool {
        self.invalidate(node);
        let (step, attempt) = (self.steps[&node].id.clone(), self.course.attempt(node) + 1);
        let written = self.course.record(Record::UndoStarted { step, attempt });
        if written {
            self.course.count_attempt(node);
        }
        written
    }

    /// What was made, found or waited for in what now goes does not hold any more, so the next run looks at it again.
    fn invalidate(&mut self, node: usize) {
        let mut open = self.plan.graph.dependents.get(node).cloned().unwrap_or_default();
        open.extend(self.heirs.get(&node));
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut self.invalid[node], true) {
                open.extend(self.plan.graph.dependents.get(node).into_iter().flatten());
                self.let_go(node);
            }
        }
    }

    fn let_go(&mut self, node: usize) {
        let step = self.id(node).clone();
        if self.course.scribe.with_state(|state| state.step(&step).is_some_and(|step| step.done().is_some())) {
            self.course.record(Record::Settled { step, done: false, outputs: Outputs::new() });
        }
    }

    /// The attempt whose start is in the journal.
    pub(super) fn attempt(&mut self, node: usize) -> Attempt {
        let (deeds, spent) = (Arc::clone(&self.steps[&node].deeds), self.course.begin(node));
        let step = self.plan.steps.get(node);
        let limit = step.and_then(|step| Limit::of(step.timeout, step.deadline, spent));
        let (watch, cx) = self.surroundings(node);
        let things = self.course.scribe.with_state(|state| state.step(&watch.step).map_or(0, |it| it.recipes().len()));
        Attempt { deeds, things, watch, cx, limit }
    }

    fn surroundings(&self, node: usize) -> (Arc<Watch>, Context) {
        let (work, common) = (&self.steps[&node], &self.course.common);
        let attempt = self.course.attempt(node);
        let this = This { step: &work.id, attempt, cancel: &common.cancel, after_crash: false };
        let watch = Arc::new(self.course.scribe.watch(&work.id, attempt));
        let observer = Arc::clone(&watch) as Arc<dyn runbook_steps::Observer>;
        let cx = common.surround(&this, observer, &self.course.scribe);
        (watch, cx)
    }
}
