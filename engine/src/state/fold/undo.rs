//! What follows from the records of taking back, and from those that say what there is to take back.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{InFlight, Made, RunState, Status, StepState, later};
use crate::plan::StepId;
use crate::state::record::{FORMAT, Failed, Format, Recipe, Touches};
use crate::state::relocate::relocate_value;

impl StepState {
    /// Whether this deployment made something by it that is still to be taken back.
    pub fn made(&self) -> Made {
        let doubtful = self.in_flight.as_deref().is_some_and(InFlight::may_have_changed);
        match (self.changed, self.perhaps || doubtful || matches!(self.status, Status::Unknown { .. })) {
            (true, _) => Made::Surely,
            (false, true) => Made::Perhaps,
            (false, false) => Made::Nothing,
        }
    }

    /// How each thing that it made is taken back, in the order in which they were made; what was made twice alike stands there once.
    pub fn recipes(&self) -> &[Recipe] {
        &self.recipes
    }

    /// Whether it had made something else before the first that the journal knows how to take back.
    pub fn has_made_more(&self) -> bool {
        self.unrecorded
    }

    /// The attempt in flight has ended, or another begins; what it may have left is not forgotten.
    pub(super) fn leave_flight(&mut self) -> Option<InFlight> {
        let flight = *self.in_flight.take()?;
        self.perhaps |= flight.may_have_changed();
        Some(flight)
    }
}

impl RunState {
    /// What is said of the deployment's folder, as it would have been said at each place where that has been.
    pub(crate) fn at_all_places(&self, said: &Value) -> Vec<Value> {
        let was = self.runs.iter().map(|run| run.opened.home.as_str()).filter(|home| !home.is_empty());
        let places: BTreeSet<&str> = was.filter(|_| !self.home.is_empty()).collect();
        let at = |place: &&str| {
            let mut there = said.clone();
            relocate_value(&mut there, &self.home, place);
            there
        };
        std::iter::once(said.clone()).chain(places.iter().filter(|place| **place != self.home).map(at)).collect()
    }

    pub(super) fn expect_undoing(&self, id: &StepId, attempt: u32) -> Result<(), String> {
        match self.status(id) {
            Status::Undoing { attempt: running, .. } if *running == attempt => Ok(()),
            other => Err(format!("attempt {attempt} to undo `{id}` is not running; the step is {}", other.name())),
        }
    }

    /// An attempt is under way, to do it or to take it back.
    pub(super) fn expect_at_work(&self, id: &StepId, attempt: u32) -> Result<(), String> {
        self.expect(id, attempt).or_else(|refusal| self.expect_undoing(id, attempt).map_err(|_| refusal))
    }

    pub(super) fn check_undo_started(&self, id: &StepId, attempt: u32) -> Result<(), String> {
        let step = self.steps.get(id);
        if step.is_none_or(|step| step.made() == Made::Nothing) {
            return Err(format!("nothing was made by `{id}` that could be undone"));
        }
        let expected = self.attempts_in_this_run(step) + 1;
        if attempt != expected {
            return Err(format!("the next attempt to undo `{id}` is {expected}, not {attempt}"));
        }
        match self.status(id) {
            Status::UndoFailed { until: Some(_) } => Ok(()),
            _ => self.expect_untouched(id),
        }
    }

    pub(super) fn check_undone_in_part(&self, id: &StepId, attempt: u32, left: usize) -> Result<(), String> {
        self.expect_undoing(id, attempt)?;
        match self.steps.get(id).map_or(0, |step| step.recipes.len()) {
            things if left < things => Ok(()),
            things => Err(format!("`{id}` cannot have {left} things left to undo of {things}")),
        }
    }

    /// One that waits to be tried again may also be given up.
    pub(super) fn check_undo_failed(&self, failed: &Failed) -> Result<(), String> {
        match self.status(&failed.step) {
            Status::UndoFailed { until: Some(_) } if failed.retry_in_ms.is_none() => Ok(()),
            _ => self.expect_undoing(&failed.step, failed.attempt),
        }
    }

    pub(super) fn perform(&mut self, id: &StepId, undo: Option<Recipe>) {
        let told = self.told;
        let step = self.touch(id);
        let former = step.before.take().or(step.former.take());
        // What was made before was made by other work, of which nothing is written down.
        let flight = step.in_flight.as_ref().map(|flight| &flight.fingerprint);
        let same = flight.is_some() && flight == former.as_ref().map(|former| &former.fingerprint);
        step.unrecorded |= undo.is_some() && step.changed && step.recipes.is_empty() && !same;
        // From here on it may be other than when it held.
        (step.forced, step.changed_at) = (false, told);
        if let Some(flight) = &mut step.in_flight {
            (flight.touches, flight.undoing, flight.found) = (Touches::AtOnce, false, None);
        }
        let Some(recipe) = undo else { return };
        let format = self.runs.last().map_or(FORMAT, |run| run.opened.format);
        add(&mut self.touch(id).recipes, recipe, format);
    }

    /// From here on it neither holds nor has outputs, and whoever runs it next looks first.
    pub(super) fn start_undo(&mut self, id: &StepId, attempt: u32, at: Timestamp) {
        let told = self.told;
        self.known.remove(id);
        let step = self.touch(id);
        step.undone_at = told;
        let (flight, done) = (step.leave_flight(), step.done.take());
        // It may be gone from here on: that it held before confirms nothing any more. A person may say that it stands all the same.
        step.before = None;
        let begun = step.former.take().filter(|_| flight.as_ref().is_some_and(|flight| flight.undoing));
        let recoverable = flight.as_ref().is_some_and(|flight| flight.recoverable);
        let held = done.as_ref().map(|done| done.fingerprint.clone());
        let fingerprint = flight.map(|flight| flight.doing().clone()).or(held);
        step.former = done.map(Box::new).or(begun);
        step.status = Status::Undoing { attempt, since: at };
        (step.attempts, step.acted) = (attempt, step.run);
        step.started.get_or_insert(at);
        step.in_flight = Some(Box::new(InFlight {
            run: step.run,
            attempt,
            recoverable,
            fingerprint: fingerprint.unwrap_or_default(),
            found: None,
            children: Vec::new(),
            touches: Touches::AtOnce,
            in_doubt: false,
            undoing: true,
        }));
    }

    /// Nothing is left of it, as if it had never run.
    pub(super) fn undone(&mut self, id: &StepId, took_ms: u64, at: Timestamp) {
        let step = self.touch(id);
        *step = StepState {
            status: Status::Undone,
            attempts: step.attempts,
            started: step.started,
            ended: Some(at),
            took_ms,
            run: step.run,
            acted: step.acted,
            undone_at: step.undone_at,
            ..StepState::default()
        };
    }

    pub(super) fn fail_undo(&mut self, record: Failed, at: Timestamp) {
        let step = self.touch(&record.step);
        step.status = Status::UndoFailed { until: record.retry_in_ms.map(|pause| later(at, pause)) };
        if let Some(flight) = &mut step.in_flight {
            flight.children.clear();
        }
        step.failure = Some(Box::new(record.failure));
        step.took_ms = record.took_ms;
        step.ended = Some(at);
    }
}

/// One thing more to take back. What would be done twice alike is done once, and of two wordings for the same work the newer counts. What was
/// made more than once stands on all that it ever stood on.
fn add(recipes: &mut Vec<Recipe>, mut recipe: Recipe, format: Format) {
    // What an older program has counted of them later, it has counted so.
    if format.minor < EXACT {
        return add_as_before(recipes, recipe);
    }
    let replaced = recipes.extract_if(.., |old| recipe.does_the_same(old) || recipe.rewords(old));
    let needs: Vec<_> = replaced.map(|old| old.needs).collect();
    recipe.needs = needs.into_iter().fold(recipe.needs, both);
    recipes.push(recipe);
}

/// Nothing is known of it where one of them does not say.
fn both(one: Option<Vec<StepId>>, other: Option<Vec<StepId>>) -> Option<Vec<StepId>> {
    let all: BTreeSet<StepId> = one?.into_iter().chain(other?).collect();
    Some(all.into_iter().collect())
}

/// The minor format since which recipes know of the files that the work used.
const EXACT: u16 = 4;

fn add_as_before(recipes: &mut Vec<Recipe>, recipe: Recipe) {
    let same =
        |old: &&mut Recipe| Recipe { needs: None, ..(**old).clone() } == Recipe { needs: None, ..recipe.clone() };
    if let Some(same) = recipes.iter_mut().find(same) {
        same.needs = recipe.needs;
        return;
    }
    let work = |recipe: &Recipe| recipe.of.as_ref().map(|of| of.work.clone());
    recipes.retain(|old| work(old).is_none() || work(old) != work(&recipe));
    recipes.push(recipe);
}
