//! steps/docs/http.md is true: its tables name the options that there are, and its examples run.

use serde_json::Value;

use crate::bench_rehearsal::Rehearsal;

fn text() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http.md")).unwrap()
}

/// The names in the first column of each table, by the table's head.
fn tables() -> Vec<(String, Vec<String>)> {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text().lines() {
        let Some(row) = line.strip_prefix('|') else {
            inside = false;
            continue;
        };
        let first = row.split('|').next().unwrap().trim().to_owned();
        if !inside {
            tables.push((first, Vec::new()));
        } else if !first.starts_with('-') {
            let names = first.split('`').skip(1).step_by(2).map(str::to_owned);
            tables.last_mut().unwrap().1.extend(names);
        }
        inside = true;
    }
    tables
}

fn properties(schema: &Value) -> Vec<String> {
    let mut names: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    names.sort();
    names
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn schema(kind: &str) -> Value {
    (runbook_steps::kind(kind).unwrap().schema)()
}

fn table(head: &str, nth: usize) -> Vec<String> {
    tables().into_iter().filter(|(found, _)| found == head).nth(nth).unwrap_or_else(|| panic!("no table `{head}`")).1
}

#[test]
fn the_tables_name_all_options_and_no_others() {
    assert_eq!(sorted(table("option", 0)), properties(&schema("http.probe")));
    let bench = schema("http.bench");
    let text = text();
    let shared =
        text.split("The request's options are those of").nth(1).unwrap().split("These are its own").next().unwrap();
    let shared = shared.split('`').skip(3).step_by(2).map(str::to_owned);
    assert_eq!(sorted(shared.chain(table("option", 1)).collect()), properties(&bench));
    assert_eq!(sorted(table("of a scenario", 0)), properties(&bench["$defs"]["Load"]));
    assert_eq!(sorted(table("of `cache_test`", 0)), properties(&bench["$defs"]["CacheTest"]));
}

/// The YAML blocks: each a step.
fn examples() -> Vec<Value> {
    let text = text();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_yaml::from_str(block).unwrap_or_else(|error| panic!("{error}\n{block}"))).collect()
}

/// Takes the assertions on times out: they are the machine's business. What they name must still be there.
fn without_thresholds(mut with: Value) -> (Value, Vec<String>) {
    let mut thresholds = Vec::new();
    if let Some(assertions) = with.get_mut("assert").and_then(Value::as_array_mut) {
        let timed = |text: &str| text.contains("_ms ") || text.contains("_per_s ");
        thresholds.extend(assertions.iter().filter_map(Value::as_str).filter(|text| timed(text)).map(str::to_owned));
        assertions.retain(|assertion| !assertion.as_str().is_some_and(timed));
    }
    (with, thresholds)
}

/// Whether the first word of an assertion names a number.
fn names_a_number(assertion: &str, outputs: &Value) -> bool {
    let path = format!("/{}", assertion.split(' ').next().unwrap().replace('.', "/"));
    outputs.pointer(&path).is_some_and(Value::is_number)
}

#[tokio::test]
async fn every_example_runs_and_expressions_see_what_the_tables_say() {
    // Not so fast that the machine's own delays would count for anything in the examples' thresholds.
    let rehearsal = Rehearsal::at(8.0, 1, Vec::new()).await;
    let (mut responses, mut figures) = (Vec::new(), Vec::new());
    for example in examples() {
        let kind = example["uses"].as_str().unwrap();
        let with: Value =
            serde_json::from_str(&example["with"].to_string().replace("models.example", "203.0.113.7")).unwrap();
        let (with, thresholds) = without_thresholds(with);
        let outputs = rehearsal.run(kind, with).await.unwrap_or_else(|failure| panic!("{example:#}\n{failure:#?}"));
        let all = Value::Object(outputs.clone());
        for threshold in thresholds {
            assert!(names_a_number(&threshold, &all), "{threshold}: {all:#}");
        }
        responses.extend(outputs.get("response").cloned());
        let scenarios =
            outputs.get("bench").and_then(Value::as_object).into_iter().flat_map(|bench| bench.values().cloned());
        figures.extend(scenarios.filter(|row| row.get("load").is_some()));
    }
    assert_eq!(sorted(table("`response.`", 0)), sorted(responses[0].as_object().unwrap().keys().cloned().collect()));
    for name in table("`bench.NAME.`", 0) {
        assert!(figures.iter().any(|row| row.get(&name).is_some()), "no scenario has `{name}`");
    }
}
