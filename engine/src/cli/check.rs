//! `runbook check`: everything that can be known of a plan without running it.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::exit::{Exit, Fatal};
use super::{Inputs, Session};
use crate::plan::error::{self, Problem, Problems};
use crate::plan::load::{self, Given, Loaded};
use crate::plan::{Plan, graph};
use crate::report::estimate;
use crate::report::words::count;
use crate::state::{Home, journal};

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Check plans without running them
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook check plans/*.yaml")]
pub(super) struct Check {
    /// The plans
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    inputs: Inputs,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Check {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let mut exit = Exit::Holds;
        let mut reports = Vec::new();
        for file in &self.files {
            let given = Given {
                inputs: self.inputs.values(),
                require_inputs: false,
                home: session.env.home(),
                ..Given::default()
            };
            match load::load(file, &given).and_then(|loaded| self.nameable(file, loaded, session)) {
                Ok(loaded) => {
                    reports.push(json!({ "file": file, "ok": true, "step_count": loaded.plan.steps.len(),
                        "estimate_seconds": graph::critical_path(&loaded.plan).1.as_secs(),
                        "warnings": loaded.warnings.iter().map(Problem::to_json).collect::<Vec<_>>() }));
                    if self.output == Output::Text {
                        warn(session, &loaded.warnings);
                        session.ui.data(&format!("{}\n", praise(file, &loaded.plan, self.files.len())));
                    }
                }
                Err(problems) => {
                    exit = Exit::Invalid;
                    reports.push(json!({ "file": file, "ok": false,
                        "problems": problems.list.iter().map(Problem::to_json).collect::<Vec<_>>() }));
                    if self.output == Output::Text {
                        session.ui.say(&render(session, &problems));
                    }
                }
            }
        }
        if self.output == Output::Json {
            session.ui.data(&format!("{}\n", serde_json::to_string_pretty(&reports).expect("a JSON value has a text")));
        }
        Ok(exit)
    }

    /// The plan, if its deployment can have a name: that of the plan or, where the plan has none, of its file.
    fn nameable(&self, file: &Path, loaded: Loaded, session: &Session) -> Result<Loaded, Problems> {
        let name = self.inputs.name.as_ref().unwrap_or(&loaded.plan.name);
        let Err(error) = Home::new(&session.state, name) else { return Ok(loaded) };
        let problem = Problem::bare("plan::name", error.to_string());
        Err(Problems::one(file, problem.help("give the plan another `name:`, or its deployment one with --name")))
    }
}

fn praise(file: &Path, plan: &Plan, files: usize) -> String {
    let long = estimate::in_words(plan).map(|long| format!(", critical path {long}")).unwrap_or_default();
    let name = if files > 1 { format!("{}: ", file.display()) } else { String::new() };
    format!("{name}ok: {}{long}", count(plan.steps.len(), "step"))
}

/// The problems of a plan as a person reads them.
pub(super) fn render(session: &Session, problems: &Problems) -> String {
    error::report(problems, session.ui.paint.on, session.ui.size().0)
}

/// Warnings go to stderr and change nothing.
pub(super) fn warn(session: &Session, warnings: &[Problem]) {
    if !warnings.is_empty() {
        session.ui.say(&error::report_list(warnings, session.ui.paint.on, session.ui.size().0));
    }
}

/// Reads a plan that is about to run, or ends with every problem that it has.
pub(super) fn load_plan(session: &Session, file: &Path, given: &Given) -> Result<Plan, Fatal> {
    match load::load(file, given) {
        Ok(loaded) => {
            warn(session, &loaded.warnings);
            Ok(loaded.plan)
        }
        Err(problems) => {
            session.ui.say(&render(session, &problems));
            let meant = plan_of_deployment(session, file);
            Err(meant.into_iter().fold(Fatal::new(Exit::Invalid, ""), Fatal::hint))
        }
    }
}

/// What to say where a deployment is named in the place of its plan.
fn plan_of_deployment(session: &Session, file: &Path) -> Option<String> {
    let name = file.to_str().filter(|_| !file.exists())?;
    let state = journal::read(&Home::new(&session.state, name).ok()?).ok()?.state;
    Some(format!("`{name}` is a deployment; its plan is `{}`", state.current()?.opened.file))
}
