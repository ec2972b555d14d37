//! The journal's lines: `crc32 SP json`, and what a file of them says. Pure.

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc;

use jiff::Timestamp;
use runbook_steps::{Child, Outputs};
use serde::Deserialize;

use super::error::StateError;
use super::fold::RunState;
use super::record::{
    Entry, FORMAT, Fingerprint, Format, Outcome, Recipe, Record, Snapshot, Started, Succeeded, Touches,
};
use super::torn;
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
    decode(line).map_err(|fault| match fault {
        Fault::Newer(found) => StateError::Newer { path: path.to_owned(), found },
        Fault::Damaged(why) => StateError::Broken { path: path.to_owned(), line: number, why },
    })
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
    names: HashSet<StepId>,
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
                Record::Succeeded(Succeeded { step, attempt, outcome, outputs, took_ms, note })
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

/// Whether bytes may be the beginning of a line: with nothing whole before them, anything else is a file that is not ours. What a
/// power cut left unwritten at the end of a file reads as zeros.
fn begins_like_a_line(bytes: &[u8]) -> bool {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let bytes = &bytes[..written];
    let crc = bytes.len().min(8);
    bytes[..crc].iter().all(u8::is_ascii_hexdigit)
        && b" {".iter().zip(&bytes[crc..]).all(|(wanted, found)| wanted == found)
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

/// Folds the lines of a journal up to a torn tail. Damage that whole lines follow is an error.
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
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let entry = match decode(line) {
            Ok(entry) => entry,
            Err(Fault::Newer(found)) => return Err(StateError::Newer { path: path.to_owned(), found }),
            Err(Fault::Damaged(_))
                if any_whole(after) && torn::is_torn(bytes, bytes.len() - rest.len(), entries(after)) =>
            {
                replayed.torn = Some("a part of it never reached the disk".to_owned());
                return Ok(replayed);
            }
            Err(Fault::Damaged(why)) if any_whole(after) => {
                return Err(StateError::Broken { path: path.to_owned(), line: replayed.lines + 1, why });
            }
            Err(Fault::Damaged(why)) if replayed.lines == 0 && !begins_like_a_line(line) => {
                return Err(StateError::Broken { path: path.to_owned(), line: 1, why });
            }
            Err(Fault::Damaged(why)) => {
                replayed.torn = Some(why);
                return Ok(replayed);
            }
        };
        fold(&mut replayed, entry, line, path)?;
        rest = after;
    }
    if replayed.lines == 0 && !begins_like_a_line(rest) {
        let why = "it is no line of a journal".to_owned();
        return Err(StateError::Broken { path: path.to_owned(), line: 1, why });
    }
    if !rest.is_empty() {
        replayed.torn = Some("it has no end".to_owned());
    }
    Ok(replayed)
}

/// Folds the record of a line, and counts the line.
fn fold(replayed: &mut Replayed, entry: Entry, line: &[u8], path: &Path) -> Result<(), StateError> {
    let format = match &entry.record {
        Record::Opened(opened) => Some(opened.format),
        Record::Snapshot(snapshot) => Some(snapshot.format),
        _ => None,
    };
    if let Some(found) = format {
        if found.major != FORMAT.major {
            return Err(StateError::Newer { path: path.to_owned(), found });
        }
        if found.minor > FORMAT.minor {
            replayed.later = Some(found);
        }
    }
    replayed.state.absorb(entry).map_err(|illegal| StateError::Broken {
        path: path.to_owned(),
        line: replayed.lines + 1,
        why: illegal.to_string(),
    })?;
    replayed.lines += 1;
    replayed.whole += line.len() as u64 + 1;
    Ok(())
}

/// The lines that have their end, without it.
fn whole_lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

/// The whole records of some lines.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Entry> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| decode(line).ok())
}

fn any_whole(bytes: &[u8]) -> bool {
    whole_lines(bytes).any(|line| body(line).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_first_line_that_a_power_cut_left_as_zeros_is_torn_and_no_strange_file() {
        for bytes in [b"\0\0\0\0\0\0\0\0\0\0\0\0".as_slice(), b"0a1b\0\0\0\0\0\0\0\0", b"0a1b2c3d {\0\0"] {
            let replayed = replay(bytes, Path::new("j")).expect("torn");
            assert_eq!((replayed.whole, replayed.lines, replayed.torn.is_some()), (0, 0, true), "{bytes:?}");
        }
        assert!(replay(b"hello\0\0", Path::new("j")).is_err());
    }
}
