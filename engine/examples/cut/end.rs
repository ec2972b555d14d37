//! How a rehearsal ended: its records, its outputs, its world; and how two ends differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use runbook_fixtures::ledger::Ledger;
use runbook_fixtures::stage::{Info, process_started};
use serde_json::{Value, json};

use crate::plain::{Plain, difference, is_volatile};
use crate::rehearsal::Cut;
use crate::told::{Told, journal};

/// All that is compared.
pub(crate) struct End {
    /// The journal: the name of each record, and the record.
    pub(crate) records: Vec<(String, Value)>,
    /// What is wrong with it by itself.
    pub(crate) trouble: Vec<String>,
    /// Whether the run came to its end before the record at which it was to die.
    pub(crate) too_short: bool,
    /// Whether this machine was too slow for the speed: a step ran into its timeout.
    pub(crate) too_fast: bool,
    /// The outcome of each step.
    outcomes: BTreeMap<String, String>,
    /// The outputs of the plan and of its steps, plain.
    outputs: BTreeMap<String, Value>,
    /// Every object of the world, plain, by its plain name, which several may have.
    objects: BTreeMap<String, Vec<Value>>,
    /// How often the cloud was asked to make, change or delete something.
    asked: BTreeMap<String, usize>,
}

impl End {
    /// Reads what a rehearsal in this folder left.
    pub(crate) fn read(place: &Path, output: &Output) -> std::io::Result<Self> {
        let root = place.join("rehearsals/scenario");
        let said = std::fs::read_to_string(place.join("said")).unwrap_or_default();
        let records = journal(&the_journal(&root));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let world = std::fs::read(root.join("world/end.json")).unwrap_or_default();
        let world: Value = serde_json::from_slice(&world).unwrap_or_default();
        let plain = Plain::new(place);
        Ok(Self {
            outcomes: outcomes(&result),
            outputs: outputs(&result, &records, &plain),
            objects: objects(&world, &plain),
            asked: asked(&root.join("world/ledger.jsonl"))?,
            trouble: trouble(place, output, &records),
            records,
            too_short: said.contains("so it could not die there"),
            too_fast: said.contains("took longer than its `timeout`"),
        })
    }

    /// In what this end differs from that of the run that was not cut, if it came to one at all.
    pub(crate) fn differences(&self, whole: &Self, cut: Cut) -> Vec<String> {
        let mut wrong = self.trouble.clone();
        if !wrong.is_empty() {
            return wrong;
        }
        let caught = self.in_flight_at(cut);
        wrong.extend(self.other_outcomes(whole, &caught));
        let (was, is) = (whole.outputs_but(&caught), self.outputs_but(&caught));
        wrong.extend(difference(&was, &is).map(|what| format!("output {what}")));
        wrong.extend(difference(&json!(whole.asked), &json!(self.asked)).map(|what| format!("asked {what} times")));
        wrong.extend(self.other_objects(whole));
        wrong
    }

    fn other_outcomes(&self, whole: &Self, caught: &BTreeSet<String>) -> Vec<String> {
        let others = whole.outcomes.iter().filter_map(|(step, wanted)| {
            let found = self.outcomes.get(step).map_or("missing", String::as_str);
            // Its effect was there, and only its record was not.
            let found_done = caught.contains(step) && found == "ok" && wanted == "changed";
            (found != wanted && !found_done).then(|| format!("`{step}` is {found}, was {wanted}"))
        });
        others.collect()
    }

    /// The outputs without those of some steps: what a program prints the second time, when part of its work is there, may be less.
    fn outputs_but(&self, caught: &BTreeSet<String>) -> Value {
        let is_caught = |name: &str| name.split_once('.').is_some_and(|(step, _)| caught.contains(step));
        self.outputs
            .iter()
            .filter(|(name, _)| !is_caught(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn other_objects(&self, whole: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = whole.objects.keys().chain(self.objects.keys()).collect();
        let of = |end: &Self, name: &String| end.objects.get(name).cloned().unwrap_or_default();
        let others = names.into_iter().flat_map(|name| {
            unlike(of(whole, name), of(self, name)).map(move |what| format!("in the world, {name}{what}"))
        });
        others.collect()
    }

    /// The steps that were under way when the engine died.
    fn in_flight_at(&self, cut: Cut) -> BTreeSet<String> {
        let mut caught = BTreeSet::new();
        for (name, record) in self.records.iter().take(usize::try_from(cut.after_record).unwrap_or(usize::MAX)) {
            let step = record["step"].as_str().unwrap_or_default().to_owned();
            match name.as_str() {
                "started" => drop(caught.insert(step)),
                "succeeded" | "failed" => drop(caught.remove(&step)),
                _ => {}
            }
        }
        caught
    }
}

/// The journal of the only deployment below a folder.
fn the_journal(root: &Path) -> PathBuf {
    let found = std::fs::read_dir(root).into_iter().flatten().flatten();
    found.map(|entry| entry.path().join("journal.jsonl")).find(|file| file.is_file()).unwrap_or_default()
}

/// What is wrong with a rehearsal, whatever others came to.
fn trouble(place: &Path, output: &Output, records: &[(String, Value)]) -> Vec<String> {
    let again = Told::by(records).again;
    let mut trouble: Vec<String> = again.iter().map(|step| format!("`{step}` was started after its success")).collect();
    if output.status.success() {
        trouble.extend(left_running(place).map(|process| format!("this is left running: {process}")));
    } else {
        trouble.push(format!("the rehearsal ended with {}; see `said`", output.status));
        end_world(&place.join("rehearsals/scenario/world"));
    }
    trouble
}

/// How objects of one name differ, whatever their order.
fn unlike(mut was: Vec<Value>, mut is: Vec<Value>) -> impl Iterator<Item = String> {
    was.retain(|one| is.iter().position(|other| other == one).map(|index| is.remove(index)).is_none());
    let pairs = was.len().max(is.len());
    (0..pairs).filter_map(move |index| match (was.get(index), is.get(index)) {
        (Some(was), Some(is)) => difference(was, is),
        (Some(_), None) => Some(" is missing".to_owned()),
        (None, _) => Some(" is there, and was not".to_owned()),
    })
}

fn outcomes(result: &Value) -> BTreeMap<String, String> {
    let steps = result["steps"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps.map(|step| (text(&step["step"]), text(&step["outcome"]))).collect()
}

fn outputs(result: &Value, records: &[(String, Value)], plain: &Plain) -> BTreeMap<String, Value> {
    let of_plan = result["outputs"].as_object().into_iter().flatten();
    let mut all: BTreeMap<String, Value> = of_plan.map(|(name, value)| (name.clone(), plain.value(value))).collect();
    for (_, record) in records.iter().filter(|(name, _)| name == "succeeded") {
        let step = record["step"].as_str().unwrap_or_default();
        for (name, value) in record["outputs"].as_object().into_iter().flatten() {
            if !is_volatile(name) {
                all.insert(format!("{step}.{name}"), plain.value(value));
            }
        }
    }
    all
}

/// How often each thing was asked of the cloud that must not be asked twice.
fn asked(ledger: &Path) -> std::io::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for entry in Ledger::read(ledger)? {
        let verb = entry.what.rsplit('.').next().unwrap_or_default();
        if entry.who == "gcp" && matches!(verb, "create" | "insert" | "delete" | "setSize" | "update") {
            *counts.entry(entry.what).or_default() += 1;
        }
    }
    Ok(counts)
}

fn objects(world: &Value, plain: &Plain) -> BTreeMap<String, Vec<Value>> {
    let mut all = BTreeMap::from([("the cloud".to_owned(), vec![plain.value(&world["cloud"])])]);
    for (_, objects) in world["clusters"].as_object().into_iter().flatten() {
        for (key, object) in objects.as_object().into_iter().flatten().filter(|(key, _)| !is_passing(key)) {
            all.entry(plain.text(key)).or_default().push(plain.value(object));
        }
    }
    all
}

/// What tells of the way there, not of where it ended.
fn is_passing(key: &str) -> bool {
    key.starts_with("events.") || key.starts_with("leases.")
}

/// Ends a world that stayed up because its rehearsal did not hold, and waits until it has: its folder may be removed next.
fn end_world(dir: &Path) {
    let Ok(Some(info)) = Info::read(dir) else { return };
    for _ in 0..100 {
        if process_started(info.pid) != Some(info.pid_started) {
            return;
        }
        let _ = std::process::Command::new("kill").arg(info.pid.to_string()).stderr(Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes that still know the rehearsal's folder.
fn left_running(place: &Path) -> impl Iterator<Item = String> {
    let place = place.to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(move |id| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let command = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let about = format!("{}\0{}", String::from_utf8_lossy(&environment), String::from_utf8_lossy(&command));
        let ours = about.contains(&format!("{place}/"));
        ours.then(|| format!("{id} {}", String::from_utf8_lossy(&command).replace('\0', " ")))
    })
}
