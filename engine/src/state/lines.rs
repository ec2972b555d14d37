//! The journal's lines: `crc32 SP json`, and what a file of them says. Pure.
//!
//! The first line that is not whole is where the journal ends, if a crash can have left it so; what comes behind it was never synced.
//! Anything else is damage, and nothing is cut off: what would go may be what says that a step must not be repeated.
//!
//! A crash leaves the beginning of a line at the end of the file: a write that was cut short by a kill, a full disk or a power cut.
//! A power cut leaves sectors of zeros as well, before later ones that are there (`torn.rs`); they may hide the ends of lines.
//! What is in the line before the first zero must be the beginning of a line in any case. No crash leaves a part of a snapshot.
//!
//! No crash leaves a line that has its end and no zeros, and yet is not whole; nor a last one that goes on behind its record (its end was
//! damaged), that is complete with another checksum, or whose text is no record's beginning; nor zeros that end within a sector. The
//! rest cannot be told: where a disk loses the last sectors that it said were synced, or a file is cut by hand, that looks like a crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;

use jiff::Timestamp;
use runbook_steps::{Child, Outputs};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::StateError;
use super::fold::RunState;
use super::record::{
    Entry, FORMAT, Fingerprint, Format, Outcome, Recipe, Record, Snapshot, Started, Succeeded, Touches,
};
use super::torn::{self, Lost};
use crate::maps::NameSet;
use crate::plan::StepId;

/// A record as the line that stands for it, with its end.
pub(super) fn encode(entry: &Entry) -> serde_json::Result<Vec<u8>> {
    let mut line = b"00000000 ".to_vec();
    serde_json::to_writer(&mut line, entry)?;
    let crc = format!("{:08x}", crc32fast::hash(&line[9..]));
    line[..8].copy_from_slice(crc.as_bytes());
    line.push(b'\n');
    Ok(line)
}

/// The record of a line, without its end; or what is wrong with it.
fn decode(line: &[u8]) -> Result<Entry, Fault> {
    let body = body(line).map_err(Fault::Damaged)?;
    serde_json::from_slice(body).map_err(|error| match foreign_format(body) {
        Some(format) => Fault::Newer(format),
        None => Fault::Damaged(format!("it is no record: {error}")),
    })
}

/// The record of a whole line of a journal that is read on; there, damage is an error in any case.
pub(super) fn entry(line: &[u8], number: u64, path: &Path) -> Result<Entry, StateError> {
    decode(line).map_err(|fault| fault.into_error(number, path))
}

/// The records that nearly every line holds, all fields side by side: read in one go, where [`Record`] reads each line twice to find
/// out which record it is. What it does not know, and any line that it cannot read, is left to [`decode`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Usual<'l> {
    seq: u64,
    time: Timestamp,
    record: &'l str,
    step: &'l str,
    attempt: u32,
    fingerprint: Option<Fingerprint>,
    recoverable: Option<bool>,
    touches: Option<Touches>,
    undo: Option<Recipe>,
    child: Option<Child>,
    outcome: Option<Outcome>,
    #[serde(default)]
    outputs: Outputs,
    took_ms: Option<u64>,
    note: Option<String>,
}

/// A snapshot is one very long line, for which reading it twice matters as much.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotLine<'l> {
    seq: u64,
    time: Timestamp,
    record: &'l str,
    format: Format,
    state: RunState,
}

fn snapshot(body: &[u8]) -> Option<Entry> {
    let SnapshotLine { seq, time, record, format, state } = serde_json::from_slice(body).ok()?;
    let record = (record == "snapshot").then(|| Record::Snapshot(Box::new(Snapshot { format, state })))?;
    Some(Entry { seq, time, record })
}

/// Reads lines, and has one name for each step.
#[derive(Default)]
struct Decoder {
    names: NameSet<StepId>,
}

impl Decoder {
    fn decode(&mut self, line: &[u8]) -> Result<Entry, Fault> {
        let body = body(line).map_err(Fault::Damaged)?;
        let usual = serde_json::from_slice(body).ok().and_then(|usual| self.entry(usual));
        usual.or_else(|| snapshot(body)).map_or_else(|| decode(line), Ok)
    }

    fn entry(&mut self, usual: Usual<'_>) -> Option<Entry> {
        let Usual { seq, time, attempt, .. } = usual;
        let step = self.name(usual.step);
        let record = match (usual.record, usual.fingerprint, usual.child, usual.outcome) {
            ("started", Some(fingerprint), None, None) => {
                let (recoverable, touches) = (usual.recoverable?, usual.touches.unwrap_or_default());
                Record::Started(Started { step, attempt, fingerprint, recoverable, touches })
            }
            ("performing", None, None, None) => Record::Performing { step, attempt, undo: usual.undo },
            ("spawned", None, Some(child), None) => Record::Spawned { step, attempt, child },
            ("succeeded", None, None, Some(outcome)) => {
                let (took_ms, outputs, note) = (usual.took_ms?, usual.outputs, usual.note);
                let looked_up = BTreeMap::new();
                Record::Succeeded(Succeeded { step, attempt, outcome, outputs, looked_up, took_ms, note })
            }
            _ => return None,
        };
        Some(Entry { seq, time, record })
    }

    fn name(&mut self, name: &str) -> StepId {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let name = StepId::from(name);
        self.names.insert(name.clone());
        name
    }
}

enum Fault {
    Damaged(String),
    Newer(Format),
}

impl Fault {
    fn into_error(self, line: u64, path: &Path) -> StateError {
        let path = path.to_owned();
        match self {
            Self::Newer(found) => StateError::Newer { path, found },
            Self::Damaged(why) => StateError::Broken { path, line, why },
        }
    }
}

fn body(line: &[u8]) -> Result<&[u8], String> {
    let crc =
        line.get(..8).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let (Some(crc), Some(b' ')) = (crc, line.get(8)) else {
        return Err("it does not start with a checksum".to_owned());
    };
    let body = &line[9..];
    if crc32fast::hash(body) == crc { Ok(body) } else { Err("its checksum does not match".to_owned()) }
}

/// The format that an otherwise unreadable header names, if it is of another major than ours.
fn foreign_format(body: &[u8]) -> Option<Format> {
    #[derive(Deserialize)]
    struct Header {
        format: Format,
    }
    serde_json::from_slice(body).ok().map(|header: Header| header.format).filter(|format| format.major != FORMAT.major)
}

/// What a journal's bytes say.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// What follows from the whole lines.
    pub(super) state: RunState,
    /// How many bytes they are.
    pub(super) whole: u64,
    /// How many lines.
    pub(super) lines: u64,
    /// What is wrong with the rest, if there is a rest.
    pub(super) torn: Option<String>,
    /// The newest format of this major that was met, if it is newer than ours.
    pub(super) later: Option<Format>,
}

/// What a crash did to the line that starts at `from` and is the first that is not whole; nothing if no crash does that. Whether a run
/// is open before it is said by whoever has folded that.
fn crash(bytes: &[u8], from: usize, open: bool) -> Option<&'static str> {
    let rest = &bytes[from..];
    let end = rest.iter().position(|byte| *byte == b'\n');
    let line = &rest[..end.unwrap_or(rest.len())];
    let written = line.split(|byte| *byte == 0).next().unwrap_or_default();
    if !begins_a_line(written) || torn::is_snapshot(written) {
        return None;
    }
    if written.len() == line.len() {
        return end.is_none().then_some("it has no end");
    }
    let after = entries(&rest[written.len()..]);
    let lost = Lost::of(line, open);
    (!is_one_bit_off(line) && torn::is_torn(bytes, from, lost, after)).then_some("a part of it never reached the disk")
}

/// Whether bytes are the beginning of a line, or all of one but its end.
fn begins_a_line(bytes: &[u8]) -> bool {
    let (crc, rest) = bytes.split_at(bytes.len().min(8));
    let framed = crc.iter().all(u8::is_ascii_hexdigit) && b" {".iter().zip(rest).all(|(wanted, found)| wanted == found);
    framed && (rest.len() < 2 || begins_json(&rest[1..]) || body(bytes).is_ok())
}

/// Whether bytes are the beginning of a JSON value, and not all of it.
fn begins_json(bytes: &[u8]) -> bool {
    let ends_early = |bytes: &[u8]| serde_json::from_slice::<IgnoredAny>(bytes).is_err_and(|error| error.is_eof());
    // A cut within a character is one, any other strange byte is not.
    let is_text = std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    // Of a number's beginning that is no number yet, such as `-`, the parser says that it is wrong and not that it ends early.
    is_text && (ends_early(bytes) || ends_early(&[bytes, b"0"].concat()))
}

/// Whether a line is whole but for one bit, without which a byte of it is zero. That zero may be the last of a sector.
fn is_one_bit_off(line: &[u8]) -> bool {
    let mut zeros = line.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let (Some(at), None) = (zeros.next(), zeros.next()) else { return false };
    let mut line = line.to_vec();
    (0..8).any(|bit| {
        line[at] = 1 << bit;
        body(&line).is_ok()
    })
}

/// Longer journals are worth a thread: they are read in one and folded in another, or read early.
pub(super) const LONG: usize = 1024 * 1024;

/// So many records go from thread to thread at once, and so many such groups may wait.
const GROUP: usize = 256;
const GROUPS: usize = 16;

/// Folds lines as they come, for as long as nothing is wrong with any.
#[derive(Default)]
pub(super) struct Folding {
    decoder: Decoder,
    replayed: Replayed,
}

impl Folding {
    /// Folds the whole lines that some bytes begin with, and says how long they are. Nothing if something is wrong with one.
    pub(super) fn take(&mut self, bytes: &[u8], path: &Path) -> Option<usize> {
        let before = self.replayed.whole;
        for line in whole_lines(bytes) {
            fold(&mut self.replayed, self.decoder.decode(line).ok()?, line, path).ok()?;
        }
        usize::try_from(self.replayed.whole - before).ok()
    }

    /// What follows from all that was taken.
    pub(super) fn end(self) -> Replayed {
        self.replayed
    }
}

/// Folds the lines of a journal up to where a crash ended it. Any other damage is an error.
pub(super) fn replay(bytes: &[u8], path: &Path) -> Result<Replayed, StateError> {
    if bytes.len() < LONG {
        let mut decoder = Decoder::default();
        return fold_lines(bytes, path, |line| decoder.decode(line));
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(GROUPS);
        scope.spawn(move || read_ahead(bytes, &sender));
        let mut decoded = receiver.into_iter().flatten();
        fold_lines(bytes, path, move |line| decoded.next().unwrap_or_else(|| decode(line)))
    })
}

/// Decodes lines for as long as they are whole and wanted.
fn read_ahead(bytes: &[u8], sender: &mpsc::SyncSender<Vec<Result<Entry, Fault>>>) {
    let mut decoder = Decoder::default();
    let mut group = Vec::with_capacity(GROUP);
    for line in whole_lines(bytes) {
        let decoded = decoder.decode(line);
        let over = decoded.is_err();
        group.push(decoded);
        let full = group.len() == GROUP || over;
        if full && (sender.send(std::mem::replace(&mut group, Vec::with_capacity(GROUP))).is_err() || over) {
            return;
        }
    }
    // Where nobody listens any more, nobody misses it.
    let _ = sender.send(group);
}

fn fold_lines(
    bytes: &[u8],
    path: &Path,
    mut decode: impl FnMut(&[u8]) -> Result<Entry, Fault>,
) -> Result<Replayed, StateError> {
    let mut replayed = Replayed::default();
    let mut from = 0;
    while let Some(end) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[from..from + end];
        match decode(line) {
            Ok(entry) => fold(&mut replayed, entry, line, path)?,
            Err(fault) => return end_at(replayed, fault, bytes, path),
        }
        from += end + 1;
    }
    match decode(&bytes[from..]) {
        _ if from == bytes.len() => Ok(replayed),
        Ok(_) => end_at(replayed, Fault::Damaged("it has no end".to_owned()), bytes, path),
        Err(fault) => end_at(replayed, fault, bytes, path),
    }
}

/// Ends a journal before a line with a fault, if a crash can have made it.
fn end_at(replayed: Replayed, fault: Fault, bytes: &[u8], path: &Path) -> Result<Replayed, StateError> {
    let number = replayed.lines + 1;
    let from = usize::try_from(replayed.whole).expect("a length of memory");
    let open = replayed.state.current().is_some_and(|run| run.verdict.is_none());
    let why = matches!(fault, Fault::Damaged(_)).then(|| crash(bytes, from, open)).flatten();
    why.map_or_else(
        || Err(fault.into_error(number, path)),
        |why| Ok(Replayed { torn: Some(why.to_owned()), ..replayed }),
    )
}

/// Folds the record of a line, and counts the line.
fn fold(replayed: &mut Replayed, entry: Entry, line: &[u8], path: &Path) -> Result<(), StateError> {
    replayed.later = later(&entry, path)?.or(replayed.later);
    replayed.state.absorb(entry).map_err(|illegal| StateError::Broken {
        path: path.to_owned(),
        line: replayed.lines + 1,
        why: illegal.to_string(),
    })?;
    replayed.lines += 1;
    replayed.whole += line.len() as u64 + 1;
    Ok(())
}

/// The format that a record names, if it is newer than ours and of the same major; another major is an error.
pub(super) fn later(entry: &Entry, path: &Path) -> Result<Option<Format>, StateError> {
    let found = match &entry.record {
        Record::Opened(opened) => opened.format,
        Record::Snapshot(snapshot) => snapshot.format,
        _ => return Ok(None),
    };
    if found.major != FORMAT.major {
        return Err(StateError::Newer { path: path.to_owned(), found });
    }
    Ok(Some(found).filter(|found| found.minor > FORMAT.minor))
}

/// The lines that have their end, without it.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

/// The whole records of some lines. Behind what is lost one may begin without the end of the one before it.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes.split(|byte| matches!(byte, b'\n' | 0)).filter_map(|line| decode(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest unit that a disk writes.
    const SECTOR: usize = 512;

    const USUAL: [&str; 5] = [
        r#""record":"started","step":"a","attempt":1,"fingerprint":{"kind":"k","with":{"a":[1,"x",null]}},"recoverable":true"#,
        r#""record":"started","step":"a","attempt":1,"fingerprint":{},"recoverable":false,"touches":"when_said""#,
        r#""record":"spawned","step":"a","attempt":1,"child":{"pid":1,"started":2,"program":"true"}"#,
        r#""record":"performing","step":"a","attempt":1"#,
        r#""record":"succeeded","step":"a","attempt":1,"outcome":"ok","outputs":{"stdout":"x"},"took_ms":3,"note":"n""#,
    ];

    const UNUSUAL: [&str; 7] = [
        r#""record":"snapshot","format":{"major":1,"minor":1},"state":{"steps":{},"runs":[],"seq":6}"#,
        r#""record":"started","step":"a","attempt":1,"fingerprint":{},"recoverable":true,"from a later minor":1"#,
        r#""record":"started","step":"a","attempt":1,"fingerprint":[],"recoverable":true"#,
        r#""record":"succeeded","step":"a","attempt":1,"outcome":"ok""#,
        r#""record":"cancelled","step":"a","attempt":1"#,
        r#""record":"from a later minor","step":"a","attempt":1"#,
        r#""record":"interrupted","signal":"SIGINT""#,
    ];

    fn whole(fields: &str) -> String {
        format!(r#"{{"seq":7,"time":"2026-01-01T00:00:00Z",{fields}}}"#)
    }

    #[test]
    fn the_short_way_through_a_line_reads_what_the_long_one_does() {
        for body in USUAL.into_iter().chain(UNUSUAL).map(whole) {
            let line = format!("{:08x} {body}", crc32fast::hash(body.as_bytes()));
            let read = Decoder::default().decode(line.as_bytes()).ok();
            assert_eq!(read, decode(line.as_bytes()).ok(), "{body}");
        }
    }

    #[test]
    fn the_short_way_is_for_usual_lines() {
        let short = |body: &str| serde_json::from_str(body).ok().and_then(|usual| Decoder::default().entry(usual));
        assert!(USUAL.into_iter().map(whole).all(|body| short(&body).is_some()));
        assert!(UNUSUAL.into_iter().map(whole).all(|body| short(&body).is_none()));
    }

    /// A line that begins where the lost sector ends is whole: nothing more is written of its step before it is safe, and so was all before.
    #[test]
    fn a_proof_that_begins_right_behind_the_lost_sector_counts() {
        let time = r#""time":"2026-01-01T00:00:00Z""#;
        let line = |body: String| format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()));
        let opened = whole(
            r#""record":"opened","format":{"major":1,"minor":0},"run":1,"command":"apply","plan":"p","file":"f","digest":"0","inputs":{},"version":"0","who":"me","pid":1"#,
        );
        let opened = opened.replace("\"seq\":7", "\"seq\":1");
        let noted = |note: usize| {
            let note = "x".repeat(note);
            format!(r#"{{"seq":2,{time},"record":"skipped","step":"b","why":"{note}"}}"#)
        };
        let started = format!(
            r#"{{"seq":3,{time},"record":"started","step":"a","attempt":1,"fingerprint":{{}},"recoverable":false}}"#
        );
        let ended = format!(
            r#"{{"seq":4,{time},"record":"succeeded","step":"a","attempt":1,"outcome":"changed","took_ms":1}}"#
        );
        let before = line(opened.clone()).len() + line(noted(0)).len();
        let two = [line(opened), line(noted(3 * SECTOR - before))].concat();
        assert_eq!(two.len(), 3 * SECTOR);
        let mut bytes = [two, line(started), line(ended)].concat().into_bytes();
        assert!(read(&bytes).is_ok());
        bytes[2 * SECTOR..3 * SECTOR].fill(0);
        assert!(matches!(read(&bytes), Err(StateError::Broken { line: 2, .. })));
    }

    #[test]
    fn a_first_line_that_a_power_cut_left_as_zeros_is_torn_and_no_strange_file() {
        for bytes in [b"\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), b"0a1b\0\0\0\0\0\0\0\0", b"0a1b2c3d {\0\0"] {
            let replayed = replay(bytes, Path::new("j")).expect("torn");
            assert_eq!((replayed.whole, replayed.lines, replayed.torn.is_some()), (0, 0, true), "{bytes:?}");
        }
        assert!(replay(b"hello\0\0", Path::new("j")).is_err());
    }

    /// A note of blanks longer than a sector: with one bit off each is a zero, and one of them is the last of a sector.
    fn journal(note: usize) -> Vec<u8> {
        let (blanks, odd) = (" ".repeat(note), r#"{"a":[-1.5e+7,"\u0001\\é*J"],"b":null}"#);
        let records = [
            r#""record":"opened","format":{"major":1,"minor":0},"run":1,"command":"apply","plan":"p","file":"f","digest":"0","inputs":{},"version":"0","who":"me","pid":1"#.to_owned(),
            format!(r#""record":"started","step":"a","attempt":1,"fingerprint":{odd},"recoverable":true"#),
            format!(r#""record":"succeeded","step":"a","attempt":1,"outcome":"ok","outputs":{odd},"took_ms":3,"note":"{blanks}""#),
        ];
        let time = r#""time":"2026-01-01T00:00:00Z""#;
        let bodies = (1..).zip(records).map(|(seq, fields)| format!(r#"{{"seq":{seq},{time},{fields}}}"#));
        bodies.map(|body| format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()))).collect::<String>().into_bytes()
    }

    fn read(bytes: &[u8]) -> Result<Replayed, StateError> {
        replay(bytes, Path::new("j"))
    }

    #[test]
    fn no_single_bit_that_is_off_cuts_a_whole_journal() {
        let journal = journal(SECTOR);
        for room in [0, 600] {
            let whole = [&journal[..], &vec![0; room]].concat();
            assert_eq!(read(&journal).map(|read| read.lines).expect("whole"), 3);
            for (at, bit) in (0..journal.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                match read(&bytes) {
                    Err(error) => assert!(matches!(error, StateError::Broken { .. }), "{error}"),
                    // A digit of a checksum may be a capital letter.
                    Ok(read) => assert_eq!((read.lines, at, bit), (3, at, 5), "{:?}", read.torn),
                }
            }
        }
    }

    #[test]
    fn a_line_that_was_cut_anywhere_is_a_crash() {
        let journal = journal(3);
        for at in 0..journal.len() {
            let kept = &journal[..at];
            let whole = kept.iter().filter(|byte| **byte == b'\n').count() as u64;
            let replayed = read(kept).expect("a prefix");
            assert_eq!(
                (replayed.lines, replayed.torn.is_some()),
                (whole, kept.last().is_some_and(|byte| *byte != b'\n'))
            );
        }
    }

    /// Sectors that were not synced may be on the disk or not, in any combination; what was synced is, up to any line. Nothing comes
    /// behind a header that is not.
    #[test]
    fn sectors_that_were_lost_in_any_combination_are_a_crash() {
        let journal = journal(2 * SECTOR);
        let ends: Vec<usize> = (1..=journal.len()).filter(|end| journal[end - 1] == b'\n').collect();
        let sectors = journal.len().div_ceil(SECTOR);
        let header = &journal[..ends[0]];
        for (safe, kept) in
            [0].into_iter().chain(ends).flat_map(|safe| (0..1_u32 << sectors).map(move |kept| (safe, kept)))
        {
            let journal = if safe == 0 { header } else { &journal };
            let sectors = journal.len().div_ceil(SECTOR);
            for length in [journal.len(), sectors * SECTOR] {
                let mut bytes = journal.to_vec();
                bytes.resize(length, 0);
                for sector in (0..sectors).filter(|sector| kept >> sector & 1 == 0) {
                    bytes[safe.max(sector * SECTOR)..length.min((sector + 1) * SECTOR).max(safe)].fill(0);
                }
                let read = read(&bytes).expect("a prefix");
                assert!(
                    read.whole >= safe as u64
                        && bytes.starts_with(&journal[..usize::try_from(read.whole).expect("small")])
                );
            }
        }
    }

    fn line(seq: usize, fields: &str) -> Vec<u8> {
        let body = format!(r#"{{"seq":{seq},"time":"2026-01-01T00:00:00Z",{fields}}}"#);
        format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes())).into_bytes()
    }

    /// A second run, with its header anywhere in its sectors, and one of these lost: who has seen it at work knows that it was safe, if
    /// enough is there to see that it was a header.
    #[test]
    fn a_header_that_is_lost_in_part_was_synced_if_its_run_went_to_work() {
        let (step, home) = (r#""step":"a","attempt":1,"fingerprint":{},"recoverable":true"#, r#","home":"/here"}"#);
        let file = "f".repeat(200);
        let plan = format!(r#""command":"apply","plan":"p","file":"{file}","digest":"0","inputs":{{}}"#);
        let who = r#""version":"0","who":"me","pid":1,"home":"/here""#;
        let header = format!(r#""record":"opened","format":{{"major":1,"minor":0}},"run":2,{plan},{who}"#);
        for shift in 0..SECTOR {
            let mut bytes = journal(shift);
            bytes.extend(line(4, r#""record":"closed","verdict":"holds""#));
            let from = bytes.len();
            bytes.extend(line(5, &header));
            let end = bytes.len();
            bytes.extend(line(6, &format!(r#""record":"started",{step}"#)));
            bytes.extend([0; 2 * SECTOR]);
            for sector in from / SECTOR..=(end - 1) / SECTOR {
                let (first, last) = (sector * SECTOR, (sector + 1) * SECTOR);
                // What is behind the header may be lost too, and then nobody has seen the run at work.
                if last > end {
                    continue;
                }
                let mut bytes = bytes.clone();
                bytes[first..last].fill(0);
                let (begins, ends) = (first > from + 80, last + home.len() < end);
                match read(&bytes) {
                    Err(error) => assert!(matches!(error, StateError::Broken { .. }), "{error}"),
                    Ok(read) => assert!(!begins && !ends, "{shift} {sector}: {:?}", read.torn),
                }
            }
        }
    }

    /// It gets its name when all of it is safe; so it is not cut off, and all that it says forgotten.
    #[test]
    fn a_part_of_a_snapshot_is_damage() {
        let steps = r#""steps":{},"runs":[],"seq":6,"home":"/here""#;
        let whole = line(7, &format!(r#""record":"snapshot","format":{{"major":1,"minor":3}},"state":{{{steps}}}"#));
        assert_eq!(read(&whole).map(|read| read.lines).expect("whole"), 1);
        for at in 80..whole.len() {
            assert!(matches!(read(&whole[..at]), Err(StateError::Broken { line: 1, .. })), "{at}");
        }
        let mut lost = whole.clone();
        lost[100..].fill(0);
        assert!(read(&lost).is_err());
    }

    #[test]
    fn what_no_crash_leaves_is_damage() {
        let journal = journal(3);
        let end = journal.len() - 1;
        let with = |from: usize, bytes: &[u8]| [&journal[..from], bytes].concat();
        let last = journal[..end].iter().rposition(|byte| *byte == b'\n').expect("three lines") + 1;
        let strange = [
            with(end, b"!"),
            with(end, b"}\n"),
            with(end, b"\0}"),
            with(last, b"not hex."),
            with(last, b"00000000 {\"seq\":4,nonsense"),
            with(last, b"00000000 {\"seq\":\"\xff\xff"),
            with(last, b"00000000 {}"),
            with(last, &journal[last..end].to_ascii_uppercase()),
            with(last + 20, b"\n"),
            [&journal[..], &[0; 100], b"?"].concat(),
        ];
        for bytes in strange {
            let found = read(&bytes);
            assert!(matches!(found, Err(StateError::Broken { .. })), "{found:?}: {}", bytes.escape_ascii());
        }
    }
}
