//! When a journal has become long, and what stands in its place then. Pure.

use std::path::Path;

use jiff::Timestamp;

use super::fold::RunState;
use super::lines;
use super::record::{Entry, FORMAT, Record, Snapshot};

/// No journal below this size is compacted.
pub const SMALL: u64 = 1024 * 1024;

/// How many times longer than its snapshot a journal becomes before it is compacted.
pub const FACTOR: u64 = 4;

/// What stands in the place of a journal.
pub(super) struct Compacted {
    /// The one line of the new file.
    pub(super) line: Vec<u8>,
    /// The state as it is read from that line.
    pub(super) state: RunState,
}

/// A journal of so many lines and bytes as one line, if that is worth it.
pub(super) fn compacted(state: &RunState, lines: u64, length: u64, now: Timestamp) -> Option<Compacted> {
    if length < SMALL || lines < FACTOR * told_of(state) {
        return None;
    }
    let line = lines::encode(&snapshot(state, now)).ok()?;
    if length < FACTOR * line.len() as u64 {
        return None;
    }
    read_back(line, state)
}

/// Each of these is about as long in a snapshot as a record is, so that no snapshot need be made to find that it would not pay.
fn told_of(state: &RunState) -> u64 {
    (state.steps().count() + state.runs().len()) as u64
}

fn snapshot(state: &RunState, time: Timestamp) -> Entry {
    let record = Record::Snapshot(Box::new(Snapshot { format: FORMAT, state: state.clone() }));
    Entry { seq: state.seq() + 1, time, record }
}

/// Nothing is put away unless what replaces it reads the same. That it does not would be a bug, and a long journal harms nobody.
fn read_back(line: Vec<u8>, state: &RunState) -> Option<Compacted> {
    let read = lines::replay(&line, Path::new("snapshot")).ok()?.state;
    let same = read.says_the_same(state);
    debug_assert!(same, "a snapshot does not say what the journal says");
    same.then_some(Compacted { line, state: read })
}

/// The name of the archive of a journal's records.
pub(super) fn archive_name(first: u64, last: u64) -> String {
    format!("journal.{first}-{last}.jsonl")
}
