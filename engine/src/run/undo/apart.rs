//! What tells the commands of a step's undo apart that read the same, such as two scripts with other values in their environment. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::plan::Deed;
use crate::state::fingerprint::shown;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Does {
    /// As a person could type it.
    pub command: String,
    /// What it is given otherwise than another command that reads the same; mostly nothing.
    pub apart: Vec<String>,
}

impl Does {
    /// What stands behind the command.
    pub fn remark(&self) -> String {
        if self.apart.is_empty() { String::new() } else { format!("  ({})", self.apart.join(", ")) }
    }
}

/// The commands of all deeds.
pub(super) fn does(deeds: &[Deed]) -> Vec<Does> {
    let told: Vec<_> = deeds.iter().map(|deed| (deed.intent(), leaves(&deed.with))).collect();
    let of = |(intent, given): &(Vec<String>, Leaves)| {
        let twins: Vec<&Leaves> = told.iter().filter(|(other, _)| other == intent).map(|(_, leaves)| leaves).collect();
        let apart = differences(given, &twins);
        intent.iter().map(|command| Does { command: command.clone(), apart: apart.clone() }).collect::<Vec<_>>()
    };
    told.iter().flat_map(of).collect()
}

/// By its path, each value that has no others in it.
type Leaves = BTreeMap<String, Value>;

fn differences(given: &Leaves, twins: &[&Leaves]) -> Vec<String> {
    let differs = |(path, value): &(&String, &Value)| twins.iter().any(|twin| twin.get(*path) != Some(*value));
    given.iter().filter(differs).map(|(path, value)| format!("{path}: {}", shown(value))).collect()
}

fn leaves(with: &Value) -> Leaves {
    let (mut found, mut open) = (Leaves::new(), vec![(String::new(), with)]);
    while let Some((path, value)) = open.pop() {
        let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match value {
            Value::Object(map) => open.extend(map.iter().map(|(key, item)| (under(key), item))),
            Value::Array(items) => {
                open.extend(items.iter().enumerate().map(|(at, item)| (format!("{path}[{at}]"), item)));
            }
            plain => drop(found.insert(path, plain.clone())),
        }
    }
    found
}
