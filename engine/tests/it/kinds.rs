//! Every kind is documented, and its example is a step that checks.

use runbook_steps::KINDS;

use crate::sandbox::Sandbox;

#[test]
fn every_kind_says_what_it_is() {
    for kind in KINDS {
        assert!(!kind.summary.is_empty() && !kind.summary.ends_with('.'), "the summary of {}", kind.name);
        assert!(kind.docs.len() > 80, "the documentation of {}", kind.name);
        let schema = (kind.schema)();
        assert!(
            schema["properties"].is_object() || schema["anyOf"].is_array(),
            "the schema of {}: {schema}",
            kind.name
        );
    }
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn every_example_checks() {
    let sandbox = Sandbox::new();
    for kind in KINDS {
        let steps: String = kind.example.lines().map(|line| format!("  {line}\n")).collect();
        let steps = format!("{steps}{}", referred_to(kind.example));
        let inputs = inputs_of(kind.example);
        sandbox.write("example.yaml", &format!("runbook: 1\nname: example\n{inputs}steps:\n{steps}"));
        let ran = sandbox.run(&["check", "example.yaml"]);
        assert_eq!(ran.code, 0, "the example of {}:\n{}\n{}", kind.name, kind.example, ran.err);
    }
}

#[test]
fn every_file_of_kinds_is_listed() {
    let dir = crate::sandbox::repository().join("steps/src/kinds");
    let table = std::fs::read_to_string(dir.join("mod.rs")).expect("the table of kinds");
    for entry in std::fs::read_dir(dir).expect("the kinds").flatten() {
        let name = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(name == "mod" || table.contains(&format!("mod {name};")), "{name} is not in kinds/mod.rs");
    }
}

/// Steps whose outputs an example uses, so that it can be checked alone.
fn referred_to(example: &str) -> String {
    let names = example.split("steps.").skip(1).filter_map(|rest| rest.split('.').next());
    let names: std::collections::BTreeSet<&str> =
        names.filter(|name| !example.starts_with(&format!("{name}:"))).collect();
    names.into_iter().map(|name| format!("  {name}: {{ command: ['true'] }}\n")).collect()
}

/// The inputs that an example uses, declared.
fn inputs_of(example: &str) -> String {
    let part = |rest: &str| {
        rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().map(ToOwned::to_owned)
    };
    let names: std::collections::BTreeSet<String> = example.split("inputs.").skip(1).filter_map(part).collect();
    let declared: String = names
        .iter()
        .map(|name| {
            let default = if name == "zone" { "europe-west4-a" } else { "my-project" };
            format!("  {name}: {{ type: string, default: {default} }}\n")
        })
        .collect();
    if declared.is_empty() { declared } else { format!("inputs:\n{declared}") }
}
