//! Starting to take steps back: from "whoever needs it is gone" to an attempt under way.
//!
//! All that can start at a moment is written first and synced once; only then is anything taken away.

use std::sync::Arc;

use runbook_steps::{Context, Outputs};
use tokio::time::Instant;

use super::super::common::This;
use super::super::schedule::{Ended, Next};
use super::attempt::Attempt;
use super::drive::Driver;
use crate::state::record::Record;

impl Driver {
    /// Starts all that may start now: written first, synced once, then begun.
    pub(super) fn launch(&mut self) {
        let mut started = Vec::new();
        while let Some(next) = self.schedule.next_move() {
            let node = match next {
                Next::Start(node) => node,
                Next::Evaluate(node) => match self.steps.get(&node) {
                    None => {
                        self.schedule.finished(node, Ended::Skipped);
                        continue;
                    }
                    Some(work) if self.schedule.admit(node, &work.locks) => node,
                    Some(_) => continue,
                },
            };
            if self.write_start(node) {
                started.push(node);
            } else {
                self.schedule.finished(node, Ended::NotRun);
            }
        }
        self.tell_blocked();
        let safe = started.is_empty() || self.synced();
        for node in started {
            if safe {
                self.start(node);
            } else {
                self.schedule.finished(node, Ended::NotRun);
            }
        }
    }

    fn write_start(&mut self, node: usize) -> bool {
        self.invalidate(node);
        let work = self.steps.get_mut(&node).expect("only steps that are taken back are started");
        work.attempt += 1;
        let record = Record::UndoStarted { step: work.id.clone(), attempt: work.attempt };
        self.record(record)
    }

    /// What was made, found or waited for in what now goes does not hold any more, so the next run looks at it again.
    fn invalidate(&mut self, node: usize) {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let dependents = self.plan.graph.dependents.get(node).cloned().unwrap_or_default();
            for dependent in dependents {
                if std::mem::replace(&mut self.invalid[dependent], true) {
                    continue;
                }
                open.push(dependent);
                let step = self.plan.steps[dependent].id.clone();
                if self.scribe.with_state(|state| state.step(&step).is_some_and(|step| step.done().is_some())) {
                    self.record(Record::Settled { step, done: false, outputs: Outputs::new() });
                }
            }
        }
    }

    fn start(&mut self, node: usize) {
        let now = Instant::now();
        let Some(work) = self.steps.get_mut(&node) else { return };
        let first = *work.first.get_or_insert(now);
        work.began = Some(now);
        let (deeds, spent) = (Arc::clone(&work.deeds), self.common.world.clock.model_span(now - first));
        let step = self.plan.steps.get(node);
        let left = step.and_then(|step| step.deadline).map(|deadline| deadline.saturating_sub(spent));
        let limit = [step.and_then(|step| step.timeout), left].into_iter().flatten().min();
        let attempt = Attempt { deeds, cx: self.surroundings(node), limit };
        self.attempts.spawn(async move { (node, attempt.run().await) });
    }

    fn surroundings(&self, node: usize) -> Context {
        let (work, common) = (&self.steps[&node], &self.common);
        let this = This { step: &work.id, attempt: work.attempt, cancel: &common.cancel, after_crash: false };
        common.surround(&this, Arc::new(self.scribe.watch(&work.id, work.attempt)), &self.scribe)
    }
}
