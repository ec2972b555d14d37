//! What a journal says, read without the engine's own code: whoever judges the engine does not ask the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// What the journal says, record by record up to a torn end: its name and all of it.
pub(crate) fn journal(path: &Path) -> Vec<(String, Value)> {
    let text = std::fs::read(path).unwrap_or_default();
    let whole = text.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let records = whole.filter_map(|line| serde_json::from_slice::<Value>(line.get(9..)?).ok());
    records.map(|record| (record["record"].as_str().unwrap_or_default().to_owned(), record)).collect()
}

/// What follows from a journal for each step.
#[derive(Default)]
pub(crate) struct Told {
    /// How many runs were opened.
    pub(crate) runs: usize,
    /// How often each step was started.
    pub(crate) started: BTreeMap<String, usize>,
    /// The steps whose last word is that they succeeded.
    pub(crate) succeeded: BTreeSet<String>,
    /// The steps whose last word is that nobody can tell.
    pub(crate) unknown: BTreeSet<String>,
    /// Steps that were started although they had succeeded.
    pub(crate) again: Vec<String>,
}

impl Told {
    pub(crate) fn by(journal: &[(String, Value)]) -> Self {
        let mut told = Self::default();
        for (name, record) in journal {
            told.hear(name, record["step"].as_str().unwrap_or_default(), record["done"] == true);
        }
        told
    }

    fn hear(&mut self, name: &str, step: &str, done: bool) {
        let owned = || step.to_owned();
        match name {
            "opened" => self.runs += 1,
            "started" => {
                *self.started.entry(owned()).or_default() += 1;
                if self.succeeded.remove(step) {
                    self.again.push(owned());
                }
                self.unknown.remove(step);
            }
            "succeeded" => drop(self.succeeded.insert(owned())),
            "unknown" => drop(self.unknown.insert(owned())),
            "settled" => {
                self.unknown.remove(step);
                let _ = if done { self.succeeded.insert(owned()) } else { self.succeeded.remove(step) };
            }
            _ => {}
        }
    }
}
