//! The journal's lines: `crc32 SP json`, and what a file of them says. Pure.

use std::path::Path;

use serde::Deserialize;

use super::error::StateError;
use super::fold::RunState;
use super::record::{Entry, FORMAT, Format, Record};

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

/// Whether bytes may be the beginning of a line: with nothing whole before them, anything else is a file that is not ours.
fn begins_like_a_line(bytes: &[u8]) -> bool {
    let crc = bytes.len().min(8);
    bytes[..crc].iter().all(u8::is_ascii_hexdigit)
        && b" {".iter().zip(&bytes[crc..]).all(|(wanted, found)| wanted == found)
}

/// Folds the lines of a journal up to a torn tail. Damage that whole lines follow is an error.
pub(super) fn replay(bytes: &[u8], path: &Path) -> Result<Replayed, StateError> {
    let mut replayed = Replayed::default();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        let entry = match decode(line) {
            Ok(entry) => entry,
            Err(Fault::Newer(found)) => return Err(StateError::Newer { path: path.to_owned(), found }),
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
        fold(&mut replayed, &entry, path)?;
        replayed.lines += 1;
        replayed.whole += end as u64 + 1;
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

fn fold(replayed: &mut Replayed, entry: &Entry, path: &Path) -> Result<(), StateError> {
    if let Record::Opened(opened) = &entry.record {
        let found = opened.format;
        if found.major != FORMAT.major {
            return Err(StateError::Newer { path: path.to_owned(), found });
        }
        if found.minor > FORMAT.minor {
            replayed.later = Some(found);
        }
    }
    replayed.state.apply(entry).map_err(|illegal| StateError::Broken {
        path: path.to_owned(),
        line: replayed.lines + 1,
        why: illegal.to_string(),
    })
}

fn any_whole(bytes: &[u8]) -> bool {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .any(|line| line.strip_suffix(b"\n").is_some_and(|line| body(line).is_ok()))
}
