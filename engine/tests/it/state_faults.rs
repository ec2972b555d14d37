//! Storage that fails, and power that goes: through the seam in the journal's file layer.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use runbook::plan::StepId;
use runbook::run::Options;
use runbook::state::journal::Storage;
use runbook::state::record::{Outcome, Record, Verdict};
use runbook::state::{Journal, StateError, Status, Sync};
use serde_json::json;

use crate::run_bench::{BLIND, Bench, LOOKED, plan};

/// What goes wrong, and when.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// The write after so many is cut short, and everything after it fails.
    ShortWrite(usize),
    /// The sync after so many fails. Only once: the kernel forgets, and nobody may believe the next.
    Sync(usize),
}

/// The real file, with a fault, and a copy of what is safe from a power cut.
struct Faulty {
    file: File,
    safe: PathBuf,
    written: Mutex<Vec<u8>>,
    fault: Fault,
    writes: AtomicUsize,
    syncs: AtomicUsize,
}

impl Storage for Faulty {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let count = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::ShortWrite(after) if count >= after => {
                Storage::write(&self.file, &bytes[..bytes.len() / 2])?;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            _ => {
                self.written.lock().expect("whole").extend_from_slice(bytes);
                Storage::write(&self.file, bytes)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        let count = self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::Sync(count) {
            return Err(io::Error::other("input/output error"));
        }
        let written = self.written.lock().expect("whole");
        std::fs::write(&self.safe, &*written)
    }

    fn truncate(&self, _length: u64) -> io::Result<()> {
        Err(io::Error::other("not even that"))
    }
}

fn safe(bench: &Bench) -> PathBuf {
    bench.ledger_path().with_file_name("safe")
}

fn open(bench: &Bench, fault: Fault) -> Journal {
    drop(bench.open());
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let file = File::options().append(true).open(bench.home().journal_path()).expect("there");
    let storage = Faulty {
        file,
        safe: safe(bench),
        written: Mutex::default(),
        fault,
        writes: AtomicUsize::new(0),
        syncs: AtomicUsize::new(0),
    };
    Journal::open_with(lock, bench.clock(), Arc::new(storage)).expect("empty").0
}

#[tokio::test]
async fn the_start_of_what_must_not_be_repeated_is_synced_first() {
    let bench = Bench::new();
    let steps: Vec<_> = ["a", "b", "c", "d"].map(|id| bench.step(id, &BLIND, json!({ "synced": safe(&bench) }))).into();
    let plan = plan(steps, &[("a", "b"), ("a", "c")]);
    let (summary, _) = bench.try_run(&plan, Options::default(), open(&bench, Fault::None), None).await;
    assert_eq!(summary.expect("written").verdict, Verdict::Holds);
}

#[tokio::test]
async fn all_is_safe_before_the_end_is_reported() {
    let bench = Bench::new();
    let plan = plan(vec![bench.step("a", &LOOKED, json!({}))], &[]);
    let (summary, _) = bench.try_run(&plan, Options::default(), open(&bench, Fault::None), None).await;
    let summary = summary.expect("written");
    let safe = std::fs::read(safe(&bench)).expect("synced");
    assert_eq!(safe, std::fs::read(bench.home().journal_path()).expect("there"));
    drop(summary);
}

/// Whatever the disk does not take: an error, the running step finishes and is heard, and the next run goes on from the truth.
#[tokio::test]
async fn a_full_disk_ends_the_run_and_loses_nothing() {
    for after in 0..5 {
        let bench = Bench::new();
        let plan = plan(vec![bench.step("a", &LOOKED, json!({})), bench.step("b", &LOOKED, json!({}))], &[("a", "b")]);
        let journal = open(&bench, Fault::ShortWrite(after));
        let (summary, seen) = bench.try_run(&plan, Options::default(), journal, None).await;
        let error = summary.expect_err("no space");
        assert!(error.to_string().contains("free some space"), "{error}");
        let made: Vec<String> = bench.ledger().into_iter().filter(|line| line.starts_with("made")).collect();
        let stored = bench_stored(&bench);
        for line in &made {
            let step = line.trim_start_matches("made ");
            let said = format!("`{step}` succeeded, but that could not be stored");
            assert!(stored.contains(&step.to_owned()) || seen.notices().contains(&said), "{line} after {after}");
        }
        let summary = bench.run(&plan, Options::default()).await;
        assert_eq!(summary.verdict, Verdict::Holds);
        assert_eq!([bench.did("a"), bench.did("b")], [1, 1], "nothing twice, after {after}");
    }
}

fn bench_stored(bench: &Bench) -> Vec<String> {
    let state = runbook::state::journal::read(&bench.home()).expect("a prefix").state;
    let holds = |id: &StepId| *state.status(id) == Status::Succeeded { outcome: Outcome::Changed };
    state.steps().filter(|(id, _)| holds(id)).map(|(id, _)| id.to_string()).collect()
}

#[test]
fn after_a_failed_sync_nothing_is_believed() {
    let bench = Bench::new();
    let mut journal = open(&bench, Fault::Sync(0));
    let interrupted = || Record::Settled { step: StepId::from("a"), done: false };
    let error = journal.append(interrupted(), Sync::Now).expect_err("the sync fails");
    assert!(matches!(error, StateError::Io { doing: "sync", .. }), "{error}");
    for sync in [Sync::Soon, Sync::Now] {
        let error = journal.append(interrupted(), sync).expect_err("poisoned");
        assert!(matches!(error, StateError::Poisoned { .. }), "{error}");
    }
    assert!(matches!(journal.flush(), Err(StateError::Poisoned { .. })));
    assert_eq!(journal.state().seq(), 0, "nothing was folded that is not safe");
}

#[tokio::test]
async fn a_failed_sync_starts_nothing_that_must_not_be_repeated() {
    let bench = Bench::new();
    let plan = plan(vec![bench.step("a", &BLIND, json!({}))], &[]);
    // The header is synced; the start of the step is not.
    let (summary, _) = bench.try_run(&plan, Options::default(), open(&bench, Fault::Sync(1)), None).await;
    assert!(summary.is_err());
    assert_eq!(bench.did("a"), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let bench = Bench::new();
    let file = bench.ledger_path();
    std::fs::write(&file, "").expect("written");
    let home = runbook::state::Home::new(&file, "d").expect("a name");
    let error = home.lock(Bench::holder()).expect_err("a file is in the way").to_string();
    assert!(error.starts_with("cannot make the folder `") && error.contains("ledger"), "{error}");
}
