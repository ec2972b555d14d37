//! A step whose end nobody saw and that nobody can look at, and what a person says of it.

use crate::sandbox::Sandbox;

/// Goes on as long as there is no file `go`, and gives what the next one uses.
const PLAN: &str = "runbook: 1
name: doubt
steps:
  once:
    run: 'echo x >> ledger; until test -e go; do sleep 0.02; done'
    outputs: { id: seven }
  use:
    command: [echo, \"id ${{ steps.once.outputs.id }}\"]
    idempotent: true
outputs:
  said: ${{ steps.use.outputs.stdout }}
";

/// The engine dies in the middle of `once`, whose program goes on.
fn killed_in_the_middle() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", PLAN);
    let mut engine =
        sandbox.command(&["apply", "plan.yaml"]).stderr(std::process::Stdio::null()).spawn().expect("starts");
    // Its record comes a moment after its effect.
    while sandbox.read("ledger").is_empty() || !sandbox.read(".runbook/doubt/journal.jsonl").contains("spawned") {
        assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
        std::thread::yield_now();
    }
    engine.kill().expect("killed");
    engine.wait().expect("gone");
    sandbox
}

#[test]
fn both_ways_out_are_named() {
    let sandbox = killed_in_the_middle();
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(7);
    let ran =
        ran.says("settle  once: it was in flight, and nothing can look at it: `runbook settle` says what became of it");
    let ran = ran.says("`once` had left `bash`").says("? nobody can tell whether once was done");
    let why = "an earlier run ended in the middle of it, and a `run` cannot be looked at; a `check`, or `idempotent: true` where \
               a repeat is safe, would let it go on by itself";
    ran.says(why).says("runbook settle once --done, or runbook settle once --redo; then runbook resume doubt");
    sandbox.run(&["resume"]).exits(7).says("runbook settle once --done");
    sandbox.run(&["settle", "onc", "--done"]).exits(2).says("has begun a step `onc`").says("did you mean `once`?");
    assert_eq!(sandbox.read("ledger"), "x\n", "asking again does nothing");
}

#[test]
fn what_still_runs_is_not_done() {
    let sandbox = killed_in_the_middle();
    let ran = sandbox.run(&["settle", "once", "--done"]).exits(7);
    ran.says("which `once` had started, still runs, so it is not done").says("or end it with: kill ");
    // It ends by itself, and then the person's word counts; no run need have looked before.
    sandbox.write("go", "");
    let settle = ["settle", "once", "--done", "--output", "id=7", "--output", "note=by hand"];
    while sandbox.run(&settle).code == 7 {
        std::thread::yield_now();
    }
    let ran = sandbox.run(&["resume", "-o", "json"]).exits(0).says("everything holds");
    let result: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(result["outputs"]["said"], "id 7", "what the person gave reaches those that need it");
    assert_eq!(sandbox.read("ledger"), "x\n");
    sandbox.run(&["settle", "once", "--done"]).exits(2).says("nothing to settle");
}

#[test]
fn what_still_runs_is_ended_before_it_is_done_again() {
    let sandbox = killed_in_the_middle();
    sandbox.run(&["settle", "once", "--redo"]).exits(0).says("it was ended").says("will run again");
    sandbox.write("go", "");
    sandbox.run(&["resume"]).exits(0).says("everything holds");
    assert_eq!(sandbox.read("ledger"), "x\nx\n");
}

#[test]
fn outputs_are_given_for_what_was_done() {
    let sandbox = killed_in_the_middle();
    sandbox.run(&["apply", "plan.yaml"]).exits(7);
    sandbox.run(&["settle", "once"]).exits(2);
    sandbox.run(&["settle", "once", "--done", "--redo"]).exits(2);
    sandbox.run(&["settle", "once", "--redo", "--output", "id=7"]).exits(2);
    sandbox.run(&["settle", "once", "--done", "--output", "id"]).exits(2).says("NAME=VALUE");
    sandbox.run(&["settle", "other", "--done"]).exits(2).says("nothing to settle");
    sandbox.run(&["settle", "once", "--done", "--output", "id=seven"]).exits(0).says("runbook resume doubt");
    let ran = sandbox.run(&["resume", "-o", "json"]).exits(0);
    assert!(ran.out.contains("id seven"), "{}", ran.out);
}

/// A step that may be repeated is repeated, without a person.
#[test]
fn what_may_be_repeated_asks_nobody() {
    let sandbox = killed_in_the_middle();
    sandbox.write(
        "plan.yaml",
        &PLAN.replace("    outputs: { id: seven }\n", "    outputs: { id: seven }\n    idempotent: true\n"),
    );
    sandbox.write("go", "");
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("everything holds");
    assert_eq!(sandbox.read("ledger"), "x\nx\n");
}

#[test]
fn what_is_settled_to_be_done_again_says_so_until_it_is() {
    let sandbox = killed_in_the_middle();
    sandbox.run(&["apply", "plan.yaml"]).exits(7);
    let plan = sandbox.run(&["plan", "plan.yaml"]).exits(0).out;
    assert!(plan.contains("settle  once: it was in flight"), "{plan}");
    assert!(plan.contains("next  runbook settle once --done, or runbook settle once --redo\n"), "{plan}");
    sandbox.run(&["settle", "once", "--redo"]).exits(0).says("continue with: runbook resume doubt");
    sandbox.run(&["settle", "once", "--redo"]).exits(2).says("is settled already").says("runbook resume doubt");
    // A run of another part does not forget it.
    sandbox.run(&["apply", "plan.yaml", "--skip", "once", "--skip", "use"]).exits(0);
    let plan = sandbox.run(&["plan", "plan.yaml"]).exits(0).out;
    assert!(plan.contains("again   once (you settled it so)") && plan.contains("new     use"), "{plan}");
    let json = sandbox.run(&["plan", "plan.yaml", "-o", "json"]).exits(0).out;
    let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&found["steps"][0]["fate"], &found["steps"][0]["why"][0]),
        (&"again".into(), &"you settled it so".into())
    );
    sandbox.write("go", "");
    sandbox.run(&["resume"]).exits(0).says("again   once (you settled it so)");
    sandbox.run(&["resume"]).exits(0).says("reuse   2 steps");
    let held = sandbox.run(&["settle", "once", "--redo"]).exits(2);
    held.says("`once` of `doubt` holds").says("to run it again: runbook resume doubt --redo once");
}

#[test]
fn status_names_the_two_ways_before_and_the_choice_after() {
    let sandbox = killed_in_the_middle();
    for looked in [false, true] {
        let status = sandbox.run(&["status"]).exits(0).out;
        let next = "next runbook settle once --done, or runbook settle once --redo; then runbook resume doubt\n";
        assert!(status.contains(next), "looked at: {looked}: {status}");
        sandbox.run(&["apply", "plan.yaml"]).exits(7);
    }
    let ended = |sandbox: &Sandbox| {
        let json = sandbox.run(&["status", "--runs", "-o", "json"]).exits(0).out;
        let found: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        found["runs"].as_array().expect("runs").iter().map(|run| run["last"].clone()).collect::<Vec<_>>()
    };
    let before = ended(&sandbox);
    sandbox.run(&["settle", "once", "--redo"]).exits(0);
    assert_eq!(ended(&sandbox), before, "no run lasts until somebody settles what it left");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(
        status.contains("you settled that it is done again") && status.contains("next runbook resume doubt\n"),
        "{status}"
    );
}

#[test]
fn what_a_later_run_left_out_is_told_as_it_was_left() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: left\nsteps:\n  \
         apart: { run: 'true', idempotent: true }\n  \
         fails: { run: 'test -e ready', idempotent: true }\n  \
         kills: { run: 'kill -9 $PPID' }\n",
    );
    // It is killed in the middle of `kills`, before or after `fails` came to its end.
    sandbox.run(&["apply", "plan.yaml", "-j1"]);
    sandbox.run(&["apply", "plan.yaml", "--only", "fails"]).exits(4);
    sandbox.run(&["apply", "plan.yaml", "--only", "apart"]).exits(0);
    let status = sandbox.run(&["status", "left"]).exits(0);
    let line =
        |step: &str| status.out.lines().find(|line| line.contains(&format!(" {step} "))).expect("a line").to_owned();
    assert!(line("fails").contains("failed") && line("fails").contains("(in an earlier run)"), "{}", status.out);
    assert!(line("kills").contains("unknown"), "{}", status.out);
    assert!(status.out.contains("settle kills --done"), "{}", status.out);
}

#[test]
fn what_a_person_has_settled_is_not_asked_for_any_more() {
    let sandbox = killed_in_the_middle();
    sandbox.run(&["apply", "plan.yaml"]).exits(7);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.contains(" · needs a person\n") && status.contains("by once"), "{status}");
    sandbox.run(&["settle", "once", "--done", "--output", "id=7"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.contains(" · needed a person, who has settled it since\n"), "{status}");
    assert!(!status.contains("by once") && status.contains("2 steps: 1 changed, 1 not started"), "{status}");
    assert!(status.ends_with("next runbook resume doubt\n"), "{status}");
}

#[test]
fn a_secret_given_as_an_output_is_refused_and_written_nowhere() {
    let sandbox = Sandbox::new().env("PW", "hunter2hunter2");
    let plan = "runbook: 1\nname: p\nsecrets: { pw: { from: [ { env: PW } ] } }\nsteps:\n  \
                x: { run: 'kill -9 $PPID', env: { PW: '${{ secrets.pw }}' } }\n";
    sandbox.write("plan.yaml", plan);
    let _ = sandbox.run(&["apply", "plan.yaml"]);
    let refused = sandbox.run(&["settle", "x", "--done", "--output", "token=a-hunter2hunter2"]).exits(2);
    refused.says("the output `token` holds a secret");
    let journal = sandbox.read(".runbook/p/journal.jsonl");
    assert!(!journal.contains("hunter2") && !journal.contains("settled"), "{journal}");
    sandbox.run(&["settle", "x", "--done", "--output", "token=42"]).exits(0);
}

#[test]
fn what_stands_although_its_undo_was_under_way_gives_what_it_gave() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  a: { run: 'echo v=7 >> $RUNBOOK_OUTPUT', undo: { run: 'kill -9 $PPID' } }\n  \
                b: { run: 'echo \"$V\" >> ledger', env: { V: '${{ steps.a.outputs.v }}' } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let _ = sandbox.run(&["destroy", "p", "--yes"]);
    sandbox.run(&["settle", "a", "--done"]).exits(0).says("still stands");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "7\n7\n");
}
