//! The room behind a journal's end, on disks that fail at any call and lose any sector or length that was not synced.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use runbook::state::record::{Record, Started};
use runbook::state::storage::Storage as _;
use runbook::state::{Cut, Journal, StateError, Sync};
use rustix::io::Errno;

use crate::cut::random::Random;
use crate::drive::{Call, Drive, Fate};
use crate::run_bench::Bench;
use crate::state::{opened, started, succeeded};

const FULL: Fate = Fate::Fails(Errno::NOSPC, 0);

fn open(bench: &Bench, drive: &Drive) -> Result<(Journal, Option<Cut>), StateError> {
    let lock = bench.home().lock(Bench::holder()).expect("free");
    let storage = drive.storage().map_err(|source| StateError::Io { doing: "open", path: "disk".into(), source })?;
    Journal::open_with(lock, bench.clock(), Arc::new(storage))
}

/// The process dies: nothing that it still asks for is done.
fn kill(drive: &Drive, journal: Journal) {
    drive.meets(|_| FULL);
    drop(journal);
    drive.meets(|_| Fate::Done);
}

/// What is there is the first of all lines that were begun, as many as records were read and none less than must be; and nothing behind.
fn assert_is_prefix(drive: &Drive, journal: &Journal, at_least: usize) -> usize {
    let whole = usize::try_from(journal.state().seq()).expect("small");
    let inner = drive.lock();
    assert!((at_least..=inner.lines.len()).contains(&whole), "{whole} of {at_least}..={}", inner.lines.len());
    assert!(inner.medium.written() == inner.lines[..whole].concat(), "{whole} lines and nothing else");
    whole
}

/// A run's header; it is synced before anything else is written.
fn open_run(journal: &mut Journal) -> Result<(), StateError> {
    let run = journal.state().current().map_or(1, |run| run.opened.run + 1);
    journal.append(Record::Opened(opened(run)), Sync::Now).map(drop)
}

/// The start of a step with a name so long; one that must not be repeated is synced before anything else of it is written.
fn work(journal: &mut Journal, length: usize, blind: bool) -> Result<(), StateError> {
    let step = format!("{}-{}", journal.state().seq(), "x".repeat(length));
    if !blind {
        return journal.append(started(&step, 1), Sync::Soon).map(drop);
    }
    let Record::Started(begun) = started(&step, 1) else { unreachable!("it is one") };
    journal.append(Record::Started(Started { recoverable: false, ..begun }), Sync::Now)?;
    journal.append(succeeded(&step, 1), Sync::Soon).map(drop)
}

/// How a process comes to its end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    Killed,
    PowerCut,
}

/// One process.
#[derive(Clone, Debug)]
struct Life {
    /// How long each record is, and whether it is synced.
    works: Vec<(usize, bool)>,
    /// The call that goes wrong, how much of it is done, and whether that is the end of the process.
    fault: Option<(usize, usize, bool)>,
    end: End,
    chance: u64,
}

fn a_life() -> impl Strategy<Value = Life> {
    let length = prop_oneof![3 => 1..200_usize, 3 => 200..900_usize, 1 => 10_000..70_000_usize];
    let works = proptest::collection::vec((length, prop::bool::weighted(0.3)), 0..10);
    let part = prop_oneof![Just(0), 1..600_usize, Just(usize::MAX)];
    let fault = proptest::option::of((0..30_usize, part, any::<bool>()));
    let end = prop_oneof![Just(End::Well), Just(End::Killed), Just(End::PowerCut)];
    (works, fault, end, any::<u64>()).prop_map(|(works, fault, end, chance)| Life { works, fault, end, chance })
}

/// Lives a life. How many lines the next one must find.
fn live(bench: &Bench, drive: &Drive, life: &Life, must: usize) -> usize {
    let (met, bad_sync) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (mut calls, fault) = (0, life.fault);
    let (says_met, says_bad_sync) = (Arc::clone(&met), Arc::clone(&bad_sync));
    drive.meets(move |call| {
        calls += 1;
        let Some((at, part, dies)) = fault.filter(|(at, ..)| calls > *at) else { return Fate::Done };
        let first = calls == at + 1;
        if !first && !dies {
            return Fate::Done;
        }
        says_met.store(true, Ordering::SeqCst);
        says_bad_sync.fetch_or(call == Call::Sync, Ordering::SeqCst);
        Fate::Fails(Errno::NOSPC, if first { part } else { 0 })
    });
    let mut appended = must;
    match open(bench, drive) {
        Err(error) => assert!(met.load(Ordering::SeqCst), "the disk is well, and yet: {error}"),
        Ok((mut journal, cut)) => {
            let whole = assert_is_prefix(drive, &journal, must);
            drive.lock().keep(whole, cut.is_some());
            appended = whole;
            let mut works = life.works.iter();
            let mut worked = open_run(&mut journal);
            while let (Ok(()), Some((length, blind))) = (&worked, works.next()) {
                worked = work(&mut journal, *length, *blind);
            }
            assert!(worked.is_ok() || met.load(Ordering::SeqCst), "the disk is well, and yet: {worked:?}");
            appended = appended.max(usize::try_from(journal.state().seq()).expect("small"));
            if life.end == End::Well { drop(journal) } else { kill(drive, journal) }
        }
    }
    let mut inner = drive.lock();
    // After a sync that failed nobody knows what of the file is on the disk.
    if life.end == End::PowerCut || bad_sync.load(Ordering::SeqCst) {
        inner.medium.cut(&mut Random::new(life.chance));
        return inner.synced();
    }
    appended
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever fails, is killed or loses its power: what is read is a prefix of whole records, with all that was synced, and after a
    /// mere kill with all that was written.
    #[test]
    fn what_is_read_back_is_a_prefix_with_all_that_was_synced(
        lives in proptest::collection::vec(a_life(), 1..7),
        shared in prop::bool::weighted(0.3),
    ) {
        let (bench, drive) = (Bench::new(), Drive::new(shared));
        let must = lives.iter().fold(0, |must, life| live(&bench, &drive, life, must));
        drive.meets(|_| Fate::Done);
        let (journal, _) = open(&bench, &drive).expect("a prefix");
        assert_is_prefix(&drive, &journal, must);
        drop(journal);
        prop_assert_eq!(drive.bytes().last().copied().unwrap_or(b'\n'), b'\n', "nothing is left behind the end");
    }
}

/// Writes for so many calls, until the power goes.
fn powered_for(bench: &Bench, calls: usize) -> Drive {
    let drive = Drive::new(false);
    let mut left = calls;
    drive.meets(move |_| {
        let on = left > 0;
        left = left.saturating_sub(1);
        if on { Fate::Done } else { FULL }
    });
    let (mut journal, _) = open(bench, &drive).expect("empty");
    // Three lines that lie across sectors each, synced and not; the last one outgrows the room.
    let _ = open_run(&mut journal)
        .and_then(|()| work(&mut journal, 400, false))
        .and_then(|()| work(&mut journal, 700, true))
        .and_then(|()| work(&mut journal, 400, false))
        .and_then(|()| work(&mut journal, 70_000, false));
    drop(journal);
    drive
}

/// The zeros of the room not synced, its length lost, the room there but a sector of a line lost, at any moment: every length that the
/// file had since the last sync, with each sector near its end as it was and all others as they are, and the other way round.
#[test]
fn no_sector_and_no_length_that_is_lost_costs_what_was_synced() {
    let bench = Bench::new();
    for calls in 0..14 {
        let before = powered_for(&bench, calls);
        let (changes, synced, written) = {
            let inner = before.lock();
            (inner.medium.changes(), inner.synced(), inner.medium.written().len())
        };
        let sectors = (written / 512 + 2).min(8);
        for (length, sector) in (0..=changes).flat_map(|length| (0..sectors).map(move |sector| (length, sector))) {
            for (this, others) in [(0, changes), (changes, 0)] {
                let drive = before.after_power_cut(length, |other| if sector == other { this } else { others });
                let opened = open(&bench, &drive);
                let (journal, _) = opened.unwrap_or_else(|error| panic!("{calls} {length} {sector}: {error}"));
                assert_is_prefix(&drive, &journal, synced);
            }
        }
    }
}

/// No room, or a part of it: the journal goes on line by line, asks again, and leaves nothing behind its end.
#[test]
fn a_disk_without_space_for_room_takes_lines() {
    for part in [0, 1, 512, 5000, 65_535] {
        let (bench, drive) = (Bench::new(), Drive::new(false));
        let (mut journal, _) = open(&bench, &drive).expect("empty");
        let full = Arc::new(AtomicBool::new(true));
        let is_full = Arc::clone(&full);
        drive.meets(move |call| match call {
            Call::Room if is_full.load(Ordering::SeqCst) => Fate::Fails(Errno::NOSPC, part),
            _ => Fate::Done,
        });
        open_run(&mut journal).expect("written");
        (0..4).for_each(|_| work(&mut journal, 100, false).expect("written"));
        full.store(false, Ordering::SeqCst);
        (0..4).for_each(|_| work(&mut journal, 100, false).expect("written"));
        let room = drive.lock().calls.iter().filter(|call| **call == Call::Room).count();
        assert_eq!(room, 6, "it is asked for until it is there");
        assert_is_prefix(&drive, &journal, 9);
        full.store(true, Ordering::SeqCst);
        work(&mut journal, 70_000, false).expect("written");
        drop(journal);
        let inner = drive.lock();
        assert!(inner.medium.bytes() == inner.lines.concat(), "nothing is left behind the end, part {part}");
    }
}

/// A line is one write, and where there is room the file does not become longer by it; a line that is longer than all room too gets
/// new room behind it.
#[test]
fn a_line_is_one_write_and_within_room_changes_no_length() {
    let (bench, drive) = (Bench::new(), Drive::new(false));
    let (mut journal, _) = open(&bench, &drive).expect("empty");
    open_run(&mut journal).expect("written");
    let (mut lengths, mut made) = (Vec::new(), Vec::new());
    for long in [10, 1000, 100_000, 10, 1000, 60_000, 1000, 5000, 10] {
        drive.lock().calls.clear();
        journal.append(started(&"x".repeat(long + lengths.len()), 1), Sync::Soon).expect("written");
        let calls = drive.lock().calls.clone();
        assert_eq!(calls[0], Call::Line);
        assert!(calls.len() == 1 || calls[1..] == [Call::Room], "{calls:?}");
        made.push(calls.len() > 1);
        lengths.push(drive.bytes().len());
    }
    assert_eq!(made, [false, false, true, false, false, false, false, true, false]);
    for (index, pair) in lengths.windows(2).enumerate() {
        assert_eq!(pair[0] != pair[1], made[index + 1], "line {index}: {lengths:?}");
    }
}

/// A line of which a part is there and cannot be taken back; the room of the killed run is behind it. The next run cuts both off, and
/// its first line is where the torn one was. On a disk that others write to as well.
#[test]
fn a_torn_line_in_the_room_of_a_killed_run_is_cut_off() {
    for (part, shared) in [1, 8, 9, 200, 512].into_iter().flat_map(|part| [(part, false), (part, true)]) {
        let (bench, drive) = (Bench::new(), Drive::new(false));
        let (mut journal, _) = open(&bench, &drive).expect("empty");
        open_run(&mut journal).expect("written");
        work(&mut journal, 400, false).expect("written");
        drive.meets(move |call| if call == Call::Line { Fate::Fails(Errno::IO, part) } else { FULL });
        let error = work(&mut journal, 400, false).expect_err("half a line");
        assert!(matches!(error, StateError::Io { doing: "write", .. }), "{error}");
        assert!(matches!(work(&mut journal, 1, false), Err(StateError::Poisoned { .. })));
        kill(&drive, journal);
        assert!(drive.bytes().ends_with(&[0; 60_000]), "its room is there");

        let drive = if shared { drive.shared() } else { drive };
        let (mut journal, cut) = open(&bench, &drive).expect("a prefix");
        assert_eq!(cut.map(|cut| (cut.line, cut.bytes)), Some((3, part as u64)));
        let whole = assert_is_prefix(&drive, &journal, 2);
        drive.lock().keep(whole, true);
        open_run(&mut journal).expect("written");
        kill(&drive, journal);
        let (journal, cut) = open(&bench, &drive).expect("whole");
        assert_eq!((assert_is_prefix(&drive, &journal, 3), cut), (3, None));
    }
}

/// A line that was written in part, or in full, and taken back: no power cut brings it back.
#[test]
fn a_line_that_was_taken_back_does_not_return() {
    for part in [1, 100, 1000] {
        let (bench, drive) = (Bench::new(), Drive::new(false));
        let (mut journal, _) = open(&bench, &drive).expect("empty");
        open_run(&mut journal).expect("written");
        drive.meets(move |call| if call == Call::Line { Fate::Fails(Errno::IO, part) } else { Fate::Done });
        work(&mut journal, 400, false).expect_err("half a line");
        drop(journal);
        let changes = drive.lock().medium.changes();
        for taken in 0..=changes {
            let drive = drive.after_power_cut(taken, |_| taken);
            let (journal, cut) = open(&bench, &drive).expect("whole");
            assert_eq!((assert_is_prefix(&drive, &journal, 1), cut), (1, None));
        }
    }
}

/// Where the torn end cannot be cut off nothing is written behind it, and the next run does it.
#[test]
fn a_journal_whose_torn_end_cannot_be_cut_off_is_not_opened() {
    for fails in [Call::Length, Call::Sync] {
        let (bench, drive) = (Bench::new(), Drive::new(false));
        let (mut journal, _) = open(&bench, &drive).expect("empty");
        open_run(&mut journal).expect("written");
        drive.meets(|call| if call == Call::Line { Fate::Fails(Errno::IO, 30) } else { FULL });
        work(&mut journal, 400, false).expect_err("half a line");
        kill(&drive, journal);
        drive.meets(move |call| if call == fails { FULL } else { Fate::Done });
        let error = open(&bench, &drive).expect_err("it cannot be cut off");
        assert!(matches!(error, StateError::Io { doing: "cut the torn end of" | "sync", .. }), "{error}");
        drive.meets(|_| Fate::Done);
        let (journal, _) = open(&bench, &drive).expect("a prefix");
        assert_is_prefix(&drive, &journal, 1);
    }
}

/// Room that cannot be given back is left, as by a killed run.
#[test]
fn room_that_cannot_be_given_back_does_no_harm() {
    let (bench, drive) = (Bench::new(), Drive::new(false));
    let (mut journal, _) = open(&bench, &drive).expect("empty");
    open_run(&mut journal).expect("written");
    drive.meets(|call| if call == Call::Length { FULL } else { Fate::Done });
    drop(journal);
    assert_eq!(drive.bytes().last(), Some(&0));
    let (mut journal, cut) = open(&bench, &drive).expect("whole");
    assert_eq!(cut, None);
    drive.lock().calls.clear();
    open_run(&mut journal).expect("written");
    assert_eq!(drive.lock().calls, [Call::Line, Call::Sync], "the room that was left is used");
    assert_is_prefix(&drive, &journal, 2);
}

/// What takes the place of all has room of its own, behind its own end; where that fails the old one goes on.
#[test]
fn what_is_replaced_has_room_behind_its_own_end() -> io::Result<()> {
    for shared in [false, true] {
        let drive = Drive::new(shared);
        let storage = drive.storage()?;
        storage.write(b"a line that is longer\n")?;
        drive.meets(|call| if call == Call::Replace { FULL } else { Fate::Done });
        storage.replace(b"one\n", &|| true).expect_err("full");
        storage.write(b"another\n")?;
        assert_eq!(storage.read()?, b"a line that is longer\nanother\n");
        drive.meets(|_| Fate::Done);
        storage.replace(b"one\n", &|| true)?;
        assert_eq!(storage.read()?, b"one\n");
        storage.write(b"two\n")?;
        storage.write(b"three\n")?;
        assert_eq!(storage.read()?, b"one\ntwo\nthree\n");
        assert_eq!(drive.bytes().len() > 60_000, !shared, "there is room again, where nobody else writes");
        drive.lock().medium.leave(0, |_| 0);
        assert_eq!(drive.bytes(), b"one\n", "it was safe at once");
    }
    Ok(())
}
