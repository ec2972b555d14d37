//! The part of a plan that a command is for, as it is typed and told, and what to do about steps that are stale.

use clap::{Args, ValueEnum};

use super::Session;
use super::exit::{Exit, Fatal};
use super::ui::Ui;
use crate::plan::{Plan, StepId};
use crate::report::words::{count, some};
use crate::run::select::{self, Asked, Meaning, Refusal};
use crate::run::{Fate, Options, verdicts};
use crate::state::RunState;
use crate::state::record::Opened;

/// The part of the plan.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which steps")]
pub(super) struct Selection {
    /// Run this step and all that depends on it again, and nothing else
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    from: Option<String>,
    /// Run nothing but these steps, and what `finally` does after them
    #[arg(long, value_name = "STEP", num_args = 1..)]
    only: Vec<String>,
    /// Run this step again, even if it holds
    #[arg(long, value_name = "STEP")]
    redo: Vec<String>,
    /// With --redo: also all that depends on it
    #[arg(long, requires = "redo")]
    downstream: bool,
    /// Leave this step out; what needs it runs all the same
    #[arg(long, value_name = "STEP")]
    skip: Vec<String>,
    /// Whether it goes on with what an earlier run was for: what that one has done again is not done once more
    #[arg(skip)]
    goes_on: bool,
}

impl Selection {
    /// One step, again if it holds.
    pub(super) fn of(step: &str) -> Self {
        Self { only: vec![step.to_owned()], redo: vec![step.to_owned()], ..Self::default() }
    }

    /// The part that a run was for which did not come to its end. Nothing if it was for all of the plan: what it was to do again is in the
    /// journal.
    pub(super) fn going_on(opened: &Opened) -> Option<Self> {
        if opened.command == "destroy" {
            return None;
        }
        let asked = opened.asked.as_deref().cloned().or_else(|| Asked::read(&opened.selection))?;
        let Asked { from, only, redo, downstream, skip } = asked;
        let part = from.is_some() || !only.is_empty() || !skip.is_empty();
        part.then_some(Self { from, only, redo, downstream, skip, goes_on: true })
    }

    /// The same for a run that goes on with what this one has begun.
    pub(super) fn once_more(&self) -> Self {
        Self { goes_on: true, ..self.clone() }
    }

    /// Whether all of the plan is meant.
    pub(super) fn is_all(&self) -> bool {
        self.asked().is_all()
    }

    fn asked(&self) -> Asked {
        let Self { from, only, redo, downstream, skip, goes_on: _ } = self.clone();
        Asked { from, only, redo, downstream, skip }
    }

    /// The words that ask for it again.
    pub(super) fn words(&self) -> Vec<String> {
        self.asked().words()
    }

    /// Whether it is about steps that ran before.
    pub(super) fn is_partial(&self) -> bool {
        self.from.is_some() || !self.only.is_empty() || !self.redo.is_empty()
    }

    /// The options that it comes to, or why it cannot be.
    pub(super) fn options(&self, plan: &Plan, state: &RunState) -> Result<Options, Fatal> {
        let mut options = select::choose(plan, state, &self.asked()).map_err(refused)?;
        if self.goes_on {
            options.redo.clear();
        }
        let whole = Options { skip: options.skip.clone(), ..Options::default() };
        if !options.only.is_empty() {
            let fates = verdicts(plan, state, &whole, &runbook_steps::Redactor::default());
            select::hindrance(plan, &fates, &options).map_or(Ok(()), |refusal| Err(refused(refusal)))?;
        }
        Ok(options)
    }
}

pub(super) fn refused(refusal: Refusal) -> Fatal {
    Fatal::new(Exit::Usage, refusal.message).hint(refusal.hint)
}

/// Longer lists of steps are cut.
const NAMES: usize = 8;

/// What a selection means, in a few lines; nothing where all of the plan is meant.
pub(super) fn meaning(options: &Options, fates: &[(StepId, Fate)]) -> Vec<String> {
    if options.asked.is_all() {
        return Vec::new();
    }
    let meaning = Meaning::of(fates);
    let mut lines = vec![options.asked.to_string()];
    for (word, steps) in [("runs", &meaning.runs), ("left alone", &meaning.left), ("skipped", &meaning.skipped)] {
        if !steps.is_empty() {
            lines.push(format!("  {word:<10}  {}: {}", count(steps.len(), "step"), some(steps, NAMES)));
        }
    }
    if meaning.runs.is_empty() {
        lines.push("  runs        nothing: what is left of the plan holds; --redo STEP runs a step again".to_owned());
    }
    lines
}

/// What to do about steps that hold, but would now do something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Stale {
    /// Show them and ask (the default on a terminal).
    Ask,
    /// Run them again (the default elsewhere).
    Rerun,
    /// Leave them as they are.
    Keep,
}

impl Stale {
    /// What was asked for, or what is usual here.
    pub(super) fn or_usual(given: Option<Self>, ui: Ui) -> Self {
        given.unwrap_or(if ui.asks { Stale::Ask } else { Stale::Rerun })
    }

    /// Asks where that is wanted; an error where nobody can answer, or the answer is no.
    pub(super) fn settle(self, fates: &[(StepId, Fate)], session: &Session) -> Result<(), Fatal> {
        let stale = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Stale(_))).count();
        if self != Stale::Ask || stale == 0 {
            return Ok(());
        }
        let what = format!("{} and would run again; nothing was touched", are_stale(stale));
        let refusal = Fatal::new(Exit::NeedsPerson, what)
            .hint("--stale rerun runs them again, --stale keep leaves them as they are");
        if !session.ui.asks {
            return Err(refusal);
        }
        let them = if stale == 1 { "it" } else { "them" };
        let question = format!("{}: run {them} again?", are_stale(stale));
        if session.ui.confirm(&question)? { Ok(()) } else { Err(refusal) }
    }
}

fn are_stale(number: usize) -> String {
    format!("{} {} stale", count(number, "step"), if number == 1 { "is" } else { "are" })
}
