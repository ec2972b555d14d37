//! Runs of a part of a plan: what is chosen, what is refused, what is said, and what is left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use runbook::plan::StepId;
use runbook::plan::model::{Plan, Step};
use runbook::run::select::{Asked, Refusal, choose, hindrance};
use runbook::run::{Fate, Options, verdicts};
use runbook::state::RunState;
use runbook_steps::Redactor;
use serde_json::json;

use crate::run_bench::{BLIND, Bench, plan};
use crate::sandbox::Sandbox;

/// a → b → c → d, and x beside them.
fn letters(bench: &Bench) -> Arc<Plan> {
    let steps: Vec<Step> = ["a", "b", "c", "d", "x"].map(|id| bench.step(id, &BLIND, json!({}))).into();
    plan(steps, &[("a", "b"), ("b", "c"), ("c", "d")])
}

fn names(ids: &BTreeSet<StepId>) -> Vec<&str> {
    ids.iter().map(StepId::as_str).collect()
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn ran(bench: &Bench, plan: &Arc<Plan>) -> RunState {
    bench.run(plan, Options::default()).await.journal.state().clone()
}

fn refusal(plan: &Plan, state: &RunState, asked: &Asked) -> Refusal {
    choose(plan, state, asked).expect_err("refused")
}

#[tokio::test]
async fn from_is_the_step_and_all_that_depends_on_it() {
    let bench = Bench::new();
    let plan = letters(&bench);
    let state = ran(&bench, &plan).await;
    let asked = Asked { from: Some("c".to_owned()), ..Asked::default() };
    let options = choose(&plan, &state, &asked).expect("fine");
    assert_eq!(names(&options.only), ["c", "d"]);
    assert_eq!(names(&options.redo), ["c", "d"]);
    assert_eq!(options.asked.to_string(), "--from c");
    bench.run(&plan, options).await;
    assert_eq!(["a", "b", "c", "d", "x"].map(|step| bench.did(step)), [1, 1, 2, 2, 1]);
}

#[tokio::test]
async fn redo_runs_one_step_again_and_downstream_all_behind_it() {
    let bench = Bench::new();
    let plan = letters(&bench);
    let state = ran(&bench, &plan).await;
    let mut asked = Asked { redo: texts(&["b"]), ..Asked::default() };
    let options = choose(&plan, &state, &asked).expect("fine");
    assert_eq!((names(&options.redo), options.only.len()), (vec!["b"], 0));
    asked.downstream = true;
    let options = choose(&plan, &state, &asked).expect("fine");
    assert_eq!((names(&options.redo), options.only.len()), (vec!["b", "c", "d"], 0));
    assert_eq!(options.asked.to_string(), "--redo b --downstream");
}

#[tokio::test]
async fn what_a_part_stands_on_must_hold() {
    let bench = Bench::new();
    let plan = letters(&bench);
    let nothing = RunState::default();
    let asked = Asked { only: texts(&["c", "d"]), ..Asked::default() };
    let options = choose(&plan, &nothing, &asked).expect("names are right");
    let fates = verdicts(&plan, &nothing, &Options::default(), &Redactor::default());
    let refusal = hindrance(&plan, &fates, &options).expect("b never ran");
    assert_eq!(refusal.message, "`c` needs `b`, which does not hold");
    assert!(refusal.hint.contains("--from b"), "{}", refusal.hint);
    let state = ran(&bench, &plan).await;
    let fates = verdicts(&plan, &state, &Options::default(), &Redactor::default());
    assert_eq!(hindrance(&plan, &fates, &options), None);
}

#[tokio::test]
async fn a_need_that_is_skipped_stands() {
    let bench = Bench::new();
    let plan = letters(&bench);
    let asked = Asked { only: texts(&["b"]), skip: texts(&["a"]), ..Asked::default() };
    let state = RunState::default();
    let options = choose(&plan, &state, &asked).expect("fine");
    let whole = Options { skip: options.skip.clone(), ..Options::default() };
    let fates = verdicts(&plan, &state, &whole, &Redactor::default());
    assert_eq!(hindrance(&plan, &fates, &options), None);
    bench.run(&plan, options).await;
    assert_eq!(["a", "b", "c"].map(|step| bench.did(step)), [0, 1, 0]);
}

#[test]
fn names_that_are_not_there_get_a_suggestion() {
    let bench = Bench::new();
    let steps: Vec<Step> =
        ["cluster", "item[one]", "item[two]", "part.b"].map(|id| bench.step(id, &BLIND, json!({}))).into();
    let plan = plan(steps, &[]);
    let state = RunState::default();
    let found = refusal(&plan, &state, &Asked { skip: texts(&["clustr"]), ..Asked::default() });
    assert_eq!(found.message, "`p` has no step `clustr`");
    assert_eq!(found.hint, "did you mean `cluster`?");
    let far = refusal(&plan, &state, &Asked { skip: texts(&["zzz"]), ..Asked::default() });
    assert!(far.hint.starts_with("there is cluster, "), "{}", far.hint);
    let groups = choose(&plan, &state, &Asked { skip: texts(&["item", "part"]), ..Asked::default() }).expect("groups");
    assert_eq!(names(&groups.skip), ["item[one]", "item[two]", "part.b"]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let bench = Bench::new();
    let plan = letters(&bench);
    let state = RunState::default();
    let cases = [
        (
            Asked { redo: texts(&["b"]), skip: texts(&["b"]), ..Asked::default() },
            "`b` is named by both --redo and --skip",
        ),
        (
            Asked { only: texts(&["b"]), skip: texts(&["b"]), ..Asked::default() },
            "`b` is named by both --only and --skip",
        ),
        (
            Asked { from: Some("b".to_owned()), skip: texts(&["b"]), ..Asked::default() },
            "`b` is named by both --from and --skip",
        ),
        (
            Asked { only: texts(&["b"]), redo: texts(&["x"]), ..Asked::default() },
            "--redo wants `x` again, which --only leaves out",
        ),
        (
            Asked { from: Some("b".to_owned()), redo: texts(&["x"]), ..Asked::default() },
            "--redo wants `x` again, which --from does not reach",
        ),
    ];
    for (asked, message) in cases {
        assert_eq!(refusal(&plan, &state, &asked).message, message);
    }
}

#[tokio::test]
async fn a_part_of_a_plan_says_what_becomes_of_each_step() {
    let bench = Bench::new();
    let plan = letters(&bench);
    let state = ran(&bench, &plan).await;
    let asked = Asked { from: Some("b".to_owned()), skip: texts(&["d"]), ..Asked::default() };
    let options = choose(&plan, &state, &asked).expect("fine");
    let fates: Vec<Fate> =
        verdicts(&plan, &state, &options, &Redactor::default()).into_iter().map(|(_, fate)| fate).collect();
    assert_eq!(fates, [Fate::Left, Fate::Redo, Fate::Redo, Fate::Left, Fate::Left]);
}

const CHAIN: &str = "runbook: 1
name: chain
steps:
  a: { run: echo a >> ledger, idempotent: true }
  b: { needs: [a], run: echo b >> ledger, idempotent: true }
  c: { needs: [b], run: echo c >> ledger, idempotent: true }
  x: { run: echo x >> ledger, idempotent: true }
finally:
  clean: { run: echo clean >> ledger, idempotent: true }
";

fn chain() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("chain.yaml", CHAIN);
    sandbox
}

/// What ran since the last look, in order.
fn since(sandbox: &Sandbox) -> String {
    let text = sandbox.read("ledger").replace('\n', " ");
    sandbox.write("ledger", "");
    text.trim_end().to_owned()
}

#[test]
fn a_partial_run_says_that_it_is_one() {
    let sandbox = chain();
    sandbox.run(&["apply", "chain.yaml", "-j1"]).exits(0);
    since(&sandbox);
    let ran = sandbox.run(&["apply", "chain.yaml", "-j1", "--from", "b"]).exits(0);
    let ran = ran.says("runs        3 steps: b, c and clean").says("left alone  2 steps: a and x");
    ran.says("what was asked for holds").says("partial run: --from b; left out a and x");
    assert_eq!(since(&sandbox), "b c clean");
    let runs = sandbox.run(&["status", "--runs"]).exits(0).out;
    assert!(runs.contains("--from b"), "{runs}");
}

#[test]
fn only_and_skip_leave_the_rest_for_later() {
    let sandbox = chain();
    sandbox.run(&["apply", "chain.yaml", "--only", "b"]).exits(2).says("`b` needs `a`, which does not hold");
    assert_eq!(since(&sandbox), "");
    sandbox.run(&["apply", "chain.yaml", "-j1", "--only", "a", "x"]).exits(0).says("left out b and c");
    assert_eq!(since(&sandbox), "a x clean");
    let ran = sandbox
        .run(&["apply", "chain.yaml", "-j1", "--skip", "b", "-o", "json"])
        .exits(0)
        .says("skipped     1 step: b");
    let result: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(result["selection"], "--skip b");
    assert_eq!(since(&sandbox), "c clean");
    sandbox.run(&["resume", "-j1"]).exits(0).says("everything holds");
    assert_eq!(since(&sandbox), "b clean");
}

#[test]
fn a_plan_shows_what_a_selection_means() {
    let sandbox = chain();
    sandbox.run(&["apply", "chain.yaml"]).exits(0);
    let plan = sandbox.run(&["plan", "chain.yaml", "--redo", "b", "--downstream"]).exits(0).out;
    assert!(plan.contains("runs        3 steps: b, c and clean"), "{plan}");
    assert!(plan.contains("again   b, c and clean (as asked for)"), "{plan}");
    sandbox.run(&["plan", "chain.yaml", "--redo", "bb"]).exits(2).says("no step `bb`");
    sandbox.run(&["apply", "chain.yaml", "--from", "a", "--only", "b"]).exits(2);
    sandbox.run(&["apply", "chain.yaml", "--downstream"]).exits(2);
}

#[test]
fn redo_does_again_what_its_check_says_is_done() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: p\nsteps:\n  a: { run: echo a >> ledger }\n  b: { needs: [a], run: echo b >> ledger }\n",
    );
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    since(&sandbox);
    sandbox.run(&["apply", "plan.yaml", "--redo", "a"]).exits(0).says("again   a (as asked for)");
    assert_eq!(since(&sandbox), "a", "what depends on it by `needs` alone is left");
}

#[test]
fn resume_goes_on_with_the_part_that_the_last_run_was_for() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: part\nsteps:\n  \
         once: { run: 'echo once >> ledger', idempotent: true }\n  \
         works: { needs: [once], run: 'test -e ready', idempotent: true }\n  \
         danger: { run: 'echo danger >> ledger', idempotent: true }\n",
    );
    let part = ["--skip", "danger", "--redo", "once"];
    sandbox.run(&[&["apply", "plan.yaml"][..], &part].concat()).exits(4).says("runbook resume part");
    sandbox.write("ready", "");
    let resumed = sandbox.run(&["resume", "part"]).exits(0);
    assert!(resumed.err.contains("goes on with what the last run was for, `--redo once --skip danger`"), "{resumed:?}");
    assert_eq!(sandbox.read("ledger"), "once\n", "what was asked for once is done once, and the rest left alone");
    sandbox.run(&["resume", "part"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "once\ndanger\n", "a part that has come to its end is no part any more");
}

#[test]
fn a_name_with_blanks_is_gone_on_with_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: blanks\nsteps:\n  a: { foreach: { it: ['x y', z] }, run: 'echo \"$IT\" >> ledger; test -e ready', \
         env: { IT: '${{ each.it }}' }, idempotent: true }\n",
    );
    sandbox.run(&["apply", "plan.yaml", "--only", "a[x y]"]).exits(4);
    sandbox.write("ready", "");
    sandbox.run(&["resume"]).exits(0).says("`--only 'a[x y]'`");
    assert_eq!(sandbox.read("ledger"), "x y\nx y\n");
}

#[test]
fn a_step_that_only_runs_when_asked_for_can_be_asked_for_by_redo() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "plan.yaml",
        "runbook: 1\nname: asked\nsteps:\n  a: { run: 'true' }\n  od: { on_demand: true, run: 'echo od >> ledger' }\n",
    );
    sandbox.run(&["apply", "plan.yaml", "--redo", "od"]).exits(0);
    sandbox.run(&["apply", "plan.yaml", "--redo", "od"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "od\nod\n");
}

#[test]
fn what_depends_on_a_step_that_is_done_again_can_be_left_out() {
    let sandbox = chain();
    sandbox.run(&["apply", "chain.yaml"]).exits(0);
    let ran = sandbox.run(&["plan", "chain.yaml", "--redo", "b", "--downstream", "--skip", "c"]).exits(0);
    assert!(ran.out.contains("--redo b --downstream --skip c"), "{}", ran.out);
}

/// What is to be done again does not hold from the moment that the run is in the journal.
#[test]
fn what_is_to_be_done_again_is_so_wherever_the_run_is_killed() {
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: killed\nsteps:\n  a: { run: 'echo a >> ledger', idempotent: true }\n  \
                b: { needs: [a], run: 'true', idempotent: true }\n";
    sandbox.write("plan.yaml", plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.run(&["apply", "plan.yaml", "--redo", "a"]).exits(0);
    let journal = ".runbook/killed/journal.jsonl";
    let text = sandbox.read(journal);
    let opened = text.match_indices("\"record\":\"opened\"").nth(1).expect("a second run").0;
    let end = opened + text[opened..].find('\n').expect("a whole line") + 1;
    sandbox.write(journal, &text[..end]);
    sandbox.run(&["resume"]).exits(0);
    assert_eq!(sandbox.read("ledger"), "a\na\na\n");
}

#[test]
fn what_is_kept_stale_is_said_to_be_and_the_end_still_comes() {
    let sandbox = chain();
    sandbox.run(&["apply", "chain.yaml", "-j1"]).exits(0);
    sandbox.write("chain.yaml", &CHAIN.replace("echo a >>", "echo A >>"));
    let asked = sandbox.run(&["apply", "chain.yaml", "--stale", "ask"]).exits(7);
    asked.says("1 step is stale and would run again; nothing was touched").says("--stale keep");
    let kept = sandbox.run(&["apply", "chain.yaml", "--stale", "keep", "--redo", "x"]).exits(0);
    kept.says("reuse   3 steps").says("again   x and clean (as asked for)");
}
