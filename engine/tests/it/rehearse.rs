//! Rehearsals as a user meets them: whose world it is, and what an engine that is killed and started again keeps of the command line.

use std::process::{Child, Stdio};

use crate::sandbox::Sandbox;

/// A step that begins at once and goes on until there is a file `go`.
const PATIENT: &str = "runbook: 1
name: patient
steps:
  long: { run: 'touch begun; while [ ! -e go ]; do sleep 0.02; done', idempotent: true }
";

/// A rehearsal that is under way, in real time.
fn under_way(sandbox: &Sandbox) -> Child {
    sandbox.write("plan.yaml", PATIENT);
    let mut command = sandbox.command(&["rehearse", "plan.yaml", "--speed", "1", "--keep"]);
    let mut engine = command.stderr(Stdio::null()).spawn().expect("starts");
    while !sandbox.path("begun").exists() {
        assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
        std::thread::yield_now();
    }
    engine
}

/// Ends the world that a rehearsal of `plan.yaml` left.
fn end_world(sandbox: &Sandbox) {
    let info: serde_json::Value =
        serde_json::from_str(&sandbox.read(".runbook/rehearsals/plan/world/stage.json")).expect("a world");
    let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
}

#[test]
fn a_rehearsal_under_way_keeps_its_world() {
    let sandbox = Sandbox::new();
    let mut engine = under_way(&sandbox);
    let fresh = sandbox.run(&["rehearse", "plan.yaml", "--fresh"]).exits(5).says("is held by tester@");
    assert!(!fresh.err.contains("ending the simulated world"), "{}", fresh.err);
    sandbox.run(&["rehearse", "plan.yaml", "--lift"]).exits(5).says("status patient --follow");
    sandbox.run(&["rehearse", "plan.yaml", "--name", "other", "--fresh"]).exits(5).says("`patient` is held by");
    sandbox.write("go", "");
    assert!(engine.wait().expect("ended").success(), "nobody touched it");
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(0);
    end_world(&sandbox);
}

#[test]
fn an_error_leaves_the_world_that_was_kept() {
    let sandbox = Sandbox::new();
    sandbox.write("go", "");
    under_way(&sandbox).wait().expect("ended");
    sandbox.run(&["rehearse", "plan.yaml", "--only", "nobody"]).exits(2);
    sandbox.run(&["rehearse", "plan.yaml", "--verify"]).exits(0);
    end_world(&sandbox);
}
