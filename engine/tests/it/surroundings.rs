//! What changes around a deployment between runs: the clock, the host, the folders, the plan's file.

use crate::sandbox::Sandbox;

const PLAN: &str = "runbook: 1
name: moves
steps:
  made:
    run: |
      mkdir -p .runbook/moves/things && echo here > .runbook/moves/things/note
      echo \"dir=$PWD/.runbook/moves/things\" >> \"$RUNBOOK_OUTPUT\"
  used: { command: [cat, \"${{ steps.made.outputs.dir }}/note\", data.txt], idempotent: true }
";

fn project(sandbox: &Sandbox, folder: &str) {
    sandbox.write(&format!("{folder}/plan.yaml"), PLAN);
    sandbox.write(&format!("{folder}/data.txt"), "data\n");
}

fn rename(sandbox: &Sandbox, from: &str, to: &str) {
    std::fs::rename(sandbox.path(from), sandbox.path(to)).expect("moved");
}

#[test]
fn a_folder_with_plan_and_state_can_be_moved() {
    let sandbox = Sandbox::new();
    project(&sandbox, "old");
    sandbox.run(&["--state", "old/.runbook", "apply", "old/plan.yaml"]).exits(0);
    rename(&sandbox, "old", "new");
    let resumed = sandbox.run(&["--state", "new/.runbook", "resume"]).exits(0);
    resumed.says("the folder has moved").says("reuse   2 steps");
    sandbox
        .run(&["--state", "new/.runbook", "apply", "new/plan.yaml", "--redo", "used"])
        .exits(0)
        .says("reuse   1 step");
    let plan = sandbox.run(&["--state", "new/.runbook", "plan", "new/plan.yaml"]).exits(0).out;
    assert!(plan.contains("reuse   2 steps"), "{plan}");
}

/// Of a long text, only a digest is in the journal.
#[test]
fn a_long_text_that_names_the_folder_moves_with_it() {
    let sandbox = Sandbox::new();
    let plan = |undo: &str| {
        let long = "x".repeat(2100);
        format!(
            "runbook: 1\nname: long\nsteps:\n  c:\n    run: 'echo \"dir=$PWD/.runbook/long/c\" >> \"$RUNBOOK_OUTPUT\"'\n  \
             l:\n    run: '\"$PWD\"/count.sh'\n    env: {{ LONG: '${{{{ steps.c.outputs.dir }}}} {long}' }}\n    undo: {{ run: {undo} }}\n"
        )
    };
    sandbox.write("one/plan.yaml", &plan("touch wrong"));
    sandbox.write("one/count.sh", "echo once >> ledger\n");
    std::fs::set_permissions(sandbox.path("one/count.sh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("there");
    sandbox.run(&["--state", "one/.runbook", "apply", "one/plan.yaml"]).exits(0);
    for (from, to) in [("one", "two"), ("two", "three")] {
        rename(&sandbox, from, to);
        let state = format!("{to}/.runbook");
        sandbox.run(&["--state", &state, "resume"]).exits(0).says("reuse   2 steps");
    }
    assert_eq!(sandbox.read("three/ledger"), "once\n");
    sandbox.write("three/plan.yaml", &plan("touch wrong").replace("xx'", "xy'"));
    let edited = sandbox.run(&["--state", "three/.runbook", "plan", "three/plan.yaml"]).exits(0).out;
    assert!(edited.contains("stale   l: `with.env.LONG` changed"), "{edited}");
    // An undo that was put right is still that of the same work.
    sandbox.write("three/plan.yaml", &plan("touch right"));
    sandbox.run(&["--state", "three/.runbook", "destroy", "--yes"]).exits(0);
    assert!(sandbox.path("three/right").exists() && !sandbox.path("three/wrong").exists());
}

#[test]
fn only_the_state_can_be_moved_too() {
    let sandbox = Sandbox::new();
    project(&sandbox, "here");
    sandbox.run(&["--state", "here/.runbook", "apply", "here/plan.yaml"]).exits(0);
    rename(&sandbox, "here/.runbook", "state");
    sandbox.run(&["--state", "state", "resume", "--redo", "used"]).exits(0).says("reuse   1 step");
}

#[test]
fn a_plan_that_is_gone_is_named_with_the_way_out() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: gone\nsteps:\n  a: { run: echo said }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    rename(&sandbox, "plan.yaml", "elsewhere.yaml");
    let resumed = sandbox.run(&["resume"]).exits(3);
    resumed.says("plan.yaml`, which `gone` was run with, is gone").says("apply PLAN --name gone");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.contains("· holds\n") && status.contains("plan.yaml (gone) · began"), "{status}");
    assert!(sandbox.run(&["log", "a"]).exits(0).out.contains("said"));
    sandbox.run(&["apply", "elsewhere.yaml"]).exits(0).says("reuse   1 step");
    sandbox.run(&["resume"]).exits(0).says("reuse   1 step");
}

#[test]
fn what_became_of_the_plan_is_on_the_screen_and_in_the_next_command() {
    let sandbox = Sandbox::new();
    sandbox.write("old/plan.yaml", "runbook: 1\nname: p\nsteps: { a: { run: exit 1 } }\n");
    sandbox.run(&["--state", "old/.runbook", "apply", "old/plan.yaml"]).exits(4);
    rename(&sandbox, "old", "new");
    let status = |sandbox: &Sandbox| sandbox.run(&["--state", "new/.runbook", "status"]).exits(0).out;
    assert!(status(&sandbox).contains("/new/plan.yaml · began"), "{}", status(&sandbox));
    sandbox.write("new/plan.yaml", "runbook: 1\nname: p\nsteps: { a: { run: exit 2 } }\n");
    assert!(status(&sandbox).contains("/new/plan.yaml (changed since) · began"), "{}", status(&sandbox));
    rename(&sandbox, "new/plan.yaml", "other.yaml");
    let gone = status(&sandbox);
    assert!(
        gone.contains("(gone)") && gone.contains("next runbook --state new/.runbook apply PLAN --name p\n"),
        "{gone}"
    );
}

#[test]
fn two_plans_in_a_folder_are_two_deployments() {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        let plan = format!("runbook: 1\nname: {name}\nsteps:\n  a: {{ run: echo {name} > {name} }}\n");
        sandbox.write(&format!("{name}.yaml"), &plan);
        sandbox.run(&["apply", &format!("{name}.yaml")]).exits(0);
    }
    let status = sandbox.run(&["status"]).exits(0);
    let lines: Vec<Vec<&str>> = status.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), lines[1][0], lines[2][0]), (3, "one", "two"), "{}", status.out);
    assert!(lines[1..].iter().all(|line| line.last() == Some(&"holds")), "{}", status.out);
    sandbox.run(&["resume"]).exits(2).says("there are several deployments");
    sandbox.run(&["resume", "two"]).exits(0).says("reuse   1 step");
    assert_eq!((sandbox.read("one"), sandbox.read("two")), ("one\n".to_owned(), "two\n".to_owned()));
}

#[test]
fn another_plan_of_the_same_name_is_noted() {
    let sandbox = Sandbox::new();
    sandbox.write("one.yaml", "runbook: 1\nname: same\nsteps:\n  a: { run: 'true' }\n");
    sandbox.write("two.yaml", "runbook: 1\nname: same\nsteps:\n  b: { run: 'true' }\n");
    sandbox.write("three.yaml", "runbook: 1\nname: same\nsteps:\n  b: { run: 'true' }\n  c: { run: 'true' }\n");
    sandbox.run(&["apply", "one.yaml"]).exits(0);
    sandbox.run(&["apply", "two.yaml"]).exits(0).says("this plan shares no step with it").says("--name");
    let third = sandbox.run(&["apply", "three.yaml"]).exits(0);
    assert!(third.err.contains("two.yaml`, which is still there") && !third.err.contains("shares no"), "{}", third.err);
    std::fs::rename(sandbox.path("three.yaml"), sandbox.path("four.yaml")).expect("renamed");
    let renamed = sandbox.run(&["apply", "four.yaml"]).exits(0);
    assert!(!renamed.err.contains("was last run with"), "{}", renamed.err);
}

/// Shifts the times of the journal's lines from one on, as a clock that was set does.
pub(crate) fn shift(sandbox: &Sandbox, journal: &str, from: usize, days: i64) {
    let mut out = String::new();
    // One that was killed has left room behind the end.
    for (number, line) in sandbox.read(journal).trim_end_matches('\0').lines().enumerate() {
        let mut entry: serde_json::Value = serde_json::from_str(&line[9..]).expect("a record");
        if number >= from {
            let time: jiff::Timestamp = entry["time"].as_str().expect("a time").parse().expect("a time");
            entry["time"] = (time + jiff::SignedDuration::from_hours(24 * days)).to_string().into();
        }
        let body = entry.to_string();
        out.push_str(&format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes())));
    }
    sandbox.write(journal, &out);
}

#[test]
fn a_clock_that_jumps_between_or_during_runs_hurts_nothing() {
    for days in [-400, 400] {
        for from in [0, 3] {
            let sandbox = Sandbox::new();
            sandbox.write(
                "plan.yaml",
                "runbook: 1\nname: p\nsteps:\n  a: { run: 'true' }\n  b: { needs: [a], run: 'test -e go' }\n",
            );
            sandbox.run(&["apply", "plan.yaml"]).exits(4);
            shift(&sandbox, ".runbook/p/journal.jsonl", from, days);
            let status = sandbox.run(&["status"]).exits(0).out;
            let runs = sandbox.run(&["status", "--runs"]).exits(0).out;
            let negative = |text: &str| {
                text.split(' ').any(|word| {
                    word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
                })
            };
            assert!(!negative(&status) && !negative(&runs), "no span is negative:\n{status}\n{runs}");
            sandbox.write("go", "");
            sandbox.run(&["apply", "plan.yaml"]).exits(0).says("everything holds");
            sandbox.run(&["status", "-o", "json"]).exits(0);
        }
    }
}

#[test]
fn a_host_that_has_another_name_now_is_the_same_host() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: 'test -e go', idempotent: true }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    // A run that died when the machine was called otherwise: the note stays in the file, the lock does not.
    let note = r#"{"id":"0000","who":"tester@elsewhere","host":"elsewhere","pid":1,"command":"apply plan.yaml","since":"2026-01-01T00:00:00Z"}"#;
    sandbox.write(".runbook/p/lock", note);
    sandbox.write("go", "");
    assert!(!sandbox.run(&["status"]).exits(0).out.contains("is being run"));
    sandbox.run(&["resume"]).exits(0).says("everything holds");
}

/// What is written to a journal that nobody finds any more is lost: a run that goes on with it would claim what it cannot keep.
#[test]
fn a_journal_that_goes_during_a_run_ends_it() {
    let journal = ".runbook/goes/journal.jsonl";
    let ways = [
        format!("rm {journal}"),
        format!("cp {journal} other && mv other {journal}"),
        "mv .runbook elsewhere".to_owned(),
        format!("head -n 1 {journal} > other && cat other > {journal}"),
        format!(": > {journal}"),
    ];
    for way in ways {
        let sandbox = Sandbox::new();
        let steps = format!(
            "  a: {{ run: '{way}; echo id=5 >> $RUNBOOK_OUTPUT; true' }}\n  b: {{ needs: [a], run: touch b }}\n"
        );
        sandbox.write("plan.yaml", &format!("runbook: 1\nname: goes\nsteps:\n{steps}"));
        let ran = sandbox.run(&["apply", "plan.yaml"]);
        assert_eq!(ran.code, 6, "{way}: {}", ran.err);
        assert!(!ran.err.contains("everything holds"), "{way}: {}", ran.err);
    }
}
