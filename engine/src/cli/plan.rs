//! `runbook plan`: what would run, in which order, what is reused and why.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::check::Output;
use super::deployment::{fates, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Inputs, Session, check};
use crate::plan::load::Given;
use crate::plan::{Plan as Checked, graph};
use crate::report::words::{count, pad, span};
use crate::run::{self, Fate};
use crate::state::{Home, journal};

/// Show what would run, in which order, what is reused and why
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook plan plans/native-gateway.yaml --input project=my-project")]
pub(super) struct Plan {
    /// The plan
    plan: PathBuf,
    #[command(flatten)]
    inputs: Inputs,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Plan {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let given = Given { inputs: self.inputs.values(), require_inputs: true, home: session.env.home() };
        let plan = check::load_plan(session, &self.plan, &given)?;
        let name = self.inputs.name.clone().unwrap_or_else(|| plan.name.clone());
        let home = Home::new(&session.state, &name).map_err(state_fatal)?;
        let state = journal::read(&home).map_err(state_fatal)?.state;
        let verdicts = run::verdicts(&plan, &state, state.known());
        let text = match self.output {
            Output::Json => as_json(&plan, &verdicts),
            Output::Text => text(&plan, &verdicts, state.current().is_some()),
        };
        session.ui.data(&text);
        Ok(Exit::Holds)
    }
}

fn word(fate: &Fate) -> &'static str {
    match fate {
        Fate::Reuse => "reuse",
        Fate::Stale(_) => "stale",
        Fate::New => "run",
        Fate::InFlight => "look",
        Fate::Again(_) => "again",
        Fate::Skip => "skip",
        Fate::Gone => "gone",
    }
}

fn text(plan: &Checked, verdicts: &[(crate::plan::StepId, Fate)], continued: bool) -> String {
    let (path, long) = graph::critical_path(plan);
    let waves = graph::waves(plan);
    let cost: f64 = plan.steps.iter().filter_map(|step| step.cost).map(|cost| cost.per_hour).sum();
    let mut out =
        format!("{}, {}, estimate {}", count(plan.steps.len(), "step"), count(waves.len(), "wave"), span(long));
    if cost > 0.0 {
        let run = cost * long.as_secs_f64() / 3600.0;
        out.push_str(&format!(" · about ${run:.2} for the run, then ${cost:.2} an hour"));
    }
    out.push_str("\n\n");
    let names = plan.steps.iter().map(|step| step.id.as_str().chars().count()).max().unwrap_or(0);
    for (number, wave) in waves.iter().enumerate() {
        for &index in wave {
            let step = &plan.steps[index];
            let fate = verdicts.iter().find(|(id, _)| *id == step.id).map_or("run", |(_, fate)| word(fate));
            let kind = step.work.as_ref().map_or("wait", |work| work.kind.name);
            let mark = if path.contains(&index) { "◆" } else { " " };
            let expected = step.expected.map(|expected| span(expected.typical())).unwrap_or_default();
            let line = format!(
                "  {:>2} {mark} {}  {}  {}  {}  {}",
                number + 1,
                pad(fate, 6),
                pad(step.id.as_str(), names),
                pad(kind, 16),
                pad(&expected, 8),
                step.name
            );
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out.push_str("\n◆ on the critical path\n");
    if continued {
        out.push('\n');
        out.extend(fates(verdicts).into_iter().map(|line| format!("{line}\n")));
    }
    out
}

fn as_json(plan: &Checked, verdicts: &[(crate::plan::StepId, Fate)]) -> String {
    let (path, long) = graph::critical_path(plan);
    let steps: Vec<_> = verdicts
        .iter()
        .map(|(id, fate)| {
            let why = if let Fate::Stale(why) = fate { why.clone() } else { Vec::new() };
            json!({ "step": id, "fate": word(fate), "why": why })
        })
        .collect();
    let path: Vec<_> = path.iter().map(|&index| &plan.steps[index].id).collect();
    let value = json!({ "plan": plan.name, "estimate_seconds": long.as_secs(), "critical_path": path, "steps": steps });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
}
