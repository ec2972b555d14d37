//! What the words of a running step mean: the hint that fits them, and the stage that it has come to.
//!
//! Pure but for the time. Hints are looked for only where something was seen: a program's own lines are not judged while it runs.

use std::sync::Arc;

use jiff::Timestamp;
use runbook_steps::{Clock, Progress};

use crate::event::{Advice, Reached};
use crate::hints::best::fits;
use crate::hints::{self, About, Seen};
use crate::plan::{Plan, Step};

/// One attempt of a step, as far as its words need it to be understood.
pub(crate) struct Insight {
    plan: Arc<Plan>,
    index: usize,
    clock: Clock,
    began: Timestamp,
}

impl Insight {
    /// Into the attempt of a step that begins now.
    pub(crate) fn new(plan: Arc<Plan>, index: usize, clock: Clock) -> Self {
        Self { plan, index, clock, began: clock.now() }
    }

    fn step(&self) -> &Step {
        &self.plan.steps[self.index]
    }

    fn seen<'s>(&'s self, progress: &'s Progress) -> Seen<'s> {
        let step = self.step();
        let elapsed = self.clock.now().duration_since(self.began);
        let about = About {
            step: step.id.as_str(),
            kind: step.work.as_ref().map_or("", |work| work.kind.name),
            inputs: Some(&self.plan.inputs),
            elapsed: elapsed.try_into().unwrap_or_default(),
        };
        Seen::progress(&progress.text, &progress.facts).at(about)
    }

    /// What is known of what it waits for.
    pub(crate) fn advice(&self, progress: &Progress) -> Option<Advice> {
        if progress.facts.is_empty() {
            return None;
        }
        let hint = hints::best(hints::of_step(&self.plan, self.step()), self.seen(progress))?;
        Some(Advice { cause: hint.cause.clone(), fix: hint.whole_fix() })
    }

    /// The stage that it has come to: the last one that shows, never one before that which it was in.
    pub(crate) fn stage(&self, progress: &Progress, before: Option<Reached>) -> Option<Reached> {
        let stages = &self.step().stages;
        let from = before.map_or(0, |before| before.stage + 1);
        let seen = self.seen(progress);
        let found = (from..stages.len()).rev().find(|stage| fits(&stages[*stage].matches, seen));
        found.map(|stage| Reached { stage, since: self.clock.now() }).or(before)
    }
}
