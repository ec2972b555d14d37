//! What becomes of an attempt that has ended: a record, and word to the schedule.

use runbook_steps::{Class, Failure, Outputs};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::attempt::Ended;
use super::drive::Driver;
use super::prepare::{mask_outputs, masked};
use super::retry::{self, Decision, Tried};
use super::schedule;
use crate::hints::{self, About};
use crate::plan::{Plan, Step, StepId};
use crate::state::record::{Failed, Outcome, Record, Succeeded};

impl Driver {
    /// An attempt has ended, and others perhaps meanwhile: what follows from all of them is then written, and synced, at once.
    pub(super) fn all_ended(&mut self, first: Result<(usize, Ended), JoinError>) {
        let mut next = Some(first);
        while let Some(ended) = next {
            self.ended(ended);
            next = self.attempts.try_join_next();
        }
    }

    fn ended(&mut self, ended: Result<(usize, Ended), JoinError>) {
        self.scribe.show_passing();
        // A panic of a step is caught inside the attempt; one that is not is a bug of the engine, and must be seen as one.
        let (index, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let step = self.plan.steps[index].id.clone();
        match ended {
            Ended::Succeeded { outcome, outputs } => self.succeeded(index, outcome, outputs),
            Ended::Failed { failure, untouched } => self.failed(index, failure, untouched),
            Ended::Cancelled { untouched } => {
                let attempt = self.tracks[index].attempt;
                self.store(Record::Cancelled { step, attempt, untouched });
                self.schedule.finished(index, schedule::Ended::Cancelled);
            }
            Ended::Unknown(why) => {
                self.store(Record::Unknown { step, why });
                self.schedule.finished(index, schedule::Ended::Unknown);
                self.stop_if_fast();
            }
        }
    }

    fn succeeded(&mut self, index: usize, outcome: Outcome, mut outputs: Outputs) {
        mask_outputs(&self.common.redactor, &mut outputs);
        let issue = self.plan.steps[index].known_issue.as_ref();
        let note = issue.map(|issue| format!("passed, though it is a known issue: {}", issue.reason));
        self.store(Record::Succeeded(self.success(index, outcome, outputs, note)));
        self.schedule.finished(index, schedule::Ended::Succeeded);
    }

    fn success(&self, index: usize, outcome: Outcome, outputs: Outputs, note: Option<String>) -> Succeeded {
        let (step, attempt) = (self.plan.steps[index].id.clone(), self.tracks[index].attempt);
        Succeeded { step, attempt, outcome, outputs, took_ms: self.took_ms(index), note }
    }

    fn failed(&mut self, index: usize, failure: Failure, untouched: bool) {
        let failure = self.explained(index, failure);
        if let Decision::Again { after } = self.decide(index, &failure) {
            let pause = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            self.store(self.failure(index, failure, Some(pause), untouched));
            self.schedule.pause(index);
            let at = Instant::now() + self.common.world.clock.real_span(after);
            self.pauses.push(at, index);
            return;
        }
        let plan = std::sync::Arc::clone(&self.plan);
        if let Some(issue) = &plan.steps[index].known_issue {
            let note = format!("failed as expected ({}): {}", issue.reason, failure.what);
            self.store(Record::Succeeded(self.success(index, Outcome::Ok, Outputs::new(), Some(note))));
            self.schedule.finished(index, schedule::Ended::Succeeded);
            return;
        }
        self.store(self.failure(index, failure, None, untouched));
        self.fail(index);
    }

    fn failure(&self, index: usize, failure: Failure, retry_in_ms: Option<u64>, untouched: bool) -> Record {
        let (step, attempt) = (self.plan.steps[index].id.clone(), self.tracks[index].attempt);
        let took_ms = self.took_ms(index);
        Record::Failed(Failed { step, attempt, failure, retry_in_ms, took_ms, untouched })
    }

    fn decide(&self, index: usize, failure: &Failure) -> Decision {
        if self.schedule.given_up(index) {
            return Decision::Enough;
        }
        let (step, track) = (&self.plan.steps[index], &self.tracks[index]);
        let spent = track.first.map(|first| self.common.world.clock.model_span(first.elapsed())).unwrap_or_default();
        let tried = Tried {
            step: step.id.as_str(),
            attempt: track.attempt,
            spent,
            deadline: step.deadline,
            seed: self.options.seed,
        };
        retry::decide(&step.retry, failure, tried)
    }

    /// A failure with its hint worked in and without secrets.
    pub(super) fn explained(&self, index: usize, mut failure: Failure) -> Failure {
        let step = &self.plan.steps[index];
        let hint = hints::explain(hints::of_step(&self.plan, step), &mut failure, self.about(index));
        failure.remedy = hint.and_then(|hint| remedy(&self.plan, step, hint.remedy.as_deref()?));
        masked(&self.common.redactor, failure)
    }

    fn about(&self, index: usize) -> About<'_> {
        let step = &self.plan.steps[index];
        let began = self.tracks[index].began;
        About {
            step: step.id.as_str(),
            kind: step.work.as_ref().map_or("", |work| work.kind.name),
            inputs: Some(&self.plan.inputs),
            elapsed: began.map(|began| self.common.world.clock.model_span(began.elapsed())).unwrap_or_default(),
        }
    }

    /// A step has failed for the last time.
    pub(super) fn fail(&mut self, index: usize) {
        self.schedule.finished(index, schedule::Ended::Failed);
        self.stop_if_fast();
    }

    fn stop_if_fast(&mut self) {
        if self.options.fail_fast {
            self.tell_blocked();
            self.schedule.stop();
        }
    }

    fn took_ms(&self, index: usize) -> u64 {
        let took = self.tracks[index].began.map(|began| self.common.world.clock.model_span(began.elapsed()));
        took.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    /// Writes how a step ended. If that cannot be stored, all of it is at least said: it is redacted already.
    fn store(&mut self, record: Record) {
        let unstored = record.clone();
        if !self.record(record) {
            let whole = serde_json::to_string(&unstored).unwrap_or_default();
            self.scribe.notice(&format!("{}, but that could not be stored: {whole}", in_words(&unstored)));
        }
    }
}

/// The step that a hint names, if this plan has it to offer; a hint that comes with the program speaks of plans that it does not know.
fn remedy(plan: &Plan, step: &Step, name: &str) -> Option<String> {
    let unit = &step.scope.units.get(step.scope.unit)?.prefix;
    let found = [format!("{unit}{name}"), name.to_owned()].iter().find_map(|id| plan.step(id))?;
    let offered = &plan.steps[found];
    offered.on_demand.then(|| offered.id.to_string())
}

fn in_words(record: &Record) -> String {
    let name = |step: &StepId| format!("`{step}`");
    match record {
        Record::Succeeded(succeeded) => format!("{} succeeded", name(&succeeded.step)),
        Record::Failed(failed) if failed.failure.class == Class::NeedsPerson => {
            format!("{} needs a person", name(&failed.step))
        }
        Record::Failed(failed) => format!("{} failed: {}", name(&failed.step), failed.failure.what),
        Record::Cancelled { step, .. } => format!("{} was stopped", name(step)),
        Record::Unknown { step, .. } => format!("{} is uncertain", name(step)),
        _ => "something happened".to_owned(),
    }
}
