//! Looking on: `status --follow`, the table of runs, and what a second run is told.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use crate::sandbox::Sandbox;

/// A run that has begun and goes on until there is a file `go`.
fn under_way() -> (Sandbox, Child) {
    let sandbox = Sandbox::new();
    let wait = "touch begun; while [ ! -e go ]; do sleep 0.02; done";
    let plan = format!(
        "runbook: 1\nname: busy\nsteps:\n  long: {{ run: '{wait}', idempotent: true }}\n  after: {{ needs: [long], run: 'true' }}\n"
    );
    sandbox.write("plan.yaml", &plan);
    let mut engine = sandbox.command(&["apply", "plan.yaml"]).stderr(Stdio::null()).spawn().expect("starts");
    while !sandbox.path("begun").exists() {
        assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
        std::thread::yield_now();
    }
    (sandbox, engine)
}

/// Starts to follow, and returns once it shows how the run stands.
fn following(sandbox: &Sandbox) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = sandbox.command(&["status", "busy", "--follow"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut seen = String::new();
    while !seen.contains("long") {
        assert!(lines.read_line(&mut seen).expect("text") > 0, "it ended by itself: {seen}");
    }
    (child, lines)
}

/// What was said until the end: stdout and stderr.
fn rest(mut follower: Child, mut lines: BufReader<std::process::ChildStdout>) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    lines.read_to_string(&mut out).expect("text");
    follower.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    assert!(follower.wait().expect("ended").success(), "{err}");
    (out, err)
}

#[test]
fn a_run_is_followed_to_its_end() {
    let (sandbox, mut engine) = under_way();
    let (follower, lines) = following(&sandbox);
    sandbox.write("go", "");
    let (out, err) = rest(follower, lines);
    assert!(out.contains("long  changed") && out.contains("after  started  (run)"), "{out}");
    assert!(err.contains("is being run by tester@") && err.contains("run 1 has ended: holds"), "{err}");
    assert!(engine.wait().expect("ended").success());
}

#[test]
fn a_run_that_dies_is_followed_to_its_death() {
    let (sandbox, mut engine) = under_way();
    let (follower, lines) = following(&sandbox);
    engine.kill().expect("killed");
    engine.wait().expect("gone");
    let (_, err) = rest(follower, lines);
    assert!(err.contains("is gone (pid") && err.contains("resume busy"), "{err}");
    let idle = sandbox.run(&["status", "--follow"]).exits(0).says("nothing to follow");
    assert!(idle.out.contains("killed after"), "{}", idle.out);
    sandbox.write("go", "");
    sandbox.run(&["resume"]).exits(0);
}

#[test]
fn a_second_run_is_told_who_has_it_and_how_to_look_on() {
    let (sandbox, mut engine) = under_way();
    let second = sandbox.run(&["apply", "plan.yaml"]).exits(5);
    let pid = format!("pid {}", engine.id());
    let second = second.says("is held by tester@").says(&pid).says("now at `long` since");
    second.says("follow it with: runbook status busy --follow");
    sandbox.write("go", "");
    assert!(engine.wait().expect("ended").success());
}

#[test]
fn runs_are_listed_with_how_they_ended() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: 'test -e go' }\n  b: { run: 'true' }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    sandbox.write("go", "");
    sandbox.run(&["resume", "--redo", "b"]).exits(0);
    let table = sandbox.run(&["status", "--runs"]).exits(0).out;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(rows[1].contains("apply") && rows[1].contains("failed") && rows[1].contains("tester@"), "{table}");
    assert!(rows[2].contains("resume") && rows[2].contains("holds") && rows[2].ends_with("--redo b"), "{table}");
    let json = sandbox.run(&["status", "--runs", "-o", "json"]).exits(0).out;
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(found["runs"][1]["selection"], "--redo b");
    assert_eq!(found["runs"][0]["ended"], "failed");
}
