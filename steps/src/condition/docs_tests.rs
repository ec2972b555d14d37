//! `docs/readiness.md` on conditions: what it shows is read, and what it calls wrong is refused as it says.

use serde_json::Value;

use super::Condition;

const DOCS: &str = include_str!("../../docs/readiness.md");

fn section() -> &'static str {
    let (_, rest) = DOCS.split_once("\n## Conditions\n").expect("the section");
    rest.split("\n## ").next().expect("the section")
}

fn read(text: &str) -> Result<Condition, String> {
    let value: Value = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    Condition::read(&value).map_err(|error| format!("{}: {}", error.path, error.message))
}

#[test]
fn the_examples_are_read() {
    let (_, rest) = section().split_once("```yaml\n").expect("the examples");
    let text = rest.split("```").next().expect("the examples");
    let items: Vec<Value> = serde_yaml::from_str(text).expect("a list");
    assert!(items.len() > 20);
    for item in items {
        Condition::read(&item).unwrap_or_else(|error| panic!("{item}: {}: {}", error.path, error.message));
    }
}

#[test]
fn the_mistakes_are_refused_at_their_place() {
    let (_, rest) = section().split_once("| condition | place | message |").expect("the table");
    let rows: Vec<&str> = rest.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<String> = row.trim_matches('|').split('|').map(|it| it.trim().replace('\u{1}', "|")).collect();
        let [condition, place, message] = cells.as_slice() else { panic!("{row}") };
        let error = read(condition.trim_matches('`')).expect_err(condition);
        let expected = format!("{}: ", place.trim_matches('`'));
        assert!(error.starts_with(&expected) && error.contains(message), "{condition}: {error}");
    }
}
