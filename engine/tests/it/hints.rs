//! The hints that come with the program: each is the best for what it was written for, and the table of them is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use runbook::hints::{Hint, HintMatch, Origin, Seen, best, shipped};
use runbook::plan::error::report_list;
use runbook::plan::{Given, load};
use runbook_steps::Facts;
use runbook_steps::failure::Objects;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn id(hint: &Hint) -> &str {
    hint.id.as_deref().unwrap_or_default()
}

/// The hints that a step of a kind sees.
fn seen_by(kind: &str) -> impl Iterator<Item = &Hint> {
    shipped::hints().iter().filter(move |hint| hint.kind.as_deref().is_none_or(|wanted| wanted == kind))
}

#[test]
fn they_are_well_formed() {
    assert_eq!(report_list(&shipped::checked().1, false, 120), "");
}

#[test]
fn each_has_a_name_of_its_own_and_a_trigger() {
    let mut names = BTreeSet::new();
    let (hints, _) = shipped::checked();
    assert_eq!(hints.len(), shipped::hints().len());
    for hint in &hints {
        assert!(names.insert(id(hint)), "two hints are called `{}`", id(hint));
        assert!(!hint.triggers.is_empty(), "`{}` has no trigger", id(hint));
    }
    assert!(shipped::hints().iter().all(|hint| hint.origin < Origin::Folder));
}

#[test]
fn each_is_the_best_for_its_own_triggers() {
    let mut wrong = Vec::new();
    for hint in &shipped::checked().0 {
        for (number, trigger) in hint.triggers.iter().enumerate() {
            let facts = trigger.facts();
            let found = best::best(seen_by(trigger.kind()), trigger.seen(&facts));
            if found.map(id) != Some(id(hint)) {
                wrong.push(format!("trigger {number} of `{}` is recognised by {:?}", id(hint), found.map(id)));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn every_file_of_the_folder_is_compiled_in() {
    let mut names: Vec<String> = files("plans/hints", "yaml");
    names.sort();
    let known: Vec<String> = shipped::FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, known);
}

/// The names of the files in a folder with an ending.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder").flatten().map(|entry| entry.path());
    let kept = entries.filter(|path| path.extension().is_some_and(|found| found == ending));
    kept.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

#[test]
fn the_schema_of_their_files_is_current() {
    let known = fs::read_to_string(root().join("plans/hints/schema.json")).expect("the schema");
    let schema = serde_json::to_string_pretty(&runbook::plan::schema_hints::of_file()).expect("a JSON value");
    assert_eq!(known.trim_end(), schema, "run: cargo run -q -- schema --hints > plans/hints/schema.json");
}

/// A row of the table in the documentation.
struct Row {
    /// Nothing for what no guide has.
    number: Option<usize>,
    hints: Vec<String>,
    scenarios: Vec<String>,
    rest: String,
}

/// What stands in backticks in a cell.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn table() -> Vec<Row> {
    let text = fs::read_to_string(root().join("steps/docs/hints.md")).expect("the documentation");
    let lines = text.lines().skip_while(|line| !line.starts_with("| row |")).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let number = cells[0].parse().ok();
        Row { number, hints: quoted(cells[2]), scenarios: quoted(cells[4]), rest: cells[4].to_owned() }
    };
    lines.take_while(|line| line.starts_with('|')).map(row).collect()
}

/// The rows that must have a scenario.
const REHEARSED: [usize; 33] = [
    1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 22, 23, 24, 25, 26, 30, 32, 33, 34, 35, 36, 41, 49, 53, 54,
    55, 64,
];

#[test]
fn the_table_has_every_row_and_every_hint() {
    let table = table();
    assert!(table.iter().filter_map(|row| row.number).eq(1..=72), "and what no guide knows comes last");
    let known: BTreeSet<&str> = shipped::hints().iter().map(id).collect();
    let told: BTreeSet<&str> = table.iter().flat_map(|row| &row.hints).map(String::as_str).collect();
    assert_eq!(known, told);
    for row in &table {
        let reason = row.rest.len() > 20;
        assert!(!row.hints.is_empty() || reason, "row {:?} has neither a hint nor a reason", row.number);
    }
}

#[test]
fn what_is_rehearsed_says_what_its_row_promises() {
    let texts: BTreeMap<&str, String> =
        shipped::hints().iter().map(|hint| (id(hint), format!("{} {}", hint.cause, hint.fix))).collect();
    for row in table() {
        assert!(
            !row.scenarios.is_empty() || !row.number.is_some_and(|row| REHEARSED.contains(&row)),
            "row {:?} has no scenario",
            row.number
        );
        for name in &row.scenarios {
            let text = fs::read_to_string(root().join(format!("plans/rehearsals/{name}.yaml"))).expect("the scenario");
            let scenario: serde_json::Value = serde_yaml::from_str(&text).expect("YAML");
            let wanted = scenario["expect"]["hint"].clone();
            let wanted: Vec<String> = match wanted {
                serde_json::Value::Array(all) => all.iter().filter_map(|it| it.as_str().map(str::to_owned)).collect(),
                one => one.as_str().map(str::to_owned).into_iter().collect(),
            };
            // Some say the words of a hint that the plan itself has.
            let promised = |wanted: &String| row.hints.iter().any(|hint| texts[hint.as_str()].contains(wanted));
            let own = name.starts_with("native-gateway");
            assert!(!wanted.is_empty() && (own || wanted.iter().any(promised)), "`{name}` of row {:?}", row.number);
        }
    }
}

const REMEDY: &str = "runbook: 1
name: ill
steps:
  works:
    run: test -e healed || { echo 'it is ill' >&2; exit 1; }
    hints:
      - match: { error: it is ill }
        cause: It is ill.
        fix: Heal it.
        remedy: heal
  after: { needs: [works], run: 'true' }
  heal:
    on_demand: true
    run: touch healed
";

#[test]
fn a_remedy_is_said_where_nobody_can_be_asked_and_runs_only_by_name() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", REMEDY);
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4).says("remedy  runbook resume ill --only heal");
    assert!(ran.err.contains("1 step ran in") && !sandbox.path("healed").exists(), "{}", ran.err);
    sandbox.run(&["resume", "--only", "heal"]).exits(0).says("what was asked for holds");
    sandbox.run(&["resume"]).exits(0).says("everything holds");
    sandbox.run(&["plan", "plan.yaml"]).exits(0);
}

/// The container of the endpoint picker has the name of the model's, and runs long before it.
#[test]
fn the_stages_of_the_model_are_of_its_own_pod() {
    let plan = load(&root().join("plans/native-gateway.yaml"), &Given::default()).expect("it checks").plan;
    let stages = &plan.steps[plan.step("workload").expect("it is there")].stages;
    let pod = |image: &str, state: &str, status: Value| {
        let mut pod = json!({ "kind": "Pod", "status": status });
        pod["status"]["containerStatuses"] = json!([{ "name": "main", "image": image, "state": { state: {} } }]);
        pod
    };
    let picker = pod("ghcr.io/llm-d/llm-d-inference-scheduler:v0.4.0", "running", json!({}));
    let server = |state| {
        let init = json!({ "initContainerStatuses": [{ "name": "storage-initializer", "state": { "waiting": {} } }] });
        pod("registry.redhat.io/rhaiis/vllm-tpu-rhel9:3.2.5", state, init)
    };
    let reached = |pods: &[&Value]| -> Vec<&str> {
        let events = vec!["Scheduled: Successfully assigned".to_owned(), "Started: Started container main".to_owned()];
        let facts = Facts { events, objects: Objects::new(pods.iter().copied()), ..Facts::default() };
        let shows =
            |matches: &HintMatch| best([&Hint::new(matches.clone(), "", "")], Seen::progress("", &facts)).is_some();
        stages.iter().filter(|stage| shows(&stage.matches)).map(|stage| stage.name.as_str()).collect()
    };
    assert_eq!(reached(&[&picker]), [""; 0]);
    assert_eq!(reached(&[&picker, &server("waiting")]), ["scheduled"]);
    assert_eq!(reached(&[&picker, &server("running")]), ["scheduled", "loading and compiling"]);
}
