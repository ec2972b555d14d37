//! A journal that was read before its lock was taken: believed if it is still the same, and read again if not.

use std::fs;

use runbook::plan::StepId;
use runbook::state::record::Record;
use runbook::state::{Early, Journal, RunState, Sync};
use serde_json::json;

use crate::run_bench::Bench;
use crate::state::{opened, started, succeeded};

/// A deployment with a journal that is long enough to be read early.
fn long() -> Bench {
    let bench = Bench::new();
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Soon).expect("legal");
    for number in 0..3000 {
        let step = format!("step-{number}");
        journal.append(started(&step, 1), Sync::Soon).expect("legal");
        journal.append(succeeded(&step, 1), Sync::Soon).expect("legal");
        journal.append(settled(&step), Sync::Soon).expect("legal");
    }
    bench
}

fn settled(step: &str) -> Record {
    let outputs = json!({ "text": "x".repeat(100) }).as_object().expect("a map").clone();
    Record::Settled { step: StepId::from(step), done: true, outputs }
}

/// The state of a deployment whose journal was read early, and the state of one whose journal was not.
fn opened_early(bench: &Bench, early: Early) -> (RunState, RunState) {
    let lock = || bench.home().lock(Bench::holder()).expect("free");
    let (journal, _) = Journal::open_early(lock(), bench.clock(), Some(early)).expect("a journal");
    let state = journal.state().clone();
    drop(journal);
    let (journal, _) = Journal::open(lock(), bench.clock()).expect("a journal");
    (state, journal.state().clone())
}

#[test]
fn what_was_read_early_is_what_is_read_late() {
    let bench = long();
    let early = Early::read(&bench.home()).expect("long and whole");
    assert_eq!(early.last_run().map(|run| run.opened.run), Some(1));
    let (early, late) = opened_early(&bench, early);
    assert_eq!(early.steps().count(), 3000);
    assert_eq!(early, late);
}

#[test]
fn what_another_process_wrote_meanwhile_is_not_missed() {
    let bench = long();
    let early = Early::read(&bench.home()).expect("long and whole");
    bench.open().append(settled("more"), Sync::Now).expect("legal");
    let (early, late) = opened_early(&bench, early);
    assert!(early.step(&StepId::from("more")).is_some());
    assert_eq!(early, late);
}

#[test]
fn a_journal_that_was_put_in_its_place_is_read() {
    let (bench, other) = (long(), Bench::new());
    let early = Early::read(&bench.home()).expect("long and whole");
    let mut journal = other.open();
    journal.append(Record::Opened(opened(1)), Sync::Now).expect("legal");
    fs::copy(other.home().journal_path(), bench.home().journal_path()).expect("copied");
    let (early, late) = opened_early(&bench, early);
    assert_eq!((early.seq(), &early), (1, &late));
}

#[test]
fn what_is_short_or_torn_or_not_there_is_not_read_early() {
    assert!(Early::read(&Bench::new().home()).is_none());
    let bench = long();
    let path = bench.home().journal_path();
    let whole = fs::read(&path).expect("a journal");
    fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    assert!(Early::read(&bench.home()).is_none());
    let first = whole.iter().position(|byte| *byte == b'\n').expect("lines");
    fs::write(&path, &whole[..=first]).expect("written");
    assert!(Early::read(&bench.home()).is_none());
}
