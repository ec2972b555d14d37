//! What is said before a run: what it goes on with, what becomes of each step, and which part of the plan it is for.

use std::path::Path;

use super::deployment::{Deployment, absolute};
use super::plan::{ASKED_FOR, SETTLED};
use super::select::meaning;
use super::ui::Ui;
use super::{Session, status};
use crate::plan::{Plan, StepId};
use crate::report::snapshot::Standing;
use crate::report::tracker::failed;
use crate::report::words::{count, some};
use crate::run::{Fate, Options};
use crate::state::fold::RunSummary;
use crate::state::record::Verdict;
use crate::state::{Journal, RunState, StepState};

impl Deployment {
    /// Says what part of the plan this is for, and what is reused, looked at, stale and new, if this continues an earlier run.
    pub(super) fn announce(
        &self,
        session: &Session,
        journal: &Journal,
        options: &Options,
        verdicts: &[(StepId, Fate)],
    ) {
        let (ui, state) = (session.ui, journal.state());
        if let Some(last) = state.current() {
            self.say_what_is_continued(ui, last, state);
            for line in fates(verdicts, state, MOST_LINES) {
                ui.say(&line);
            }
            ui.say("");
        }
        let meaning = meaning(options, verdicts);
        if !meaning.is_empty() {
            ui.say(&format!("{}\n", meaning.join("\n")));
        }
    }

    fn say_what_is_continued(&self, ui: Ui, last: &RunSummary, state: &RunState) {
        let how = match (last.verdict, &last.signal) {
            (None, _) => "it ended without a word: killed, or the machine went down".to_owned(),
            (Some(_), Some(signal)) => format!("interrupted by {signal}"),
            (Some(Verdict::Holds), None) if last.opened.command == "destroy" => {
                format!("it was {}", status::undone(&last.opened))
            }
            (Some(_), None) if last.opened.command == "destroy" => "it was undone in part".to_owned(),
            (Some(Verdict::Holds), None) if !last.opened.selection.is_empty() => "what was asked for held".to_owned(),
            (Some(Verdict::Holds), None) => "everything held".to_owned(),
            (Some(Verdict::NeedsPerson), None) => "a person was needed".to_owned(),
            (Some(_), None) => "a step failed".to_owned(),
        };
        let head = format!("{} · continuing after run {} ({how})", self.name, last.opened.run);
        ui.say(&format!("{}\n", ui.paint.bold(&head)));
        if let Some(why) = another_plan(&self.plan, last, state) {
            let (name, file) = (&self.name, &last.opened.file);
            let what = format!("`{name}` was last run with `{file}`, {why}; another deployment wants another --name");
            ui.say(&format!("{} {what}\n", ui.paint.warn("note:")));
        }
    }
}

/// A screen full of steps is enough before a run; `runbook plan` shows them all.
const MOST_LINES: usize = 24;

/// What speaks for it that a deployment was made by another file, which only happens to have the same name. One that is gone was renamed,
/// if it had the same steps.
fn another_plan(plan: &Plan, last: &RunSummary, state: &RunState) -> Option<&'static str> {
    let file = Path::new(&last.opened.file);
    let mut known = state.steps().peekable();
    if file == absolute(&plan.file) || known.peek().is_none() {
        return None;
    }
    if !known.any(|(id, _)| plan.index.contains_key(id)) {
        return Some("and this plan shares no step with it");
    }
    file.is_file().then_some("which is still there")
}

/// The lines that say what becomes of the steps, so many at most for single steps.
pub(super) fn fates(verdicts: &[(StepId, Fate)], state: &RunState, most: usize) -> Vec<String> {
    let having = |wanted: &Fate| {
        verdicts.iter().filter(|(_, fate)| fate == wanted).map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for (word, fate) in [("reuse", Fate::Reuse), ("left ", Fate::Left)] {
        let number = verdicts.iter().filter(|(_, found)| *found == fate).count();
        if number > 0 {
            lines.push(format!("  {word}   {}", count(number, "step")));
        }
    }
    let single: Vec<String> = verdicts.iter().filter_map(|(id, fate)| single(id, fate, state)).collect();
    lines.extend(single.iter().take(most).cloned());
    if single.len() > most {
        lines.push(format!("  …       {} more; `runbook plan` shows them all", single.len() - most));
    }
    let asked = format!(" ({ASKED_FOR})");
    let lists = [("again", Fate::Redo, &*asked), ("new", Fate::New, ""), ("gone", Fate::Gone, "")];
    for (word, ids, why) in lists.map(|(word, wanted, why)| (word, having(&wanted), why)) {
        if !ids.is_empty() {
            lines.push(format!("  {word:<6}  {}{why}", some(&ids, most)));
        }
    }
    lines
}

/// The line of a step whose fate has a reason.
fn single(id: &StepId, fate: &Fate, state: &RunState) -> Option<String> {
    match fate {
        Fate::InFlight(flight) if !flight.recoverable => Some(format!("  settle  {id}: {flight}")),
        Fate::InFlight(flight) => Some(format!("  look    {id}: {flight}")),
        Fate::Look(by) => {
            Some(format!("  look    {id}: `{by}` runs again; if that changes anything, this is looked at"))
        }
        Fate::Stale(why) => Some(format!("  stale   {id}: {}", why.join("; "))),
        Fate::Again(how) => Some(format!("  again   {id} ({})", last_time(how, state.step(id)))),
        Fate::Settled => Some(format!("  again   {id} ({SETTLED})")),
        _ => None,
    }
}

/// How a step ended that is done again. One that asked a person for something has not failed.
pub(super) fn last_time(how: &str, step: Option<&StepState>) -> String {
    let asked = step.and_then(StepState::failure).is_some_and(|failure| failed(failure) == Standing::NeedsPerson);
    let how = if asked && how == "failed" { "asked a person" } else { how };
    format!("{how} last time")
}
