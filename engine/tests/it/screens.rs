//! What is said at the end of a run: what ran, why not, and what to type next. The width is a matter of `report::layout`.

use crate::sandbox::Sandbox;

/// Its second step asks the program to end, as a user or a machine that goes down would.
const ENDS: &str = "runbook: 1
name: ends
steps:
  first: { run: 'true' }
  middle: { needs: [first], run: kill -TERM $PPID && sleep 600 }
  last: { needs: [middle], run: 'true' }
";

const ASKS: &str = "runbook: 1
name: asks
steps:
  first: { run: 'true' }
  key:
    needs: [first]
    manual:
      ask: Turn the key.
      outputs:
        sound: { type: string, about: what it sounded like }
  last: { needs: [key], run: 'true' }
";

#[test]
fn an_interruption_says_what_was_stopped_and_how_to_go_on() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", ENDS);
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(143);
    let ran = ran.says("interrupted by SIGTERM, 1 stopped, 1 not started · 2 steps ran in");
    ran.says("stopped: middle\n").says("continue with: runbook resume ends\n").says("last    not started");
    let status = sandbox.run(&["status"]).exits(0);
    assert!(status.out.contains("3 steps: 1 changed, 1 stopped, 1 not started"), "{}", status.out);
    assert!(status.out.contains("next runbook resume ends\n"), "{}", status.out);
    let status = sandbox.run(&["status", "-o", "json"]).exits(0);
    let status: serde_json::Value = serde_json::from_str(&status.out).expect("JSON");
    assert_eq!(status["steps"][2]["step"], "last");
    assert_eq!(status["steps"][2]["outcome"], "waiting");
}

#[test]
fn a_step_that_asks_is_no_failure_and_is_answered_by_one_command() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", ASKS);
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(7).says("key  needs you  a person is needed: Turn the key.");
    let ran = ran.says("! key needs you").says("sound (string) – what it sounded like");
    let ran = ran.says("asks · 1 needs you, 1 blocked · 2 steps ran in");
    assert_eq!(ran.err.matches("--answer").count(), 1, "{}", ran.err);
    let next = "next  runbook resume asks --answer key.sound=VALUE";
    let ran = ran.says(next).says("1 step blocked by key: last. 1 step holds;");
    assert!(!ran.err.contains("1 failed"), "{}", ran.err);
    let status = sandbox.run(&["status"]).exits(0);
    assert!(status.out.contains("next runbook resume asks --answer key.sound=VALUE\n"), "{}", status.out);
    let ran = sandbox.run(&["resume", "--answer", "key.sound=click"]).exits(0);
    ran.says("everything holds · 2 steps ran, 1 held already in");
}

#[test]
fn the_table_says_why_and_no_name_twice() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: both\nsteps:\n  one: { run: echo no >&2 && false }\n  two: { name: The second, run: 'false' }\n  \
                after: { needs: [one, two], run: 'true' }\n";
    sandbox.write("plan.yaml", plan);
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4).says("1 step blocked by one and two: after. 0 steps hold;");
    let table: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("  ")).collect();
    let row = |id: &str| table.iter().find(|line| line.trim_start().starts_with(id)).expect("a row");
    assert!(row("one").ends_with("failed with exit code 1: no"), "{}", ran.err);
    assert!(!row("two").contains("The second"), "{}", ran.err);
    assert!(row("after").ends_with("by one and two"), "{}", ran.err);
}
