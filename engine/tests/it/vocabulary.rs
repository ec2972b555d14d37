//! `-o json` of every command speaks one language: the same thing has the same name everywhere, and a name the same sort of value.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sort {
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    /// As in `2026-01-31T12:00:00Z`.
    Time,
    Seconds,
    Number,
    Flag,
    /// A step of the plan.
    Step,
    Steps,
    /// Lines for a person.
    Lines,
    /// Objects with names of this vocabulary.
    List,
    /// An object whose names are somebody else's.
    Free,
}
use Sort::{Flag, Free, Lines, List, Number, Seconds, Step, Steps, Text, Time, Word};

/// How a step stands.
const OUTCOMES: &[&str] = &[
    "waiting",
    "running",
    "retrying",
    "ok",
    "changed",
    "skipped",
    "failed",
    "blocked",
    "cancelled",
    "unknown",
    "left_out",
    "undoing",
    "undone",
];
const FATES: &[&str] = &["reuse", "stale", "run", "settle", "look", "again", "left", "skip", "gone"];
const FOUND: &[&str] = &["holds", "drift", "unseen", "blind", "not_done", "skipped"];
const VERDICTS: &[&str] = &["holds", "failed", "needs_person", "interrupted"];

/// Every name, and what stands under it. Nothing may stand under any of them where there is nothing to say.
const NAMES: &[(&str, Sort)] = &[
    ("deployment", Text),
    ("deployments", List),
    ("rehearsal", Text),
    ("simulated", Text),
    ("plan", Text),
    ("file", Text),
    ("command", Text),
    ("run", Number),
    ("runs", List),
    ("held", Flag),
    ("verdict", Word(VERDICTS)),
    ("signal", Text),
    ("summary", Text),
    ("who", Text),
    ("pid", Number),
    ("selection", Text),
    ("left_out", Steps),
    ("kept_stale", Steps),
    ("began", Time),
    ("last", Time),
    ("took_seconds", Seconds),
    ("estimate_seconds", Seconds),
    ("critical_path", Steps),
    ("steps", List),
    ("step", Step),
    ("step_count", Number),
    ("outcome", Word(OUTCOMES)),
    ("fate", Word(FATES)),
    ("found", Word(FOUND)),
    ("drift", Flag),
    ("reused", Flag),
    ("attempts", Number),
    ("by", Steps),
    ("why", Lines),
    ("stale", Lines),
    ("failure", Free),
    ("outputs", Free),
    // What is undone.
    ("does", Lines),
    ("doubtful", Flag),
    ("confirm", Text),
    ("gone", Flag),
    ("goes_with", List),
    ("cluster", Step),
    ("left_alone", List),
    ("there_before", Steps),
    // What a diagnosis finds.
    ("about", Steps),
    ("findings", List),
    ("others", List),
    ("unseen", Lines),
    ("hint", Text),
    ("from", Text),
    ("cause", Text),
    ("fix", Text),
    ("docs", Text),
    ("seen", Text),
    ("subject", Text),
    ("look", Text),
    ("remedy", Step),
    ("trouble", Flag),
    // What is wrong with a plan.
    ("ok", Flag),
    ("problems", List),
    ("warnings", List),
    ("line", Number),
    ("column", Number),
    ("severity", Text),
    ("code", Text),
    ("message", Text),
    ("remark", Text),
    ("help", Text),
    // What a step can be.
    ("kind", Text),
    ("example", Text),
    ("read_only", Flag),
    ("observes", Flag),
    ("idempotent", Flag),
    ("with", Free),
];

/// Said only where a cluster is undone.
const IN_A_CLOUD: &str = "cluster";

const STEPS: [&str; 6] = ["ask", "bad", "after", "good", "heal", "greet"];

fn is_step(value: &Value) -> bool {
    value.as_str().is_some_and(|name| STEPS.contains(&name))
}

fn all(value: &Value, is: fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(is))
}

impl Sort {
    fn fits(self, value: &Value) -> bool {
        match self {
            Text => value.is_string(),
            Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Time => value.as_str().is_some_and(|time| time.parse::<jiff::Timestamp>().is_ok()),
            Seconds => value.as_f64().is_some_and(|seconds| seconds >= 0.0),
            Number => value.is_u64(),
            Flag => value.is_boolean(),
            Step => is_step(value),
            Steps => all(value, is_step),
            Lines => all(value, Value::is_string),
            List => all(value, Value::is_object),
            Free => value.is_object(),
        }
    }
}

/// Goes through all that a command has printed, and remembers the names that it met.
fn check(command: &str, value: &Value, met: &mut BTreeSet<&'static str>) {
    if let Some(items) = value.as_array() {
        items.iter().for_each(|item| check(command, item, met));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let known = NAMES.iter().find(|(known, _)| known == name);
        let (known, sort) = known.unwrap_or_else(|| panic!("`{command}` says `{name}`, which is no name: {value}"));
        assert!(value.is_null() || sort.fits(value), "`{name}` of `{command}` is not {sort:?}: {value}");
        assert_eq!(*sort == Seconds, name.ends_with("_seconds"), "a span says its unit: {name}");
        met.insert(known);
        if *sort == List {
            check(command, value, met);
        }
    }
}

const PLAN: &str = "runbook: 1
name: talks
steps:
  ask: { manual: { ask: Say it., outputs: { said: { type: string } } } }
  bad:
    run: test -e healed || { echo 'it is ill' >&2; exit 1; }
    hints: [{ match: { error: it is ill }, cause: It is ill., fix: Heal it., remedy: heal }]
  after: { needs: [bad], run: 'true' }
  good: { run: touch made, undo: { run: rm made, confirm: It goes. } }
  heal: { on_demand: true, run: touch healed }
";

#[test]
fn every_command_speaks_it_and_nothing_of_it_is_unspoken() {
    let sandbox = Sandbox::new();
    sandbox.write("talks.yaml", PLAN);
    sandbox.write("bad.yaml", "runbook: 1\nsteps: { greet: { rum: echo } }\n");
    let mut met = BTreeSet::new();
    let mut speaks = |args: &[&str], code: i32| {
        let ran = sandbox.run(&[args, &["-o", "json"]].concat()).exits(code);
        let value: Value = serde_json::from_str(&ran.out).expect("JSON on stdout and nothing else");
        check(&args.join(" "), &value, &mut met);
        value
    };
    for args in [&["check", "talks.yaml"][..], &["plan", "talks.yaml"], &["kinds"], &["kinds", "git.clone"]] {
        speaks(args, 0);
    }
    speaks(&["check", "bad.yaml", "talks.yaml"], 3);
    let ran = speaks(&["apply", "talks.yaml"], 4);
    assert_eq!(ran["steps"][2]["by"][0], "bad", "{ran}");
    assert_eq!(ran["steps"][0]["failure"]["class"], "needs-person", "{ran}");
    speaks(&["status"], 0);
    speaks(&["diagnose"], 0);
    let part = speaks(&["resume", "--only", "heal"], 0);
    assert_eq!((&part["selection"], &part["left_out"][0]), (&"--only heal".into(), &"after".into()));
    speaks(&["apply", "talks.yaml", "--answer", "ask.said=it"], 0);
    sandbox.write("talks.yaml", &PLAN.replace("'true'", "'true # else'"));
    speaks(&["plan", "talks.yaml"], 0);
    assert_eq!(speaks(&["apply", "talks.yaml", "--stale", "keep"], 0)["kept_stale"][0], "after");
    let status = speaks(&["status"], 0);
    assert_eq!(status["steps"][2]["why"], status["steps"][2]["stale"], "{status}");
    for args in [&["status", "--runs"][..], &["verify"], &["destroy", "--dry-run"], &["destroy", "--yes"]] {
        speaks(args, 0);
    }
    speaks(&["status"], 0);
    speaks(&["rehearse", "talks.yaml"], 7);
    sandbox.write("other.yaml", "runbook: 1\nname: other\nsteps: { greet: { run: 'true' } }\n");
    speaks(&["apply", "other.yaml"], 0);
    speaks(&["status"], 0);
    let unspoken: Vec<&str> =
        NAMES.iter().map(|(name, _)| *name).filter(|name| !met.contains(name) && *name != IN_A_CLOUD).collect();
    assert!(unspoken.is_empty(), "{unspoken:?}");
}
