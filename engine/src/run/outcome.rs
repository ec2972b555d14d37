//! What becomes of an attempt that has ended: a record, and word to the schedule.

use std::time::Duration;

use runbook_steps::{Class, Failure, Outputs};

use super::attempt::Ended;
use super::drive::Making;
use super::prepare::{looked_up, mask_values, masked};
use super::schedule;
use crate::hints::{self, About};
use crate::plan::{Plan, Step, StepId, duration};
use crate::state::RunState;
use crate::state::fold::InFlight;
use crate::state::record::{Failed, Outcome, Record, Succeeded};

impl Making {
    pub(super) fn write_end(&mut self, index: usize, ended: Ended) {
        let step = self.plan.steps[index].id.clone();
        match ended {
            Ended::Succeeded { outcome, outputs } => self.succeeded(index, outcome, outputs),
            Ended::Failed { failure, untouched } => self.failed(index, failure, untouched),
            Ended::Cancelled { untouched } => {
                let attempt = self.course.attempt(index);
                self.course.store(Record::Cancelled { step: step.clone(), attempt, untouched }, in_words);
                self.tell_doubt(&step, "was stopped in the middle");
                self.course.schedule.finished(index, schedule::Ended::Cancelled);
            }
            Ended::Unknown(why) => {
                self.course.store(Record::Unknown { step, why }, in_words);
                self.course.schedule.finished(index, schedule::Ended::Unknown);
                self.stop_if_fast();
            }
        }
    }

    /// Says at once what the next run will ask of a step that is in doubt after this one.
    pub(super) fn tell_doubt(&mut self, step: &StepId, why: &str) {
        let in_doubt =
            |state: &RunState| state.step(step).and_then(|step| step.in_flight()).is_some_and(InFlight::needs_a_person);
        if self.course.scribe.with_state(in_doubt) {
            self.course.scribe.notice(&format!(
                "`{step}` {why}, and nothing can look at what it has done: before you go on, say what became of it (`runbook settle`)"
            ));
        }
    }

    fn succeeded(&mut self, index: usize, outcome: Outcome, mut outputs: Outputs) {
        mask_values(&self.course.common.redactor, &mut outputs);
        let issue = self.plan.steps[index].known_issue.as_ref();
        let note = issue.map(|issue| format!("passed, though it is a known issue: {}", issue.reason));
        let success = self.success(index, outcome, outputs, note);
        self.course.store(Record::Succeeded(success), in_words);
        self.course.schedule.finished(index, schedule::Ended::Succeeded);
    }

    fn success(&self, index: usize, outcome: Outcome, outputs: Outputs, note: Option<String>) -> Succeeded {
        let step = &self.plan.steps[index];
        let looked_up = self.course.scribe.with_state(|state| looked_up(step, state.known(), &outputs));
        let (step, attempt, took_ms) = (step.id.clone(), self.course.attempt(index), self.course.took_ms(index));
        Succeeded { step, attempt, outcome, outputs, looked_up, took_ms, note }
    }

    fn failed(&mut self, index: usize, failure: Failure, untouched: bool) {
        let failure = self.explained(index, failure);
        let step = &self.plan.steps[index];
        if let Some(pause) = self.course.decide(index, step.id.as_str(), (&step.retry, step.deadline), &failure) {
            let retry_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            let failed = self.failure(index, failure, Some(retry_in_ms), untouched);
            self.course.store(failed, in_words);
            self.course.pause(index, pause);
            return;
        }
        let failure = self.without_time(index, failure);
        let plan = std::sync::Arc::clone(&self.plan);
        if let Some(issue) = &plan.steps[index].known_issue {
            let note = format!("failed as expected ({}): {}", issue.reason, failure.what);
            let success = self.success(index, Outcome::Ok, Outputs::new(), Some(note));
            self.course.store(Record::Succeeded(success), in_words);
            self.course.schedule.finished(index, schedule::Ended::Succeeded);
            return;
        }
        let failed = self.failure(index, failure, None, untouched);
        self.course.store(failed, in_words);
        self.fail(index);
    }

    /// A failure that is the last, which says so where only the deadline made it that.
    fn without_time(&self, index: usize, mut failure: Failure) -> Failure {
        let (step, tried) = (&self.plan.steps[index], self.course.attempt(index));
        let more = tried < step.retry.attempts && step.retry.only.contains(&failure.class);
        if let Some(deadline) = step.deadline.filter(|_| more && !self.course.schedule.given_up(index)) {
            let (deadline, next, of) = (duration::format(deadline), tried + 1, step.retry.attempts);
            failure.what.push_str(&format!("; its `deadline` of {deadline} leaves no time for attempt {next} of {of}"));
        }
        failure
    }

    fn failure(&self, index: usize, failure: Failure, retry_in_ms: Option<u64>, untouched: bool) -> Record {
        let (step, attempt) = (self.plan.steps[index].id.clone(), self.course.attempt(index));
        let took_ms = self.course.took_ms(index);
        Record::Failed(Failed { step, attempt, failure, retry_in_ms, took_ms, untouched })
    }

    /// A failure with its hint worked in and without secrets.
    pub(super) fn explained(&self, index: usize, mut failure: Failure) -> Failure {
        let step = &self.plan.steps[index];
        let hint = hints::explain(hints::of_step(&self.plan, step), &mut failure, self.about(index));
        failure.remedy = hint.and_then(|hint| remedy(&self.plan, step, hint.remedy.as_deref()?));
        masked(&self.course.common.redactor, failure)
    }

    fn about(&self, index: usize) -> About<'_> {
        let step = &self.plan.steps[index];
        About {
            step: step.id.as_str(),
            kind: step.work.as_ref().map_or("", |work| work.kind.name),
            inputs: Some(&self.plan.inputs),
            elapsed: Duration::from_millis(self.course.took_ms(index)),
        }
    }

    /// A step has failed for the last time.
    pub(super) fn fail(&mut self, index: usize) {
        self.course.schedule.finished(index, schedule::Ended::Failed);
        self.stop_if_fast();
    }

    fn stop_if_fast(&mut self) {
        if self.options.fail_fast {
            self.tell_blocked();
            self.course.schedule.stop();
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
