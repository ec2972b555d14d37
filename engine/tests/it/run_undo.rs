//! Taking back: what is undone and what is not, in which order, and that it goes on after any crash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use runbook::event::Event;
use runbook::plan::model::{Plan, Retry, Step, StepId, Template, Undo, Work};
use runbook::run::undo::{self, Choice, Left, UndoPlan};
use runbook::run::{Interrupter, Options, Signal, Watcher};
use runbook::state::fold::Made;
use runbook::state::record::{Outcome, Record, Verdict};
use runbook::state::{RunState, Status};
use serde_json::json;

use crate::run_bench::{BLIND, bare, plan, retry};
use crate::undo_bench::{Place, THING};

pub(crate) fn id(name: &str) -> StepId {
    StepId::from(name)
}

pub(crate) fn ids(names: &[&str]) -> BTreeSet<StepId> {
    names.iter().map(|name| id(name)).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn order(undo: &UndoPlan) -> Vec<&str> {
    undo.in_order().map(|item| item.step.as_str()).collect()
}

/// `base` ← `left`, `right` ← `top`.
pub(crate) fn diamond(world: &Place) -> Arc<Plan> {
    let steps = ["base", "left", "right", "top"].map(|name| world.thing(name, &json!({}))).into();
    plan(steps, &[("base", "left"), ("base", "right"), ("left", "top"), ("right", "top")])
}

#[tokio::test]
async fn what_was_made_goes_in_reverse_and_what_was_there_stays() {
    let world = Place::new();
    world.put("left", "somebody");
    let plan = diamond(&world);
    assert_eq!(world.apply(&plan).await, Verdict::Holds);
    let undo = world.look(&plan, &Choice::default());
    assert_eq!(order(&undo), ["top", "right", "base"]);
    assert_eq!(undo.before, [id("left")]);
    assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&["left"]));
    let removed: Vec<_> = world.ledger().into_iter().filter(|line| line.starts_with("removed")).collect();
    assert_eq!(removed, ["removed top", "removed right", "removed base"]);
    assert_eq!(*world.state().status(&id("top")), Status::Undone);
    assert!(world.look(&plan, &Choice::default()).items.is_empty());
}

#[tokio::test]
async fn what_is_undone_is_made_afresh_and_what_stood_in_it_is_looked_at_again() {
    let world = Place::new();
    let mut kept = world.thing("kept", &json!({}));
    kept.undo = Some(Undo { keep: true, ..Undo::default() }.into());
    let plan =
        plan(vec![world.thing("base", &json!({})), kept, bare("gate", None)], &[("base", "kept"), ("kept", "gate")]);
    world.apply(&plan).await;
    let undo = world.look(&plan, &Choice::default());
    assert_eq!((order(&undo), &undo.left), (vec!["base"], &vec![(id("kept"), Left::Kept)]));
    world.destroy(&plan, &Choice::default()).await;
    let state = world.state();
    assert!(
        ["base", "kept", "gate"].iter().all(|name| state.step(&id(name)).is_some_and(|step| step.done().is_none()))
    );
    assert!(state.known().is_empty());
    let again = world.bench.run(&plan, Options::default()).await;
    assert_eq!((again.verdict, again.reused.len()), (Verdict::Holds, 0));
    assert_eq!(world.things(), names(&["base", "kept"]));
}

#[tokio::test]
async fn what_only_came_halfway_is_undone_too_and_what_only_looked_is_not() {
    let world = Place::new();
    let mut refused = world.thing("refused", &json!({}));
    refused.check = vec![Template::Plain(json!({ "no": "condition" }))];
    let plan = plan(vec![world.thing("half", &json!({ "half": true })), refused], &[]);
    assert_eq!(world.apply(&plan).await, Verdict::Failed);
    let state = world.state();
    assert_eq!(state.step(&id("half")).map(runbook::state::StepState::made), Some(Made::Perhaps));
    assert_eq!(state.step(&id("refused")).map(runbook::state::StepState::made), Some(Made::Nothing));
    let undo = world.look(&plan, &Choice::default());
    assert_eq!(order(&undo), ["half"]);
    assert!(undo.items.values().all(|item| item.doubtful));
    assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&[]));
}

#[tokio::test]
async fn a_thing_made_before_a_crash_and_found_after_it_was_still_made_by_us() {
    let world = Place::new();
    let plan = plan(vec![world.thing("a", &json!({}))], &[]);
    world.apply(&plan).await;
    cut_after(&world, |record| matches!(record, Record::Performing { .. }));
    world.apply(&plan).await;
    let state = world.state();
    assert_eq!(*state.status(&id("a")), Status::Succeeded { outcome: Outcome::Ok });
    assert_eq!(state.step(&id("a")).map(runbook::state::StepState::made), Some(Made::Perhaps));
    world.destroy(&plan, &Choice::default()).await;
    assert_eq!(world.things(), names(&[]));
}

#[tokio::test]
async fn a_crash_while_looking_makes_nothing_of_what_was_there() {
    let world = Place::new();
    world.put("a", "somebody");
    let plan = plan(vec![world.thing("a", &json!({}))], &[]);
    world.apply(&plan).await;
    cut_after(&world, |record| matches!(record, Record::Started(_)));
    let undo = world.look(&plan, &Choice::default());
    assert!(undo.items.is_empty() && undo.left.is_empty());
}

/// Leaves of the journal what comes up to the first record of a sort.
fn cut_after(world: &Place, last: impl Fn(&Record) -> bool) {
    let path = world.bench.home().journal_path();
    let text = std::fs::read_to_string(&path).expect("a journal");
    let end = world.bench.records().iter().position(last).expect("there") + 1;
    let kept: String = text.split_inclusive('\n').take(end).collect();
    std::fs::write(path, kept).expect("written");
}

#[tokio::test]
async fn what_is_protected_stays_with_all_that_it_needs() {
    let world = Place::new();
    let mut steps: Vec<Step> = ["net", "cluster", "app", "apart"].map(|name| world.thing(name, &json!({}))).into();
    steps[1].protect = true;
    let plan = plan(steps, &[("net", "cluster"), ("cluster", "app")]);
    world.apply(&plan).await;
    let undo = world.look(&plan, &Choice::default());
    assert_eq!(order(&undo).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["apart", "app"]));
    assert_eq!(undo.left, [(id("cluster"), Left::Protected), (id("net"), Left::NeededBy(id("cluster")))]);
    let choice = Choice { include_protected: ids(&["cluster"]), ..Choice::default() };
    assert_eq!(world.look(&plan, &choice).items.len(), 4);
}

#[tokio::test]
async fn only_takes_along_who_needs_it() {
    let world = Place::new();
    let plan = diamond(&world);
    world.apply(&plan).await;
    let choice = Choice { only: ids(&["right"]), ..Choice::default() };
    let undo = world.look(&plan, &choice);
    assert_eq!((order(&undo), undo.not_chosen), (vec!["top", "right"], 2));
    world.destroy(&plan, &choice).await;
    assert_eq!(world.things(), names(&["base", "left"]));
}

#[tokio::test]
async fn what_nobody_can_undo_is_said_and_does_not_stand_in_the_way() {
    let world = Place::new();
    let blind = world.bench.step("script", &BLIND, json!({}));
    let plan = plan(vec![world.thing("base", &json!({})), blind], &[("base", "script")]);
    world.apply(&plan).await;
    let undo = world.look(&plan, &Choice::default());
    let why = "`test.blind` does not know how; give the step an `undo`, or take it back by hand";
    assert_eq!(
        undo.left.iter().map(|(id, why)| (id.as_str(), why.to_string())).collect::<Vec<_>>(),
        [("script", why.to_owned())]
    );
    assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&[]));
    let choice = Choice { forget: ids(&["script"]), ..Choice::default() };
    assert_eq!(world.destroy(&plan, &choice).await, Verdict::Holds);
    assert_eq!(*world.state().status(&id("script")), Status::Undone);
}

#[tokio::test]
async fn an_undo_of_the_plans_own_is_performed() {
    let world = Place::new();
    let mut blind = world.bench.step("script", &BLIND, json!({}));
    let with = Template::Plain(json!({ "folder": world.folder(), "name": "tombstone" }));
    blind.undo = Some(Undo { work: Some(Work { kind: &THING, with }), ..Undo::default() }.into());
    let plan = plan(vec![blind], &[]);
    world.apply(&plan).await;
    assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&["tombstone"]));
}

#[tokio::test]
async fn steps_gone_from_the_plan_are_undone_by_the_journal_where_they_stood() {
    let world = Place::new();
    let full = diamond(&world);
    world.apply(&full).await;
    let steps = ["base", "top"].map(|name| world.thing(name, &json!({}))).into();
    let smaller = plan(steps, &[("base", "top")]);
    let undo = world.look(&smaller, &Choice::default());
    let found = order(&undo);
    assert_eq!((found[0], found[3], found.len()), ("top", "base", 4));
    assert!(undo.items.values().filter(|item| item.gone).count() == 2);
    assert_eq!(world.destroy(&smaller, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&[]));
}

#[tokio::test]
async fn what_is_gone_already_is_not_taken_back_again_where_an_older_thing_cannot_be() {
    let world = Place::new();
    let named = |name: &str, stuck: usize| {
        let mut step = world.thing("a", &json!({ "name": name, "stuck": stuck }));
        step.retry = retry(2);
        plan(vec![step], &[])
    };
    world.apply(&named("one", 3)).await;
    world.apply(&named("two", 0)).await;
    assert_eq!(world.destroy(&named("two", 0), &Choice::default()).await, Verdict::Failed);
    assert_eq!(world.state().step(&id("a")).expect("there").recipes().len(), 1, "one thing is left");
    assert_eq!(world.things(), names(&["one"]));
    assert_eq!(world.destroy(&named("two", 0), &Choice::default()).await, Verdict::Holds);
    let of = |line: &str| world.ledger().iter().filter(|other| *other == line).count();
    assert_eq!((of("undo two"), of("undo one")), (1, 4));
    assert_eq!(world.things(), names(&[]));
}

#[tokio::test]
async fn a_step_gone_from_the_plan_without_a_recipe_names_the_plan_that_made_it() {
    let world = Place::new();
    let before = plan(vec![world.bench.step("script", &BLIND, json!({}))], &[]);
    world.apply(&before).await;
    let undo = world.look(&plan(vec![world.thing("a", &json!({}))], &[]), &Choice::default());
    let why = undo.left[0].1.to_string();
    assert!(why.contains("gone from the plan") && why.contains("plan.yaml") && why.contains("in run 1"), "{why}");
}

#[tokio::test]
async fn everything_that_a_changed_step_made_is_undone() {
    let world = Place::new();
    let named = |name: &str| plan(vec![world.thing("a", &json!({ "name": name }))], &[]);
    world.apply(&named("one")).await;
    world.apply(&named("two")).await;
    assert_eq!(world.things(), names(&["one", "two"]));
    assert_eq!(world.destroy(&named("three"), &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&[]));
}

#[tokio::test]
async fn a_failure_is_tried_again_and_one_for_good_holds_up_what_it_needs_and_nothing_else() {
    let world = Place::new();
    let mut steps: Vec<Step> = vec![
        world.thing("base", &json!({})),
        world.thing("stuck", &json!({ "stuck": 2 })),
        world.thing("apart", &json!({})),
    ];
    steps.iter_mut().for_each(|step| step.retry = retry(2));
    let plan = plan(steps, &[("base", "stuck")]);
    world.apply(&plan).await;
    let summary = world.destroy_with(&plan, &Choice::default(), None).await;
    assert_eq!(summary.verdict, Verdict::Failed);
    assert_eq!(summary.blocked, [(id("base"), vec![id("stuck")])]);
    drop(summary);
    assert_eq!(world.things(), names(&["base", "stuck"]));
    assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&[]));
}

#[tokio::test]
async fn a_signal_stops_it_and_it_goes_on_later() {
    for count in [1, 3] {
        let world = Place::new();
        let steps =
            |endless: bool| vec![world.thing("base", &json!({})), world.thing("top", &json!({ "endless": endless }))];
        let endless = plan(steps(true), &[("base", "top")]);
        world.apply(&endless).await;
        let summary = world.destroy_with(&endless, &Choice::default(), Some(("top", count))).await;
        assert_eq!((summary.verdict, summary.signal), (Verdict::Interrupted, Some(Signal::Interrupt)));
        drop(summary);
        assert_eq!(world.things(), names(&["base", "top"]));
        // The recipe of the journal is the endless one; a person has taken it back.
        let choice = Choice { forget: ids(&["top"]), ..Choice::default() };
        assert_eq!(world.destroy(&endless, &choice).await, Verdict::Holds);
        assert_eq!(world.things(), names(&["top"]));
    }
}

/// Sends a signal when a step pauses before it is tried again.
struct InThePause(Interrupter);

impl Watcher for InThePause {
    fn on(&mut self, event: &Event, _: &RunState) {
        let Event::Recorded(entry) = event else { return };
        if matches!(&entry.record, Record::UndoFailed(failed) if failed.retry_in_ms.is_some()) {
            self.0.send(Signal::Interrupt);
        }
    }
}

#[tokio::test]
async fn what_is_given_up_in_a_pause_keeps_how_long_its_last_attempt_took() {
    let world = Place::new();
    let mut stuck = world.thing("stuck", &json!({ "stuck": 5 }));
    let hour = Duration::from_secs(3600);
    stuck.retry = Retry { initial: hour, max: hour, ..(*retry(3)).clone() }.into();
    let plan = plan(vec![stuck], &[]);
    world.apply(&plan).await;
    let watch = |interrupter| Box::new(InThePause(interrupter)) as Box<dyn Watcher>;
    let ended = world.try_destroy(&plan, &Choice::default(), world.bench.open(), watch).await.expect("written");
    assert_eq!(ended.verdict, Verdict::Interrupted);
    drop(ended);
    let took = |record: Record| {
        if let Record::UndoFailed(failed) = record {
            Some((failed.retry_in_ms.is_some(), failed.took_ms))
        } else {
            None
        }
    };
    let took: Vec<_> = world.bench.records().into_iter().filter_map(took).collect();
    assert!(took.len() == 2 && took[0].0 && !took[1].0, "{took:?}");
    assert!(took[0].1 > 0 && took[0].1 == took[1].1, "{took:?}");
}

/// The journal of a destroy is cut after every record, and in the middle of the next; it goes on, and ends the same.
#[tokio::test]
async fn killed_at_any_record_it_goes_on_and_undoes_nothing_twice() {
    let (records, first) = {
        let world = Place::new();
        let plan = diamond(&world);
        world.apply(&plan).await;
        let first = world.bench.records().len();
        world.destroy(&plan, &Choice::default()).await;
        (world.bench.records().len(), first)
    };
    for cut in first..records {
        for torn in [0, 20] {
            let world = Place::new();
            let plan = diamond(&world);
            world.apply(&plan).await;
            world.destroy(&plan, &Choice::default()).await;
            put_back(&world, cut, torn);
            assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds, "cut after {cut}");
            assert_eq!(world.things(), names(&[]), "cut after {cut}");
            let ledger = world.ledger();
            for step in ["base", "left", "right", "top"] {
                let removed = ledger.iter().filter(|line| **line == format!("removed {step}")).count();
                assert_eq!(removed, 1, "cut after {cut}: {ledger:?}");
            }
        }
    }
}

/// The journal and the world as they were after a number of records and a few bytes of the next.
fn put_back(world: &Place, records: usize, torn: usize) {
    let path = world.bench.home().journal_path();
    let text = std::fs::read_to_string(&path).expect("a journal");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let rest = lines.get(records).map_or("", |line| &line[..torn.min(line.len())]);
    std::fs::write(&path, lines[..records].concat() + rest).expect("written");
    let state = runbook::state::journal::read(&world.bench.home()).expect("whole").state;
    let mut ledger = String::new();
    for (id, step) in state.steps() {
        match step.status() {
            Status::Undone => ledger.push_str(&format!("removed {id}\n")),
            _ => world.put(id.as_str(), "d"),
        }
    }
    std::fs::write(world.folder().with_extension("ledger"), ledger).expect("written");
}

#[test]
fn what_does_not_follow_is_refused() {
    let state = |records: Vec<Record>| -> Result<RunState, String> {
        let mut state = RunState::default();
        for (seq, record) in (1..).zip(records) {
            let time = jiff::Timestamp::from_second(seq).expect("in range");
            let entry = runbook::state::record::Entry { seq: seq.unsigned_abs(), time, record };
            state.apply(&entry).map_err(|error| error.to_string())?;
        }
        Ok(state)
    };
    let record = |text: &str| serde_json::from_str::<Record>(text).expect("a record");
    let open = |run: u32| {
        record(&format!(
            r#"{{"record":"opened","format":{{"major":1,"minor":0}},"run":{run},"command":"destroy","plan":"p","file":"f","digest":"d",
               "inputs":{{}},"version":"0","who":"me","pid":1}}"#
        ))
    };
    let started = || record(r#"{"record":"started","step":"a","attempt":1,"fingerprint":{},"recoverable":true}"#);
    let made = || record(r#"{"record":"succeeded","step":"a","attempt":1,"outcome":"changed","took_ms":1}"#);
    let undoing = |attempt: u32| Record::UndoStarted { step: id("a"), attempt };
    let undone = || Record::Undone { step: id("a"), attempt: 1, took_ms: 1 };
    let in_part = || Record::UndoneInPart { step: id("a"), attempt: 1, left: 1 };
    let cases = vec![
        (vec![open(1), undoing(1)], "nothing was made by `a`"),
        (vec![open(1), started(), made(), undoing(2)], "`a` is done already"),
        (vec![open(1), started(), made(), open(2), undone()], "attempt 1 to undo `a` is not running"),
        (vec![open(1), started(), made(), open(2), undoing(2)], "the next attempt to undo `a` is 1, not 2"),
        (vec![open(1), started(), made(), open(2), undoing(1), undone(), undoing(2)], "nothing was made by `a`"),
        (vec![open(1), started(), made(), open(2), undoing(1), started()], "the next attempt of `a` is 2"),
        (
            vec![open(1), started(), made(), open(2), undoing(1), in_part()],
            "`a` cannot have 1 things left to undo of 0",
        ),
    ];
    for (records, why) in cases {
        let error = state(records).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    let again = [open(1), started(), made(), open(2), started(), open(3)];
    let before =
        |records: Vec<Record>| state(records).expect("legal").step(&id("a")).expect("there").before().is_some();
    assert!(before([&again[..], &[started()]].concat()), "only looked at again");
    assert!(!before([&again[..], &[undoing(1), open(4), started()]].concat()), "it may be gone");
    let after = state(vec![open(1), started(), made(), open(2), undoing(1), undone(), open(3), started()]);
    assert!(matches!(after.expect("legal").status(&id("a")), Status::Running { .. }));
}

/// How many things are left was counted by the rule that the program had which wrote it.
#[test]
fn what_an_older_program_counted_as_two_things_stays_two() {
    let recipes = |minor: u16| -> Result<usize, String> {
        let performing = |attempt: u32, work: &str| {
            json!({ "record": "performing", "step": "a", "attempt": attempt, "undo": { "kind": "run", "with": { "script": "rm a" },
                    "performed": true, "of": { "work": work, "undo": "u" } } })
        };
        let started = |attempt: u32| json!({ "record": "started", "step": "a", "attempt": attempt, "fingerprint": {}, "recoverable": true });
        let failed = json!({ "record": "failed", "step": "a", "attempt": 1, "failure": { "class": "transient", "what": "no" },
                             "retry_in_ms": 1, "took_ms": 1 });
        let opened = |run: u32| {
            json!({ "record": "opened", "format": { "major": 1, "minor": minor }, "run": run, "command": "apply", "plan": "p", "file": "f",
                    "digest": "d", "inputs": {}, "version": "0", "who": "me", "pid": 1 })
        };
        let records = [
            opened(1),
            started(1),
            performing(1, "one"),
            failed,
            started(2),
            performing(2, "two"),
            opened(2),
            json!({ "record": "undo_started", "step": "a", "attempt": 1 }),
            json!({ "record": "undone_in_part", "step": "a", "attempt": 1, "left": 1 }),
        ];
        let mut state = RunState::default();
        for (seq, record) in (1..).zip(records) {
            let record = serde_json::from_value(record).expect("a record");
            let entry = runbook::state::record::Entry { seq, time: jiff::Timestamp::UNIX_EPOCH, record };
            state.apply(&entry).map_err(|error| error.to_string())?;
        }
        Ok(state.step(&id("a")).expect("there").recipes().len())
    };
    assert_eq!(recipes(3), Ok(1), "one of two is left");
    assert!(recipes(4).expect_err("there was one").contains("1 things left to undo of 1"));
}

#[tokio::test]
async fn a_step_that_nobody_can_tell_about_is_undone_too() {
    let world = Place::new();
    let mut blind = world.bench.step("script", &BLIND, json!({}));
    let with = Template::Plain(json!({ "folder": world.folder(), "name": "tombstone" }));
    blind.undo = Some(Undo { work: Some(Work { kind: &THING, with }), ..Undo::default() }.into());
    let plan = plan(vec![blind], &[]);
    world.apply(&plan).await;
    cut_after(&world, |record| matches!(record, Record::Performing { .. }));
    assert_eq!(world.apply(&plan).await, Verdict::NeedsPerson);
    assert!(matches!(world.state().status(&id("script")), Status::Unknown { .. }));
    let undo = world.look(&plan, &Choice::default());
    assert!(undo.items.values().all(|item| item.doubtful) && undo.items.len() == 1);
    assert_eq!(world.destroy(&plan, &Choice::default()).await, Verdict::Holds);
    assert_eq!(world.things(), names(&["tombstone"]));
}

/// A random plan: who needs whom, what became of each step, and what the plan and the user say.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) needs: Vec<Vec<usize>>,
    pub(crate) made: Vec<bool>,
    protect: Vec<bool>,
    keep: Vec<bool>,
    only: Vec<bool>,
}

pub(crate) fn cases() -> impl Strategy<Value = Case> {
    (2..25_usize).prop_flat_map(|count| {
        let flags = |weight: f64| proptest::collection::vec(proptest::bool::weighted(weight), count);
        let needs = proptest::collection::vec(proptest::collection::vec(0..count, 0..4), count);
        (needs, flags(0.6), flags(0.1), flags(0.1), flags(0.1)).prop_map(|(needs, made, protect, keep, only)| {
            let earlier = |(step, needs): (usize, Vec<usize>)| needs.into_iter().filter(|need| *need < step).collect();
            let needs = needs.into_iter().enumerate().map(earlier).collect();
            Case { needs, made, protect, keep, only }
        })
    })
}

/// Every step that a step needs, directly or not.
pub(crate) fn all_needs(case: &Case, step: usize) -> BTreeSet<usize> {
    let mut all = BTreeSet::new();
    let mut open = vec![step];
    while let Some(step) = open.pop() {
        open.extend(case.needs[step].iter().filter(|need| all.insert(**need)));
    }
    all
}

proptest! {
    #[test]
    fn order_protection_and_choice_hold_for_any_plan(case in cases()) {
        let world = Place::new();
        let count = case.made.len();
        let name = |step: usize| format!("s{step}");
        let mut steps: Vec<Step> = (0..count).map(|step| world.thing(&name(step), &json!({}))).collect();
        for (step, (protect, keep)) in steps.iter_mut().zip(case.protect.iter().zip(&case.keep)) {
            step.protect = *protect;
            step.undo = Some(Undo { keep: *keep, ..Undo::default() }.into());
        }
        let edges: Vec<(String, String)> =
            (0..count).flat_map(|step| case.needs[step].iter().map(move |need| (*need, step))).map(|(need, step)| (name(need), name(step))).collect();
        let edges: Vec<(&str, &str)> = edges.iter().map(|(need, step)| (need.as_str(), step.as_str())).collect();
        let plan = plan(steps, &edges);
        let mut state = RunState::default();
        let mut seq = 0;
        let mut fold = |record: Record| {
            seq += 1;
            state.apply(&runbook::state::record::Entry { seq, time: jiff::Timestamp::UNIX_EPOCH, record }).expect("legal");
        };
        fold(serde_json::from_value(json!({ "record": "opened", "format": { "major": 1, "minor": 0 }, "run": 1, "command": "apply",
            "plan": "p", "file": "f", "digest": "d", "inputs": {}, "version": "0", "who": "me", "pid": 1 })).expect("a record"));
        for step in (0..count).filter(|step| case.made[*step]) {
            fold(serde_json::from_value(json!({ "record": "started", "step": name(step), "attempt": 1, "fingerprint": {}, "recoverable": true })).expect("a record"));
            fold(serde_json::from_value(json!({ "record": "succeeded", "step": name(step), "attempt": 1, "outcome": "changed", "took_ms": 1 })).expect("a record"));
        }
        let only = (0..count).filter(|step| case.only[*step]).map(|step| id(&name(step))).collect();
        let undo = undo::plan(&plan, &state, &Choice { only, ..Choice::default() });

        let order: Vec<usize> = undo.in_order().map(|item| plan.index[&item.step]).collect();
        let left: BTreeSet<usize> = undo.left.iter().map(|(id, _)| plan.index[id]).collect();
        let made = case.made.iter().filter(|made| **made).count();
        prop_assert_eq!(order.len() + left.len() + undo.not_chosen, made);
        for (place, step) in order.iter().enumerate() {
            prop_assert!(case.made[*step] && !left.contains(step));
            let needs = all_needs(&case, *step);
            prop_assert!(order[..place].iter().all(|before| !needs.contains(before)), "{:?}", order);
        }
        for held in (0..count).filter(|step| case.made[*step] && case.protect[*step]) {
            prop_assert!(!order.contains(&held) && all_needs(&case, held).iter().all(|need| !order.contains(need)));
        }
        if case.only.contains(&true) {
            let wanted = |step: usize| case.only[step] || all_needs(&case, step).iter().any(|need| case.only[*need]);
            prop_assert!(order.iter().all(|step| wanted(*step)));
        }
    }
}
