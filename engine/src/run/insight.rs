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
        if stages.is_empty() {
            return None;
        }
        let from = before.map_or(0, |before| before.stage + 1);
        let spoken = as_spoken(progress);
        let seen = self.seen(&spoken);
        let found = (from..stages.len()).rev().find(|stage| fits(&stages[*stage].matches, seen));
        found.map(|stage| Reached { stage, since: self.clock.now() }).or(before)
    }
}

/// A line of a program is its log, and what it prints.
fn as_spoken(progress: &Progress) -> Progress {
    let mut spoken = progress.clone();
    if spoken.facts.is_empty() {
        spoken.facts.log.clone_from(&progress.text);
        spoken.facts.stdout.clone_from(&progress.text);
    }
    spoken
}

#[cfg(test)]
mod tests {
    use runbook_steps::Facts;

    use super::*;

    const PLAN: &str = "runbook: 1
steps:
  long:
    run: echo
    stages:
      - { name: pulling, match: { event: '^Pulling' } }
      - { name: working, match: { log: at it } }
    hints:
      - { match: { event: '^Failed' }, cause: A cause., fix: A fix. }
";

    fn insight() -> Insight {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("plan.yaml");
        std::fs::write(&file, PLAN).expect("written");
        let plan = crate::plan::load(&file, &crate::plan::Given::default()).expect("a plan").plan;
        Insight::new(Arc::new(plan), 0, Clock::real())
    }

    fn event(line: &str) -> Progress {
        Progress { text: "waits".into(), facts: Facts { events: vec![line.into()], ..Facts::default() } }
    }

    #[test]
    fn a_step_goes_through_its_stages_and_never_back() {
        let insight = insight();
        let pulling = insight.stage(&event("Pulling: image"), None);
        assert_eq!(pulling.map(|it| it.stage), Some(0));
        let still = insight.stage(&event("Pulling: image"), pulling);
        assert_eq!(still, pulling, "it is in it since then");
        let working = insight.stage(&Progress::text("at it now"), pulling);
        assert_eq!(working.map(|it| it.stage), Some(1), "a program's line is its log");
        assert_eq!(insight.stage(&event("Pulling: again"), working), working);
    }

    #[test]
    fn advice_is_given_on_what_was_seen_and_not_on_mere_words() {
        let insight = insight();
        let advice = insight.advice(&event("Failed: to pull"));
        assert_eq!(advice.map(|it| it.cause).as_deref(), Some("A cause."));
        assert_eq!(insight.advice(&Progress::text("Failed: to pull")), None);
    }
}
