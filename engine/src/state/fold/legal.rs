//! Which record may follow from a state. Changes nothing.

use super::{RunState, Status};
use crate::plan::StepId;
use crate::state::error::IllegalTransition;
use crate::state::record::{self, Entry, Record};

impl RunState {
    /// Whether a record follows from the state; asked before it is written.
    pub(in crate::state) fn legal(&self, entry: &Entry) -> Result<(), IllegalTransition> {
        self.check(entry).map_err(|why| IllegalTransition { seq: entry.seq, why })
    }

    fn check(&self, entry: &Entry) -> Result<(), String> {
        let open = self.current().is_some_and(|run| run.verdict.is_none());
        match &entry.record {
            Record::Snapshot(snapshot) => self.check_snapshot(entry.seq, snapshot),
            _ if entry.seq != self.seq + 1 => Err(format!("it should have number {}", self.seq + 1)),
            Record::Opened(opened) => self.check_opened(opened),
            Record::Settled { .. } | Record::Later => Ok(()),
            _ if !open => Err("no run is open".to_owned()),
            Record::Interrupted { .. } | Record::Closed { .. } => Ok(()),
            Record::Started(started) => self.check_started(started),
            Record::Spawned { step, attempt, .. } | Record::Cancelled { step, attempt, .. } => {
                self.expect_at_work(step, *attempt)
            }
            Record::Performing { step, attempt, .. } => self.expect(step, *attempt),
            Record::UndoStarted { step, attempt } => self.check_undo_started(step, *attempt),
            Record::UndoneInPart { step, attempt, left } => self.check_undone_in_part(step, *attempt, *left),
            Record::Undone { step, attempt, .. } => self.expect_undoing(step, *attempt),
            Record::UndoFailed(failed) => self.check_undo_failed(failed),
            Record::UndoSkipped { .. } => Ok(()),
            Record::Succeeded(succeeded) => self.expect(&succeeded.step, succeeded.attempt),
            Record::Failed(failed) if failed.attempt == 0 => self.check_refused(failed),
            Record::Failed(failed) => self.check_failed(failed),
            Record::Skipped { step, .. } | Record::Blocked { step, .. } => self.expect_untouched(step),
            Record::Unknown { step, .. } => self.check_unknown(step),
        }
    }

    /// It goes on with the numbers where the records that it stands for ended.
    fn check_snapshot(&self, seq: u64, snapshot: &record::Snapshot) -> Result<(), String> {
        match (self.seq, snapshot.state.seq + 1 == seq) {
            (0, true) => Ok(()),
            (0, false) => Err(format!("the state in it ends with record {}", snapshot.state.seq)),
            _ => Err("a snapshot can only be the first".to_owned()),
        }
    }

    fn check_opened(&self, opened: &record::Opened) -> Result<(), String> {
        let expected = self.runs.last().map_or(1, |run| run.opened.run + 1);
        if opened.run == expected { Ok(()) } else { Err(format!("the run should have number {expected}")) }
    }

    fn check_started(&self, started: &record::Started) -> Result<(), String> {
        let step = self.steps.get(&started.step);
        let expected = self.attempts_in_this_run(step) + 1;
        if started.attempt != expected {
            return Err(format!("the next attempt of `{}` is {expected}, not {}", started.step, started.attempt));
        }
        match self.status(&started.step) {
            Status::Retrying { .. } => Ok(()),
            _ => self.expect_untouched(&started.step),
        }
    }

    fn check_refused(&self, failed: &record::Failed) -> Result<(), String> {
        match (self.status(&failed.step), failed.retry_in_ms) {
            (_, Some(_)) => Err(format!("`{}` was never started, so it cannot be tried again", failed.step)),
            (Status::Retrying { .. }, None) => Ok(()),
            _ => self.expect_untouched(&failed.step),
        }
    }

    /// A step that waits to be tried again may also be given up.
    fn check_failed(&self, failed: &record::Failed) -> Result<(), String> {
        match self.status(&failed.step) {
            Status::Retrying { attempt, .. } if *attempt == failed.attempt && failed.retry_in_ms.is_none() => Ok(()),
            _ => self.expect(&failed.step, failed.attempt),
        }
    }

    fn check_unknown(&self, id: &StepId) -> Result<(), String> {
        match self.status(id) {
            Status::Running { .. } => Ok(()),
            _ => self.expect_untouched(id),
        }
    }

    pub(super) fn expect(&self, id: &StepId, attempt: u32) -> Result<(), String> {
        match self.status(id) {
            Status::Running { attempt: running, .. } if *running == attempt => Ok(()),
            other => Err(format!("attempt {attempt} of `{id}` is not running; the step is {}", other.name())),
        }
    }

    /// A step that this run has not brought to an end, and is not at.
    pub(super) fn expect_untouched(&self, id: &StepId) -> Result<(), String> {
        let Some(step) = self.steps.get(id) else { return Ok(()) };
        let touched = step.run == self.run_number() && step.status != Status::Pending;
        if touched { Err(format!("`{id}` is {} already", step.status.name())) } else { Ok(()) }
    }
}
