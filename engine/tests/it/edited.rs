//! A plan that is edited between runs: what becomes stale and why, what does not, and what is asked.

use crate::sandbox::Sandbox;

const PLAN: &str = "runbook: 1
name: edited
inputs:
  who: { type: string, default: world }
steps:
  greet:
    name: Greets
    run: echo \"hello, $WHO\"
    env: { WHO: \"${{ inputs.who }}\" }
    idempotent: true
    timeout: 1m
    retry: { attempts: 2 }
    expected: 1s
  shout:
    command: [echo, \"${{ steps.greet.outputs.stdout | upper }}\"]
    idempotent: true
  apart:
    command: [bash, tools/apart.sh]
    idempotent: true
";

fn applied() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", PLAN);
    sandbox.write("tools/apart.sh", "echo apart\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox
}

fn edit(sandbox: &Sandbox, old: &str, new: &str) {
    let text = sandbox.read("plan.yaml");
    assert!(text.contains(old), "`{old}` is not in the plan");
    sandbox.write("plan.yaml", &text.replace(old, new));
}

/// The verdicts of `runbook plan`: step, fate, reasons.
fn verdicts(sandbox: &Sandbox) -> Vec<(String, String, String)> {
    let out = sandbox.run(&["plan", "plan.yaml", "-o", "json"]).exits(0).out;
    let plan: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let steps = plan["steps"].as_array().expect("steps").iter();
    steps.map(|step| (text(&step["step"]), text(&step["fate"]), text(&step["why"]))).collect()
}

fn fate(sandbox: &Sandbox, step: &str) -> (String, String) {
    let found = verdicts(sandbox).into_iter().find(|(id, ..)| id == step);
    found.map(|(_, fate, why)| (fate, why)).expect("the step is told")
}

#[test]
fn what_does_not_change_the_work_makes_nothing_stale() {
    let edits = [
        ("name: Greets", "name: Greets everybody"),
        ("timeout: 1m", "timeout: 2m"),
        ("attempts: 2", "attempts: 5"),
        (
            "expected: 1s",
            "expected: 2s..3s\n    normal: It is quick.\n    hints: [{ match: { error: x }, cause: y, fix: z }]",
        ),
    ];
    for (old, new) in edits {
        let sandbox = applied();
        edit(&sandbox, old, new);
        let fates: Vec<String> = verdicts(&sandbox).into_iter().map(|(_, fate, _)| fate).collect();
        assert_eq!(fates, ["reuse", "reuse", "reuse"], "{old} → {new}");
    }
}

#[test]
fn what_changes_the_work_makes_it_stale_and_says_why() {
    let edits = [
        ("greet", "echo \\\"hello, $WHO\\\"", "echo \\\"bye, $WHO\\\"", "with.script"),
        ("greet", "default: world", "default: moon", "`with.env.WHO` changed `world` → `moon`"),
        ("greet", "env: { WHO:", "env: { NEW: x, WHO:", "`with.env.NEW` is new (`x`)"),
        (
            "shout",
            "command: [echo, \\\"${{ steps.greet.outputs.stdout | upper",
            "command: [printf, \\\"${{ steps.greet.outputs.stdout | upper",
            "`with.argv[0]` changed `echo` → `printf`",
        ),
        ("apart", "command: [bash, tools/apart.sh]", "run: echo apart", "`kind` changed `command` → `run`"),
    ];
    for (step, old, new, reason) in edits {
        let sandbox = applied();
        edit(&sandbox, &old.replace("\\\"", "\""), &new.replace("\\\"", "\""));
        let (fate, why) = fate(&sandbox, step);
        assert_eq!(fate, "stale", "{old} → {new}");
        assert!(why.contains(reason), "{why}");
    }
}

#[test]
fn a_script_of_the_plan_is_part_of_its_step() {
    let sandbox = applied();
    sandbox.write("tools/apart.sh", "echo otherwise\n");
    let (fate, why) = fate(&sandbox, "apart");
    assert_eq!((fate.as_str(), why.as_str()), ("stale", "[\"the file `tools/apart.sh` changed\"]"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("stale   apart: the file `tools/apart.sh` changed");
}

#[test]
fn what_uses_outputs_that_may_change_is_stale_too() {
    let sandbox = applied();
    edit(&sandbox, "default: world", "default: moon");
    let (fate, why) = fate(&sandbox, "shout");
    assert_eq!(fate, "stale");
    assert!(why.contains("it uses `greet`, which would run again"), "{why}");
    sandbox
        .run(&["apply", "plan.yaml"])
        .exits(0)
        .says("reuse   1 step")
        .says("`with.env.WHO` changed `world` → `moon`");
}

#[test]
fn steps_that_come_and_go_are_told() {
    let sandbox = applied();
    edit(&sandbox, "  apart:\n", "  other:\n");
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(0);
    ran.says("new     other").says("gone    apart");
}

#[test]
fn stale_steps_run_again_are_kept_or_wait_for_an_answer() {
    let sandbox = applied();
    edit(&sandbox, "default: world", "default: moon");
    let journal = sandbox.read(".runbook/edited/journal.jsonl");
    let asked = sandbox.run(&["apply", "plan.yaml", "--stale", "ask"]).exits(7);
    asked.says("2 steps are stale").says("--stale rerun").says("--stale keep").says("nothing was touched");
    assert_eq!(sandbox.read(".runbook/edited/journal.jsonl"), journal);
    sandbox.run(&["apply", "plan.yaml", "--stale", "keep"]).exits(0).says("reuse   3 steps");
    let log = sandbox.run(&["log", "greet"]).exits(0).out;
    assert!(log.contains("hello, world") && !log.contains("moon"), "{log}");
    sandbox.run(&["apply", "plan.yaml", "--stale", "rerun"]).exits(0);
    assert!(sandbox.run(&["log", "shout"]).exits(0).out.contains("HELLO, MOON"));
    sandbox.run(&["apply", "plan.yaml", "--stale", "ask"]).exits(0).says("reuse   3 steps");
}

#[test]
fn secrets_are_found_afresh_and_outputs_come_from_the_journal() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsecrets:\n  token: { from: [{ file: token }] }\nsteps:\n  \
                made: { run: 'echo \"id=$(cat id)\" >> \"$RUNBOOK_OUTPUT\"' }\n  \
                uses: { run: 'test \"$TOKEN\" = second-secret && echo \"$ID\" > used', \
                env: { TOKEN: '${{ secrets.token }}', ID: '${{ steps.made.outputs.id }}' }, idempotent: true }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.write("token", "first-secret\n");
    sandbox.write("id", "42\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    sandbox.write("token", "second-secret\n");
    sandbox.write("id", "otherwise\n");
    sandbox.run(&["resume"]).exits(0).says("reuse   1 step");
    assert_eq!(sandbox.read("used"), "42\n");
}

/// A value that happens to hold a secret is masked in the journal, and must still compare as the same.
#[test]
fn a_masked_value_is_no_change() {
    let sandbox = Sandbox::new().env("PLANTED", "swordfish-1234");
    let plan = "runbook: 1\nname: p\nsecrets:\n  token: { from: [{ env: PLANTED }] }\nsteps:\n  \
                a: { run: 'true', env: { T: '${{ secrets.token }}', LITERAL: 'swordfish-1234' }, idempotent: true }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("reuse   1 step");
}

#[test]
fn a_plan_that_is_edited_while_it_runs_runs_as_it_was_read() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  a: { run: 'cp other.yaml plan.yaml' }\n  b: { needs: [a], run: 'echo old > said' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.write("other.yaml", &plan.replace("echo old", "echo new"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("said"), "old\n");
    sandbox.run(&["resume"]).exits(0).says("stale   b: `with.script` changed");
    assert_eq!(sandbox.read("said"), "new\n");
}

#[test]
fn a_step_that_waited_for_a_lock_is_what_it_is_when_it_gets_it() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: queue\nsteps:\n  \
         writer: { locks: [script], run: \"[ -e script ] || printf '#!/bin/sh\\necho ran >> ledger\\n' > script; chmod +x script\" }\n  \
         reader: { locks: [script], command: [./script] }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let again = sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "ran\n", "nothing has changed since: {}", again.err);
}

#[test]
fn an_output_that_was_added_is_had_without_doing_the_step_again() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: gives\nsteps:\n  a:\n    run: 'echo once >> ledger; echo hello'\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let more = "    outputs: { word: '${{ outputs.stdout | upper }}' }\n  b: { run: 'echo $WORD > said', env: { WORD: '${{ steps.a.outputs.word }}' } }\n";
    sandbox.write("plan.yaml", &format!("{plan}{more}"));
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(planned.out.contains("the output `word` is new"), "{}", planned.out);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!((sandbox.read("ledger"), sandbox.read("said")), ("once\n".to_owned(), "HELLO\n".to_owned()));
    let more = more.replace("upper", "title");
    sandbox.write("plan.yaml", &format!("{plan}{more}"));
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(planned.out.contains("the output `word` is had in another way"), "{}", planned.out);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!((sandbox.read("ledger"), sandbox.read("said")), ("once\n".to_owned(), "Hello\n".to_owned()));
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(!planned.out.contains("another way"), "{}", planned.out);
}

#[test]
fn an_output_that_builds_on_itself_is_not_had_again_and_again() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nsteps:\n  a: { run: 'echo 1', outputs: { stdout: '${{ outputs.stdout }}1' } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("reuse   1 step");
}

/// What was made is taken back as it was made: by then, plan, inputs and outputs may speak of something else.
#[test]
fn what_is_taken_back_is_what_was_made() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: back\ninputs: { root: { type: string, default: one } }\nsteps:\n  id: { run: 'cat id' }\n  \
                a:\n    run: mkdir \"$R\"\n    env: { R: '${{ inputs.root }}' }\n    \
                undo: { run: 'rm -r \"$R\"', env: { R: '${{ inputs.root }}' } }\n  \
                b:\n    needs: [id]\n    run: touch \"b-$(cat id)\"\n    \
                undo: { run: 'rm \"b-$ID\"', env: { ID: '${{ steps.id.outputs.stdout }}' } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.write("id", "7\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["apply", "plan.yaml", "--input", "root=two"]).exits(0);
    sandbox.write("three/precious", "");
    sandbox.write("plan.yaml", &plan.replace("default: one", "default: three"));
    sandbox.write("id", "8\n");
    sandbox.run(&["apply", "plan.yaml", "--input", "root=two", "--redo", "id"]).exits(0);
    sandbox.run(&["destroy", "plan.yaml", "--input", "root=three", "--yes"]).exits(0);
    let there = |name: &str| sandbox.path(name).exists();
    assert_eq!(["one", "two", "three/precious", "b-7"].map(there), [false, false, true, false]);
}

#[test]
fn an_undo_that_was_put_right_takes_back_what_was_made() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: right\nsteps:\n  a: { run: touch made, undo: { run: rm maid } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(4);
    sandbox.write("plan.yaml", &plan.replace("maid", "made"));
    sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(0);
    assert!(!sandbox.path("made").exists());
}

/// What a script makes now says nothing of what it made.
#[test]
fn an_undo_that_was_rewritten_with_its_script_does_not_take_back_what_the_old_one_made() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: both\nsteps:\n  a: { command: [sh, make.sh], undo: { command: [rm, one] } }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.write("make.sh", "touch one\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("rm, one", "rm, two"));
    sandbox.write("make.sh", "touch two\n");
    sandbox.run(&["destroy", "plan.yaml", "--yes"]).exits(0);
    assert!(!sandbox.path("one").exists());
}

#[test]
fn what_uses_a_step_that_is_left_out_now_does_not_hold_any_more() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: out\ninputs: { gpu: { type: bool, default: true } }\nsteps:\n  \
         a: { when: inputs.gpu, run: echo address-of-a }\n  \
         w: { command: [bash, -c, \"echo ${{ steps.a.outputs.stdout | default('none') }} > said\"] }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    let ran = sandbox.run(&["apply", "plan.yaml", "--input", "gpu=false", "--stale", "rerun"]).exits(0);
    assert!(ran.err.contains("w: it uses `a`, which is left out now"), "{}", ran.err);
    assert_eq!(sandbox.read("said"), "none\n");
}

#[test]
fn a_step_is_not_said_to_become_what_it_never_comes_to() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: never\nsteps:\n  a: { run: echo hi }\n  \
                w: { command: [echo, \"${{ steps.a.outputs.stdout | default('q') }}\"] }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("echo hi", "echo ho"));
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(planned.out.contains("it uses `a`, which would run again, and its outputs may change"), "{}", planned.out);
}

#[test]
fn an_input_that_a_plan_has_no_more_is_forgotten() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: fewer\ninputs:\n  m: { type: string, default: y }\n  n: { type: string }\nsteps:\n  \
                a: { command: [touch, '${{ inputs.n }}'] }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml", "--input", "n=made"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("  m: { type: string, default: y }\n", ""));
    sandbox.run(&["resume"]).exits(0).says("reuse   1 step");
    sandbox.run(&["resume", "--input", "m=z"]).exits(3).says("the plan has no input `m`");
}
