//! `runbook status`: whether what it says of each step is true.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::surroundings::shift;

/// The row of a step, without what is between its words.
fn row(status: &str, step: &str) -> String {
    let is_it = |line: &&str| line.split_whitespace().nth(1) == Some(step);
    let row = status.lines().find(is_it).unwrap_or_else(|| panic!("no row of `{step}`:\n{status}"));
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A step of every sort that a destroy comes across; the clone is there already.
const SORTS: &str = "runbook: 1
name: sorts
steps:
  base: { run: touch base, undo: { run: rm base } }
  found: { needs: [base], uses: git.clone, with: { repo: REPO, ref: COMMIT, dir: clone } }
  looks: { needs: [base], uses: tools, with: { programs: { git: any } } }
  kept: { needs: [base], run: touch kept, undo: false }
  blind: { needs: [base], run: touch blind }
  apart: { uses: tools, with: { programs: { git: any } } }
  needed: { run: touch needed, undo: { run: rm needed } }
  guarded: { needs: [needed], run: touch guarded, undo: { run: rm guarded }, protect: true }
";

fn sorts() -> Sandbox {
    let sandbox = Sandbox::new();
    let git = "git -c user.name=me -c user.email=me@here -c init.defaultBranch=main";
    let make = format!(
        "git init -q repo && cd repo && {git} commit -q --allow-empty -m first && cd .. && git clone -q repo clone && \
         git -C repo rev-parse HEAD > commit"
    );
    sandbox.write("before.yaml", &format!("runbook: 1\nname: before\nsteps: {{ a: {{ run: '{make}' }} }}\n"));
    sandbox.run(&["--state", "before", "apply", "before.yaml"]).exits(0);
    let (repo, commit) = (sandbox.path("repo"), sandbox.read("commit"));
    sandbox.write("plan.yaml", &SORTS.replace("REPO", &repo.display().to_string()).replace("COMMIT", commit.trim()));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox
}

#[test]
fn after_a_destroy_every_word_of_every_sort_of_step_is_true() {
    let sandbox = sorts();
    sandbox.run(&["destroy", "--yes"]).exits(0).says("1 of 1 step undone");
    let status = sandbox.run(&["status"]).exits(0).out;
    let rows = [
        ("base", "↩ base undone"),
        ("found", "- found nothing to undo it was there before"),
        ("looks", "- looks nothing to undo it only looks"),
        ("kept", "· kept not undone the plan keeps it (`undo: false`)"),
        ("blind", "· blind not undone `run` does not know how; give the step an `undo`, or take it back by hand"),
        ("apart", "✓ apart ok"),
        ("needed", "✓ needed not undone"),
        ("guarded", "✓ guarded not undone"),
    ];
    for (step, wanted) in rows {
        let found = row(&status, step);
        assert!(found.starts_with(wanted), "`{found}` is not `{wanted}`");
    }
    assert!(row(&status, "needed").ends_with("`guarded` needs it, and is protected"), "{status}");
    assert!(status.contains("8 steps: 1 undone, 2 nothing to undo, 4 not undone, 1 ok"), "{status}");
    let json: Value = serde_json::from_str(&sandbox.run(&["status", "-o", "json"]).exits(0).out).expect("JSON");
    let outcomes: Vec<&Value> = json["steps"].as_array().expect("steps").iter().map(|step| &step["outcome"]).collect();
    assert_eq!(outcomes, ["undone", "waiting", "waiting", "waiting", "waiting", "ok", "changed", "changed"]);
    // Without the plan nobody knows which of them only looks.
    std::fs::remove_file(sandbox.path("plan.yaml")).expect("there");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert_eq!(row(&status, "found"), "- found nothing to undo");
    assert_eq!(row(&status, "looks"), "- looks nothing to undo");
    assert!(row(&status, "kept").starts_with("· kept not undone the plan keeps it"), "{status}");
}

/// What was left alone is told so whether what it stood on went or not, and whichever of several runs undid that.
#[test]
fn after_a_destroy_in_two_goes_what_still_stands_is_not_undone() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: goes\nsteps:\n  a: { run: 'true', undo: { run: 'test -e go || kill -9 $PPID; sleep 5' } }\n  \
                z: { needs: [a], run: 'true' }\n  apart: { run: 'true' }\n  \
                looks: { needs: [a], uses: tools, with: { programs: { git: any } } }\n";
    sandbox.write("plan.yaml", &plan.replace("sleep 5", "test -e go"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "--yes"]);
    let rows = |status: &str| ["z", "apart", "looks"].map(|step| row(status, step));
    let wanted = ["· z not undone", "✓ apart not undone", "- looks nothing to undo it only looks"];
    let is_so = |status: &str| rows(status).iter().zip(wanted).all(|(row, wanted)| row.starts_with(wanted));
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(is_so(&status), "{status}");
    sandbox.write("go", "");
    sandbox.run(&["destroy", "--yes"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(is_so(&status), "{status}");
}

#[test]
fn what_destroy_has_ended_is_not_in_flight() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: ends\nsteps:\n  a: { run: 'true', undo: { run: 'true' } }\n  \
         i: { needs: [a], run: 'kill -9 $PPID; sleep 9', idempotent: true }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(row(&status, "i").starts_with("◐ i in flight"), "{status}");
    sandbox.run(&["destroy", "--yes"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(row(&status, "i").starts_with("· i not finished"), "{status}");
    let json: Value = serde_json::from_str(&sandbox.run(&["status", "-o", "json"]).exits(0).out).expect("JSON");
    assert_eq!(json["steps"][1]["outcome"], "waiting", "{json}");
}

/// Killed in the middle of being undone; then a run of another step.
#[test]
fn nobody_is_asked_about_a_half_undone_step_that_can_be_looked_at() {
    for (repeat, asks) in [("idempotent: true, ", false), ("", true)] {
        let sandbox = Sandbox::new();
        let steps = format!(
            "  a: {{ {repeat}run: 'true', undo: {{ run: 'kill -9 $PPID; sleep 5' }} }}\n  b: {{ run: 'true' }}\n"
        );
        sandbox.write("plan.yaml", &format!("runbook: 1\nname: asks\nsteps:\n{steps}"));
        sandbox.run(&["apply", "plan.yaml"]).exits(0);
        sandbox.run(&["destroy", "--yes"]);
        sandbox.run(&["apply", "plan.yaml", "--only", "b", "--redo", "b"]).exits(0);
        let status = sandbox.run(&["status"]).exits(0).out;
        assert_eq!(status.contains("settle a --done"), asks, "{status}");
        assert_eq!(row(&status, "a").starts_with("? a unknown"), asks, "{status}");
    }
}

#[test]
fn where_nothing_is_left_to_undo_no_destroy_is_next() {
    let sandbox = Sandbox::new();
    let step = "{ run: 'true', undo: { run: 'true' } }";
    let steps = format!("  a: {step}\n  b: {step}\n  nobody_knows_how: {{ run: 'true' }}\n");
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: all\nsteps:\n{steps}"));
    for flags in [&["--forget", "a"][..], &["--only", "a", "b"]] {
        sandbox.run(&["apply", "plan.yaml"]).exits(0);
        sandbox.run(&[&["destroy", "--yes"][..], flags].concat()).exits(0).says("2 of 2 steps undone");
        let status = sandbox.run(&["status"]).exits(0).out;
        assert!(!status.contains("next"), "{status}");
    }
}

#[test]
fn what_is_stale_and_was_kept_is_said_with_the_reason() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: hello\ninputs: { who: { type: string, default: world } }\nsteps:\n  \
                greet: { run: 'echo \"$WHO\"', env: { WHO: '${{ inputs.who }}' } }\n  other: { run: 'true' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let status = |sandbox: &Sandbox| sandbox.run(&["status"]).exits(0).out;
    assert!(!status(&sandbox).contains("stale"), "{}", status(&sandbox));
    sandbox.run(&["apply", "plan.yaml", "--input", "who=moon", "--stale", "keep"]).exits(0);
    let told = status(&sandbox);
    let why = "changed stale: with.env.WHO changed";
    assert!(row(&told, "greet").contains("stale: ") && row(&told, "greet").contains("WHO"), "{why}: {told}");
    assert!(!row(&told, "other").contains("stale"), "{told}");
    assert!(told.contains("1 step is stale; run it again: runbook resume hello --stale rerun\n"), "{told}");
    let json: Value = serde_json::from_str(&sandbox.run(&["status", "-o", "json"]).exits(0).out).expect("JSON");
    let reason = json["steps"][0]["stale"][0].as_str().expect("a reason");
    assert!(reason.contains("WHO") && told.contains(reason), "{reason}");
    assert_eq!(json["steps"][1]["stale"], Value::Array(Vec::new()));
    // Of a plan that is not the one that was run nothing is known.
    sandbox.write("plan.yaml", &plan.replace("true", "false"));
    assert!(!status(&sandbox).contains("stale"), "{}", status(&sandbox));
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["resume", "--stale", "rerun"]).exits(0);
    assert!(!status(&sandbox).contains("stale"), "{}", status(&sandbox));
}

#[test]
fn how_long_a_run_took_that_was_killed_does_not_go_on_with_the_next() {
    let sandbox = Sandbox::new();
    let ended = |mut engine: std::process::Child, signal| {
        kill_process(Pid::from_child(&engine), signal).expect("it lives");
        engine.wait().expect("gone");
    };
    ended(sandbox.busy(), Signal::KILL);
    shift(&sandbox, ".runbook/busy/journal.jsonl", 0, -1);
    std::fs::remove_file(sandbox.path("begun")).expect("there");
    let engine = sandbox.busy();
    let runs = sandbox.run(&["status", "--runs"]).exits(0).out;
    let first = runs.lines().nth(1).expect("a run");
    assert!(!first.contains("24h") && first.contains("killed after"), "{runs}");
    let json: Value = serde_json::from_str(&sandbox.run(&["status", "-o", "json"]).exits(0).out).expect("JSON");
    let took = |run: usize| json["runs"][run]["took_seconds"].as_f64().expect("a number");
    assert!(took(0) < 3600.0, "{json}");
    let at =
        |name: &str| json["runs"][1][name].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).expect("a time");
    assert!(took(1) > (at("last") - at("began")).total(jiff::Unit::Second).expect("a span"), "it goes on: {json}");
    let plan = sandbox.run(&["plan", "plan.yaml"]).exits(0).says("is being run by");
    assert!(!plan.out.contains("next"), "{}", plan.out);
    ended(engine, Signal::INT);
}

#[test]
fn a_deployment_that_is_misspelt_has_the_nearest_named() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: gateway\nsteps: { a: { run: 'true' } }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    for args in
        [&["status", "gatway"][..], &["resume", "gatway"], &["log", "a", "--name", "gatway"], &["verify", "gatway"]]
    {
        sandbox.run(args).exits(2).says("did you mean `gateway`?").says("there is gateway");
    }
    let far = sandbox.run(&["status", "zebra"]).exits(2).says("there is gateway");
    assert!(!far.err.contains("did you mean"), "{}", far.err);
}

#[test]
fn a_deployment_in_the_place_of_its_plan_is_told_with_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.write("plans/plan.yaml", "runbook: 1\nname: gateway\nsteps: { a: { run: 'true' } }\n");
    sandbox.run(&["apply", "plans/plan.yaml"]).exits(0);
    for command in ["apply", "plan", "graph"] {
        sandbox
            .run(&[command, "gateway"])
            .exits(3)
            .says("hint: `gateway` is a deployment; its plan is `")
            .says("/plans/plan.yaml`");
    }
    let unknown = sandbox.run(&["apply", "zebra"]).exits(3);
    assert!(!unknown.err.contains("is a deployment"), "{}", unknown.err);
}
