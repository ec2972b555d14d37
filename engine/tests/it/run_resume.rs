//! A run that ended in the middle is continued.

use std::sync::Arc;

use runbook::plan::StepId;
use runbook::plan::model::{Plan, Step};
use runbook::run::resume::Flight;
use runbook::run::{Fate, Options, verdicts};
use runbook::state::record::{Record, Verdict};
use runbook::state::{RunState, Status, journal};
use runbook_steps::{Kind, Redactor};
use serde_json::json;

use crate::run_bench::{AGAIN, BLIND, Bench, LOOKED, plan, retry};

fn chain(bench: &Bench, kind: &'static Kind) -> Arc<Plan> {
    let steps: Vec<Step> = ["a", "b", "c"].map(|id| bench.step(id, kind, json!({ "outputs": { "id": id } }))).into();
    plan(steps, &[("a", "b"), ("b", "c")])
}

fn fates(plan: &Plan, state: &RunState, options: &Options) -> Vec<(StepId, Fate)> {
    verdicts(plan, state, options, &Redactor::default())
}

/// Keeps the first lines of the journal, as a crash after them would.
fn cut(bench: &Bench, lines: usize) {
    let path = bench.home().journal_path();
    let text = std::fs::read_to_string(&path).expect("a journal");
    let kept: String = text.split_inclusive('\n').take(lines).collect();
    std::fs::write(path, kept).expect("written");
}

/// Keeps what the steps did up to and with a line.
fn cut_ledger(bench: &Bench, last: &str) {
    let mut lines = bench.ledger();
    let keep = lines.iter().position(|line| line == last).map_or(0, |at| at + 1);
    lines.truncate(keep);
    std::fs::write(bench.ledger_path(), lines.concat_lines()).expect("written");
}

trait ConcatLines {
    fn concat_lines(&self) -> String;
}

impl ConcatLines for Vec<String> {
    fn concat_lines(&self) -> String {
        self.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn line_of(bench: &Bench, wanted: impl Fn(&Record) -> bool) -> usize {
    bench.records().iter().position(wanted).expect("there") + 1
}

fn starts(step: &'static str) -> impl Fn(&Record) -> bool {
    move |record| matches!(record, Record::Started(started) if started.step.as_str() == step)
}

#[tokio::test]
async fn what_was_in_flight_is_looked_at_and_what_was_done_is_not_done_again() {
    let bench = Bench::new();
    let plan = chain(&bench, &LOOKED);
    drop(bench.run(&plan, Options::default()).await);
    // The engine dies after `b` was made and before that was written.
    cut(&bench, line_of(&bench, starts("b")));
    cut_ledger(&bench, "made b");
    let state = journal::read(&bench.home()).expect("whole").state;
    let fates: Vec<Fate> = fates(&plan, &state, &Options::default()).into_iter().map(|(_, fate)| fate).collect();
    let flight = |changes: &[String]| {
        Fate::InFlight(Flight { recoverable: true, changes: changes.to_vec(), undoing: false, failed: false })
    };
    assert_eq!(fates, [Fate::Reuse, flight(&[]), Fate::New]);
    let summary = bench.run(&plan, Options::default()).await;
    assert_eq!((summary.verdict, summary.reused.len()), (Verdict::Holds, 1));
    assert_eq!([bench.did("a"), bench.did("b"), bench.did("c")], [1, 1, 1]);
}

/// Somebody edits the plan while a step of it is in the middle.
#[tokio::test]
async fn what_was_in_flight_says_what_it_would_now_do_otherwise() {
    let bench = Bench::new();
    let chain = |text: &str| plan(vec![bench.step("a", &BLIND, json!({ "outputs": { "x": text } }))], &[]);
    drop(bench.run(&chain("1"), Options::default()).await);
    cut(&bench, line_of(&bench, starts("a")));
    let state = journal::read(&bench.home()).expect("whole").state;
    let told = |plan: &Plan| match fates(plan, &state, &Options::default()).remove(0).1 {
        Fate::InFlight(flight) => flight,
        other => panic!("{other:?}"),
    };
    let (same, other) = (told(&chain("1")), told(&chain("2")));
    assert_eq!((same.recoverable, same.changes.len(), other.changes.len()), (false, 0, 1), "{other:?}");
    let said = other.to_string();
    assert!(said.contains("`runbook settle`") && said.contains("it would now do something else: "), "{said}");
}

#[tokio::test]
async fn what_cannot_be_looked_at_waits_for_a_person() {
    let bench = Bench::new();
    let plan = chain(&bench, &BLIND);
    drop(bench.run(&plan, Options::default()).await);
    cut(&bench, line_of(&bench, starts("b")));
    for run in [2, 3] {
        let summary = bench.run(&plan, Options::default()).await;
        assert_eq!((summary.verdict, summary.run), (Verdict::NeedsPerson, run));
        let state = summary.journal.state();
        assert!(matches!(state.status(&StepId::from("b")), Status::Unknown { .. }));
        assert_eq!(*state.status(&StepId::from("c")), Status::Blocked { by: vec![StepId::from("b")] });
    }
    assert_eq!([bench.did("b"), bench.did("c")], [1, 1], "both from the first run");
    // The person says that it was done.
    let mut journal = bench.open();
    let settled = Record::Settled { step: StepId::from("b"), done: true, outputs: serde_json::Map::new() };
    journal.append(settled, runbook::state::Sync::Now).expect("written");
    drop(journal);
    let summary = bench.run(&plan, Options::default()).await;
    assert_eq!((summary.verdict, bench.did("b"), bench.did("c")), (Verdict::Holds, 1, 2));
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated() {
    let bench = Bench::new();
    let plan = chain(&bench, &AGAIN);
    drop(bench.run(&plan, Options::default()).await);
    cut(&bench, line_of(&bench, starts("b")));
    let summary = bench.run(&plan, Options::default()).await;
    assert_eq!((summary.verdict, bench.did("b")), (Verdict::Holds, 2));
}

/// Cut after every record, and inside the next: the same end, and nothing that succeeded is done twice.
#[tokio::test]
async fn a_crash_after_any_record_leads_to_the_same_end() {
    let model = Bench::new();
    drop(model.run(&chain(&model, &LOOKED), Options::default()).await);
    let records = model.records();
    let text = std::fs::read_to_string(model.home().journal_path()).expect("a journal");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    for kept in 0..lines.len() {
        for torn in [0, lines[kept].len() / 2] {
            let bench = Bench::new();
            drop(bench.open());
            let bytes = format!("{}{}", lines[..kept].concat(), &lines[kept][..torn]);
            std::fs::write(bench.home().journal_path(), bytes).expect("written");
            let succeeded = |record: &Record| match record {
                Record::Succeeded(succeeded) => Some(format!("made {}", succeeded.step)),
                _ => None,
            };
            let made: Vec<String> = records[..kept].iter().filter_map(succeeded).collect();
            std::fs::write(bench.ledger_path(), made.concat_lines()).expect("written");
            let summary = bench.run(&chain(&bench, &LOOKED), Options::default()).await;
            assert_eq!(summary.verdict, Verdict::Holds, "cut after {kept}");
            for step in ["a", "b", "c"] {
                let times = bench.ledger().iter().filter(|line| **line == format!("made {step}")).count();
                assert_eq!(times, 1, "{step} after a cut behind record {kept}");
            }
        }
    }
}

/// The first look after a crash fails, and what could not be told before can be told no better after.
#[tokio::test]
async fn a_look_that_fails_settles_nothing() {
    for attempts in [3, 1] {
        let bench = Bench::new();
        drop(bench.run(&chain(&bench, &BLIND), Options::default()).await);
        cut(&bench, line_of(&bench, starts("b")));
        let mut steps: Vec<Step> =
            ["a", "b", "c"].map(|id| bench.step(id, &BLIND, json!({ "outputs": { "id": id } }))).into();
        steps[1] = bench.step("b", &BLIND, json!({ "outputs": { "id": "b" }, "unseen": 2 }));
        steps[1].retry = retry(attempts);
        let plan = plan(steps, &[("a", "b"), ("b", "c")]);
        let verdict = bench.run(&plan, Options::default()).await.verdict;
        assert_eq!(verdict, if attempts == 1 { Verdict::Failed } else { Verdict::NeedsPerson });
        assert_eq!(bench.run(&plan, Options::default()).await.verdict, Verdict::NeedsPerson);
        assert_eq!(bench.did("b"), 1, "in the run that crashed");
    }
}

#[tokio::test]
async fn an_untouched_step_that_was_cancelled_needs_no_person() {
    let bench = Bench::new();
    let plan = chain(&bench, &BLIND);
    drop(bench.run(&plan, Options::default()).await);
    cut(&bench, line_of(&bench, starts("b")));
    let mut journal = bench.open();
    let cancelled = Record::Cancelled { step: StepId::from("b"), attempt: 1, untouched: true };
    journal.append(cancelled, runbook::state::Sync::Now).expect("legal");
    drop(journal);
    assert_eq!(bench.run(&plan, Options::default()).await.verdict, Verdict::Holds);
}

#[tokio::test]
async fn a_group_that_was_left_running_is_ended_before_its_step_starts_again() {
    let bench = Bench::new();
    let plan = chain(&bench, &AGAIN);
    drop(bench.run(&plan, Options::default()).await);
    cut(&bench, line_of(&bench, starts("b")));
    let mut orphan = orphan();
    let child = runbook_steps::Child { pid: orphan.id(), started: started(orphan.id()), program: "sleep".to_owned() };
    let mut journal = bench.open();
    let spawned = Record::Spawned { step: StepId::from("b"), attempt: 1, child };
    journal.append(spawned, runbook::state::Sync::Now).expect("legal");
    drop(journal);
    let journal = bench.open();
    // The orphan is our own child here, so somebody must reap it for it to be gone.
    let reaper = std::thread::spawn(move || orphan.wait().expect("waited").code());
    let (summary, seen) = bench.try_run(&plan, Options::default(), journal, None).await;
    assert_eq!(summary.expect("written").verdict, Verdict::Holds);
    assert_eq!(reaper.join().expect("joined"), None, "ended by a signal");
    assert!(seen.notices()[0].starts_with("`b` had left `sleep`"), "{:?}", seen.notices());
}

#[expect(clippy::disallowed_methods, reason = "a stranger's process, which no step has started")]
fn orphan() -> std::process::Child {
    use std::os::unix::process::CommandExt as _;
    std::process::Command::new("sleep").arg("600").process_group(0).spawn().expect("sleep is on PATH")
}

/// Field 22 of `/proc/PID/stat`.
fn started(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
    fields.split_whitespace().nth(19).and_then(|field| field.parse().ok()).expect("a number")
}

/// `base` changes blindly, `seen` can be looked at, `blind` cannot; each stands on the one before.
fn tower(bench: &Bench, mark: u32) -> Arc<Plan> {
    let steps = vec![
        bench.step("base", &BLIND, json!({ "mark": mark })),
        bench.step("seen", &LOOKED, json!({ "outputs": { "id": "s" } })),
        bench.step("blind", &BLIND, json!({ "outputs": { "id": "b" } })),
    ];
    plan(steps, &[("base", "seen"), ("seen", "blind")])
}

#[tokio::test]
async fn what_stands_on_a_change_is_looked_at_again() {
    let bench = Bench::new();
    drop(bench.run(&tower(&bench, 1), Options::default()).await);
    let edited = tower(&bench, 2);
    let state = journal::read(&bench.home()).expect("whole").state;
    let expected =
        [Fate::Stale(vec!["`with.mark` changed `1` → `2`".to_owned()]), Fate::Look(StepId::from("base")), Fate::Reuse];
    let found: Vec<Fate> = fates(&edited, &state, &Options::default()).into_iter().map(|(_, fate)| fate).collect();
    assert_eq!(found, expected);
    let (summary, seen) = bench.try_run(&edited, Options::default(), bench.open(), None).await;
    let summary = summary.expect("written");
    let notices = seen.notices();
    assert!(notices.contains(&"`seen` is looked at again: `base` changed".to_owned()), "{notices:?}");
    assert_eq!(["base", "seen", "blind"].map(|step| bench.did(step)), [2, 1, 1]);
    assert_eq!(bench.ledger().iter().filter(|line| **line == "saw seen").count(), 2);
    assert_eq!(summary.reused, [StepId::from("blind")]);
}

#[tokio::test]
async fn what_is_found_lacking_is_done_again() {
    let bench = Bench::new();
    drop(bench.run(&tower(&bench, 1), Options::default()).await);
    // Whatever changed `base` took away what `seen` made.
    let lines: Vec<String> = bench.ledger().into_iter().filter(|line| line != "made seen").collect();
    std::fs::write(bench.ledger_path(), lines.concat_lines()).expect("written");
    drop(bench.run(&tower(&bench, 2), Options::default()).await);
    assert_eq!(["base", "seen", "blind"].map(|step| bench.did(step)), [2, 2, 1]);
}

#[tokio::test]
async fn a_step_that_is_only_looked_at_keeps_what_it_gave() {
    let bench = Bench::new();
    drop(bench.run(&tower(&bench, 1), Options::default()).await);
    let summary = bench.run(&tower(&bench, 2), Options::default()).await;
    let seen = summary.journal.state().step(&StepId::from("seen")).expect("known");
    assert_eq!(seen.outputs().expect("it holds")["id"], "s");
    drop(summary);
    // And a crash in the middle of looking loses nothing: the next run looks again.
    cut(&bench, bench.records().iter().rposition(starts("seen")).expect("there") + 1);
    let summary = bench.run(&tower(&bench, 2), Options::default()).await;
    assert_eq!((summary.verdict, bench.did("seen")), (Verdict::Holds, 1));
}

#[tokio::test]
async fn keeping_what_is_stale_runs_nothing() {
    let bench = Bench::new();
    drop(bench.run(&tower(&bench, 1), Options::default()).await);
    let options = Options { keep_stale: true, ..Options::default() };
    let summary = bench.run(&tower(&bench, 2), options).await;
    assert_eq!((summary.reused.len(), bench.did("base")), (3, 1));
}

/// The last line of the journal that is of a sort.
fn last_line_of(bench: &Bench, wanted: impl Fn(&Record) -> bool) -> usize {
    bench.records().iter().rposition(wanted).expect("there") + 1
}

#[tokio::test]
async fn what_finally_owes_to_a_run_that_was_killed_the_next_one_does() {
    let ends =
        |id: &'static str| move |record: &Record| matches!(record, Record::Succeeded(it) if it.step.as_str() == id);
    for killed_after in ["a", "y"] {
        let bench = Bench::new();
        let mut steps = vec![bench.step("a", &AGAIN, json!({}))];
        steps.extend(["y", "z"].map(|id| Step { finally: true, ..bench.step(id, &AGAIN, json!({})) }));
        let plan = plan(steps, &[("y", "z")]);
        drop(bench.run(&plan, Options::default()).await);
        drop(bench.run(&plan, Options { redo: [StepId::from("a")].into(), ..Options::default() }).await);
        assert_eq!([bench.did("a"), bench.did("y"), bench.did("z")], [2, 2, 2]);
        cut(&bench, last_line_of(&bench, ends(killed_after)));
        let state = journal::read(&bench.home()).expect("whole").state;
        let y = if killed_after == "y" { Fate::Reuse } else { Fate::Redo };
        let fates: Vec<Fate> = fates(&plan, &state, &Options::default()).into_iter().map(|(_, fate)| fate).collect();
        assert_eq!(fates, [Fate::Reuse, y.clone(), Fate::Redo]);
        assert_eq!(bench.run(&plan, Options::default()).await.verdict, Verdict::Holds);
        let y = if y == Fate::Redo { 3 } else { 2 };
        assert_eq!([bench.did("a"), bench.did("y"), bench.did("z")], [2, y, 3], "killed after {killed_after}");
        drop(bench.run(&plan, Options::default()).await);
        assert_eq!(bench.did("z"), 3, "what was owed is paid once");
    }
}

#[tokio::test]
async fn an_orphan_of_a_step_that_is_to_be_redone_is_ended_first() {
    let bench = Bench::new();
    let plan = chain(&bench, &AGAIN);
    drop(bench.run(&plan, Options::default()).await);
    cut(&bench, line_of(&bench, starts("b")));
    let mut orphan = orphan();
    let child = runbook_steps::Child { pid: orphan.id(), started: started(orphan.id()), program: "sleep".to_owned() };
    let mut journal = bench.open();
    let spawned = Record::Spawned { step: StepId::from("b"), attempt: 1, child };
    journal.append(spawned, runbook::state::Sync::Now).expect("legal");
    drop(journal);
    let reaper = std::thread::spawn(move || orphan.wait().expect("waited").code());
    let options = Options { redo: [StepId::from("b")].into(), ..Options::default() };
    let summary = bench.run(&plan, options).await;
    assert_eq!(summary.verdict, Verdict::Holds);
    assert_eq!(reaper.join().expect("joined"), None, "ended by a signal");
}
