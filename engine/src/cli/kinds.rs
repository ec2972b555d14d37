//! `runbook kinds`: what a step can be.

use clap::Args;
use runbook_steps::{Effect, KINDS, Kind};

use super::Session;
use super::exit::{Exit, Fatal};
use crate::plan::error::did_you_mean;
use crate::report::words;

/// List the kinds of steps, or explain one
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook kinds gke.cluster")]
pub(super) struct Kinds {
    /// The kind to explain
    kind: Option<String>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: super::check::Output,
}

impl Kinds {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let chosen: Vec<&Kind> = match &self.kind {
            None => KINDS.to_vec(),
            Some(name) => vec![runbook_steps::kind(name).ok_or_else(|| unknown(name))?],
        };
        match (self.output, &self.kind) {
            (super::check::Output::Json, _) => session.ui.data(&json(&chosen)),
            (super::check::Output::Text, None) => session.ui.page(&table(&chosen)),
            (super::check::Output::Text, Some(_)) => {
                chosen.iter().for_each(|kind| session.ui.page(&explain(kind)));
                // To be copied as it is.
                chosen.iter().for_each(|kind| session.ui.data(&example(kind)));
            }
        }
        Ok(Exit::Holds)
    }
}

fn unknown(name: &str) -> Fatal {
    let fatal = Fatal::new(Exit::Usage, format!("there is no kind `{name}`"));
    let near = did_you_mean(name, KINDS.iter().map(|kind| kind.name));
    near.into_iter().fold(fatal, Fatal::hint).hint("`runbook kinds` lists them all")
}

fn table(kinds: &[&Kind]) -> String {
    let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or(0);
    kinds.iter().map(|kind| format!("{}  {}\n", words::pad(kind.name, width), kind.summary)).collect()
}

fn explain(kind: &Kind) -> String {
    let effect = match kind.effect {
        Effect::Reads => "only looks",
        Effect::Changes(_) => "changes the world",
    };
    let looks = match (kind.observes, kind.idempotent) {
        (true, _) => "looks first, so a crash in the middle settles itself",
        (false, true) => "cannot look, but may be repeated",
        (false, false) => "cannot look: give the step a `check`, or `idempotent: true` if a repeat is safe",
    };
    let mut text = format!("{}: {}\n\n{}\n\n{effect}; {looks}.\n", kind.name, kind.summary, kind.docs.trim());
    text.push_str(&fields(&(kind.schema)()));
    if !kind.outputs.is_empty() {
        text.push_str("\noutputs\n");
        for output in kind.outputs {
            text.push_str(&format!("  {}  {}\n", words::pad(output.name, 16), output.about));
        }
    }
    text
}

fn example(kind: &Kind) -> String {
    format!("\nexample\n{}\n", indent(kind.example.trim_end()))
}

fn fields(schema: &serde_json::Value) -> String {
    let Some(properties) = schema["properties"].as_object() else { return String::new() };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    let mut text = String::from("\nwith\n");
    for (name, property) in properties {
        let must = if required.contains(&name.as_str()) { " (required)" } else { "" };
        let about = property["description"].as_str().unwrap_or("").replace('\n', " ");
        text.push_str(&format!("  {}  {about}{must}\n", words::pad(name, 16)));
    }
    text
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn json(kinds: &[&Kind]) -> String {
    let list: Vec<_> = kinds
        .iter()
        .map(|kind| {
            serde_json::json!({
                "kind": kind.name, "summary": kind.summary, "docs": kind.docs, "example": kind.example,
                "read_only": kind.effect == Effect::Reads, "observes": kind.observes, "idempotent": kind.idempotent,
                "outputs": outputs(kind), "with": (kind.schema)(),
            })
        })
        .collect();
    format!("{}\n", serde_json::to_string_pretty(&list).expect("a JSON value has a text"))
}

/// What a step of a kind gives to others, and what each of it is.
fn outputs(kind: &Kind) -> serde_json::Map<String, serde_json::Value> {
    kind.outputs.iter().map(|output| (output.name.to_owned(), output.about.into())).collect()
}
