//! Many runs: snapshots, archives, and the journals of every format that was ever released.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use runbook::plan::StepId;
use runbook::state::follow::Follower;
use runbook::state::record::{FORMAT, Format, Record, Snapshot, Verdict};
use runbook::state::storage::{FileStorage, Storage};
use runbook::state::{Journal, RunState, StateError, Status, Sync, journal};
use runbook_steps::Class;
use serde_json::json;

use crate::run_bench::Bench;
use crate::sandbox::Sandbox;
use crate::state::{entry, fold, legal_journal, line, opened, started, succeeded};

/// All that a state says, orders included, but for the number of its last record.
fn said(state: &RunState) -> String {
    let steps: Vec<_> = state.steps().collect();
    let known: BTreeMap<_, _> = state.known().iter().collect();
    format!("{steps:#?} {:#?} {known:#?}", state.runs())
}

fn snapshot_of(state: &RunState) -> Record {
    Record::Snapshot(Box::new(Snapshot { format: FORMAT, state: state.clone() }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever went before: a snapshot says the same, and the same follows from what comes after.
    #[test]
    fn a_snapshot_stands_for_all_before_it(records in legal_journal(), at in any::<prop::sample::Index>()) {
        let at = at.index(records.len() + 1);
        let before = fold(records[..at].to_vec()).expect("legal");
        let text = serde_json::to_string(&entry(before.seq() + 1, snapshot_of(&before))).expect("a line");
        let mut state = RunState::default();
        state.apply(&serde_json::from_str(&text).expect("a record")).expect("legal");
        prop_assert_eq!(said(&state), said(&before));
        // The times of later records shift by the one of the snapshot, so they are given here.
        let mut plain = before.clone();
        for record in &records[at..] {
            let time = entry(plain.seq() + 1, record.clone());
            plain.apply(&time).expect("legal");
            let shifted = runbook::state::record::Entry { seq: state.seq() + 1, ..time };
            state.apply(&shifted).expect("legal after a snapshot as well");
        }
        prop_assert_eq!(said(&state), said(&plain));
    }
}

#[test]
fn a_snapshot_can_only_be_the_first_and_goes_on_with_the_numbers() {
    let state = fold([Record::Opened(opened(1)), started("a", 1)]).expect("legal");
    let error = state.clone().apply(&entry(3, snapshot_of(&state))).expect_err("not the first").to_string();
    assert!(error.contains("can only be the first"), "{error}");
    for seq in [1, 2, 4] {
        let error = RunState::default().apply(&entry(seq, snapshot_of(&state))).expect_err("a gap").to_string();
        assert!(error.contains("ends with record 2"), "{error}");
    }
}

/// A deployment with a journal that has become long in its last run: a few steps, done again and again.
fn long(bench: &Bench) -> String {
    let mut journal = bench.open();
    for (run, rounds) in [(1, 20), (2, 20), (3, 30)] {
        journal.append(Record::Opened(opened(run)), Sync::Soon).expect("legal");
        for round in 1..=rounds {
            ["a", "b", "c", "d", "e"].into_iter().for_each(|step| do_again(&mut journal, step, round));
        }
        journal.append(Record::Closed { verdict: Verdict::Holds }, Sync::Soon).expect("legal");
    }
    said(journal.state())
}

fn do_again(journal: &mut Journal, step: &str, attempt: u32) {
    let again = Record::Settled { step: StepId::from(step), done: false, outputs: serde_json::Map::new() };
    let mut done = succeeded(step, attempt);
    if let Record::Succeeded(succeeded) = &mut done {
        succeeded.outputs.insert("text".to_owned(), json!("x".repeat(4000)));
    }
    for record in [again, started(step, attempt), done] {
        journal.append(record, Sync::Soon).expect("legal");
    }
}

fn bytes(bench: &Bench) -> Vec<u8> {
    std::fs::read(bench.home().journal_path()).expect("a journal")
}

/// What is in the archive: names and contents.
fn archive(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(bench.home().archive_dir()) else { return Vec::new() };
    let named = |entry: std::fs::DirEntry| (entry.file_name().into_string().expect("a name"), entry.path());
    entries
        .map(|entry| named(entry.expect("listed")))
        .map(|(name, path)| (name, std::fs::read(path).expect("read")))
        .collect()
}

#[test]
fn a_long_journal_goes_to_the_archive_and_nothing_is_forgotten() {
    let bench = Bench::new();
    let before = long(&bench);
    let old = bytes(&bench);
    assert!(old.len() > 1024 * 1024);
    let mut journal = bench.open();
    assert_eq!(bytes(&bench).len(), old.len(), "only a run compacts");
    journal.append(Record::Opened(opened(4)), Sync::Now).expect("written");
    let (runs, last) = (journal.state().runs().len(), journal.state().seq());
    drop(journal);
    let new = bytes(&bench);
    assert_eq!((runs, new.iter().filter(|byte| **byte == b'\n').count()), (4, 2), "a snapshot and a header");
    let records = old.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(archive(&bench), [(format!("journal.1-{records}.jsonl"), old)], "whole");
    assert_eq!(last, records as u64 + 2, "the numbers go on");
    let state = journal::read(&bench.home()).expect("whole").state;
    assert_eq!(state.steps().filter(|(_, step)| step.done().is_some()).count(), 5);
    // The same as if there had been no compaction.
    let mut plain = RunState::default();
    let text = String::from_utf8(archive(&bench).remove(0).1).expect("text");
    text.lines().for_each(|line| plain.apply(&serde_json::from_str(&line[9..]).expect("a record")).expect("legal"));
    assert_eq!(said(&plain), before);
    let began = state.current().expect("a run").began;
    let header = runbook::state::record::Entry { seq: plain.seq() + 1, time: began, record: Record::Opened(opened(4)) };
    plain.apply(&header).expect("legal");
    assert_eq!(said(&state), said(&plain));
}

/// Whoever looks on while a run opens that compacts: it goes on with what is new, and is told nothing twice.
#[test]
fn who_follows_a_journal_follows_it_across_a_compaction() {
    let bench = Bench::new();
    long(&bench);
    let mut journal = bench.open();
    let mut follower = Follower::new(&bench.home());
    let mut told = Vec::new();
    follower.read_on(|entry, _| told.push(entry.seq)).expect("whole");
    let before = journal.state().seq();
    assert_eq!(told, (1..=before).collect::<Vec<_>>());
    for (record, steps) in [(Record::Opened(opened(4)), 5), (started("new", 1), 6)] {
        journal.append(record, Sync::Soon).expect("legal");
        follower.read_on(|entry, _| told.push(entry.seq)).expect("whole");
        assert_eq!(follower.state(), journal.state());
        assert_eq!(follower.state().steps().count(), steps);
    }
    assert_eq!(told, (1..=before + 3).collect::<Vec<_>>(), "with the snapshot and the header");
}

/// Where the compaction is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// Before the archive is there: part of it lies beside.
    Archive,
    /// After that, before the journal is replaced: part of the snapshot lies beside.
    Replace,
    /// The journal was replaced, and the power goes.
    Replaced,
    /// The same, but the disk has lost the renaming.
    Lost,
}

/// A file in a machine whose power goes in the middle of a compaction.
struct Cutting {
    file: FileStorage,
    home: runbook::state::Home,
    cut: Cut,
    off: AtomicBool,
}

impl Cutting {
    fn off(&self) -> io::Error {
        self.off.store(true, Ordering::SeqCst);
        io::Error::other("no power")
    }

    fn powered(&self) -> io::Result<()> {
        if self.off.load(Ordering::SeqCst) { Err(io::Error::other("no power")) } else { Ok(()) }
    }
}

impl Storage for Cutting {
    fn read(&self) -> io::Result<Vec<u8>> {
        self.file.read()
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.powered()?;
        self.file.write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.powered()?;
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.powered()?;
        self.file.truncate(length)
    }

    fn finish(&self) -> io::Result<()> {
        self.file.finish()
    }

    fn archive(&self, name: &str) -> io::Result<()> {
        if self.cut == Cut::Archive {
            std::fs::create_dir_all(self.home.archive_dir())?;
            std::fs::write(self.home.archive_dir().join(name).with_extension("new"), "half a li")?;
            return Err(self.off());
        }
        self.file.archive(name)
    }

    fn replace(&self, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<()> {
        match self.cut {
            Cut::Replaced => self.file.replace(bytes, may)?,
            _ => std::fs::write(self.home.journal_path().with_extension("new"), &bytes[..bytes.len() / 2])?,
        }
        if self.cut == Cut::Replace {
            Err(self.off())
        } else {
            {
                let _ = self.off();
                Ok(())
            }
        }
    }
}

#[test]
fn a_compaction_that_is_cut_off_leaves_the_old_or_the_new() {
    for cut in [Cut::Archive, Cut::Replace, Cut::Replaced, Cut::Lost] {
        let bench = Bench::new();
        let before = long(&bench);
        let old = bytes(&bench);
        let lock = bench.home().lock(Bench::holder()).expect("free");
        let file = FileStorage::open(&bench.home().journal_path()).expect("there");
        let storage = Arc::new(Cutting { file, home: bench.home(), cut, off: AtomicBool::new(false) });
        let (mut journal, _) = Journal::open_with(lock, bench.clock(), storage).expect("whole");
        assert!(journal.append(Record::Opened(opened(4)), Sync::Now).is_err(), "{cut:?}");
        drop(journal);
        assert_eq!(bytes(&bench) == old, cut != Cut::Replaced, "{cut:?}");
        let state = journal::read(&bench.home()).expect("whole").state;
        assert_eq!(said(&state), before, "{cut:?}");
        // The next run does it, whatever the last has left lying about.
        let mut journal = bench.open();
        journal.append(Record::Opened(opened(4)), Sync::Now).expect("written");
        drop(journal);
        let kept: Vec<Vec<u8>> =
            archive(&bench).into_iter().filter(|(name, _)| name.ends_with(".jsonl")).map(|(_, bytes)| bytes).collect();
        assert_eq!(kept, [old], "{cut:?}");
        assert_eq!(journal::read(&bench.home()).expect("whole").state.runs().len(), 4);
    }
}

/// A run that waits while its lock is taken away and another one runs: what it has read is old, and stays where it is.
#[test]
fn a_run_that_has_lost_its_lock_replaces_nothing() {
    let bench = Bench::new();
    long(&bench);
    let mut waits = bench.open();
    bench.home().unlock(&waits.lock().id().clone(), true).expect("forced");
    let mut other = bench.open();
    other.append(Record::Opened(opened(4)), Sync::Now).expect("written");
    do_again(&mut other, "a", 1);
    drop(other);
    let (after, archived) = (bytes(&bench), archive(&bench));
    let refused = waits.append(Record::Opened(opened(4)), Sync::Now);
    assert!(matches!(refused, Err(StateError::Unlocked { .. })), "{refused:?}");
    drop(waits);
    assert!(bytes(&bench) == after, "the other run is not forgotten");
    assert!(archive(&bench) == archived);
}

/// The lock is taken away in the middle of a compaction.
struct Robbed {
    file: FileStorage,
    lock: std::path::PathBuf,
}

impl Storage for Robbed {
    fn read(&self) -> io::Result<Vec<u8>> {
        self.file.read()
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn finish(&self) -> io::Result<()> {
        self.file.finish()
    }

    fn archive(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(&self.lock)?;
        self.file.archive(name)
    }

    fn replace(&self, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<()> {
        self.file.replace(bytes, may)
    }
}

#[test]
fn a_lock_that_is_lost_in_a_compaction_ends_it_before_the_journal_is_replaced() {
    let bench = Bench::new();
    long(&bench);
    let old = bytes(&bench);
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let file = FileStorage::open(&bench.home().journal_path()).expect("there");
    let storage = Arc::new(Robbed { file, lock: bench.home().lock_path() });
    let (mut journal, _) = Journal::open_with(lock, bench.clock(), storage).expect("whole");
    let refused = journal.append(Record::Opened(opened(4)), Sync::Now);
    assert!(matches!(refused, Err(StateError::Unlocked { .. })), "{refused:?}");
    drop(journal);
    assert!(bytes(&bench) == old);
}

#[test]
fn where_there_is_no_room_for_an_archive_the_journal_goes_on_as_it_is() {
    let bench = Bench::new();
    let _ = long(&bench);
    std::fs::write(bench.home().archive_dir(), "a file is in the way").expect("written");
    let old = bytes(&bench);
    let mut journal = bench.open();
    journal.append(Record::Opened(opened(4)), Sync::Now).expect("written");
    drop(journal);
    assert!(bytes(&bench).starts_with(&old));
}

/// Every step of a journal in one line.
fn steps(bench: &Bench, text: &[u8]) -> (RunState, Vec<String>) {
    drop(bench.open());
    std::fs::write(bench.home().journal_path(), text).expect("written");
    let state = journal::read(&bench.home()).expect("readable").state;
    let line = |status: &Status| match status {
        Status::Succeeded { outcome } => format!("{outcome:?}"),
        Status::Failed => "Failed".to_owned(),
        Status::Skipped { why } => format!("skipped: {why}"),
        Status::Blocked { by } => format!("blocked by {}", by[0]),
        other => format!("{other:?}"),
    };
    let steps = state.steps().map(|(id, step)| format!("{id} run {} {}", step.run(), line(step.status()))).collect();
    (state, steps)
}

/// Written by the first release: killed in the middle, continued, settled, continued, given another input.
#[test]
fn a_journal_that_the_first_release_wrote_is_read_for_ever() {
    let bench = Bench::new();
    let (state, steps) = steps(&bench, include_bytes!("journals/1.0-released.jsonl"));
    assert_eq!(
        steps,
        [
            "greet run 4 Changed",
            "once run 2 Changed",
            "not_wanted run 4 skipped: `when` is false: inputs.who == 'nobody'",
            "flaky run 3 Changed",
            "after run 3 Changed",
            "use run 4 Failed",
            "clean run 4 Changed",
        ]
    );
    let runs: Vec<_> = state.runs().iter().map(|run| (run.opened.command.as_str(), run.verdict)).collect();
    let failed = Some(Verdict::Failed);
    assert_eq!(runs, [("apply", None), ("apply", failed), ("resume", failed), ("apply", failed)]);
    assert_eq!(state.known()[&StepId::from("greet")]["stdout"], "hello moon");
    let used = state.step(&StepId::from("use")).and_then(|step| step.failure()).expect("it failed");
    assert!(used.what.contains("`steps.once.outputs.id` is not there"), "{}", used.what);
    let once = state.step(&StepId::from("once")).expect("there");
    assert_eq!(
        (once.in_flight(), once.done().map(|done| done.fingerprint.parts()["version"].clone())),
        (None, Some(json!(1)))
    );
    assert!(bench.open().append(Record::Opened(opened(5)), Sync::Now).is_ok(), "and is continued");
}

/// A snapshot of the other one, and after it: killed in the middle of `once`, settled, killed again, settled with outputs; another plan;
/// destroyed but for a step that cannot be, and then with the word of a person.
#[test]
fn a_journal_of_format_1_1_is_read_for_ever() {
    let bench = Bench::new();
    let text = include_str!("journals/1.1.jsonl");
    let before: String = text.split_inclusive('\n').filter(|line| seq_of(line) <= 84).collect();
    let (state, lines) = steps(&bench, before.as_bytes());
    assert_eq!(
        lines,
        [
            "greet run 5 Changed",
            "once run 7 Changed",
            "not_wanted run 4 Pending",
            "flaky run 3 Changed",
            "after run 3 Changed",
            "use run 8 Changed",
            "clean run 8 Changed",
            "look run 8 Failed",
        ]
    );
    assert_eq!((state.seq(), state.runs().len()), (84, 8), "the runs before the snapshot are not forgotten");
    assert_eq!(state.known()[&StepId::from("once")], *json!({ "id": "seven", "count": 7 }).as_object().expect("a map"));
    assert_eq!(state.known()[&StepId::from("use")]["stdout"], "seven");
    let look = state.step(&StepId::from("look")).expect("there");
    assert_eq!((look.in_flight(), look.failure().map(|failure| failure.class)), (None, Some(Class::NotFound)));
    let (state, lines) = steps(&bench, text.as_bytes());
    let undone: Vec<&String> = lines.iter().filter(|line| line.contains("Undone")).collect();
    assert_eq!(undone, ["greet run 11 Undone", "stuck run 11 Undone"]);
    let commands: Vec<&str> = state.runs().iter().map(|run| run.opened.command.as_str()).collect();
    assert_eq!(commands[8..], ["apply", "destroy", "destroy"]);
    assert!(bench.open().append(Record::Opened(opened(12)), Sync::Now).is_ok(), "and is continued");
}

/// Killed in the middle of `doubt`; the same again with another input and `--redo id`; a step that is only asked for; the words of an `undo`
/// put right; settled by `--redo`; destroyed.
#[test]
fn a_journal_of_format_1_2_is_read_for_ever() {
    let bench = Bench::new();
    let text = include_str!("journals/1.2.jsonl");
    let until = |seq: u64| text.split_inclusive('\n').filter(|line| seq_of(line) <= seq).collect::<String>();
    let (state, _) = steps(&bench, until(11).as_bytes());
    let done = |state: &RunState, id: &str| state.step(&StepId::from(id)).is_some_and(|step| step.done().is_some());
    assert_eq!(["id", "makes"].map(|id| done(&state, id)), [false, true], "what is to be done again does not hold");
    assert_eq!(state.current().expect("a run").opened.secret_env, ["SAMPLE_TOKEN"]);
    let (state, lines) = steps(&bench, until(32).as_bytes());
    let makes = state.step(&StepId::from("makes")).expect("there");
    let roots: Vec<_> = makes.recipes().iter().map(|recipe| recipe.with["env"]["R"].clone()).collect();
    assert_eq!(roots, ["one", "two"]);
    assert!(makes.recipes().iter().all(|recipe| recipe.of.is_some()));
    assert_eq!(lines, ["id run 2 Changed", "makes run 2 Changed", "doubt run 4 Changed", "asked run 3 Changed"]);
    let (_, lines) = steps(&bench, text.as_bytes());
    assert!(lines.contains(&"makes run 5 Undone".to_owned()), "{lines:?}");
    assert!(bench.open().append(Record::Opened(opened(6)), Sync::Now).is_ok(), "and is continued");
}

/// `base` ← `top`, and `twice` with another file in each of two runs; then a destroy that cannot take back the older of the two, and one of
/// `twice` alone.
#[test]
fn a_journal_of_format_1_3_is_read_for_ever() {
    let bench = Bench::new();
    let text = include_str!("journals/1.3.jsonl");
    let until = |seq: u64| text.split_inclusive('\n').filter(|line| seq_of(line) <= seq).collect::<String>();
    let (state, _) = steps(&bench, until(20).as_bytes());
    let recipes = |state: &RunState, id: &str| state.step(&StepId::from(id)).expect("there").recipes().to_vec();
    let stands_on = |id: &str| recipes(&state, id)[0].needs.clone().expect("said");
    assert_eq!((stands_on("top"), stands_on("base")), (vec![StepId::from("base")], Vec::new()));
    assert_eq!(recipes(&state, "twice").len(), 2);
    let (state, _) = steps(&bench, until(33).as_bytes());
    let left: Vec<_> = recipes(&state, "twice").iter().map(|recipe| recipe.with["argv"][1].clone()).collect();
    assert_eq!(left, ["one"], "what is gone is not taken back again");
    let (state, lines) = steps(&bench, text.as_bytes());
    assert!(lines.contains(&"twice run 4 Undone".to_owned()), "{lines:?}");
    assert_eq!(state.runs()[3].opened.selection, "--only twice");
    assert!(bench.open().append(Record::Opened(opened(5)), Sync::Now).is_ok(), "and is continued");
}

/// `vm` is made twice and undone in one way; the script of `made` made two things that are undone each in its own.
#[test]
fn a_journal_of_format_1_4_is_read_for_ever() {
    let bench = Bench::new();
    let text = include_str!("journals/1.4.jsonl");
    let until = |seq: u64| text.split_inclusive('\n').filter(|line| seq_of(line) <= seq).collect::<String>();
    let (state, _) = steps(&bench, until(20).as_bytes());
    let recipes = |state: &RunState, id: &str| state.step(&StepId::from(id)).expect("there").recipes().to_vec();
    assert_eq!((recipes(&state, "vm").len(), recipes(&state, "made").len()), (1, 2));
    let files = |at: usize| recipes(&state, "made")[at].of.clone().and_then(|of| of.files);
    assert!(files(0).is_some() && files(0) != files(1), "of which files each was made is known");
    let (state, lines) = steps(&bench, text.as_bytes());
    assert!(lines.contains(&"made run 3 Undone".to_owned()), "{lines:?}");
    assert_eq!(recipes(&state, "made"), []);
    assert!(bench.open().append(Record::Opened(opened(4)), Sync::Now).is_ok(), "and is continued");
}

/// `vm` was made twice, on `base` and when that was called `ground`; `late` made something before it had an `undo`.
#[test]
fn a_journal_of_format_1_5_is_read_for_ever() {
    let bench = Bench::new();
    let text = include_str!("journals/1.5.jsonl");
    let until = |seq: u64| text.split_inclusive('\n').filter(|line| seq_of(line) <= seq).collect::<String>();
    let (state, _) = steps(&bench, until(30).as_bytes());
    let step = |id: &str| state.step(&StepId::from(id)).expect("there").clone();
    let recipes = step("vm").recipes().to_vec();
    assert_eq!(recipes.len(), 1);
    assert_eq!(recipes[0].needs.as_deref(), Some(&["base".into(), "ground".into()][..]));
    assert_eq!(recipes[0].dir.as_deref(), Some("../.."), "the folder that its paths start from");
    assert!(step("late").has_made_more() && !step("base").has_made_more());
    let (state, lines) = steps(&bench, text.as_bytes());
    assert!(lines.contains(&"base run 3 Undone".to_owned()), "{lines:?}");
    let undone_at = |id: &str| state.step(&StepId::from(id)).expect("there").undone_at();
    assert_eq!((undone_at("vm"), undone_at("base"), undone_at("told")), (32, 35, 0));
    assert!(bench.open().append(Record::Opened(opened(4)), Sync::Now).is_ok(), "and is continued");
}

fn seq_of(line: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(&line[9..]).expect("JSON")["seq"].as_u64().expect("a number")
}

const HELLO: &str = "runbook: 1\nname: hello\nsteps:\n  greet: { command: [echo, hello], idempotent: true }\n";

#[test]
fn a_journal_of_a_newer_minor_format_is_shown_and_not_continued() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    let path = ".runbook/hello/journal.jsonl";
    let mut lines: Vec<serde_json::Value> =
        sandbox.read(path).lines().map(|line| serde_json::from_str(&line[9..]).expect("a record")).collect();
    lines[0]["format"] = json!(Format { minor: FORMAT.minor + 1, ..FORMAT });
    let seq = lines.len() + 1;
    lines.push(json!({ "seq": seq, "time": "2030-01-01T00:00:00Z", "record": "dreamt", "of": "sheep" }));
    let newer: String = lines.iter().map(line).collect();
    sandbox.write(path, &newer);
    let format = format!("format {}.{}", FORMAT.major, FORMAT.minor + 1);
    let status = sandbox.run(&["status"]).exits(0).says(&format).says("not continued");
    assert!(status.out.contains("greet") && status.out.contains("holds"), "{}", status.out);
    for look in [&["status", "--follow"][..], &["verify"]] {
        sandbox.run(look).exits(0).says(&format).says("not continued");
    }
    sandbox.run(&["apply", "hello.yaml"]).exits(6).says(&format).says("or a newer one");
    sandbox.run(&["settle", "greet", "--redo"]).exits(6).says(&format);
    assert_eq!(sandbox.read(path), newer, "not a byte is changed");
}

#[test]
fn a_journal_of_another_major_format_is_not_shown_at_all() {
    let sandbox = Sandbox::new();
    sandbox.write("hello.yaml", HELLO);
    sandbox.run(&["apply", "hello.yaml"]).exits(0);
    let path = ".runbook/hello/journal.jsonl";
    let mut header: serde_json::Value =
        serde_json::from_str(&sandbox.read(path).lines().next().expect("a line")[9..]).expect("a record");
    header["format"] = json!(Format { major: FORMAT.major + 1, minor: 0 });
    sandbox.write(path, &line(&header));
    let format = format!("format {}.0", FORMAT.major + 1);
    for look in [&["status"][..], &["status", "--follow"], &["verify"]] {
        let ran = sandbox.run(look).exits(6).says(&format);
        assert_eq!(ran.out, "");
    }
}
