//! Sectors that are lost in the middle of a journal: cut off where a power cut can have done it, damage where a sync had covered them.

use std::ops::Range;

use runbook::plan::StepId;
use runbook::run::undo::Choice;
use runbook::state::record::{Entry, Record, Started, Verdict};
use runbook::state::{Journal, StateError, Sync, journal};
use serde_json::json;

use crate::run_bench::{BLIND, Bench, plan};
use crate::sandbox::Sandbox;
use crate::undo_bench::Place;

/// What a disk writes at once.
const SECTOR: usize = 512;

/// So much of a line tells what it is the beginning of.
const TELLS: usize = 110;

/// A record, and where it is.
struct Line {
    at: Range<usize>,
    record: Record,
}

impl Line {
    fn header(&self) -> bool {
        matches!(self.record, Record::Opened(_))
    }

    /// Whether it is only written once the header of its run is safe.
    fn works(&self) -> bool {
        !matches!(self.record, Record::Opened(_) | Record::Settled { .. } | Record::UndoSkipped { .. })
    }

    /// The step of which nothing more is written before this is safe.
    fn announces(&self) -> Option<&StepId> {
        match &self.record {
            Record::Started(Started { step, recoverable: false, .. })
            | Record::Performing { step, .. }
            | Record::UndoStarted { step, .. } => Some(step),
            _ => None,
        }
    }

    fn is_about(&self, step: &StepId) -> bool {
        let record = serde_json::to_value(&self.record).expect("JSON");
        self.works() && record["step"] == json!(step)
    }
}

fn lines(bytes: &[u8]) -> Vec<Line> {
    let mut end = 0;
    let line = |line: &[u8]| {
        let from = end;
        end += line.len();
        let entry: Entry = serde_json::from_slice(&line[9..]).expect("a record");
        Line { at: from..from + line.len(), record: entry.record }
    };
    bytes.split_inclusive(|byte| *byte == b'\n').map(line).collect()
}

/// What is known of a loss.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// All of it or a part had been synced.
    Synced,
    /// Nothing that is left says so.
    Unsynced,
    /// It depends on how much of a line is left.
    Unclear,
}

/// What may be known of a sector that is lost. Whatever is synced, all before it is.
fn known(lines: &[Line], lost: &Range<usize>) -> Known {
    let left = |line: &&Line| line.at.end <= lost.start || line.at.start >= lost.end;
    let mut known = Known::Unsynced;
    for (index, work) in lines.iter().enumerate().filter(|(_, line)| line.at.start >= lost.end && line.works()) {
        let header = lines[..index].iter().rfind(|line| line.header());
        let announced = lines[..index].iter().filter(|line| line.announces().is_some_and(|step| work.is_about(step)));
        for proof in header.into_iter().chain(announced).filter(|proof| proof.at.end > lost.start) {
            // The start of a step says at its end whether it could be looked at.
            let tells = !matches!(proof.record, Record::Started(_)) && lost.start > proof.at.start + TELLS;
            if left(&proof) || tells {
                return Known::Synced;
            }
            known = Known::Unclear;
        }
    }
    known
}

/// Two steps that can be looked at, one that cannot: made, found as they are, one of them made again because a person said so, taken
/// back but for one, and made anew.
async fn a_deployment() -> (Place, Vec<u8>) {
    let place = Place::new();
    let steps = vec![
        place.thing("a", &json!({})),
        place.thing("b", &json!({})),
        place.bench.step("pay", &BLIND, json!({ "outputs": { "receipt": "r".repeat(300) } })),
    ];
    let plan = plan(steps, &[("a", "b")]);
    assert_eq!([place.apply(&plan).await, place.apply(&plan).await], [Verdict::Holds; 2]);
    let settled = Record::Settled { step: StepId::from("b"), done: false, outputs: serde_json::Map::new() };
    place.bench.open().append(settled, Sync::Now).expect("written");
    assert_eq!(place.apply(&plan).await, Verdict::Holds);
    let choice = Choice { only: [StepId::from("a")].into(), ..Choice::default() };
    assert_eq!(place.destroy(&plan, &choice).await, Verdict::Holds);
    assert_eq!(place.apply(&plan).await, Verdict::Holds);
    let bytes = std::fs::read(place.bench.home().journal_path()).expect("a journal");
    (place, bytes)
}

/// What a run would find.
fn open(bench: &Bench) -> Result<u64, StateError> {
    let lock = bench.home().lock(Bench::holder()).expect("free");
    Journal::open(lock, bench.clock()).map(|(journal, cut)| {
        assert!(cut.is_some(), "it is said");
        journal.state().seq()
    })
}

/// Every journal that a kill leaves of these runs, with every sector of it lost.
#[tokio::test]
async fn a_sector_is_cut_off_only_where_no_sync_had_covered_it() {
    let (place, all) = a_deployment().await;
    let (bench, path) = (&place.bench, place.bench.home().journal_path());
    let (every, mut found) = (lines(&all), [0; 3]);
    for count in 1..=every.len() {
        let (before, end) = (&every[..count], every[count - 1].at.end);
        for lost in (0..end).step_by(SECTOR).map(|from| from..(from + SECTOR).min(end)) {
            let mut bytes = all[..end].to_vec();
            bytes[lost.clone()].fill(0);
            std::fs::write(&path, &bytes).expect("written");
            let (known, read) = (known(before, &lost), journal::read(&bench.home()));
            found[known as usize] += 1;
            let whole = before.iter().filter(|line| line.at.end <= lost.start).count() as u64;
            match (known, read) {
                (Known::Synced | Known::Unclear, Err(StateError::Broken { line, .. })) => {
                    assert_eq!(line, whole + 1);
                    assert!(open(bench).is_err());
                    assert!(std::fs::read(&path).expect("there") == bytes, "nothing is cut off");
                }
                (Known::Unsynced | Known::Unclear, Ok(reading)) => {
                    assert_eq!(reading.state.seq(), whole);
                    // What is lost at the end is room.
                    assert!(lost.end == end || open(bench).expect("cut off") == whole);
                }
                (known, read) => panic!("{count} {lost:?} {known:?}: {:?}", read.map(|read| read.state.seq())),
            }
        }
    }
    assert!(found[0] > 100 && found[1] > 20 && found[2] < found[0] / 4, "{found:?}");
}

/// Two more runs have nothing to do, and show that what was done before them was safe.
#[test]
fn what_was_paid_is_not_paid_again_where_a_sector_is_lost() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  pay: { run: 'echo paid >> paid' }\n");
    (0..3).for_each(|_| drop(sandbox.run(&["apply", "plan.yaml"]).exits(0)));
    let path = sandbox.path(".runbook/p/journal.jsonl");
    let mut bytes = std::fs::read(&path).expect("a journal");
    bytes[SECTOR..2 * SECTOR].fill(0);
    std::fs::write(&path, &bytes).expect("written");
    sandbox.run(&["apply", "plan.yaml"]).exits(6).says("is damaged").says("move it away");
    assert!(std::fs::read(&path).expect("there") == bytes, "not a byte of it is changed");
    assert_eq!(sandbox.read("paid"), "paid\n");
}
