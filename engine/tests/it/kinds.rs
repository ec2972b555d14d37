//! Every kind is documented, and its example is a step that checks.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runbook_steps::KINDS;
use serde_json::Value;

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

/// No field of any kind is without a word on what it is, nor one of those below it.
#[test]
fn every_field_is_documented() {
    fn undocumented(schema: &Value, at: &str, found: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if field.get("description").is_none() && field.get("$ref").is_none() && field.get("const").is_none() {
                found.push(format!("{at}.{name}"));
            }
        }
        match schema {
            Value::Object(map) => {
                map.iter().for_each(|(name, inner)| undocumented(inner, &format!("{at}.{name}"), found));
            }
            Value::Array(items) => items.iter().for_each(|item| undocumented(item, at, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    KINDS.iter().for_each(|kind| undocumented(&(kind.schema)(), kind.name, &mut found));
    assert_eq!(found, [] as [String; 0]);
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
        let (inputs, secrets) = (inputs_of(kind.example), secrets_of(kind.example));
        sandbox.write("example.yaml", &format!("runbook: 1\nname: example\n{inputs}{secrets}steps:\n{steps}"));
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
    let names: BTreeSet<&str> = names.filter(|name| !example.starts_with(&format!("{name}:"))).collect();
    names.into_iter().map(|name| format!("  {name}: {{ command: ['true'] }}\n")).collect()
}

/// What an example names after a word such as `inputs.`.
fn names_after(example: &str, word: &str) -> BTreeSet<String> {
    let part = |rest: &str| {
        rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().map(ToOwned::to_owned)
    };
    example.split(word).skip(1).filter_map(part).collect()
}

/// The secrets that an example uses, declared.
fn secrets_of(example: &str) -> String {
    let declared: String = names_after(example, "secrets.")
        .iter()
        .map(|name| format!("  {name}: {{ from: [{{ env: {} }}] }}\n", name.to_uppercase()))
        .collect();
    if declared.is_empty() { declared } else { format!("secrets:\n{declared}") }
}

/// The inputs that an example uses, declared.
fn inputs_of(example: &str) -> String {
    let names = names_after(example, "inputs.");
    let declared: String = names
        .iter()
        .map(|name| {
            let default = if name == "zone" { "europe-west4-a" } else { "my-project" };
            format!("  {name}: {{ type: string, default: {default} }}\n")
        })
        .collect();
    if declared.is_empty() { declared } else { format!("inputs:\n{declared}") }
}

/// What the kinds' documentation says.
fn docs(kind: &str) -> String {
    let words: Vec<&str> = runbook_steps::kind(kind).expect("a kind").docs.split_whitespace().collect();
    words.join(" ")
}

/// A server on loopback that answers each request with 200, and how many it has had.
fn server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, asked) = (listener.local_addr().expect("its address"), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.expect("a connection");
            let _ = connection.read(&mut [0; 4096]);
            count.fetch_add(1, Ordering::SeqCst);
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        }
    });
    (format!("http://{address}/"), asked)
}

#[test]
fn a_probe_that_held_is_asked_again_by_those_who_the_docs_say_ask_again() {
    for kind in ["http.probe", "secret.check", "tools"] {
        let said = docs(kind);
        let expected = "Later runs do not ask again where the answer was good and the step still says the same; `runbook verify` \
                        does, and `apply --redo STEP`.";
        assert!(said.contains(expected), "{said}");
    }
    let (sandbox, (url, asked)) = (Sandbox::new(), server());
    let plan = |path: &str| {
        format!("runbook: 1\nname: asks\nsteps:\n  a: {{ uses: http.probe, with: {{ url: '{url}{path}' }} }}\n")
    };
    sandbox.write("plan.yaml", &plan(""));
    for (args, total) in [
        (&["apply", "plan.yaml"][..], 1),
        (&["apply", "plan.yaml"], 1),
        (&["verify"], 2),
        (&["apply", "plan.yaml", "--redo", "a"], 3),
    ] {
        sandbox.run(args).exits(0);
        assert_eq!(asked.load(Ordering::SeqCst), total, "{args:?}");
    }
    sandbox.write("plan.yaml", &plan("other"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(asked.load(Ordering::SeqCst), 4, "it says something else");
}

#[test]
fn what_lets_a_program_go_on_after_a_crash_is_what_its_docs_say() {
    for (way, code) in [("", 7), ("read_only: true, ", 0), ("idempotent: true, ", 0)] {
        for kind in ["run", "command", "make"] {
            let said = docs(kind);
            assert!(
                said.contains("waits for a person (`runbook settle`)") && said.contains(way.trim_end_matches(", "))
            );
        }
        let sandbox = Sandbox::new();
        let script = "if mkdir begun; then kill -9 $PPID; sleep 60; fi";
        sandbox.write("plan.yaml", &format!("runbook: 1\nname: crash\nsteps:\n  a: {{ {way}run: '{script}' }}\n"));
        sandbox.run(&["apply", "plan.yaml"]);
        assert!(sandbox.path("begun").exists());
        sandbox.run(&["apply", "plan.yaml"]).exits(code);
    }
}
