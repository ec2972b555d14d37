//! Looking on: `status --follow`, the table of runs, and what a second run is told.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use crate::sandbox::{Ran, Sandbox};

/// A run that has begun and goes on until there is a file `go`, and then does this.
fn under_way_to(after: &str) -> (Sandbox, Child) {
    let sandbox = Sandbox::new();
    let wait = "touch begun; while [ ! -e go ]; do sleep 0.02; done";
    let plan = format!(
        "runbook: 1\nname: busy\nsteps:\n  long: {{ run: '{wait}', idempotent: true }}\n  after: {{ needs: [long], {after} }}\n"
    );
    sandbox.write("plan.yaml", &plan);
    let mut engine = sandbox.command(&["apply", "plan.yaml"]).stderr(Stdio::null()).spawn().expect("starts");
    while !sandbox.path("begun").exists() {
        assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
        std::thread::yield_now();
    }
    (sandbox, engine)
}

fn under_way() -> (Sandbox, Child) {
    under_way_to("run: 'true'")
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

/// What was said until the end, and how it ended.
fn rest(mut follower: Child, mut lines: BufReader<std::process::ChildStdout>) -> Ran {
    let (mut out, mut err) = (String::new(), String::new());
    lines.read_to_string(&mut out).expect("text");
    follower.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    let code = follower.wait().expect("ended").code().unwrap_or(-1);
    Ran { code, out, err }
}

#[test]
fn a_run_is_followed_to_its_end() {
    let (sandbox, mut engine) = under_way();
    let (follower, lines) = following(&sandbox);
    sandbox.write("go", "");
    let ran = rest(follower, lines).exits(0).says("is being run by tester@").says("run 1 has ended: holds");
    assert!(ran.out.contains("long  changed") && ran.out.contains("after  started  (run)"), "{}", ran.out);
    assert!(engine.wait().expect("ended").success());
}

#[test]
fn whoever_follows_ends_as_the_run_ends() {
    let cases = [
        ("run: 'false'", 4, "run 1 has ended: failed"),
        ("manual: { ask: 'Turn the key.' }", 7, "run 1 has ended: needs a person"),
        ("run: 'kill -INT $PPID && sleep 600'", 130, "run 1 has ended: interrupted by SIGINT"),
        ("run: 'kill -TERM $PPID && sleep 600'", 143, "run 1 has ended: interrupted by SIGTERM"),
    ];
    for (after, code, how) in cases {
        let (sandbox, mut engine) = under_way_to(after);
        let (follower, lines) = following(&sandbox);
        sandbox.write("go", "");
        rest(follower, lines).exits(code).says(how);
        assert_eq!(engine.wait().expect("ended").code(), Some(code));
        sandbox.run(&["status", "--follow"]).exits(code).says("nothing to follow");
        sandbox.run(&["status"]).exits(0);
    }
}

#[test]
fn a_holder_that_runs_nothing_is_not_taken_for_the_last_run() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: 'echo long' }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let home = runbook::state::Home::new(&sandbox.path(".runbook"), "p").expect("a name");
    let holder = runbook::state::lock::Holder {
        who: "tester@here".to_owned(),
        host: "here".to_owned(),
        pid: 4711,
        command: "settle".to_owned(),
        since: jiff::Timestamp::UNIX_EPOCH,
    };
    let lock = home.lock(holder).expect("free");
    let mut command = sandbox.command(&["status", "p", "--follow"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("piped"));
    lines.read_line(&mut String::new()).expect("it shows how it stands");
    drop(lock);
    rest(follower, lines).exits(0).says("`settle` (pid 4711) has begun no run; the last one is run 1: holds");
}

#[test]
fn a_run_that_dies_is_followed_to_its_death() {
    let (sandbox, mut engine) = under_way();
    let (follower, lines) = following(&sandbox);
    engine.kill().expect("killed");
    engine.wait().expect("gone");
    rest(follower, lines).exits(1).says("is gone (pid").says("resume busy");
    let idle = sandbox.run(&["status", "--follow"]).exits(1).says("nothing to follow");
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
    assert_eq!(found["runs"][0]["summary"], "failed");
}
