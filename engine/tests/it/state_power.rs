//! Power that goes: a disk that keeps what was synced, and of the rest a part at most. Real runs over it, cut at every operation.

use std::sync::{Arc, Mutex};

use runbook::plan::StepId;
use runbook::plan::model::{Plan, Step};
use runbook::run::Options;
use runbook::state::record::{Entry, Record, Verdict};
use runbook::state::{Journal, RunState, Status, Sync, journal};
use rustix::io::Errno;
use serde_json::json;

use crate::cut::random::Random;
use crate::drive::{Drive, Fate};
use crate::run_bench::{AGAIN, BLIND, Bench, LOOKED, plan};

/// A disk in a machine whose steps keep a ledger.
struct Machine {
    drive: Drive,
    /// What the steps had done when the power went.
    world: Arc<Mutex<Option<String>>>,
}

impl Machine {
    /// Its power goes after so many calls. What steps do without is not done.
    fn new(bench: &Bench, power: usize) -> Self {
        let (drive, ledger) = (Drive::new(false), bench.ledger_path());
        let world = Arc::new(Mutex::new(None));
        let (stood, mut calls) = (Arc::clone(&world), 0);
        drive.meets(move |_| {
            calls += 1;
            if calls <= power {
                return Fate::Done;
            }
            let mut stood = stood.lock().expect("whole");
            stood.get_or_insert_with(|| std::fs::read_to_string(&ledger).unwrap_or_default());
            Fate::Fails(Errno::IO, 0)
        });
        Self { drive, world }
    }
}

/// Runs a plan over a machine whose power goes after so many operations. The verdict if it does not.
async fn run_on(bench: &Bench, plan: &Arc<Plan>, machine: &Machine) -> Option<Verdict> {
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let storage = machine.drive.storage().expect("empty");
    let (journal, _) = Journal::open_with(lock, bench.clock(), Arc::new(storage)).expect("empty");
    // Then nothing but the order of events decides what is written and synced.
    let options = Options { sync_inline: true, ..Options::default() };
    bench.try_run(plan, options, journal, None).await.0.ok().map(|summary| summary.verdict)
}

fn steps(bench: &Bench) -> Vec<Step> {
    let outputs = |id: &str| json!({ "outputs": { "id": id } });
    vec![
        bench.step("a", &BLIND, outputs("a")),
        bench.step("b", &BLIND, outputs("b")),
        bench.step("c", &LOOKED, outputs("c")),
        bench.step("d", &BLIND, outputs("d")),
        bench.step("e", &AGAIN, outputs("e")),
    ]
}

const BLIND_ONES: [&str; 3] = ["a", "b", "d"];

fn a_plan(bench: &Bench) -> Arc<Plan> {
    plan(steps(bench), &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])
}

/// How often the power goes at the same moment: the disk has nothing of what was not synced, all of it, or what chance left.
const TIMES: u64 = 5;

#[tokio::test]
async fn a_power_cut_at_any_operation_leaves_a_prefix_and_repeats_nothing_that_must_not_be() {
    for power in 0.. {
        for time in 0..TIMES {
            let bench = Bench::new();
            let machine = Machine::new(&bench, power);
            if run_on(&bench, &a_plan(&bench), &machine).await == Some(Verdict::Holds) {
                assert!(power > 10, "so much is done at least");
                return;
            }
            let all = come_back(&bench, &machine, time);
            let state = journal::read(&bench.home()).expect("a prefix").state;
            assert!(state.seq() >= machine.drive.lock().synced() as u64, "power {power}, time {time}");
            assert_is_prefix(&state, &all);
            // Rule 2: what may hurt is in the journal before it is in the world.
            for step in BLIND_ONES.iter().filter(|step| bench.did(step) > 0) {
                let seen = state
                    .step(&StepId::from(*step))
                    .is_some_and(|step| step.in_flight().is_some() || step.done().is_some());
                assert!(seen, "`{step}` began and is forgotten, power {power}");
            }
            finish(&bench).await;
            for step in BLIND_ONES {
                assert_eq!(bench.did(step), 1, "{step}, power {power}, time {time}");
            }
        }
    }
}

/// The power is back: the disk has what was synced and something of the rest, the world what was done by then. All that was written.
fn come_back(bench: &Bench, machine: &Machine, time: u64) -> Vec<u8> {
    let mut disk = machine.drive.lock();
    let changes = disk.medium.changes();
    match time {
        0 => disk.medium.leave(0, |_| 0),
        1 => disk.medium.leave(changes, |_| changes),
        _ => disk.medium.cut(&mut Random::new(time)),
    }
    std::fs::write(bench.home().journal_path(), disk.medium.bytes()).expect("written");
    let world = machine.world.lock().expect("whole");
    std::fs::write(bench.ledger_path(), world.as_deref().expect("the power went")).expect("written");
    disk.lines.concat()
}

fn assert_is_prefix(state: &RunState, all: &[u8]) {
    let mut expected = RunState::default();
    let lines = all.split_inclusive(|byte| *byte == b'\n');
    for line in lines.take(usize::try_from(state.seq()).expect("small")) {
        let entry: Entry = serde_json::from_slice(&line[9..]).expect("a record");
        expected.apply(&entry).expect("legal");
    }
    assert_eq!(*state, expected);
}

/// Continues until all holds. The person who is asked looks at the world.
async fn finish(bench: &Bench) {
    for _ in 0..4 {
        let summary = bench.run(&a_plan(bench), Options::default()).await;
        if summary.verdict == Verdict::Holds {
            return;
        }
        assert_eq!(summary.verdict, Verdict::NeedsPerson);
        let state = summary.journal.state();
        let unknown = state.steps().filter(|(_, step)| matches!(step.status(), Status::Unknown { .. }));
        let unknown: Vec<StepId> = unknown.map(|(id, _)| id.clone()).collect();
        drop(summary);
        let mut journal = bench.open();
        for step in unknown {
            let done = bench.ledger().contains(&format!("made {step}"));
            let outputs = serde_json::Map::new();
            journal.append(Record::Settled { step, done, outputs }, Sync::Now).expect("written");
        }
    }
    panic!("it never ends: {:?}", bench.ledger());
}

/// The records in what a sync made safe, each in a few words.
fn words(group: &[Vec<u8>]) -> Vec<String> {
    group
        .iter()
        .filter_map(|line| match serde_json::from_slice::<Entry>(&line[9..]).expect("a record").record {
            Record::Started(started) => Some(format!("started {}", started.step)),
            Record::Succeeded(succeeded) => Some(format!("succeeded {}", succeeded.step)),
            Record::Closed { .. } => Some("closed".to_owned()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_start_is_synced_together_with_the_end_of_what_it_needs() {
    let bench = Bench::new();
    let names: Vec<String> = (0..20).map(|number| format!("s{number:02}")).collect();
    let steps = names.iter().map(|name| bench.step(name, &BLIND, json!({}))).collect();
    let needs: Vec<(&str, &str)> = names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let machine = Machine::new(&bench, usize::MAX);
    assert_eq!(run_on(&bench, &plan(steps, &needs), &machine).await, Some(Verdict::Holds));
    let groups: Vec<Vec<String>> = machine.drive.lock().groups.iter().map(|group| words(group)).collect();
    for pair in needs {
        let together = vec![format!("succeeded {}", pair.0), format!("started {}", pair.1)];
        assert!(groups.contains(&together), "{together:?} in {groups:?}");
    }
    assert!(groups.len() <= names.len() + 2, "a sync for each step, and for the run's two ends: {}", groups.len());
}

#[tokio::test]
async fn one_sync_covers_all_that_is_waiting() {
    let bench = Bench::new();
    let steps = (0..20).map(|number| bench.step(&format!("s{number:02}"), &BLIND, json!({}))).collect();
    let machine = Machine::new(&bench, usize::MAX);
    assert_eq!(run_on(&bench, &plan(steps, &[]), &machine).await, Some(Verdict::Holds));
    let starts: Vec<usize> =
        machine.drive.lock().groups.iter().map(|group| words(group)).map(|words| started(&words)).collect();
    assert_eq!(starts.iter().filter(|count| **count > 0).collect::<Vec<_>>(), [&20]);
}

fn started(words: &[String]) -> usize {
    words.iter().filter(|word| word.starts_with("started")).count()
}
