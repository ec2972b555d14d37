//! `runbook schema`: the plan language, or that of hints, as a JSON Schema, for editors.

use clap::Args;

use super::Session;
use super::exit::Exit;
use crate::plan::{schema, schema_hints};

/// Print the JSON Schema of the plan language
#[derive(Args, Debug)]
#[command(
    after_help = "Example: runbook schema > schema.json, and in a plan: # yaml-language-server: $schema=schema.json"
)]
pub(super) struct Schema {
    /// That of a file of hints instead
    #[arg(long)]
    hints: bool,
}

impl Schema {
    pub(super) fn run(&self, session: &Session) -> Exit {
        let schema = if self.hints { schema_hints::of_file() } else { schema::schema() };
        let text = serde_json::to_string_pretty(&schema).expect("a JSON value has a text");
        session.ui.data(&format!("{text}\n"));
        Exit::Holds
    }
}
