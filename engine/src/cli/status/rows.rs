//! The rows of `runbook status`: how each step stands, and why. Does not read anything.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use runbook_steps::Clock;

use crate::plan::{Plan, Step as Planned, StepId};
use crate::report::snapshot::Standing;
use crate::report::tracker::{between, failed, stands, why};
use crate::report::words::{count, list, pad, span};
use crate::run::{Fate, only_reads};
use crate::state::fold::{Made, RunState, Status as Step, StepState};

/// What is known of the steps of a deployment.
pub(super) struct Sight<'s, 'p> {
    /// The state.
    pub(super) state: &'s RunState,
    /// The plan, if it can still be read as it was run.
    pub(super) plan: Option<&'p Plan>,
    /// Whether a process has the deployment now.
    pub(super) held: bool,
    /// The steps that the last run, which was to undo, has left alone, and why.
    pub(super) left: BTreeMap<StepId, String>,
    /// What the next run would do with each step, where that is known.
    pub(super) fates: BTreeMap<StepId, Fate>,
}

impl<'s> Sight<'s, '_> {
    /// The steps of the plan, and after them those that only the journal knows.
    pub(super) fn rows(&self) -> Vec<Row<'s>> {
        let (plan, state) = (self.plan, self.state);
        let steps = plan.iter().flat_map(|plan| &plan.steps);
        let known = |step: &&Planned| !step.on_demand || state.step(&step.id).is_some();
        let mut rows: Vec<Row> = steps.filter(known).map(|step| self.row(&step.id, Some(step))).collect();
        let gone = state.steps().filter(|(id, _)| plan.is_none_or(|plan| plan.step(id.as_str()).is_none()));
        rows.extend(gone.map(|(id, _)| self.row(id, None)));
        rows
    }

    fn row(&self, id: &StepId, planned: Option<&Planned>) -> Row<'s> {
        let (state, held) = (self.state, self.held);
        let step = state.step(id);
        let fallen = step.and_then(|step| self.fallen(id, step, planned));
        let is_looked_at =
            matches!(self.fates.get(id), Some(Fate::InFlight(flight)) if flight.undoing && flight.recoverable);
        let stands = match stands(step) {
            Standing::Blocked if !held && step.is_some_and(|step| is_free(step, state)) => Standing::Waiting,
            Standing::Waiting if !held && fallen.is_none() => {
                step.map_or(Standing::Waiting, |step| as_it_was_left(step, is_looked_at))
            }
            now => now,
        };
        let mut row = Row { id: id.clone(), step, stands, fallen, is_looked_at, stale: Vec::new(), why: Vec::new() };
        if let Some(Fate::Stale(why)) = self.fates.get(id) {
            row.stale.clone_from(why);
        }
        row.why = self.why(&row);
        row
    }

    /// What there is of a step after the last run has taken back others, where it was not its turn.
    fn fallen(&self, id: &StepId, step: &StepState, planned: Option<&Planned>) -> Option<Fallen> {
        let run = self.state.current().filter(|run| run.opened.command == "destroy")?;
        let is_left = self.left.contains_key(id);
        match step.status() {
            Step::Succeeded { .. } if is_left => Some(Fallen::Made),
            Step::Pending if step.is_to_be_redone() => None,
            // What ran was ended before anything was undone.
            Step::Pending if step.in_flight().is_some() => run.verdict.map(|_| Fallen::Unfinished),
            Step::Pending if is_left => Some(Fallen::Made),
            Step::Pending if self.is_of_an_undo(step) => Some(Fallen::of(step, planned)),
            _ => None,
        }
    }

    /// Whether the run that touched a step last was to undo, as were all since: if it does not hold, that has undone what it stood on.
    fn is_of_an_undo(&self, step: &StepState) -> bool {
        let mut undoing = self.state.runs().iter().rev().take_while(|run| run.opened.command == "destroy");
        undoing.any(|run| run.opened.run == step.run())
    }

    /// Why it stands so, where its word does not say it.
    fn why(&self, row: &Row) -> Vec<String> {
        let one = match row.step.map(StepState::status) {
            Some(Step::Blocked { .. }) => return Vec::new(),
            Some(Step::Skipped { why }) => Some(why.clone()),
            Some(Step::Pending | Step::Succeeded { .. }) if row.fallen.is_some() => self.why_fallen(row),
            Some(Step::Pending) => self.why_pending(row),
            _ if !row.stale.is_empty() => return row.stale.clone(),
            _ => row.step.and_then(why),
        };
        one.into_iter().collect()
    }

    fn why_fallen(&self, row: &Row) -> Option<String> {
        match row.fallen? {
            Fallen::Made | Fallen::Unfinished => self.left.get(&row.id).cloned(),
            Fallen::Found => Some("it was there before".to_owned()),
            Fallen::Looked => Some("it only looks".to_owned()),
            Fallen::MadeNothing => None,
        }
    }

    fn why_pending(&self, row: &Row) -> Option<String> {
        let failure = row.step.and_then(StepState::failure).and_then(|failure| failure.what.lines().next());
        match row.step.is_some_and(StepState::is_to_be_redone) {
            true => Some("you settled that it is done again".to_owned()),
            false if row.stands.ended() || row.stands == Standing::Running => {
                let what = failure.map(|what| format!("{what} (in an earlier run)"));
                what.or_else(|| Some("since an earlier run".to_owned()))
            }
            false => None,
        }
    }
}

/// A step, and what the journal knows of it; nothing where it has not had its turn.
pub(super) struct Row<'s> {
    pub(super) id: StepId,
    pub(super) step: Option<&'s StepState>,
    pub(super) stands: Standing,
    fallen: Option<Fallen>,
    /// Whether it was being taken back, and the next run finds out by itself what is left of it.
    pub(super) is_looked_at: bool,
    /// What it would now do otherwise, though it holds.
    pub(super) stale: Vec<String>,
    /// Why it stands so, where its word does not say it.
    pub(super) why: Vec<String>,
}

/// What there is of a step that counts as done no more, because what it stood on was undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fallen {
    /// It made something, which was not undone.
    Made,
    /// It was in the middle when an earlier run ended, and is not any more.
    Unfinished,
    /// It found all as it should be.
    Found,
    /// It only looks.
    Looked,
    /// It made nothing, and without its plan nobody knows more.
    MadeNothing,
}

impl Fallen {
    fn of(step: &StepState, planned: Option<&Planned>) -> Self {
        match planned {
            Some(planned) if only_reads(planned) => Self::Looked,
            _ if step.made() != Made::Nothing => Self::Made,
            Some(_) => Self::Found,
            None => Self::MadeNothing,
        }
    }
}

impl Row<'_> {
    /// The steps that keep it from running.
    pub(super) fn by(&self) -> &[StepId] {
        match self.step.map(StepState::status) {
            Some(Step::Blocked { by }) if self.stands == Standing::Blocked => by,
            _ => &[],
        }
    }

    /// How long it took, or has been running.
    pub(super) fn took(&self, state: &RunState, held: bool) -> Option<Duration> {
        match self.step.map(|step| (step.status(), step.started(), step.ended()))? {
            (Step::Pending, ..) => None,
            (Step::Running { since, .. }, ..) if held => Some(between(*since, now(state))),
            (_, Some(started), Some(ended)) => Some(between(started, ended)),
            _ => None,
        }
    }

    /// What stands behind its word.
    fn about(&self) -> String {
        let stale = if self.stale.is_empty() { "" } else { "stale: " };
        match self.by() {
            [] => format!("{stale}{}", self.why.join("; ")),
            by => format!("by {}", list(by)),
        }
    }

    fn word(&self, held: bool) -> &'static str {
        match (self.fallen, held) {
            (Some(Fallen::Made), _) => "not undone",
            (Some(Fallen::Unfinished), _) => "not finished",
            (Some(_), _) => "nothing to undo",
            (None, true) => self.stands.said(),
            (None, false) => self.stands.said_afterwards(),
        }
    }

    fn mark(&self) -> &'static str {
        match self.fallen {
            None | Some(Fallen::Made | Fallen::Unfinished) => self.stands.mark(),
            Some(_) => Standing::Skipped.mark(),
        }
    }
}

/// Whether nothing blocks a step any more that was blocked: a person has settled what became of those that did.
fn is_free(step: &StepState, state: &RunState) -> bool {
    let Step::Blocked { by } = step.status() else { return false };
    let settled = |step: &StepState| step.is_to_be_redone() || stands(Some(step)).holds();
    by.iter().all(|id| state.step(id).is_some_and(settled))
}

/// How a step stands that the last run left out: as an earlier one left it.
fn as_it_was_left(step: &StepState, is_looked_at: bool) -> Standing {
    match (step.in_flight(), step.failure()) {
        _ if step.is_to_be_redone() => Standing::Waiting,
        (Some(flight), _) if !flight.needs_a_person() || is_looked_at => Standing::Running,
        (Some(_), _) => Standing::Unknown,
        (None, Some(failure)) => failed(failure),
        (None, None) => Standing::Waiting,
    }
}

/// A line for each, and how many stand how.
pub(super) fn table(rows: &[Row], state: &RunState, held: bool) -> String {
    let names = rows.iter().map(|row| row.id.as_str().chars().count()).max().unwrap_or(0);
    let words = rows.iter().map(|row| row.word(held).chars().count()).max().unwrap_or(0).max(9);
    let mut out: String = rows.iter().map(|row| line(row, state, held, (names, words))).collect();
    out.push_str(&format!("\n{}\n", totals(rows, held)));
    out
}

fn line(row: &Row, state: &RunState, held: bool, (names, words): (usize, usize)) -> String {
    let took = row.took(state, held).map(span).unwrap_or_default();
    let (name, word) = (pad(row.id.as_str(), names), pad(row.word(held), words));
    let line = format!("  {} {name}  {word}  {}  {}", row.mark(), pad(&took, 8), row.about());
    format!("{}\n", line.trim_end())
}

/// How many steps stand how: `4 steps: 2 ok, 1 failed, 1 not started`.
fn totals(rows: &[Row], held: bool) -> String {
    let mut numbers: Vec<(&str, usize)> = Vec::new();
    for word in rows.iter().map(|row| row.word(held)) {
        match numbers.iter_mut().find(|(known, _)| *known == word) {
            Some((_, number)) => *number += 1,
            None => numbers.push((word, 1)),
        }
    }
    let parts: Vec<String> = numbers.iter().map(|(word, number)| format!("{number} {word}")).collect();
    format!("{}: {}", count(rows.len(), "step"), parts.join(", "))
}

/// The time now. A rehearsal's times are model times, which only its own processes can tell: there the last record stands in.
pub(super) fn now(state: &RunState) -> Timestamp {
    let last = state.current().filter(|run| run.opened.simulated.is_some()).map(|run| run.last);
    last.unwrap_or_else(|| Clock::real().now())
}
