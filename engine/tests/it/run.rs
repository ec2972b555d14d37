//! Plans driven to their end: order, failures, retries, timeouts, signals.

use std::time::Duration;

use runbook::hints::{Hint, HintMatch, Pattern, Seen, best, shipped};
use runbook::plan::StepId;
use runbook::plan::model::{Expression, KnownIssue, Requirement, Template};
use runbook::run::Options;
use runbook::state::Status;
use runbook::state::record::{Outcome, Record, Verdict};
use runbook_steps::{Class, Failure, Secret};
use serde_json::json;

use crate::run_bench::{AGAIN, BLIND, Bench, LOOKED, Trigger, bare, place, plan, retry, text};

fn status(summary: &runbook::run::Summary, step: &str) -> Status {
    summary.journal.state().status(&StepId::from(step)).clone()
}

fn expression(text: &str) -> Expression {
    Expression { text: text.to_owned(), place: place() }
}

#[tokio::test]
async fn steps_run_in_order_and_outputs_reach_those_after() {
    let bench = Bench::new();
    let first = bench.step("a", &LOOKED, json!({ "outputs": { "ip": "10.0.0.1" } }));
    let mut second = bench.step("b", &BLIND, json!({}));
    let ledger = json!(bench.ledger_path());
    second.work.as_mut().expect("work").with = Template::Map(vec![
        ("ledger".to_owned(), Template::Plain(ledger)),
        ("mark".to_owned(), text("${{ steps.a.outputs.ip }}")),
    ]);
    let summary = bench.run(&plan(vec![first, second], &[("a", "b")]), Options::default()).await;
    assert_eq!(summary.verdict, Verdict::Holds);
    assert_eq!(bench.ledger(), ["saw a", "did a", "made a", "saw b", "did b", "made b"]);
    let state = summary.journal.state();
    let done = state.step(&StepId::from("b")).and_then(|step| step.done()).expect("done");
    assert_eq!(done.fingerprint.parts()["with"]["mark"], "10.0.0.1");
    assert_eq!(done.outcome, Outcome::Changed);
}

#[tokio::test]
async fn a_second_run_reuses_all_and_a_changed_step_runs_again() {
    let bench = Bench::new();
    let steps = |mark: u32| {
        vec![
            bench.step("a", &BLIND, json!({ "mark": mark })),
            bench.step("b", &BLIND, json!({})),
            bench.step("c", &BLIND, json!({})),
        ]
    };
    let needs = [("a", "b"), ("b", "c")];
    drop(bench.run(&plan(steps(1), &needs), Options::default()).await);
    let again = bench.run(&plan(steps(1), &needs), Options::default()).await;
    assert_eq!(again.reused.len(), 3);
    assert_eq!((again.verdict, again.run), (Verdict::Holds, 2));
    drop(again);
    let (changed, seen) = bench.try_run(&plan(steps(2), &needs), Options::default(), bench.open(), None).await;
    assert_eq!(changed.expect("written").reused.len(), 2);
    assert_eq!(seen.notices(), ["`a` runs again: `with.mark` changed `1` → `2`"]);
    assert_eq!([bench.did("a"), bench.did("b"), bench.did("c")], [2, 1, 1]);
}

#[tokio::test]
async fn a_failure_blocks_what_is_behind_it_and_nothing_else() {
    let bench = Bench::new();
    let steps = vec![
        bench.step("bad", &BLIND, json!({ "does": { "fail": "no such zone" } })),
        bench.step("behind", &BLIND, json!({})),
        bench.step("far", &BLIND, json!({})),
        bench.step("apart", &BLIND, json!({})),
    ];
    let summary = bench.run(&plan(steps, &[("bad", "behind"), ("behind", "far")]), Options::default()).await;
    assert_eq!(summary.verdict, Verdict::Failed);
    assert_eq!(status(&summary, "far"), Status::Blocked { by: vec![StepId::from("bad")] });
    assert_eq!(status(&summary, "apart"), Status::Succeeded { outcome: Outcome::Changed });
    assert_eq!(bench.did("behind") + bench.did("far"), 0);
}

#[tokio::test]
async fn fail_fast_starts_nothing_more_but_finally() {
    let bench = Bench::new();
    let mut last = bench.step("last", &BLIND, json!({}));
    last.finally = true;
    let steps = vec![
        bench.step("bad", &BLIND, json!({ "does": { "fail": "x" } })),
        bench.step("next", &BLIND, json!({})),
        last,
    ];
    let options = Options { parallel: 1, fail_fast: true, ..Options::default() };
    let summary = bench.run(&plan(steps, &[]), options).await;
    assert_eq!(status(&summary, "next"), Status::Pending);
    assert_eq!((bench.did("next"), bench.did("last")), (0, 1));
    assert_eq!(summary.verdict, Verdict::Failed);
}

#[tokio::test]
async fn what_is_transient_is_tried_again_and_locks_are_free_meanwhile() {
    let bench = Bench::new();
    let mut flaky = bench.step("flaky", &BLIND, json!({ "flaky": 2 }));
    flaky.retry = retry(3);
    flaky.locks = vec![Template::Plain(json!("zone"))];
    let mut other = bench.step("other", &BLIND, json!({}));
    other.locks = vec![Template::Plain(json!("zone"))];
    let summary = bench.run(&plan(vec![flaky, other], &[]), Options::default()).await;
    assert_eq!(summary.verdict, Verdict::Holds);
    let state = summary.journal.state();
    assert_eq!(state.step(&StepId::from("flaky")).map(runbook::state::StepState::attempts), Some(3));
    let ledger = bench.ledger();
    let at = |line: &str| ledger.iter().position(|other| other == line).expect("there");
    assert!(at("did flaky") < at("did other") && at("made other") < at("made flaky"));
}

#[tokio::test]
async fn attempts_run_out() {
    let bench = Bench::new();
    let mut flaky = bench.step("flaky", &BLIND, json!({ "flaky": 9 }));
    flaky.retry = retry(3);
    let summary = bench.run(&plan(vec![flaky], &[]), Options::default()).await;
    assert_eq!((summary.verdict, bench.did("flaky")), (Verdict::Failed, 3));
}

#[tokio::test]
async fn a_timeout_says_what_was_seen_last() {
    let bench = Bench::new();
    let mut slow = bench.step("slow", &BLIND, json!({ "does": "work" }));
    slow.timeout = Some(Duration::from_secs(90));
    let summary = bench.run(&plan(vec![slow], &[]), Options::default()).await;
    let state = summary.journal.state();
    let failure = state.step(&StepId::from("slow")).and_then(|step| step.failure()).expect("failed");
    assert_eq!(failure.class, Class::Timeout);
    assert_eq!(failure.what, "took longer than its `timeout` of 1m 30s; last seen: slow is at it");
    assert_eq!(bench.ledger().last().map(String::as_str), Some("stopped slow"));
}

#[tokio::test]
async fn nothing_is_tried_again_beside_what_cannot_be_ended() {
    let bench = Bench::new();
    let mut slow = bench.step("slow", &BLIND, json!({ "does": "undying" }));
    slow.timeout = Some(Duration::from_secs(90));
    slow.retry = retry(3);
    let summary = bench.run(&plan(vec![slow], &[]), Options::default()).await;
    let failure = summary.journal.state().step(&StepId::from("slow")).and_then(|step| step.failure()).cloned();
    let failure = failure.expect("failed");
    assert_eq!((failure.class, failure.what.as_str()), (Class::NeedsPerson, "it lives on"));
    assert_eq!((summary.verdict, bench.did("slow")), (Verdict::NeedsPerson, 1));
}

#[tokio::test]
async fn a_deadline_bounds_all_attempts() {
    // The first failure of a process reads the hints, and here a blink is minutes.
    best(shipped::hints(), Seen::failure(&Failure::permanent("warm up")));
    let bench = Bench::new();
    let mut flaky = bench.step("flaky", &BLIND, json!({ "flaky": 1, "does": "work" }));
    flaky.retry = retry(5);
    flaky.timeout = Some(Duration::from_secs(3600));
    flaky.deadline = Some(Duration::from_secs(120));
    let summary = bench.run(&plan(vec![flaky], &[]), Options::default()).await;
    let state = summary.journal.state();
    let failure = state.step(&StepId::from("flaky")).and_then(|step| step.failure()).expect("failed");
    assert!(failure.what.starts_with("its `deadline` of 2m passed, "), "{}", failure.what);
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_step_only() {
    let bench = Bench::new();
    let steps = vec![bench.step("bad", &BLIND, json!({ "does": "panic" })), bench.step("good", &BLIND, json!({}))];
    let summary = bench.run(&plan(steps, &[]), Options::default()).await;
    let state = summary.journal.state();
    let failure = state.step(&StepId::from("bad")).and_then(|step| step.failure()).expect("failed");
    assert_eq!((failure.class, failure.what.as_str()), (Class::Permanent, "step panicked: out of cheese"));
    assert_eq!(bench.did("good"), 1);
}

#[tokio::test]
async fn when_skips_require_fails_and_an_assertion_is_judged() {
    let bench = Bench::new();
    let mut skipped = bench.step("skipped", &BLIND, json!({}));
    skipped.when = Some(expression("1 > 2"));
    let mut refused = bench.step("refused", &BLIND, json!({}));
    let (message, fix) = (Template::Plain(json!("no quota")), Some(Template::Plain(json!("ask for it"))));
    refused.require = vec![Requirement { assert: expression("1 > 2"), message, fix }];
    let mut judged = bench.step("judged", &BLIND, json!({ "outputs": { "n": 1 } }));
    judged.assert = vec![expression("outputs.n == 2")];
    let after = bench.step("after", &BLIND, json!({}));
    let summary =
        bench.run(&plan(vec![skipped, refused, judged, after], &[("skipped", "after")]), Options::default()).await;
    assert_eq!(status(&summary, "skipped"), Status::Skipped { why: "`when` is false: 1 > 2".to_owned() });
    assert_eq!([bench.did("skipped"), bench.did("refused"), bench.did("after")], [0, 0, 1]);
    let failure = |step: &str| {
        summary.journal.state().step(&StepId::from(step)).and_then(|step| step.failure()).expect("failed").clone()
    };
    assert_eq!((failure("refused").what.as_str(), failure("refused").fix.as_deref()), ("no quota", Some("ask for it")));
    assert!(failure("judged").what.contains("outputs.n == 2"), "{}", failure("judged").what);
}

#[tokio::test]
async fn finally_runs_after_a_failure_and_after_an_interrupt() {
    for interrupted in [false, true] {
        let bench = Bench::new();
        let does = if interrupted { json!("work") } else { json!({ "fail": "x" }) };
        let mut last = bench.step("last", &BLIND, json!({}));
        last.finally = true;
        let steps = vec![bench.step("a", &BLIND, json!({ "does": does })), last];
        let plan = plan(steps, &[]);
        let summary = match interrupted {
            true => bench.interrupt(&plan, "a", 1).await,
            false => bench.run(&plan, Options::default()).await,
        };
        assert_eq!(summary.verdict, if interrupted { Verdict::Interrupted } else { Verdict::Failed });
        assert_eq!(bench.ledger().last().map(String::as_str), Some("made last"));
    }
}

/// Between the record of its start and its first move a step has done nothing that anybody would have to settle.
#[tokio::test]
async fn an_interrupt_before_a_step_has_moved_leaves_nothing_in_doubt() {
    let bench = Bench::new();
    let plan = plan(["a", "b"].map(|id| bench.step(id, &BLIND, json!({}))).into(), &[]);
    let options = Options { sync_inline: true, ..Options::default() };
    let trigger = Some(Trigger::Announced("b".to_owned()));
    let summary = bench.try_run(&plan, options, bench.open(), trigger).await.0.expect("written");
    assert_eq!(summary.verdict, Verdict::Interrupted);
    for id in ["a", "b"] {
        let step = summary.journal.state().step(&StepId::from(id)).expect("announced");
        assert_eq!((step.status(), step.in_flight()), (&Status::Cancelled, None), "{id}");
        assert_eq!(bench.did(id), 0);
    }
}

#[tokio::test]
async fn the_first_interrupt_is_gentle_the_second_kills() {
    let bench = Bench::new();
    let steps = vec![bench.step("a", &AGAIN, json!({ "does": "work" })), bench.step("b", &AGAIN, json!({}))];
    let summary = bench.interrupt(&plan(steps, &[("a", "b")]), "a", 1).await;
    assert_eq!((status(&summary, "a"), status(&summary, "b")), (Status::Cancelled, Status::Pending));
    assert_eq!(summary.signal.map(runbook::run::Signal::name), Some("SIGINT"));

    let bench = Bench::new();
    let summary =
        bench.interrupt(&plan(vec![bench.step("a", &AGAIN, json!({ "does": "stubborn" }))], &[]), "a", 2).await;
    assert_eq!(status(&summary, "a"), Status::Cancelled);
    assert_eq!(bench.ledger().last().map(String::as_str), Some("killed a"));
}

#[tokio::test]
async fn the_third_interrupt_leaves_and_the_journal_is_true() {
    let bench = Bench::new();
    let steps = || vec![bench.step("a", &BLIND, json!({ "does": "stubborn" }))];
    let summary = bench.interrupt(&plan(steps(), &[]), "a", 3).await;
    assert_eq!(summary.verdict, Verdict::Interrupted);
    assert!(matches!(status(&summary, "a"), Status::Running { .. }));
    assert!(!matches!(bench.records().last(), Some(Record::Closed { .. })));
}

#[tokio::test]
async fn a_known_issue_that_fails_is_a_note_and_one_that_passes_is_too() {
    let bench = Bench::new();
    let mut fails = bench.step("fails", &BLIND, json!({ "does": { "fail": "404" } }));
    let mut passes = bench.step("passes", &BLIND, json!({}));
    for step in [&mut fails, &mut passes] {
        step.known_issue = Some(KnownIssue { reason: "upstream 12".to_owned() });
    }
    let summary = bench.run(&plan(vec![fails, passes], &[]), Options::default()).await;
    let state = summary.journal.state();
    let note = |step: &str| state.step(&StepId::from(step)).and_then(|step| step.note()).map(str::to_owned);
    assert_eq!(summary.verdict, Verdict::Holds);
    assert_eq!(note("fails").as_deref(), Some("failed as expected (upstream 12): 404"));
    assert_eq!(note("passes").as_deref(), Some("passed, though it is a known issue: upstream 12"));
}

#[tokio::test]
async fn a_hint_can_make_a_failure_worth_another_try() {
    let bench = Bench::new();
    let mut step = bench.step("a", &BLIND, json!({ "does": { "fail": "no leader" } }));
    step.retry = retry(2);
    let leader = HintMatch { error: Some(Pattern::new("leader")), ..HintMatch::default() };
    step.hints = vec![Hint { class: Some(Class::Transient), ..Hint::new(leader, "an election", "wait") }];
    let summary = bench.run(&plan(vec![step], &[]), Options::default()).await;
    let state = summary.journal.state();
    let failure = state.step(&StepId::from("a")).and_then(|step| step.failure()).expect("failed");
    assert_eq!((bench.did("a"), failure.cause.as_deref()), (2, Some("an election")));
}

#[tokio::test]
async fn a_secret_that_comes_back_reaches_neither_journal_nor_log_nor_watcher() {
    let mut bench = Bench::new();
    bench.secrets.insert("token".to_owned(), Secret::new("hunter2hunter2"));
    let echo =
        json!({ "outputs": { "echo": "is hunter2hunter2" }, "prints": "got hunter2hunter2", "mark": "hunter2hunter2" });
    let steps = vec![
        bench.step("good", &BLIND, echo),
        bench.step("bad", &BLIND, json!({ "does": { "fail": "401 for hunter2hunter2" } })),
    ];
    let (summary, seen) = bench.try_run(&plan(steps, &[]), Options::default(), bench.open(), None).await;
    let summary = summary.expect("written");
    let outputs = summary.journal.state().step(&StepId::from("good")).and_then(|step| step.outputs()).expect("done");
    assert_eq!(outputs["echo"], "is [redacted]");
    drop(summary);
    let home = bench.home();
    let log = home.latest_log(&StepId::from("good")).expect("listed").expect("there");
    let all = [home.journal_path(), log.path].map(|path| std::fs::read_to_string(path).expect("there")).concat();
    let events = format!("{:?}", seen.0.lock().expect("whole"));
    assert!(all.contains("[redacted]") && !all.contains("hunter2") && !events.contains("hunter2"));
}

#[tokio::test]
async fn redo_skip_and_only() {
    let bench = Bench::new();
    let steps = || ["a", "b", "c"].map(|id| bench.step(id, &BLIND, json!({}))).into();
    let needs = [("a", "b"), ("b", "c")];
    let ids = |names: &[&str]| names.iter().map(|name| StepId::from(*name)).collect();
    let options = Options { only: ids(&["a"]), ..Options::default() };
    drop(bench.run(&plan(steps(), &needs), options).await);
    assert_eq!([bench.did("a"), bench.did("b"), bench.did("c")], [1, 0, 0]);
    let options = Options { skip: ids(&["b"]), redo: ids(&["a"]), ..Options::default() };
    let summary = bench.run(&plan(steps(), &needs), options).await;
    assert_eq!(summary.verdict, Verdict::Holds);
    assert_eq!(status(&summary, "b"), Status::Skipped { why: "left out by --skip".to_owned() });
    assert_eq!([bench.did("a"), bench.did("b"), bench.did("c")], [2, 0, 1]);
}

/// What was not asked for stays as it is, though what it needs has failed.
#[tokio::test]
async fn only_what_was_asked_for_is_blocked() {
    let bench = Bench::new();
    let steps = vec![
        bench.step("a", &BLIND, json!({ "does": { "fail": "no" } })),
        bench.step("b", &BLIND, json!({})),
        bench.step("c", &BLIND, json!({})),
    ];
    let only = ["a", "b"].map(StepId::from).into();
    let summary = bench.run(&plan(steps, &[("a", "b"), ("b", "c")]), Options { only, ..Options::default() }).await;
    assert!(matches!(status(&summary, "b"), Status::Blocked { .. }));
    assert_eq!(summary.journal.state().step(&StepId::from("c")), None);
}

#[tokio::test]
async fn a_step_without_work_holds_when_its_waits_do() {
    let bench = Bench::new();
    let summary = bench.run(&plan(vec![bare("gate", None)], &[]), Options::default()).await;
    assert_eq!(status(&summary, "gate"), Status::Succeeded { outcome: Outcome::Ok });
}
