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
    // Nothing can look at a script that was stopped, so that the next run would only ask a person.
    let next = "runbook settle middle --done, or runbook settle middle --redo; then runbook resume ends\n";
    ran.says("stopped: middle\n").says(&format!("continue with: {next}")).says("last    not started");
    let status = sandbox.run(&["status"]).exits(0);
    assert!(status.out.contains("3 steps: 1 changed, 1 stopped, 1 not started"), "{}", status.out);
    assert!(status.out.contains(&format!("next {next}")), "{}", status.out);
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
    let plan = sandbox.run(&["plan", "plan.yaml"]).exits(0).out;
    assert!(plan.contains("again   key (asked a person last time)"), "{plan}");
    let ran = sandbox.run(&["resume", "--answer", "key.sound=click"]).exits(0);
    let ran = ran.says("again   key (asked a person last time)");
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

#[test]
fn times_of_a_rehearsal_are_said_to_be_model_times() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: small\nsteps:\n  a: { run: echo said }\n");
    sandbox.run(&["rehearse", "plan.yaml"]).exits(0).says("model time (");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(
        status.starts_with("small · rehearsal (simulated ") && status.contains("(model time, as all here)"),
        "{status}"
    );
    let runs = sandbox.run(&["status", "--runs"]).exits(0).out;
    assert!(
        runs.starts_with("small · rehearsal (simulated ")
            && runs.lines().next().is_some_and(|line| line.ends_with("· model time")),
        "{runs}"
    );
    sandbox.run(&["log", "a"]).exits(0).says("── a · rehearsal · run 1 · attempt 1");
    sandbox.run(&["destroy"]).exits(2).says("undo it in its world: runbook rehearse plan.yaml --destroy\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    for args in [&["status"][..], &["status", "--runs"], &["destroy", "--dry-run"]] {
        let out = sandbox.run(args).exits(0).out;
        assert!(!out.contains("model time") && !out.contains("rehearsal"), "{out}");
    }
}

#[test]
fn a_log_that_is_not_there_is_explained() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  quiet: { command: ['true'] }\n  bad: { run: 'false' }\n  after: { needs: [bad], run: 'true' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    sandbox.run(&["log", "after"]).exits(2).says("`after` has not begun").says("runbook status p");
    sandbox.run(&["log", "aftr"]).exits(2).says("did you mean `after`?");
    sandbox.run(&["log", "zzzzzz"]).exits(2).says("`p` has no step `zzzzzz`").says("runbook status p");
}

#[test]
fn after_a_run_of_a_part_status_says_how_to_do_the_rest() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  a: { run: 'true' }\n  b: { run: 'true' }\n");
    sandbox.run(&["apply", "plan.yaml", "--only", "a"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.contains("next runbook resume p\n"), "{status}");
    sandbox.run(&["resume"]).exits(0).says("continuing after run 1 (what was asked for held)");
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(!status.contains("next "), "{status}");
}

#[test]
fn a_lock_is_told_with_what_to_do_about_it() {
    let sandbox = Sandbox::new();
    let mut engine = sandbox.busy();
    let note = sandbox.run(&["unlock"]).exits(5).says("busy is being run by tester@").says("status busy --follow");
    assert!(note.err.contains("runbook unlock busy --id "), "{}", note.err);
    sandbox.run(&["unlock", "--id", "00"]).exits(5).says("changed hands").says("runbook status busy");
    sandbox.run(&["plan", "plan.yaml"]).exits(0).says("note: busy is being run by").says("if that run ended now");
    sandbox.run(&["settle", "long", "--done"]).exits(5).says("runbook status busy --follow");
    engine.kill().expect("killed");
    engine.wait().expect("gone");
}

#[test]
fn what_comes_at_the_end_is_planned_last() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  a: { run: 'true' }\n  b: { needs: [a], run: 'true' }\nfinally:\n  bye: { run: 'true' }\n";
    sandbox.write("plan.yaml", plan);
    let out = sandbox.run(&["plan", "plan.yaml"]).exits(0).out;
    let waves: Vec<(&str, &str)> = out
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "◆").collect();
            (words.get(1) == Some(&"run")).then(|| (words[0], words[2]))
        })
        .collect();
    assert_eq!(waves, [("1", "a"), ("2", "b"), ("3", "bye")], "{out}");
    assert!(out.contains("3 steps, 3 waves"), "{out}");
}

#[test]
fn several_rehearsals_are_listed_and_named() {
    let sandbox = Sandbox::new();
    for name in ["one", "two"] {
        sandbox.write(&format!("{name}.yaml"), "runbook: 1\nname: both\nsteps:\n  a: { run: 'true' }\n");
        sandbox.run(&["rehearse", &format!("{name}.yaml")]).exits(0);
    }
    let all = sandbox
        .run(&["status"])
        .exits(0)
        .says("more of one: runbook --state .runbook/rehearsals/REHEARSAL status NAME");
    let rows: Vec<&str> = all.out.lines().skip(1).collect();
    assert!(rows.len() == 2 && rows[0].ends_with("  one") && rows[1].ends_with("  two"), "{}", all.out);
    let json = sandbox.run(&["status", "-o", "json"]).exits(0).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json["deployments"][0]["rehearsal"], &json["deployments"][0]["deployment"]),
        (&"one".into(), &"both".into())
    );
    sandbox.run(&["--state", ".runbook/rehearsals/two", "status", "both"]).exits(0);
    sandbox.run(&["status", "nope"]).exits(2).says("there are only rehearsals, of both");
    sandbox.run(&["apply", "one.yaml", "--name", "real"]).exits(0);
    sandbox.run(&["status", "nope"]).exits(2).says("there is real, and rehearsals of both");
}

#[test]
fn what_is_stale_and_kept_is_said() {
    let sandbox = Sandbox::new();
    let plan =
        |word: &str| format!("runbook: 1\nname: p\nsteps:\n  a: {{ run: echo {word} }}\n  b: {{ run: 'true' }}\n");
    sandbox.write("plan.yaml", &plan("one"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan("two"));
    let kept = sandbox.run(&["apply", "plan.yaml", "--stale", "keep", "-o", "json"]).exits(0);
    let kept = kept.says("1 step is stale and was kept (--stale keep): a; --stale rerun runs it again");
    let kept: serde_json::Value = serde_json::from_str(&kept.out).expect("JSON");
    assert_eq!(kept["kept_stale"], serde_json::json!(["a"]));
    let rerun = sandbox.run(&["apply", "plan.yaml", "--stale", "rerun"]).exits(0);
    assert!(!rerun.err.contains("was kept"), "{}", rerun.err);
    let nothing = sandbox.run(&["apply", "plan.yaml", "--stale", "keep"]).exits(0);
    assert!(!nothing.err.contains("kept"), "{}", nothing.err);
}

#[test]
fn what_is_stale_by_another_step_does_not_claim_that_it_runs() {
    let sandbox = Sandbox::new();
    let plan = |word: &str| {
        format!(
            "runbook: 1\nname: p\nsteps:\n  a: {{ run: echo {word} }}\n  \
             b: {{ command: [echo, '${{{{ steps.a.outputs.stdout }}}}'] }}\n"
        )
    };
    sandbox.write("plan.yaml", &plan("one"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan("two"));
    sandbox.run(&["apply", "plan.yaml", "--stale", "keep"]).exits(0);
    let status = sandbox.run(&["status"]).exits(0).out;
    assert!(status.contains("stale: it uses `a`, which would run again, and its outputs may change"), "{status}");
}

#[test]
fn what_will_not_run_is_not_estimated() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  a: { run: 'true', expected: 2h }\n  b: { needs: [a], run: 'true', expected: 5m }\n";
    sandbox.write("plan.yaml", plan);
    let planned = |args: &[&str]| sandbox.run(&[&["plan", "plan.yaml"], args].concat()).exits(0).out;
    let seconds = |args: &[&str]| {
        let planned = planned(&[args, &["-o", "json"]].concat());
        serde_json::from_str::<serde_json::Value>(&planned).expect("JSON")["estimate_seconds"].clone()
    };
    assert!(planned(&[]).starts_with("2 steps, 2 waves, estimate 2h 05m\n"), "{}", planned(&[]));
    assert_eq!(seconds(&[]), 7500);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert!(planned(&[]).starts_with("2 steps, 2 waves\n"), "{}", planned(&[]));
    assert_eq!(seconds(&[]), 0);
    assert!(
        planned(&["--redo", "b"]).starts_with("2 steps, 2 waves, estimate 5m 00s\n"),
        "{}",
        planned(&["--redo", "b"])
    );
    sandbox.write("plan.yaml", "runbook: 1\nname: q\nsteps:\n  a: { run: 'true' }\n  b: { run: 'true' }\n");
    assert_eq!(seconds(&[]), serde_json::Value::Null, "nobody has said how long it takes");
}

#[test]
fn a_failure_says_what_keeps_it_from_another_attempt() {
    let sandbox = Sandbox::new();
    let retry = "{ attempts: 10, backoff: { initial: 300ms, max: 10s } }";
    let plan = |deadline: &str| {
        format!("runbook: 1\nname: p\nsteps:\n  a: {{ run: 'exit 1', retry: {retry}, deadline: {deadline} }}\n")
    };
    sandbox.write("plan.yaml", &plan("1s"));
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4).says("; its `deadline` of 1s leaves no time for attempt ");
    let again = ran.err.lines().find(|line| line.contains("trying again in")).expect("it is tried again");
    assert!(again.contains("a  failed  ") && !again.contains("permanent"), "{again}");
    let told = ran.err.lines().find(|line| line.starts_with("✗ a failed after")).expect("a report");
    assert!(told.ends_with(" of 10)"), "{told}");
    sandbox.write("plan.yaml", &plan("1h").replace("10, b", "2, b"));
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4).says("(attempt 2 of 2)");
    assert!(!ran.err.contains("deadline"), "{}", ran.err);
}
