//! Plans: what is said about broken ones, to the letter, and what good ones come to.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use runbook::plan::error::report;
use runbook::plan::load::{Given, Loaded, likely_name, load};
use runbook::plan::model::{Accept, Known, StepId};
use runbook::plan::{Plan, Problems, RenderedOutput, graph, schema};
use serde_json::{Value, json};

/// Paths in reports are as given, so they are given relative to this crate, where tests run.
fn file(name: &str) -> PathBuf {
    Path::new("tests/it/plans").join(format!("{name}.yaml"))
}

fn given(inputs: &[(&str, &str)]) -> Given {
    let inputs = inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Given { inputs, require_inputs: true, ..Given::default() }
}

fn good(name: &str) -> Plan {
    load(&file(name), &given(&[])).unwrap_or_else(|problems| panic!("{}", report(&problems, false, 100))).plan
}

fn bad(name: &str, given: &Given) -> Problems {
    match load(&file(name), given) {
        Ok(_) => panic!("{name} has no problems"),
        Err(problems) => problems,
    }
}

fn from_text(text: &str, given: &Given) -> Result<Loaded, Problems> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("plan.yaml");
    std::fs::write(&file, text).expect("written");
    load(&file, given)
}

fn codes(problems: &Problems) -> Vec<&'static str> {
    problems.list.iter().map(|problem| problem.code).collect()
}

/// Compares with `plans/NAME.txt`; with `UPDATE_EXPECTED=1` writes it instead.
#[expect(clippy::disallowed_methods, reason = "a switch for developers, in tests only")]
fn same_as_expected(name: &str, text: &str) {
    let expected = Path::new("tests/it/plans").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&expected, text).expect("written");
    }
    let known = std::fs::read_to_string(&expected).unwrap_or_default();
    assert_eq!(known, text, "{} differs; look at it, then run with UPDATE_EXPECTED=1", expected.display());
}

#[test]
fn what_is_needed_before_anything_runs_counts_as_a_use() {
    let text = "runbook: 1\nname: uses\ninputs:\n  bound: {type: duration, default: 5m}\n  tries: {type: int, default: 2}\n  \
                title: {type: string, default: a name}\n  idle: {type: string, default: nobody}\ndefaults:\n  \
                timeout: ${{ inputs.bound }}\nsteps:\n  one:\n    name: ${{ inputs.title }}\n    command: [/bin/true]\n    \
                retry: {backoff: {initial: '${{ inputs.bound }}', max: 10m}}\n    hints:\n      - match: {error: refused}\n        \
                cause: refused ${{ inputs.tries }} times\n        fix: wait\n";
    let loaded = from_text(text, &given(&[])).unwrap_or_else(|problems| panic!("{}", report(&problems, false, 100)));
    let unused: Vec<_> = loaded.warnings.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(unused, ["input `idle` is never used"]);
}

#[test]
fn reports_are_exact() {
    let names = [
        "many",
        "cycle",
        "duplicate",
        "remedies",
        "merge",
        "tabs",
        "braces",
        "secrets",
        "finally",
        "bad_include",
        "bad_foreach",
        "hints",
        "kinds",
        "conditions",
        "missing",
        "never",
        "newcomer",
    ];
    for name in names {
        same_as_expected(name, &report(&bad(name, &given(&[])), false, 100));
    }
}

/// What could be right is not refused, however odd it looks.
#[test]
fn what_can_run_has_no_problems() {
    good("sound");
}

#[test]
fn braces_without_a_dollar_are_told_where_they_name_something_of_the_plan() {
    let text = "runbook: 1\ninputs: { x: { type: string, default: a } }\nsteps:\n  a: { run: 'echo {{ inputs.x }} $X', env: { X: '${{ \
                inputs.x }}', Y: '{{ inputs.parameters.x }} {{ .x }} {{ x }}', Z: \"${{ {'k': {'l': inputs.x}} | tojson }}\" } }\n";
    let loaded = from_text(text, &given(&[])).unwrap_or_else(|problems| panic!("{}", report(&problems, false, 100)));
    let told: Vec<_> = loaded.warnings.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(told, ["`{{ inputs.x }}` stays as it is"]);
}

#[test]
fn a_plans_name_is_guessed_from_its_head() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("plan.yaml");
    let cases = [
        ("runbook: 1\nname: web\n", "web"),
        ("# name: no\nname:  'a b' \r\n", "a b"),
        ("steps:\n  a:\n    name: inner\n", "plan"),
    ];
    for (text, name) in cases {
        std::fs::write(&file, text).expect("written");
        assert_eq!(likely_name(&file).as_deref(), Some(name), "{text}");
    }
    assert_eq!(likely_name(&dir.path().join("none.yaml")), None);
}

#[test]
fn a_report_is_data_too() {
    let problems = bad("duplicate", &given(&[]));
    let expected = json!([{
        "file": "tests/it/plans/duplicate.yaml", "line": 7, "column": 5, "severity": "error", "code": "yaml::duplicate-key",
        "message": "the key `timeout` is given twice", "remark": "again here", "help": "keep one of them",
    }]);
    assert_eq!(problems.to_json(), expected);
    assert_eq!(problems.to_string(), "tests/it/plans/duplicate.yaml: 1 problem");
}

#[test]
fn wrong_inputs_are_reported_together() {
    let problems = bad("missing", &given(&[("project", "p"), ("replicas", "17"), ("zon", "x")]));
    let messages: Vec<String> = problems.list.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "the plan has no input `zon`",
            "the input `zone` is missing",
            "input `replicas`: 17 is more than the maximum of 16"
        ]
    );
    assert_eq!(problems.list[0].help.as_deref(), Some("did you mean `zone`?"));
}

#[test]
fn a_wrong_input_is_told_with_its_type_and_how_it_is_given() {
    let text = "runbook: 1
inputs:
  zones: { type: list }
  labels: { type: map, default: { a: it's } }
  replicas: { type: int, min: 5 }
  wait: { type: duration, default: 5m }
  size: { type: enum, values: [small, large] }
  name: { type: string, pattern: '^[a-z]+$' }
steps: { a: { run: 'true' } }
";
    let inputs = [("zones", "a,b"), ("labels", "a"), ("replicas", "x"), ("wait", "5"), ("size", "s"), ("name", "7")];
    let problems = from_text(text, &given(&inputs)).expect_err("wrong");
    let help: Vec<&str> = problems.list.iter().filter_map(|problem| problem.help.as_deref()).collect();
    assert_eq!(
        help,
        [
            r#"a `list` is written as JSON or YAML; for example: --input zones='["a", "b"]'"#,
            r#"a `map` is written as JSON or YAML; for example: --input labels='{"a":"it'\''s"}'"#,
            "its type is `int`; for example: --input replicas=5",
            "its type is `duration`; for example: --input wait=5m",
            "its type is `enum`; for example: --input size=small",
            "its type is `string`",
        ]
    );
}

#[test]
fn a_check_needs_no_inputs() {
    let plan = load(&file("missing"), &Given::default()).expect("inputs may be missing").plan;
    assert!(!plan.inputs.contains_key("project"));
    assert_eq!(plan.inputs["replicas"], 1);
}

fn needs(plan: &Plan, id: &str) -> Vec<(String, Accept, bool)> {
    let step = plan.step(id).expect("a step");
    plan.graph.needs[step]
        .iter()
        .map(|edge| (plan.steps[edge.step].id.to_string(), edge.accept, edge.implied))
        .collect()
}

fn named(names: &[(&str, bool)]) -> Vec<(String, Accept, bool)> {
    names.iter().map(|(name, implied)| ((*name).to_owned(), Accept::Succeeded, *implied)).collect()
}

fn known(outputs: &[(&str, Value)]) -> Known {
    let outputs = outputs.iter().map(|(id, outputs)| (StepId::from(*id), outputs.as_object().expect("a map").clone()));
    outputs.collect()
}

#[test]
fn an_include_is_part_of_the_graph() {
    let plan = good("include");
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["kserve.install", "kserve.expose", "kserve.aside", "before", "start", "show", "after"]);
    assert_eq!(needs(&plan, "kserve.install"), named(&[("before", false)]));
    assert_eq!(needs(&plan, "kserve.expose"), named(&[("kserve.install", false), ("start", true)]));
    assert_eq!(needs(&plan, "show"), named(&[("kserve.expose", true)]));
    assert_eq!(needs(&plan, "after"), named(&[("kserve.expose", false), ("kserve.aside", false)]));
}

#[test]
fn values_pass_through_an_include() {
    let plan = good("include");
    let step = |id: &str| &plan.steps[plan.step(id).expect("a step")];
    let started = known(&[("start", json!({"ip": "10.0.0.1"}))]);
    let rendered = step("kserve.expose").render(&started).expect("rendered");
    assert_eq!(rendered.with["env"], json!({"HOST": "host-10.0.0.1"}));
    assert_eq!(
        step("kserve.install").render(&started).expect("rendered").with["env"],
        json!({"NS": "ns-europe-west4-a"})
    );
    let own = json!({"stdout": "v1"}).as_object().expect("a map").clone();
    let outputs = step("kserve.expose").own_outputs(&started, &own).expect("outputs");
    assert_eq!(outputs, [("url".to_owned(), RenderedOutput::Value(json!("http://10.0.0.1/v1")))]);
    let all = known(&[("start", json!({"ip": "10.0.0.1"})), ("kserve.expose", json!({"url": "http://x"}))]);
    assert_eq!(step("show").render(&all).expect("rendered").with["env"], json!({"URL": "http://x"}));
    assert_eq!(Value::Object(plan.final_outputs(&all)), json!({"url": "http://x"}));
    assert!(plan.final_outputs(&Known::default()).is_empty());
}

#[test]
fn items_are_steps_named_by_their_values() {
    let plan = good("foreach");
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        ["secret[hf_token]", "secret[pull_secret]", "grid[a,1]", "grid[a,2]", "grid[b,1]", "grid[b,2]", "last"]
    );
    assert_eq!(needs(&plan, "last").len(), 6);
    let known = known(&[("secret[hf_token]", json!({"stdout": "1"})), ("secret[pull_secret]", json!({"stdout": "2"}))]);
    let rendered = plan.steps[6].render(&known).expect("rendered");
    assert_eq!(
        rendered.with["env"],
        json!({"ALL": r#"{"hf_token":{"stdout":"1"},"pull_secret":{"stdout":"2"}}"#, "ONE": "1"})
    );
    assert_eq!(plan.steps[0].render(&known).expect("rendered").with["argv"], json!(["create", "hf_token"]));
}

const SKIPPING: &str = "
runbook: 1
inputs: { on: { type: bool, default: false }, n: { type: int, default: 3 } }
secrets: { token: { from: [{ env: TOKEN }] } }
steps:
  maybe: { when: inputs.on, run: echo }
  user:
    require: { assert: 'inputs.n > 5', message: 'n is ${{ inputs.n }}', fix: give more }
    run: echo
    env: { A: \"${{ steps.maybe.outputs.stdout | default('none') }}\", T: 'Bearer ${{ secrets.token }}', N: '${{ inputs.n }}' }
    locks: [b, 'a/${{ inputs.n }}', b]
    assert: [exit_code == 0, \"stdout | length > 3\"]
  same: { when: inputs.on, run: echo, env: { A: '${{ steps.maybe.outputs.stdout }}' } }
";

#[test]
fn what_a_skipped_step_gives_is_not_there() {
    let plan = from_text(SKIPPING, &given(&[])).expect("good").plan;
    let nothing = Known::default();
    assert!(!plan.steps[0].is_wanted(&nothing).expect("a condition"));
    let rendered = plan.steps[1].render(&nothing).expect("rendered");
    assert_eq!(rendered.with["env"], json!({"A": "none", "T": "Bearer «secret:token»", "N": 3}));
    assert_eq!(rendered.locks, ["a/3", "b"]);
    let error = plan.steps[2].render(&nothing).expect_err("skipped");
    assert!(error.message.contains("step `maybe` was skipped"), "{}", error.message);
    let place = error.place.expect("a place");
    assert_eq!(&place.source.text[place.span.clone()], "steps.maybe.outputs.stdout");
}

#[test]
fn requirements_and_assertions_say_the_values() {
    let plan = from_text(SKIPPING, &given(&[])).expect("good").plan;
    let unmet = plan.steps[1].unmet(&Known::default()).expect("evaluated").expect("unmet");
    assert_eq!((unmet.message.as_str(), unmet.fix.as_deref()), ("n is 3", Some("give more")));
    let own = json!({"exit_code": 1, "stdout": "abcd"}).as_object().expect("a map").clone();
    let failed = plan.steps[1].failed_assertions(&Known::default(), &own).expect("evaluated");
    assert_eq!(failed, ["`exit_code == 0` does not hold: exit_code is 1"]);
}

#[test]
fn whoever_writes_retry_beside_a_script_means_its_exit_code() {
    let text = "runbook: 1\ndefaults: { retry: { attempts: 2 } }\nsteps:\n  usual: { run: 'false' }\n  own: { run: 'false', \
                retry: { attempts: 3 } }\n  chosen: { run: 'false', retry: { only: [transient] } }\n  kind: { uses: make, with: \
                { dir: ., target: x }, retry: { attempts: 3 } }\n";
    let loaded = from_text(text, &Given::default()).expect("a plan");
    let retried = |id: &str| {
        let step = &loaded.plan.steps[loaded.plan.index[&StepId::from(id)]];
        step.retry.only.contains(&runbook_steps::Class::Permanent)
    };
    assert_eq!(["usual", "own", "chosen", "kind"].map(retried), [false, true, false, false]);
}

#[test]
fn the_critical_path_is_the_longest_by_what_is_expected() {
    let text = "
runbook: 1
steps:
  cluster: { run: echo, expected: 5m..7m }
  repo: { run: echo, expected: 20s }
  model: { needs: [cluster, repo], run: echo, expected: 2m }
  smoke: { needs: [model], run: echo, expected: 10s }
";
    let plan = from_text(text, &given(&[])).expect("good").plan;
    let (path, time) = graph::critical_path(&plan);
    assert_eq!((path, time.as_secs()), (vec![0, 2, 3], 485));
    assert_eq!(graph::waves(&plan), [vec![0, 1], vec![2], vec![3]]);
    assert!(graph::dot(&plan).contains("\"cluster\" -> \"model\";"));
    assert!(graph::mermaid(&plan).contains("s0 --> s2"));
}

#[test]
fn a_final_step_accepts_any_end_of_what_it_mentions() {
    let text = "runbook: 1\nsteps: { a: { run: echo } }\nfinally: { z: { run: echo, env: { A: \"${{ steps.a.outputs.stdout | default('') }}\" } } }\n";
    let plan = from_text(text, &given(&[])).expect("good").plan;
    assert_eq!(needs(&plan, "z"), [("a".to_owned(), Accept::Finished, true)]);
}

#[test]
fn a_large_plan_is_read_and_a_larger_one_refused() {
    let step = |index: usize| {
        format!(
            "  s{index}: {{ needs: [s{}], run: echo, env: {{ N: '${{{{ inputs.n }}}}' }} }}\n",
            index.saturating_sub(1)
        )
    };
    let mut text = "runbook: 1\ninputs: { n: { type: int, default: 1 } }\nsteps:\n  s0: { run: echo }\n".to_owned();
    (1..3_000).for_each(|index| text.push_str(&step(index)));
    assert_eq!(from_text(&text, &given(&[])).expect("good").plan.steps.len(), 3_000);
    let padding = format!("# {}\n", "x".repeat(11 * 1024 * 1024));
    assert_eq!(codes(&from_text(&padding, &given(&[])).expect_err("too large")), ["yaml::too-large"]);
}

#[test]
fn hostile_files_are_refused_quickly() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let _ = writeln!(bomb, "a{level}: &a{level} [{}]", format!("*a{}, ", level - 1).repeat(10));
    }
    for (text, code) in [
        (bomb, "yaml::alias-bomb"),
        (format!("a: {}{}", "[".repeat(100), "]".repeat(100)), "yaml::too-deep"),
        ("runbook: 1\nsteps: {}\n---\nrunbook: 1\n".to_owned(), "yaml::documents"),
        (String::new(), "plan::empty"),
    ] {
        assert_eq!(codes(&from_text(&text, &given(&[])).expect_err("refused")), [code]);
    }
    assert!(from_text(&"[".repeat(200_000), &given(&[])).is_err());
}

#[test]
fn what_cannot_be_read_is_named() {
    let problems = bad("nowhere", &given(&[]));
    assert_eq!(problems.list[0].to_string(), "cannot read the plan `tests/it/plans/nowhere.yaml`: no such file");
    let dir = tempfile::tempdir().expect("a folder");
    let latin = dir.path().join("latin.yaml");
    std::fs::write(&latin, b"name: caf\xe9\n").expect("written");
    let problems = load(&latin, &given(&[])).expect_err("not UTF-8");
    assert!(problems.list[0].message.ends_with("it is not UTF-8 text (byte 9)"), "{}", problems.list[0].message);
}

#[test]
fn the_schema_is_the_same_each_time_and_knows_every_kind() {
    let first = schema::schema();
    assert_eq!(first.to_string(), schema::schema().to_string());
    for kind in runbook_steps::KINDS {
        assert!(first["definitions"].get(format!("with.{}", kind.name)).is_some(), "{}", kind.name);
    }
    let text = first.to_string();
    for part in text.split("\"#/definitions/").skip(1) {
        let name = part.split('"').next().unwrap_or_default();
        assert!(first["definitions"].get(name).is_some(), "nothing is called {name}");
    }
}
