//! `runbook plan`: what would run, in which order, what is reused and why.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::Args;
use runbook_steps::Redactor;
use serde_json::json;

use super::announce::{fates, last_time};
use super::check::Output;
use super::deployment::state_fatal;
use super::exit::{Exit, Fatal};
use super::select::{Selection, meaning};
use super::status::held_by;
use super::{Inputs, Session, check};
use crate::plan::load::Given;
use crate::plan::{Plan as Checked, StepId, graph};
use crate::report::estimate::{self, Estimate};
use crate::report::layout;
use crate::report::words::{count, pad, span, widest};
use crate::run::{self, Fate};
use crate::state::{Home, RunState, journal};

/// Show what would run, in which order, what is reused and why
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook plan plans/native-gateway.yaml --input project=my-project")]
pub(super) struct Plan {
    /// The plan
    plan: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    selection: Selection,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Plan {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let given =
            Given { inputs: self.inputs.values(), require_inputs: true, home: session.env.home(), ..Given::default() };
        let plan = check::load_plan(session, &self.plan, &given)?;
        let name = self.inputs.name.clone().unwrap_or_else(|| plan.name.clone());
        let home = Home::new(&session.state, &name).map_err(state_fatal)?;
        let state = journal::read(&home).map_err(state_fatal)?.state;
        let holder = home.holder().map_err(state_fatal)?;
        if let Some(note) = &holder {
            let (note, held) = (session.ui.paint.warn("note:"), held_by(&home, note, &state));
            session.ui.say(&format!("{note} {held}; what follows is how it would go on if that run ended now"));
        }
        let options = self.selection.options(&plan, &state)?;
        let verdicts = run::verdicts(&plan, &state, &options, &Redactor::default());
        match self.output {
            Output::Json => {
                session.ui.data(&as_json(&plan, home.deployment(), &verdicts, &state, &options.asked.to_string()));
            }
            Output::Text => {
                let meaning = meaning(&options, &verdicts);
                let text = text(&plan, &verdicts, &state, &meaning, session.ui.page_columns());
                // Where that run is under way, nobody has to say yet what becomes of its steps.
                let lost = run::lost(&plan, &state);
                let next = if holder.is_some() { String::new() } else { next(session, &home, &verdicts, &lost) };
                session.ui.page(&format!("{text}{next}"));
            }
        }
        Ok(Exit::Holds)
    }
}

/// What is to be typed before a run can come to its end: a person's word on each step that nothing can look at.
fn next(session: &Session, home: &Home, verdicts: &[(StepId, Fate)], lost: &[StepId]) -> String {
    let doubtful = |fate: &Fate| matches!(fate, Fate::InFlight(flight) if !flight.recoverable);
    let steps = verdicts.iter().filter(|(_, fate)| doubtful(fate)).map(|(id, _)| id).chain(lost);
    let commands = session.commands(home.deployment());
    let lines: Vec<String> =
        steps.map(|id| format!("{}  {}\n", session.ui.paint.busy("next"), commands.ways_to_settle(id))).collect();
    if lines.is_empty() { String::new() } else { format!("\n{}", lines.concat()) }
}

fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Reuse => "reuse",
        Fate::Stale(_) => "stale",
        Fate::New => "run",
        Fate::InFlight(flight) if !flight.recoverable => "settle",
        Fate::InFlight(_) | Fate::Look(_) => "look",
        Fate::Again(_) | Fate::Settled | Fate::Redo => "again",
        Fate::Left => "left",
        Fate::Skip => "skip",
        Fate::Gone => "gone",
    }
}

/// Why a step is done again that nobody could tell about.
pub(super) const SETTLED: &str = "you settled it so";

/// The same of a step that is done again although it holds.
pub(super) const ASKED_FOR: &str = "as asked for";

/// Why, where the word does not say it.
fn why(id: &StepId, fate: &Fate, state: &RunState) -> Vec<String> {
    match fate {
        Fate::Stale(why) => why.clone(),
        Fate::Look(by) => vec![format!("`{by}` runs again")],
        Fate::InFlight(flight) => vec![flight.to_string()],
        Fate::Again(how) => vec![last_time(how, state.step(id))],
        Fate::Settled => vec![SETTLED.to_owned()],
        Fate::Redo => vec![ASKED_FOR.to_owned()],
        _ => Vec::new(),
    }
}

fn text(plan: &Checked, verdicts: &[(StepId, Fate)], state: &RunState, meaning: &[String], width: usize) -> String {
    let (head, table) = (headline(plan, estimated(plan, verdicts)), table(plan, verdicts, width));
    let mut out = format!("{head}\n\n{table}\n◆ on the critical path\n");
    if !meaning.is_empty() {
        out.push_str(&format!("\n{}\n", meaning.join("\n")));
    }
    if state.current().is_some() {
        out.push('\n');
        out.extend(fates(verdicts, state, usize::MAX).into_iter().map(|line| format!("{line}\n")));
    }
    out
}

/// How long it takes to do what would run.
fn estimated(plan: &Checked, verdicts: &[(StepId, Fate)]) -> Estimate {
    let rests = |fate: &Fate| fate.rests() || matches!(fate, Fate::Look(_));
    let resting: HashSet<&StepId> = verdicts.iter().filter(|(_, fate)| rests(fate)).map(|(id, _)| id).collect();
    estimate::of(plan, |step| !resting.contains(&step.id))
}

/// How large the plan is, how long it takes and what it costs.
fn headline(plan: &Checked, estimate: Estimate) -> String {
    let steps = count(plan.steps.len(), "step");
    let waves = count(graph::waves(plan).len(), "wave");
    let mut out = format!("{steps}, {waves}");
    out.extend(estimate.in_words().map(|long| format!(", estimate {long}")));
    let cost: f64 = plan.steps.iter().filter_map(|step| step.cost).map(|cost| cost.per_hour).sum();
    if cost > 0.0 {
        let of_the_run = match estimate.known().filter(|long| !long.is_zero()) {
            Some(long) => format!("about ${:.2} for the run, then ", cost * long.as_secs_f64() / 3600.0),
            None => String::new(),
        };
        out.push_str(&format!(" · {of_the_run}${cost:.2} an hour"));
    }
    out
}

/// A line for each step, wave by wave.
fn table(plan: &Checked, verdicts: &[(StepId, Fate)], width: usize) -> String {
    let names = widest(plan.steps.iter().map(|step| step.id.as_str()));
    let critical: HashSet<usize> = graph::critical_path(plan).0.into_iter().collect();
    let fated: HashMap<&StepId, &Fate> = verdicts.iter().map(|(id, fate)| (id, fate)).collect();
    let waves = graph::waves(plan);
    let places = waves.iter().enumerate().flat_map(|(wave, steps)| steps.iter().map(move |&index| (wave + 1, index)));
    let line = |(wave, index): (usize, usize)| {
        let step = &plan.steps[index];
        let fate = fated.get(&step.id).map_or("run", |fate| word(fate));
        let kind = step.work.as_ref().map_or("wait", |work| work.kind.name);
        let mark = if critical.contains(&index) { "◆" } else { " " };
        let expected = step.expected.map(|expected| span(expected.typical())).unwrap_or_default();
        let [fate, id, kind, expected] = [(fate, 6), (step.id.as_str(), names), (kind, 16), (expected.as_str(), 8)]
            .map(|(cell, width)| pad(cell, width));
        let line = format!("  {wave:>2} {mark} {fate}  {id}  {kind}  {expected}  ");
        let name = if step.name == step.id.as_str() { "" } else { &step.name };
        let line = format!("{line}{}", layout::title(name, layout::visible(&line), width));
        format!("{}\n", line.trim_end())
    };
    places.map(line).collect()
}

fn as_json(plan: &Checked, deployment: &str, verdicts: &[(StepId, Fate)], state: &RunState, selection: &str) -> String {
    let (path, _) = graph::critical_path(plan);
    let long = estimated(plan, verdicts).known().map(|long| long.as_secs());
    let steps: Vec<_> = verdicts
        .iter()
        .map(|(id, fate)| json!({ "step": id, "fate": word(fate), "why": why(id, fate, state) }))
        .collect();
    let path: Vec<_> = path.iter().map(|&index| &plan.steps[index].id).collect();
    let value = json!({ "deployment": deployment, "plan": plan.name, "file": plan.file, "selection": selection, "estimate_seconds": long,
                        "critical_path": path, "steps": steps });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
}
