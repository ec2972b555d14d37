//! Power that goes: a disk that keeps what was synced, and of the rest a part at most. Real runs over it, cut at every operation.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use runbook::plan::StepId;
use runbook::plan::model::{Plan, Step};
use runbook::run::Options;
use runbook::state::record::{Entry, Record, Verdict};
use runbook::state::storage::Storage;
use runbook::state::{Journal, RunState, Status, Sync, journal};
use serde_json::json;

use crate::run_bench::{AGAIN, BLIND, Bench, LOOKED, plan};

/// What a disk holds, and what was asked of it.
#[derive(Default)]
struct Disk {
    written: Vec<u8>,
    safe: usize,
    /// After so many writes and syncs the power goes.
    power: usize,
    operations: usize,
    /// What each sync made safe that was not safe before.
    groups: Vec<Vec<u8>>,
    /// What the steps had done when the power went.
    world: Option<String>,
}

/// A disk in a machine whose steps keep a ledger.
struct Machine {
    disk: Mutex<Disk>,
    ledger: PathBuf,
}

impl Machine {
    fn new(bench: &Bench, power: usize) -> Arc<Self> {
        Arc::new(Self { disk: Mutex::new(Disk { power, ..Disk::default() }), ledger: bench.ledger_path() })
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("whole")
    }

    /// The disk, if there is still power. What steps do without is not done.
    fn powered(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk();
        disk.operations += 1;
        if disk.operations > disk.power {
            disk.world.get_or_insert_with(|| std::fs::read_to_string(&self.ledger).unwrap_or_default());
            return Err(io::Error::other("no power"));
        }
        Ok(disk)
    }
}

impl Storage for Machine {
    fn read(&self) -> io::Result<Vec<u8>> {
        Ok(self.disk().written.clone())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.powered()?.written.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.powered()?;
        let group = disk.written[disk.safe..].to_vec();
        disk.safe = disk.written.len();
        disk.groups.push(group);
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.powered()?.written.truncate(usize::try_from(length).expect("small"));
        Ok(())
    }

    fn finish(&self) -> io::Result<()> {
        Ok(())
    }

    fn replace(&self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("nothing here is that long"))
    }
}

/// Runs a plan over a machine whose power goes after so many operations. The verdict if it does not.
async fn run_on(bench: &Bench, plan: &Arc<Plan>, machine: &Arc<Machine>) -> Option<Verdict> {
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let storage: Arc<dyn Storage> = Arc::<Machine>::clone(machine);
    let (journal, _) = Journal::open_with(lock, bench.clock(), storage).expect("empty");
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

/// How much of what was not synced the disk has all the same.
const KEPT: [(usize, usize); 3] = [(0, 1), (1, 2), (1, 1)];

#[tokio::test]
async fn a_power_cut_at_any_operation_leaves_a_prefix_and_repeats_nothing_that_must_not_be() {
    for power in 0.. {
        for (share, of) in KEPT {
            let bench = Bench::new();
            let machine = Machine::new(&bench, power);
            if run_on(&bench, &a_plan(&bench), &machine).await == Some(Verdict::Holds) {
                assert!(power > 10, "so much is done at least");
                return;
            }
            let all = come_back(&bench, &machine, share, of);
            let state = journal::read(&bench.home()).expect("a prefix").state;
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
                assert_eq!(bench.did(step), 1, "{step}, power {power}, kept {share}/{of}");
            }
        }
    }
}

/// The power is back: the disk has what was synced and a share of the rest, the world what was done by then. All that was written.
fn come_back(bench: &Bench, machine: &Machine, share: usize, of: usize) -> Vec<u8> {
    let disk = machine.disk();
    let kept = disk.safe + (disk.written.len() - disk.safe) * share / of;
    std::fs::write(bench.home().journal_path(), &disk.written[..kept]).expect("written");
    std::fs::write(bench.ledger_path(), disk.world.as_deref().expect("the power went")).expect("written");
    disk.written.clone()
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
fn words(group: &[u8]) -> Vec<String> {
    let lines = group.split_inclusive(|byte| *byte == b'\n');
    lines
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
    let groups: Vec<Vec<String>> = machine.disk().groups.iter().map(|group| words(group)).collect();
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
        machine.disk().groups.iter().map(|group| words(group)).map(|words| started(&words)).collect();
    assert_eq!(starts.iter().filter(|count| **count > 0).collect::<Vec<_>>(), [&20]);
}

fn started(words: &[String]) -> usize {
    words.iter().filter(|word| word.starts_with("started")).count()
}
