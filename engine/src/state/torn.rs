//! What a power cut kept from the disk, told from damage. Pure.
//!
//! A disk may take the later sectors of a file before an earlier one. After a power cut the earlier one is then zeros, up to its end,
//! with whole lines behind it. No line holds a zero byte, and no fault of a single byte makes many of them. As long as
//! nothing behind it shows that a sync had covered it, the journal ends before it, as if the rest had never been written.

use std::collections::BTreeSet;

use super::record::{Entry, Failed, Record, Started, Succeeded};
use crate::plan::StepId;

/// The smallest unit that a disk writes.
const SECTOR: usize = 512;

/// Whether the journal has lost sectors at a line that starts at `from`, which no sync had covered.
pub(super) fn is_torn(bytes: &[u8], from: usize, after: impl Iterator<Item = Entry>) -> bool {
    are_lost_sectors(bytes, from) && !was_synced(after)
}

/// Whether the first zero in a file from a line on belongs to zeros that reach to the end of a sector.
fn are_lost_sectors(bytes: &[u8], from: usize) -> bool {
    let line_end = bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| from + end);
    let Some(first) = bytes[from..line_end].iter().position(|byte| *byte == 0).map(|at| from + at) else {
        return false;
    };
    let end = bytes[first..].iter().position(|byte| *byte != 0).map_or(bytes.len(), |more| first + more);
    end % SECTOR == 0 || end == bytes.len()
}

/// Whether these records can only be there because all before them had been synced: a run writes nothing between its header and that
/// header's sync, and nothing of a step that must not be repeated between its start and that start's.
fn was_synced(after: impl Iterator<Item = Entry>) -> bool {
    let mut opened = false;
    let mut started: BTreeSet<StepId> = BTreeSet::new();
    for entry in after {
        let about = worked_on(&entry.record);
        if (opened && about.is_some()) || about.is_some_and(|step| started.contains(step)) {
            return true;
        }
        match entry.record {
            Record::Opened(_) => opened = true,
            Record::Started(Started { step, recoverable: false, .. }) => drop(started.insert(step)),
            _ => {}
        }
    }
    false
}

/// The step that was being worked on, so that a run was under way.
fn worked_on(record: &Record) -> Option<&StepId> {
    match record {
        Record::Started(Started { step, .. })
        | Record::Spawned { step, .. }
        | Record::Succeeded(Succeeded { step, .. })
        | Record::Failed(Failed { step, .. })
        | Record::Cancelled { step, .. }
        | Record::Unknown { step, .. } => Some(step),
        _ => None,
    }
}
