//! The journal and what follows from it: legal and illegal records, torn and damaged files, formats, the lock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use runbook::plan::StepId;
use runbook::state::record::{
    Entry, FORMAT, Failed, Fingerprint, Format, Opened, Outcome, Recipe, Record, Started, Succeeded, Touches, Verdict,
};
use runbook::state::{Journal, LockId, RunState, StateError, Status, Sync, journal};
use runbook_steps::{Child, Failure};
use serde_json::json;

use crate::run_bench::Bench;

pub(crate) fn opened(run: u32) -> Opened {
    Opened {
        format: FORMAT,
        run,
        command: "apply".to_owned(),
        plan: "p".to_owned(),
        file: "/p.yaml".to_owned(),
        digest: "0".to_owned(),
        inputs: serde_json::Map::new(),
        version: "0".to_owned(),
        who: "me@here".to_owned(),
        pid: 1,
        mark: String::new(),
        simulated: None,
        selection: String::new(),
        home: String::new(),
        secret_env: Vec::new(),
        asked: None,
        redo: Vec::new(),
    }
}

pub(crate) fn started(step: &str, attempt: u32) -> Record {
    let fingerprint = Fingerprint::default();
    Record::Started(Started {
        step: StepId::from(step),
        attempt,
        fingerprint,
        recoverable: true,
        touches: Touches::AtOnce,
    })
}

pub(crate) fn succeeded(step: &str, attempt: u32) -> Record {
    let outputs = json!({ "by": attempt }).as_object().expect("a map").clone();
    let step = StepId::from(step);
    Record::Succeeded(Succeeded {
        step,
        attempt,
        outcome: Outcome::Changed,
        outputs,
        looked_up: BTreeMap::new(),
        took_ms: 5,
        note: None,
    })
}

pub(crate) fn failed(step: &str, attempt: u32, retry_in_ms: Option<u64>) -> Record {
    Record::Failed(a_failure(StepId::from(step), attempt, retry_in_ms))
}

fn a_failure(step: StepId, attempt: u32, retry_in_ms: Option<u64>) -> Failed {
    let failure = Failure::permanent("broken");
    Failed { step, attempt, failure, retry_in_ms, took_ms: 5, untouched: false }
}

pub(crate) fn entry(seq: u64, record: Record) -> Entry {
    Entry { seq, time: Timestamp::from_second(i64::try_from(seq).expect("small")).expect("in range"), record }
}

/// Folds records; the error names the first that is illegal.
pub(crate) fn fold(records: impl IntoIterator<Item = Record>) -> Result<RunState, String> {
    let mut state = RunState::default();
    for (seq, record) in (1..).zip(records) {
        state.apply(&entry(seq, record)).map_err(|error| error.to_string())?;
    }
    Ok(state)
}

#[test]
fn a_step_goes_through_its_states() {
    let a = StepId::from("a");
    let records = [
        Record::Opened(opened(1)),
        started("a", 1),
        failed("a", 1, Some(2000)),
        started("a", 2),
        succeeded("a", 2),
        Record::Closed { verdict: Verdict::Holds },
    ];
    let states: Vec<Status> =
        (2..=5).map(|count| fold(records[..count].to_vec()).expect("legal").status(&a).clone()).collect();
    let at = |seconds| Timestamp::from_second(seconds).expect("in range");
    assert_eq!(
        states,
        [
            Status::Running { attempt: 1, since: at(2) },
            Status::Retrying { attempt: 1, until: at(5) },
            Status::Running { attempt: 2, since: at(4) },
            Status::Succeeded { outcome: Outcome::Changed },
        ]
    );
    let state = fold(records).expect("legal");
    assert_eq!(state.known()[&a]["by"], 2);
    assert_eq!(state.current().and_then(|run| run.verdict), Some(Verdict::Holds));
}

#[test]
fn what_does_not_follow_is_refused() {
    let open = || Record::Opened(opened(1));
    let cases: Vec<(Vec<Record>, &str)> = vec![
        (vec![started("a", 1)], "no run is open"),
        (vec![Record::Opened(opened(2))], "the run should have number 1"),
        (vec![open(), started("a", 2)], "the next attempt of `a` is 1, not 2"),
        (vec![open(), succeeded("a", 1)], "attempt 1 of `a` is not running; the step is pending"),
        (vec![open(), started("a", 1), started("a", 2)], "`a` is running already"),
        (vec![open(), started("a", 1), succeeded("a", 1), failed("a", 1, None)], "the step is done"),
        (vec![open(), started("a", 1), failed("a", 1, None), started("a", 2)], "`a` is failed already"),
        (vec![open(), Record::Closed { verdict: Verdict::Holds }, started("a", 1)], "no run is open"),
        (vec![open(), failed("a", 0, Some(1))], "`a` was never started"),
    ];
    for (records, why) in cases {
        let error = fold(records).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_new_run_keeps_what_holds_and_remembers_what_was_in_flight() {
    let child = Child { pid: 7, started: 1, program: "make".to_owned() };
    let spawned = Record::Spawned { step: StepId::from("b"), attempt: 1, child: child.clone() };
    let blocked = Record::Blocked { step: StepId::from("a"), by: vec![StepId::from("x")] };
    let records = vec![
        Record::Opened(opened(1)),
        started("a", 1),
        succeeded("a", 1),
        started("b", 1),
        spawned,
        started("c", 1),
        failed("c", 1, None),
        Record::Opened(opened(2)),
    ];
    let state = fold(records.clone()).expect("legal");
    let step = |state: &RunState, id: &str| state.step(&StepId::from(id)).expect("known").clone();
    assert_eq!(*step(&state, "a").status(), Status::Succeeded { outcome: Outcome::Changed });
    assert_eq!(*step(&state, "b").status(), Status::Pending);
    assert_eq!(step(&state, "b").in_flight().map(|flight| flight.children.clone()), Some(vec![child]));
    assert_eq!((step(&state, "c").status(), step(&state, "c").in_flight()), (&Status::Pending, None));
    // Being blocked in a later run does not undo what an earlier one did.
    let later = fold(records.into_iter().chain([blocked, Record::Opened(opened(3))])).expect("legal");
    assert_eq!(*step(&later, "a").status(), Status::Succeeded { outcome: Outcome::Changed });
    assert_eq!(later.known().len(), 1);
}

/// Records that fail before they touch anything leave a doubt as it was.
#[test]
fn what_begins_to_change_no_longer_holds_by_having_held() {
    let a = StepId::from("a");
    let looks = |attempt| match started("a", attempt) {
        Record::Started(started) => Record::Started(Started { touches: Touches::WhenSaid, ..started }),
        other => other,
    };
    let performing = || Record::Performing { step: StepId::from("a"), attempt: 1, undo: None };
    let held = [Record::Opened(opened(1)), looks(1), succeeded("a", 1), Record::Opened(opened(2)), looks(1)];
    let looked = fold(held.clone()).expect("legal");
    let flight = |state: &RunState| state.step(&a).and_then(|step| step.in_flight()).expect("in flight").clone();
    assert!(looked.step(&a).expect("known").before().is_some() && !flight(&looked).is_doubtful());
    let acted = fold(held.into_iter().chain([performing()])).expect("legal");
    assert!(acted.step(&a).expect("known").before().is_none() && flight(&acted).is_doubtful());
    let undoing = Record::UndoStarted { step: a.clone(), attempt: 1 };
    let undone = fold([
        Record::Opened(opened(1)),
        looks(1),
        performing(),
        succeeded("a", 1),
        Record::Opened(opened(2)),
        undoing,
    ]);
    let running: Vec<StepId> = undone.expect("legal").running().into_iter().map(|(id, _)| id).collect();
    assert_eq!(running, [a], "what is being taken back is at work too");
}

#[test]
fn an_attempt_that_touched_nothing_settles_no_doubt() {
    let untouched = |attempt, retry_in_ms| match failed("a", attempt, retry_in_ms) {
        Record::Failed(failed) => Record::Failed(Failed { untouched: true, ..failed }),
        other => other,
    };
    let in_flight = |records: &[Record]| {
        let state = fold(records.to_vec()).expect("legal");
        state.step(&StepId::from("a")).is_some_and(|step| step.in_flight().is_some())
    };
    let crashed = [Record::Opened(opened(1)), started("a", 1), Record::Opened(opened(2)), started("a", 1)];
    let with = |more: &[Record]| [&crashed[..], more].concat();
    assert!(in_flight(&with(&[untouched(1, None)])), "it failed while it looked");
    assert!(in_flight(&with(&[untouched(1, Some(9)), started("a", 2), untouched(2, Some(9))])));
    assert!(in_flight(&with(&[untouched(1, Some(9)), untouched(1, None)])), "given up");
    assert!(!in_flight(&with(&[failed("a", 1, None)])), "it was done, and its end was seen");
    assert!(!in_flight(&with(&[untouched(1, Some(9)), started("a", 2), failed("a", 2, None)])));
    let cancelled = |untouched| Record::Cancelled { step: StepId::from("a"), attempt: 1, untouched };
    assert!(in_flight(&with(&[cancelled(true)])) && in_flight(&with(&[cancelled(false)])));
    let fresh = [Record::Opened(opened(1)), started("a", 1)];
    assert!(!in_flight(&[&fresh[..], &[untouched(1, None)]].concat()), "there was no doubt");
    let settled = Record::Settled { step: StepId::from("a"), done: false, outputs: serde_json::Map::new() };
    assert!(!in_flight(&with(&[untouched(1, None), settled])));
}

fn any_record() -> impl Strategy<Value = Record> {
    let step = prop_oneof!["a", "b"].prop_map(|name: String| StepId::from(name.as_str()));
    (step, 0..3_u32, 1..5_u32, 0..24_u8, any::<bool>()).prop_map(|(step, attempt, run, kind, flag)| match kind {
        0 | 1 => Record::Opened(opened(run)),
        2..=4 => started(step.as_str(), attempt),
        5 | 6 => succeeded(step.as_str(), attempt),
        7 | 8 => failed(step.as_str(), attempt, flag.then_some(9)),
        15 => Record::Failed(Failed { untouched: true, ..a_failure(step, attempt, flag.then_some(9)) }),
        16 => Record::Performing { step, attempt, undo: flag.then(|| recipe(run)) },
        21 => Record::UndoneInPart { step, attempt, left: usize::from(flag) },
        17 | 18 => Record::UndoStarted { step, attempt },
        19 => Record::Undone { step, attempt, took_ms: 3 },
        20 => Record::UndoFailed(a_failure(step, attempt, flag.then_some(9))),
        9 => Record::Skipped { step, why: "no".to_owned() },
        10 => Record::Blocked { step: step.clone(), by: vec![step] },
        11 => Record::Cancelled { step, attempt, untouched: flag },
        12 => Record::Unknown { step, why: "who knows".to_owned() },
        13 => Record::Settled { step, done: flag, outputs: serde_json::Map::new() },
        14 => Record::Interrupted { signal: "SIGINT".to_owned() },
        _ => Record::Closed { verdict: Verdict::Failed },
    })
}

fn recipe(number: u32) -> Recipe {
    serde_json::from_value(json!({ "kind": "run", "with": { "script": number } })).expect("a recipe")
}

/// Legal journals: whatever is illegal is left out, and must have changed nothing.
pub(crate) fn legal_journal() -> impl Strategy<Value = Vec<Record>> {
    proptest::collection::vec(any_record(), 1..80).prop_map(|records| {
        let (mut state, mut kept) = (RunState::default(), Vec::new());
        for record in std::iter::once(Record::Opened(opened(1))).chain(records) {
            let before = state.clone();
            match state.apply(&entry(state.seq() + 1, record.clone())) {
                Ok(()) => kept.push(record),
                Err(_) => assert_eq!(before, state, "an illegal record changed something"),
            }
        }
        kept
    })
}

/// Writes records through a journal and returns the file.
fn written(bench: &Bench, records: &[Record]) -> Vec<u8> {
    let mut journal = bench.open();
    for record in records {
        journal.append(record.clone(), Sync::Soon).expect("legal");
    }
    drop(journal);
    std::fs::read(bench.home().journal_path()).expect("a journal")
}

fn put(bench: &Bench, bytes: &[u8]) {
    std::fs::write(bench.home().journal_path(), bytes).expect("written");
}

/// A state but for its times, which the journal takes from the clock.
fn shape(state: &RunState) -> Vec<String> {
    let status = |status: &Status| match status {
        Status::Running { attempt, .. } => format!("running {attempt}"),
        Status::Retrying { attempt, .. } => format!("retrying {attempt}"),
        Status::Undoing { attempt, .. } => format!("undoing {attempt}"),
        Status::UndoFailed { until } => format!("not undone, again: {}", until.is_some()),
        other => format!("{other:?}"),
    };
    state.steps().map(|(id, step)| format!("{id} {} {:?}", status(step.status()), step.done())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_cut_anywhere_is_a_prefix(records in legal_journal(), at in any::<prop::sample::Index>()) {
        let bench = Bench::new();
        let bytes = written(&bench, &records);
        let kept = &bytes[..at.index(bytes.len() + 1)];
        let whole = kept.iter().filter(|byte| **byte == b'\n').count();
        put(&bench, kept);
        let expected = fold(records[..whole].to_vec()).expect("any prefix folds");
        let read = journal::read(&bench.home()).expect("a prefix").state;
        prop_assert_eq!(shape(&read), shape(&expected));
        let lock = bench.home().lock(Bench::holder()).expect("free");
        let (journal, cut) = Journal::open(lock, bench.clock()).expect("a prefix");
        prop_assert_eq!(journal.state().seq(), whole as u64);
        prop_assert_eq!(cut.is_some(), !kept.is_empty() && kept.last() != Some(&b'\n'));
        drop(journal);
        let lock = bench.home().lock(Bench::holder()).expect("free");
        prop_assert_eq!(Journal::open(lock, bench.clock()).expect("whole").1, None, "said once");
    }

    #[test]
    fn a_damaged_byte_is_found_and_costs_nothing(
        records in legal_journal(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let bench = Bench::new();
        let mut bytes = written(&bench, &records);
        let at = at.index(bytes.len());
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        bytes[at] ^= 1 << bit;
        put(&bench, &bytes);
        match journal::read(&bench.home()) {
            Err(StateError::Broken { line: named, .. }) => prop_assert_eq!(named, line),
            Err(other) => prop_assert!(false, "{}", other),
            // A checksum may be in capital letters.
            Ok(reading) => prop_assert_eq!(shape(&reading.state), shape(&fold(records).expect("legal"))),
        }
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_named_with_the_way_out() {
    let bench = Bench::new();
    let bytes = written(&bench, &[Record::Opened(opened(1)), started("a", 1), succeeded("a", 1)]);
    let text = String::from_utf8(bytes).expect("text").replacen(r#""attempt":1"#, r#""attempt":3"#, 1);
    put(&bench, text.as_bytes());
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let error = Journal::open(lock, bench.clock()).expect_err("damaged").to_string();
    assert!(
        error.starts_with("line 2 of `") && error.contains("checksum") && error.contains("move it away"),
        "{error}"
    );
}

/// A line as a journal has it.
pub(crate) fn line(json: &serde_json::Value) -> String {
    let text = json.to_string();
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

fn header(format: Format) -> serde_json::Value {
    let mut value = serde_json::to_value(entry(1, Record::Opened(opened(1)))).expect("a record");
    value["format"] = json!(format);
    value
}

#[test]
fn a_newer_minor_format_is_shown_and_not_written() {
    let bench = Bench::new();
    drop(bench.open());
    let later = json!({ "seq": 2, "time": "2030-01-01T00:00:00Z", "record": "paused", "step": "a" });
    let format = Format { minor: FORMAT.minor + 1, ..FORMAT };
    put(&bench, format!("{}{}", line(&header(format)), line(&later)).as_bytes());
    let reading = journal::read(&bench.home()).expect("readable");
    assert_eq!((reading.state.seq(), reading.later), (2, Some(format)));
    let lock = bench.home().lock(Bench::holder()).expect("free");
    assert!(matches!(Journal::open(lock, bench.clock()), Err(StateError::Newer { found, .. }) if found == format));
}

#[test]
fn a_newer_major_format_is_refused_even_if_nothing_else_is_understood() {
    let bench = Bench::new();
    drop(bench.open());
    let format = Format { major: FORMAT.major + 1, minor: 0 };
    for strange in [header(format), json!({ "format": format, "what": "ever" })] {
        put(&bench, line(&strange).as_bytes());
        let error = journal::read(&bench.home()).expect_err("newer");
        assert!(matches!(&error, StateError::Newer { found, .. } if *found == format), "{error}");
    }
}

#[test]
fn a_journal_of_the_first_format_is_read_for_ever() {
    let bench = Bench::new();
    drop(bench.open());
    put(&bench, include_bytes!("journals/1.0.jsonl"));
    let state = journal::read(&bench.home()).expect("readable").state;
    let statuses: Vec<String> = state.steps().map(|(id, step)| format!("{id} {:?}", step.status())).collect();
    assert_eq!(
        statuses,
        [
            "cluster Succeeded { outcome: Changed }",
            "pool Running { attempt: 1, since: 2026-11-21T03:02:00Z }",
            "mesh Skipped { why: \"`when` is false: inputs.mesh\" }",
            "gate Failed",
            "model Blocked { by: [StepId(\"gate\")] }",
            "smoke Unknown { why: \"nobody can tell\" }",
        ]
    );
    let cluster = state.step(&StepId::from("cluster")).expect("there");
    assert_eq!(cluster.outputs().map(|outputs| outputs["endpoint"].clone()), Some(json!("10.0.0.1")));
    let pool = state.step(&StepId::from("pool")).and_then(|step| step.in_flight()).expect("in flight");
    assert_eq!((pool.children[0].pid, pool.recoverable), (4711, true));
    assert_eq!((state.runs().len(), state.simulated()), (2, Some("simulated cloud")));
}

#[test]
fn the_state_of_a_rehearsal_is_not_continued_for_real() {
    let bench = Bench::new();
    let simulated = Opened { simulated: Some("simulated cloud".to_owned()), ..opened(1) };
    let mut journal = bench.open();
    assert!(journal.ensure_simulated(None).is_ok() && journal.ensure_simulated(Some("x")).is_ok());
    journal.append(Record::Opened(simulated), Sync::Soon).expect("legal");
    assert!(journal.ensure_simulated(Some("simulated cloud")).is_ok());
    let error = journal.ensure_simulated(None).expect_err("a rehearsal").to_string();
    assert!(error.contains("is the state of a rehearsal (simulated cloud), and this is a real deployment"), "{error}");
}

#[test]
fn a_held_lock_says_by_whom_and_at_what() {
    let bench = Bench::new();
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Soon).expect("legal");
    journal.append(started("gateway", 1), Sync::Soon).expect("legal");
    let Err(StateError::Held(held)) = bench.home().lock(Bench::holder()) else { panic!("it is held") };
    assert_eq!(held.holder, Some(Bench::holder()));
    assert_eq!(held.doing.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), ["gateway"]);
    assert_eq!(bench.home().holder().expect("readable").map(|note| note.holder), Some(Bench::holder()));
    drop(journal);
    assert_eq!(bench.home().holder().expect("readable"), None);
    assert!(bench.home().lock(Bench::holder()).expect("free").previous().is_none());
}

#[test]
fn unlocking_wants_the_locks_id() {
    let bench = Bench::new();
    let held = bench.home().lock(Bench::holder()).expect("free");
    let other = LockId("other".to_owned());
    assert!(matches!(bench.home().unlock(&other, true), Err(StateError::OtherLock { .. })));
    bench.home().unlock(held.id(), true).expect("its id");
    let next = bench.home().lock(Bench::holder()).expect("taken away");
    drop(held);
    assert!(bench.home().holder().expect("readable").is_some(), "the old holder's end is not the new one's");
    drop(next);
}

/// Whoever took the lock away may have begun another run: two that write leave neither's journal.
#[test]
fn a_run_whose_lock_was_taken_away_writes_nothing_more() {
    let bench = Bench::new();
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Now).expect("legal");
    bench.home().unlock(journal.lock().id(), true).expect("its id");
    let (mut next, _) = Journal::open(bench.home().lock(Bench::holder()).expect("free"), bench.clock()).expect("whole");
    next.append(started("a", 1), Sync::Now).expect("legal");
    let error = journal.append(started("b", 1), Sync::Soon).expect_err("it is not ours any more").to_string();
    assert!(error.contains("was taken away from this run"), "{error}");
    drop(journal);
    drop(next);
    assert_eq!(journal::read(&bench.home()).expect("whole").state.seq(), 2, "what the next one wrote is there");
}

#[test]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    drop(bench.open());
    let mode = |path: &std::path::Path| path.metadata().expect("there").permissions().mode() & 0o777;
    let home = bench.home();
    assert_eq!([mode(home.path()), mode(&home.logs_dir())], [0o700; 2]);
    assert_eq!([mode(&home.journal_path()), mode(&home.lock_path())], [0o600; 2]);
}
