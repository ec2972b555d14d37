//! `runbook graph`: the plan as a picture.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::exit::{Exit, Fatal};
use super::{Inputs, Session, check};
use crate::plan::graph;
use crate::plan::load::Given;

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For Graphviz: pipe it into `dot -Tsvg`.
    #[default]
    Dot,
    /// For Markdown.
    Mermaid,
}

/// Print a plan's graph as DOT or Mermaid
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook graph plans/native-gateway.yaml | dot -Tsvg > plan.svg")]
pub(super) struct Graph {
    /// The plan
    plan: PathBuf,
    /// The language
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    inputs: Inputs,
}

impl Graph {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let given =
            Given { inputs: self.inputs.values(), require_inputs: false, home: session.env.home(), ..Given::default() };
        let plan = check::load_plan(session, &self.plan, &given)?;
        session.ui.data(&match self.format {
            Format::Dot => graph::dot(&plan),
            Format::Mermaid => graph::mermaid(&plan),
        });
        Ok(Exit::Holds)
    }
}
