//! Storage that fails, and power that goes: through the seam in the journal's file layer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runbook::event::Event;
use runbook::plan::StepId;
use runbook::run::undo::Choice;
use runbook::run::{Options, Watcher};
use runbook::state::heartbeat::Trust;
use runbook::state::raw::{DiskFile, RawFile};
use runbook::state::record::{Outcome, Record, Started, Verdict};
use runbook::state::storage::FileStorage;
use runbook::state::{Journal, RunState, StateError, Status, Sync, journal};
use rustix::io::Errno;
use serde_json::json;

use crate::run_bench::{BLIND, Bench, LOOKED, Seen, plan};
use crate::sandbox::Sandbox;
use crate::state::{opened, started, succeeded};
use crate::undo_bench::Place;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The write after so many is cut short, and everything after it fails.
    ShortWrite(usize),
    /// The write after so many fails with nothing written, and everything after it.
    Write(usize, Errno),
    /// The sync after so many fails. Only once: the kernel forgets, and nobody may believe the next.
    Sync(usize),
}

/// A fault, after so many operations without one.
type FaultAt = fn(usize) -> Fault;

/// The real file, with a fault, and a copy of what is safe from a power cut.
struct Faulty {
    file: DiskFile,
    path: PathBuf,
    safe: PathBuf,
    fault: Fault,
    writes: AtomicUsize,
    syncs: AtomicUsize,
}

impl RawFile for Faulty {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, piece: &mut [u8], from: u64) -> io::Result<usize> {
        self.file.read_at(piece, from)
    }

    fn write_at(&self, bytes: &[u8], from: u64) -> io::Result<()> {
        let count = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Fault::ShortWrite(after) if count >= after => {
                self.file.write_at(&bytes[..bytes.len() / 2], from)?;
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            Fault::Write(after, error) if count >= after => Err(error.into()),
            _ => self.file.write_at(bytes, from),
        }
    }

    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("nobody else writes here"))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        if self.fault == Fault::None { self.file.set_length(length) } else { Err(io::Error::other("not even that")) }
    }

    fn sync(&self) -> io::Result<()> {
        let count = self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.fault == Fault::Sync(count) {
            return Err(Errno::IO.into());
        }
        // At once, as steps that run meanwhile look at it.
        let new = self.safe.with_extension("new");
        std::fs::copy(&self.path, &new)?;
        std::fs::rename(&new, &self.safe)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

fn safe(bench: &Bench) -> PathBuf {
    bench.ledger_path().with_file_name("safe")
}

fn open(bench: &Bench, fault: Fault) -> Journal {
    drop(bench.open());
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let path = bench.home().journal_path();
    let file = DiskFile::open(&path, Trust::Lock).expect("there");
    let (writes, syncs) = Default::default();
    let storage = FileStorage::over(Faulty { file, path, safe: safe(bench), fault, writes, syncs }).expect("sound");
    Journal::open_with(lock, bench.clock(), Arc::new(storage)).expect("sound").0
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
    let safe = std::fs::read_to_string(safe(&bench)).expect("synced");
    drop(summary);
    let whole = std::fs::read_to_string(bench.home().journal_path()).expect("there");
    assert_eq!(safe.trim_end_matches('\0'), whole);
}

/// Whatever the disk does not take: an error with the way out, the running step finishes and all of its result is heard, and the next
/// run goes on from the truth.
#[tokio::test]
async fn a_disk_that_fails_ends_the_run_and_loses_nothing() {
    let disks: [(FaultAt, &str); 5] = [
        (Fault::ShortWrite, "free some space"),
        (|after| Fault::Write(after, Errno::NOSPC), "free some space"),
        (|after| Fault::Write(after, Errno::IO), "the disk or the network to it is failing"),
        (|after| Fault::Write(after, Errno::ROFS), "make the folder writable"),
        (Fault::Sync, "the disk or the network to it is failing"),
    ];
    for (fault, advice) in disks {
        for after in 0..6 {
            let bench = Bench::new();
            let step =
                |id: &str| bench.step(id, &LOOKED, json!({ "outputs": { "id": id, "token": "hunter2hunter2" } }));
            let plan = plan(vec![step("a"), step("b")], &[("a", "b")]);
            let (summary, seen) = bench
                .try_run(&plan, Options { sync_inline: true, ..Options::default() }, open(&bench, fault(after)), None)
                .await;
            let Err(error) = summary else {
                assert!(matches!(fault(after), Fault::Sync(1..)), "{:?} was not met", fault(after));
                continue;
            };
            assert!(error.to_string().contains(advice), "{error}");
            assert!(!closed(&seen.0.lock().expect("whole")), "nobody heard how a run ended that could not be stored");
            let stored = bench_stored(&bench);
            for line in bench.ledger().into_iter().filter(|line| line.starts_with("made")) {
                let step = line.trim_start_matches("made ");
                assert!(
                    stored.contains(&step.to_owned()) || is_heard(&seen.notices(), step),
                    "{line}: {:?}",
                    fault(after)
                );
            }
            let summary = bench.run(&plan, Options::default()).await;
            assert_eq!(summary.verdict, Verdict::Holds);
            assert_eq!([bench.did("a"), bench.did("b")], [1, 1], "nothing twice, {:?}", fault(after));
        }
    }
}

fn closed(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Recorded(entry) if matches!(entry.record, Record::Closed { .. })))
}

/// Whether a result that could not be stored was said, with its outputs.
fn is_heard(notices: &[String], step: &str) -> bool {
    let lead = format!("`{step}` succeeded, but that could not be stored: ");
    let said = notices.iter().find_map(|notice| notice.strip_prefix(&lead));
    said.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok())
        .is_some_and(|said| said["outputs"]["id"] == step)
}

/// Keeps what it is told.
struct Hearer(Seen);

impl Watcher for Hearer {
    fn on(&mut self, event: &Event, _: &RunState) {
        self.0.0.lock().expect("whole").push(event.clone());
    }
}

#[tokio::test]
async fn what_was_undone_and_cannot_be_stored_is_said_whole() {
    let mut heard = 0;
    for after in 0..4 {
        let place = Place::new();
        let plan = plan(vec![place.thing("a", &json!({}))], &[]);
        place.apply(&plan).await;
        let (seen, journal) = (Seen::default(), open(&place.bench, Fault::Write(after, Errno::IO)));
        let watch = |_| Box::new(Hearer(seen.clone())) as Box<dyn Watcher>;
        let ended = place.try_destroy(&plan, &Choice::default(), journal, watch).await;
        assert!(ended.is_err(), "write {after} was not met");
        let (notices, gone) = (seen.notices(), place.things().is_empty());
        let lead = "`a` is undone, but that could not be stored: ";
        let Some(said) = notices.iter().find_map(|notice| notice.strip_prefix(lead)) else { continue };
        let said: serde_json::Value = serde_json::from_str(said).expect("the record as JSON");
        assert!(gone && said["record"] == "undone" && said["step"] == "a", "{said}");
        heard += 1;
    }
    assert_eq!(heard, 1, "one of the writes is that of the end");
}

#[tokio::test]
async fn what_is_said_because_it_cannot_be_stored_holds_no_secret() {
    let mut bench = Bench::new();
    bench.secrets.insert("token".to_owned(), runbook_steps::Secret::new("hunter2hunter2"));
    let plan = plan(vec![bench.step("a", &LOOKED, json!({ "outputs": { "said": "it is hunter2hunter2" } }))], &[]);
    let (summary, seen) =
        bench.try_run(&plan, Options::default(), open(&bench, Fault::Write(4, Errno::IO)), None).await;
    assert!(summary.is_err());
    let said = seen.notices().join("\n");
    assert!(said.contains("`a` succeeded, but that could not be stored: {") && !said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_run_whose_last_sync_failed_does_not_say_that_everything_holds() {
    for syncs in 1.. {
        let bench = Bench::new();
        let plan = plan(vec![bench.step("a", &BLIND, json!({}))], &[]);
        let options = Options { sync_inline: true, ..Options::default() };
        let (summary, seen) = bench.try_run(&plan, options, open(&bench, Fault::Sync(syncs)), None).await;
        let events = seen.0.lock().expect("whole");
        assert_eq!(closed(&events), summary.is_ok(), "sync {syncs}");
        if summary.is_ok() {
            assert!(syncs > 2, "its header, its start and its end are synced each");
            return;
        }
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
    let interrupted = || Record::Settled { step: StepId::from("a"), done: false, outputs: serde_json::Map::new() };
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

/// A journal of one run, several pages long, whose last page boundary but one is at a known place.
fn long_journal(bench: &Bench, last: &[Record]) -> Vec<u8> {
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Soon).expect("legal");
    for number in 0..40 {
        let step = format!("step-{number}");
        journal.append(started(&step, 1), Sync::Soon).expect("legal");
        journal.append(succeeded(&step, 1), Sync::Soon).expect("legal");
    }
    for record in last {
        journal.append(record.clone(), Sync::Soon).expect("legal");
    }
    drop(journal);
    std::fs::read(bench.home().journal_path()).expect("a journal")
}

/// Sectors that a power cut kept from the disk, though later ones are there: all of them zeros, or not the beginning of the first; with
/// room behind it all or without.
#[test]
fn sectors_that_never_reached_the_disk_end_the_journal() {
    let sectors = [4096..8192, 5000..8192, 4608..5120];
    for (lost, room) in sectors.into_iter().flat_map(|lost| [(lost.clone(), 0), (lost, 30_000)]) {
        let bench = Bench::new();
        let mut bytes = long_journal(&bench, &[]);
        assert!(bytes.len() > 12_000, "{}", bytes.len());
        bytes[lost.clone()].fill(0);
        bytes.resize(bytes.len() + room, 0);
        std::fs::write(bench.home().journal_path(), &bytes).expect("written");
        let whole = bytes[..lost.start].iter().filter(|byte| **byte == b'\n').count() as u64;
        assert_eq!(journal::read(&bench.home()).expect("a prefix").state.seq(), whole);
        let (journal, cut) =
            Journal::open(bench.home().lock(Bench::holder()).expect("free"), bench.clock()).expect("a prefix");
        let cut = cut.expect("it is said").to_string();
        assert!(cut.contains(&format!("at line {}", whole + 1)) && cut.contains("never reached the disk"), "{cut}");
        assert_eq!(journal.state().seq(), whole);
    }
}

/// What a killed run leaves behind the end of its journal is nobody's loss: nothing was cut off, and it is gone after the next one.
#[test]
fn room_behind_the_end_is_no_part_of_the_journal() {
    let bench = Bench::new();
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Now).expect("legal");
    let killed = std::fs::read(bench.home().journal_path()).expect("a journal");
    let line = killed.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    assert!(killed.len() > line && killed[line..].iter().all(|byte| *byte == 0), "there is room, and nothing in it");
    assert_eq!(journal::read(&bench.home()).expect("whole").state, *journal.state());
    drop(journal);
    assert_eq!(std::fs::read(bench.home().journal_path()).expect("a journal"), killed[..line]);

    std::fs::write(bench.home().journal_path(), &killed).expect("written");
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let (mut journal, cut) = Journal::open(lock, bench.clock()).expect("whole");
    assert_eq!((journal.state().seq(), cut), (1, None));
    journal.append(started("a", 1), Sync::Now).expect("legal");
    drop(journal);
    let bytes = std::fs::read(bench.home().journal_path()).expect("a journal");
    assert_eq!((&bytes[..line], bytes.last()), (&killed[..line], Some(&b'\n')));
    assert_eq!(journal::read(&bench.home()).expect("whole").state.seq(), 2);
}

/// The room that a killed run left, on a file system where the next one must append: nothing comes behind the zeros.
#[test]
fn what_is_appended_comes_before_room_that_was_left() {
    let bench = Bench::new();
    let path = bench.home().journal_path();
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Now).expect("legal");
    let killed = std::fs::read(&path).expect("a journal");
    drop(journal);
    std::fs::write(&path, killed).expect("written");
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let file = DiskFile::open(&path, Trust::Heartbeat(None)).expect("there");
    let storage = FileStorage::over(file).expect("there");
    let (mut journal, cut) = Journal::open_with(lock, bench.clock(), Arc::new(storage)).expect("whole");
    assert_eq!(cut, None);
    journal.append(started("a", 1), Sync::Now).expect("legal");
    let bytes = std::fs::read(&path).expect("a journal");
    assert!(!bytes.contains(&0) && bytes.ends_with(b"\n"), "all is appended, and there is no room");
    assert_eq!(journal::read(&bench.home()).expect("whole").state.seq(), 2);
}

/// Records that need more room than there is get more, and lie behind one another.
#[test]
fn a_journal_outgrows_its_room() {
    let bench = Bench::new();
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(1)), Sync::Soon).expect("legal");
    let long = |number: usize| format!("{}-{number}", "step".repeat(10_000));
    (0..20).for_each(|number| drop(journal.append(started(&long(number), 1), Sync::Soon).expect("legal")));
    assert_eq!(journal::read(&bench.home()).expect("whole").state, *journal.state());
}

/// The same zeros where what follows shows that they had been synced, or that are not a sector's: then the disk is at fault.
#[test]
fn zeros_in_what_was_synced_are_damage() {
    let blind = |attempt| match started("blind", attempt) {
        Record::Started(started) => Record::Started(Started { recoverable: false, ..started }),
        other => other,
    };
    let synced = [blind(1), succeeded("blind", 1)];
    let next_run = [Record::Opened(opened(2)), started("step-1", 1)];
    for (last, lost) in [(&synced[..], 4096..8192), (&next_run[..], 4096..8192), (&[][..], 4096..8000)] {
        let bench = Bench::new();
        let mut bytes = long_journal(&bench, last);
        bytes[lost].fill(0);
        std::fs::write(bench.home().journal_path(), &bytes).expect("written");
        let error = journal::read(&bench.home()).expect_err("damage").to_string();
        assert!(error.contains("is damaged") && error.contains("move it away"), "{error}");
    }
}

/// A journal that cannot be read is not taken for an empty one.
#[test]
fn a_journal_that_cannot_be_read_is_left_alone() {
    let bench = Bench::new();
    drop(bench.open());
    std::fs::remove_file(bench.home().journal_path()).expect("removed");
    std::fs::create_dir(bench.home().journal_path()).expect("a folder in its place");
    let error = journal::read(&bench.home()).expect_err("no file").to_string();
    assert!(error.starts_with("cannot read `"), "{error}");
    let lock = bench.home().lock(Bench::holder()).expect("free");
    assert!(matches!(Journal::open(lock, bench.clock()), Err(StateError::Io { .. })));
}

/// The program itself, with a limit on how long its files may become. The signal of that limit does not end it, and what it starts gets
/// the signal as ever.
#[test]
fn the_program_ends_with_its_own_code_when_the_journal_cannot_grow() {
    let sandbox = Sandbox::new();
    let made: String = (0..20).map(|n| format!("  s{n}: {{ command: ['true'], idempotent: true }}\n")).collect();
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: long\nsteps:\n{made}"));
    let ran = sandbox.limited("ulimit -f 3", &["apply", "plan.yaml", "-j", "1"]);
    ran.exits(6).says("cannot write `").says("ulimit -f").says("nothing new is started");
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("everything holds").says("reuse");
    sandbox.limited("ulimit -f 0", &["settle", "s1", "--redo"]).exits(6).says("ulimit -f");
    let reset = "  reset: { command: [bash, -c, 'test -z \"$(trap -p XFSZ)\"'] }\n";
    sandbox.write("plan.yaml", &format!("runbook: 1\nname: long\nsteps:\n{reset}"));
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("everything holds");
}

/// Logs and events are no state: where they cannot be written the run goes on, and says so once for each.
#[test]
fn the_program_says_which_log_and_which_events_it_cannot_write() {
    let sandbox = Sandbox::new();
    let many = "{ run: 'seq 20000; exit 1', idempotent: true, retry: { attempts: 2, backoff: { initial: 10ms } } }";
    let plan = format!("runbook: 1\nname: many\nsteps:\n  loud: {many}\n  quiet: {{ run: 'echo quiet' }}\n");
    sandbox.write("plan.yaml", &plan);
    let ran = sandbox.limited("ulimit -f 60", &["apply", "plan.yaml", "--events", "/dev/full"]).exits(4);
    let said = |text: &str| ran.err.matches(text).count();
    let log = ".runbook/many/logs/loud.1-1.log`: File too large";
    assert_eq!([said("cannot write the log"), said(log), said("attempt 2 of 2")], [1, 1, 1], "{}", ran.err);
    assert_eq!([said("what `loud` prints from here on is not kept, and the run goes on")], [1]);
    assert_eq!(
        [said("cannot write events to `/dev/full`: No space left"), said("nothing more is written to it")],
        [1; 2]
    );
    assert!(sandbox.read(".runbook/many/logs/quiet.1-1.log").ends_with("quiet\n"), "the others are whole");
}

#[test]
fn the_program_names_a_folder_that_it_cannot_make() {
    let sandbox = Sandbox::new();
    sandbox.write("plan.yaml", "runbook: 1\nname: p\nsteps:\n  touch: { command: [touch, touched] }\n");
    sandbox.write("state", "a file");
    sandbox.run(&["--state", "state", "apply", "plan.yaml"]).exits(6).says("cannot make the folder `");
    assert!(!sandbox.path("touched").exists(), "nothing was done");
}
