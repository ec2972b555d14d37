//! What a run that did not come to its end leaves to the next one: what was asked of it, what it changed, what nobody knows.

use crate::sandbox::Sandbox;

/// What remains of a journal when the engine dies right after a record, of all that there are the last that has all of these words.
fn die_after(sandbox: &Sandbox, deployment: &str, words: &[&str]) {
    let path = format!(".runbook/{deployment}/journal.jsonl");
    let journal = sandbox.read(&path);
    let lines: Vec<&str> = journal.lines().collect();
    let last = lines.iter().rposition(|line| words.iter().all(|word| line.contains(word)));
    let kept = &lines[..=last.unwrap_or_else(|| panic!("{words:?} are in no line of:\n{journal}"))];
    sandbox.write(&path, &format!("{}\n", kept.join("\n")));
}

/// `b` holds by what is there, and `a` takes that away.
fn cloned(more: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let plan = format!(
        "runbook: 1\nname: shaken\nsteps:\n  \
         source:\n    run: |\n      export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x\n      \
         git init -q src; cd src; git commit -q --allow-empty -m one; git tag v1; git commit -q --allow-empty -m two; git tag v2\n  \
         a: {{ needs: source, run: rm -rf clone }}\n  \
         c: {{ needs: a, run: '! test -e broken', read_only: true }}\n  \
         b: {{ needs: c, uses: git.clone, with: {{ repo: 'file://{0}', ref: v1, dir: clone }}{more} }}\n",
        sandbox.path("src").display()
    );
    sandbox.write("plan.yaml", &plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert!(sandbox.path("clone").exists());
    sandbox
}

#[test]
fn what_stands_on_a_change_is_looked_at_by_whichever_run_comes_to_it() {
    let sandbox = cloned("");
    sandbox.write("broken", "");
    sandbox.run(&["apply", "plan.yaml", "--redo", "a", "--redo", "c"]).exits(4);
    std::fs::remove_file(sandbox.path("broken")).expect("there");
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(planned.out.contains("look"), "{}", planned.out);
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("`b` is looked at again: `a` changed");
    assert!(sandbox.path("clone").exists(), "after a failure");

    sandbox.run(&["apply", "plan.yaml", "--only", "a", "--redo", "a"]).exits(0);
    assert!(!sandbox.path("clone").exists());
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("`b` is looked at again");
    assert!(sandbox.path("clone").exists(), "after a run of a part");

    sandbox.run(&["apply", "plan.yaml", "--redo", "a"]).exits(0);
    std::fs::remove_dir_all(sandbox.path("clone")).expect("there");
    die_after(&sandbox, "shaken", &["\"succeeded\"", "\"step\":\"a\""]);
    sandbox.run(&["resume"]).exits(0).says("`b` is looked at again");
    assert!(sandbox.path("clone").exists(), "after a crash");
    let again = sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert!(!again.err.contains("looked at"), "once is enough: {}", again.err);
}

#[test]
fn what_is_kept_although_it_is_stale_is_not_looked_at_by_its_new_words() {
    let sandbox = cloned("");
    let head = sandbox.read("clone/.git/HEAD");
    sandbox.write(
        "plan.yaml",
        &sandbox.read("plan.yaml").replace("ref: v1", "ref: v2").replace("run: rm -rf clone", "run: 'true'"),
    );
    sandbox
        .run(&["apply", "plan.yaml", "--redo", "a", "--stale", "keep"])
        .exits(0)
        .says("1 step is stale and was kept");
    assert_eq!(sandbox.read("clone/.git/HEAD"), head);
    sandbox.run(&["apply", "plan.yaml", "--stale", "rerun"]).exits(0);
    assert_ne!(sandbox.read("clone/.git/HEAD"), head, "only now it is another commit");
}

/// A deployment of one step that writes into a ledger and cannot be looked at, whose first attempt has no end.
fn half_done(step: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: half\nsteps:\n  {step}: {{ run: 'echo v1 >> ledger' }}\n"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    die_after(&sandbox, "half", &["\"started\""]);
    sandbox
}

#[test]
fn who_settles_a_step_speaks_of_what_was_begun() {
    let sandbox = half_done("s");
    sandbox.write("plan.yaml", &sandbox.read("plan.yaml").replace("echo v1", "echo v2"));
    sandbox.run(&["apply", "plan.yaml"]).exits(7).says("`echo v1 >> ledger` → `echo v2 >> ledger`");
    sandbox.run(&["settle", "s", "--done"]).exits(0);
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("`s` runs again");
    assert_eq!(sandbox.read("ledger"), "v1\nv2\n");
}

#[test]
fn what_was_begun_under_another_name_is_not_begun_once_more() {
    let sandbox = half_done("pay");
    sandbox.write("plan.yaml", &sandbox.read("plan.yaml").replace("pay:", "payment:"));
    let refused =
        sandbox.run(&["apply", "plan.yaml"]).exits(7).says("in the middle of pay, which the plan no longer has");
    refused.says("runbook settle pay --done, or runbook settle pay --redo");
    assert_eq!(sandbox.read("ledger"), "v1\n");
    sandbox.run(&["settle", "pay", "--redo"]).exits(0);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "v1\nv1\n", "somebody has said so");
}

#[test]
fn what_runs_only_when_it_is_asked_for_is_not_forgotten_in_the_middle() {
    let sandbox = Sandbox::new();
    let plan =
        "runbook: 1\nname: half\nsteps:\n  a: { run: 'true' }\n  fix: { on_demand: true, run: 'echo x >> ledger' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["apply", "plan.yaml", "--redo", "fix"]).exits(0);
    die_after(&sandbox, "half", &["\"started\"", "\"step\":\"fix\""]);
    sandbox.run(&["resume"]).exits(7).says("nobody can tell whether fix was done");
    sandbox.run(&["settle", "fix", "--done"]).exits(0);
    sandbox.run(&["resume"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "x\n");
}

#[test]
fn that_a_step_in_doubt_is_to_be_done_again_is_heard_although_the_run_was_killed() {
    let sandbox = half_done("s");
    sandbox.run(&["apply", "plan.yaml"]).exits(7);
    sandbox.run(&["apply", "plan.yaml", "--redo", "s"]).exits(0);
    die_after(&sandbox, "half", &["\"opened\""]);
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(planned.out.contains("again   s (as asked for)"), "{}", planned.out);
    sandbox.run(&["resume"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "v1\nv1\nv1\n");
    let again = sandbox.run(&["resume"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "v1\nv1\nv1\n", "once: {}", again.err);
}

#[test]
fn what_finally_owes_is_not_forgotten_when_what_was_done_is_left_out() {
    let sandbox = Sandbox::new();
    let plan =
        "runbook: 1\nname: owes\nsteps:\n  a: { run: 'exit 1' }\nfinally:\n  z: { run: 'echo tidy >> ledger' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    let sound = plan.replace("run: 'exit 1'", "when: '1 > 2', run: 'exit 1'");
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    die_after(&sandbox, "owes", &["\"failed\"", "\"step\":\"a\""]);
    sandbox.write("plan.yaml", &sound);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    die_after(&sandbox, "owes", &["\"skipped\"", "\"step\":\"a\""]);
    sandbox.write("ledger", "");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "tidy\n");
}

#[test]
fn nothing_is_begun_after_its_deadline() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: late\nsteps:\n  \
         a:\n    locks: [one]\n    run: 'echo a >> ledger; exit 1'\n    retry: { attempts: 2, backoff: { initial: 400ms } }\n    \
         deadline: 800ms\n  \
         long: { locks: [one], run: 'until test -e ledger; do sleep 0.01; done; sleep 1.2', idempotent: true, needs: soon }\n  \
         soon: { run: 'until test -e ledger; do sleep 0.01; done', idempotent: true }\n",
    );
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4);
    ran.says("its `deadline` of 800ms passed before attempt 2 could begin").says("attempt 1: ");
    assert_eq!(sandbox.read("ledger"), "a\n");
}

#[test]
fn what_could_not_be_come_to_gives_what_it_gave() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: known\nsteps:\n  x: { run: test -e ok }\n  a: { needs: x, command: [echo, hello] }\n  \
                b: { command: [echo, '${{ steps.a.outputs.stdout }}'] }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.write("ok", "");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    std::fs::remove_file(sandbox.path("ok")).expect("there");
    sandbox.run(&["apply", "plan.yaml", "--redo", "x"]).exits(4);
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(!planned.out.contains("stale"), "{}", planned.out);
    sandbox.write("ok", "");
    sandbox.run(&["apply", "plan.yaml", "--stale", "ask"]).exits(0);
}

#[test]
fn what_failed_in_the_middle_may_have_changed_what_others_stand_on() {
    let sandbox = Sandbox::new();
    let plan = format!(
        "runbook: 1\nname: shaken\nsteps:\n  \
         source: {{ run: 'export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x; git init -q src; \
         cd src; git commit -q --allow-empty -m one; git tag v1' }}\n  \
         a: {{ needs: source, run: 'test ! -e bad || {{ rm -rf clone; exit 3; }}' }}\n  \
         b: {{ needs: {{ a: finished }}, uses: git.clone, with: {{ repo: 'file://{}', ref: v1, dir: clone }} }}\n",
        sandbox.path("src").display()
    );
    sandbox.write("plan.yaml", &plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("bad", "");
    sandbox.run(&["apply", "plan.yaml", "--redo", "a"]).exits(4).says("`b` is looked at again: `a` changed");
    assert!(sandbox.path("clone").exists());
}

#[test]
fn what_was_asked_to_run_once_more_runs_after_a_crash_although_it_runs_only_when_it_is_asked_for() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: asked\nsteps:\n  a: { idempotent: true, run: 'true' }\n  \
                od: { on_demand: true, needs: a, run: 'echo od >> ledger' }\n";
    sandbox.write("plan.yaml", plan);
    for times in 1..=2 {
        sandbox.run(&["apply", "plan.yaml", "--redo", "od"]).exits(0);
        die_after(&sandbox, "asked", &["\"opened\""]);
        sandbox.write("ledger", "");
        sandbox.run(&["resume"]).exits(0);
        assert_eq!(sandbox.read("ledger"), "od\n", "killed for the {times}. time");
        sandbox.run(&["resume"]).exits(0);
        assert_eq!(sandbox.read("ledger"), "od\n", "once");
    }
}

#[test]
fn what_stood_on_something_undone_does_not_hold_although_the_plan_was_not_there() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: undone\nsteps:\n  a: { run: touch base, undo: { run: rm base } }\n  \
                b: { run: 'echo b >> ledger' }\n  c: { needs: a, run: 'cp base in-base; echo c >> ledger' }\n  \
                d: { needs: c, run: 'echo d >> ledger' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml", "--parallel", "1"]).exits(0);
    sandbox.run(&["destroy", "undone", "--yes", "--without-plan"]).exits(0);
    sandbox.write("ledger", "");
    let planned = sandbox.run(&["plan", "plan.yaml"]).exits(0);
    assert!(planned.out.contains("what it stands on was undone: `a`"), "{}", planned.out);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "c\nd\n", "`b` stands on nothing that was undone");
    let again = sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "c\nd\n", "{}", again.err);
}

#[test]
fn to_have_another_output_of_what_holds_puts_nothing_in_doubt() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  x: { run: 'echo x >> ledger' }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("ledger' }", "ledger', outputs: { w: '${{ 1 + 1 }}' } }"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("`x` is looked at again: the output `w` is new");
    die_after(&sandbox, "p", &["\"started\""]);
    let status = sandbox.run(&["status"]);
    assert!(!status.out.contains("settle"), "{}", status.out);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "x\n", "nothing was done again");
}

#[test]
fn a_destroy_that_was_killed_before_it_could_say_that_all_is_undone_comes_to_its_end() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: p\nsteps: { a: { run: 'true', undo: { run: 'true' } }, k: { run: 'true' } }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["destroy", "p", "--yes"]).exits(0);
    die_after(&sandbox, "p", &["\"undone\""]);
    assert!(sandbox.run(&["status"]).out.contains("killed"));
    sandbox.run(&["destroy", "p"]).exits(0).says("nothing to undo");
    let status = sandbox.run(&["status"]).exits(0);
    assert!(!status.out.contains("killed") && !status.out.contains("next"), "{}", status.out);
}

#[test]
fn what_is_in_doubt_and_left_out_is_told_to_be_in_doubt() {
    let sandbox = half_done("s");
    sandbox.run(&["apply", "plan.yaml", "--skip", "s"]).exits(0).says("nothing can look at what it has done");
    sandbox.run(&["apply", "plan.yaml"]).exits(7);
}
