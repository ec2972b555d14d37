//! What a power cut kept from the disk, told from damage. Pure.
//!
//! A disk may take the later sectors of a file before an earlier one. After a power cut the earlier one is then zeros, up to its end,
//! with whole lines behind it. No line holds a zero byte, and no fault of a single byte makes many of them. As long as
//! nothing behind it shows that a sync had covered it, the journal ends before it, as if the rest had never been written.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::record::{Entry, Failed, Record, Started, Succeeded};
use crate::plan::StepId;

/// The smallest unit that a disk writes.
const SECTOR: usize = 512;

/// So many fields tell how a line begins: its number, its time, its record and its step, whose name may hold some commas.
const BEGINNING: usize = 12;

/// Whether the journal has lost sectors at a line that starts at `from`, which no sync had covered.
pub(super) fn is_torn(bytes: &[u8], from: usize, lost: Lost, after: impl Iterator<Item = Entry>) -> bool {
    are_lost_sectors(bytes, from) && !was_synced(lost, after)
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

/// How a line begins whose end is lost, as far as that is there.
#[derive(Debug, Deserialize)]
struct Beginning {
    record: String,
    step: Option<StepId>,
}

impl Beginning {
    fn of(line: &[u8]) -> Option<Self> {
        let body = line.get(9..)?;
        let commas = body.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(at, _)| at);
        let whole = |at: usize| serde_json::from_slice(&[&body[..at], b"}"].concat()).ok();
        commas.take(BEGINNING).filter_map(whole).last()
    }
}

/// Whether a line that is there in part is a snapshot. That has its name only once all of it is safe.
pub(super) fn is_snapshot(line: &[u8]) -> bool {
    Beginning::of(line).is_some_and(|beginning| beginning.record == "snapshot")
}

/// What is known of the records that are lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Whether a header must be among them, if a run is at work behind them.
    header: bool,
    /// A step of which nothing was done before what is lost was safe.
    announced: Option<StepId>,
}

impl Lost {
    /// What is known from the line in which the loss begins, and from whether a run was open before that.
    pub(super) fn of(line: &[u8], open: bool) -> Self {
        let mut rests = line.split(|byte| *byte == 0);
        let beginning = rests.next().and_then(Beginning::of);
        let record = beginning.as_ref().map(|beginning| beginning.record.as_str());
        let header =
            !open || matches!(record, Some("opened" | "closed")) || rests.next_back().is_some_and(ends_a_header);
        let announces = matches!(record, Some("performing" | "undo_started"));
        Self { header, announced: beginning.filter(|_| announces).and_then(|beginning| beginning.step) }
    }
}

/// Whether a line whose beginning is lost was the header of a run: only a header ends with the deployment's folder.
fn ends_a_header(end: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct End {
        #[serde(rename = "home")]
        _home: String,
    }
    let home = b",\"home\":";
    let at = end.windows(home.len()).rposition(|window| window == home);
    at.is_some_and(|at| serde_json::from_slice::<End>(&[b"{\"lost\":0", &end[at..]].concat()).is_ok())
}

/// Whether these records can only be there because all that is lost had been synced. A run goes to work only behind the sync of its
/// header: before that a `destroy` writes what it leaves alone, and whoever comes after a kill may write another header, or a person's
/// word. And of a step of which something must not be forgotten nothing more is written before that is safe.
fn was_synced(lost: Lost, after: impl Iterator<Item = Entry>) -> bool {
    let mut header = lost.header;
    let mut announced: BTreeSet<StepId> = lost.announced.into_iter().collect();
    for Entry { record, .. } in after {
        if is_work(&record) && (header || worked_on(&record).is_some_and(|step| announced.contains(step))) {
            return true;
        }
        match record {
            // Behind the end of a run, too, nobody goes to work without a header.
            Record::Opened(_) | Record::Closed { .. } => header = true,
            Record::Started(Started { step, recoverable: false, .. })
            | Record::Performing { step, .. }
            | Record::UndoStarted { step, .. } => drop(announced.insert(step)),
            _ => {}
        }
    }
    false
}

/// Whether only a run writes it whose header is safe. Of a record of a later program nobody here knows.
fn is_work(record: &Record) -> bool {
    !matches!(
        record,
        Record::Opened(_) | Record::Settled { .. } | Record::UndoSkipped { .. } | Record::Snapshot(_) | Record::Later
    )
}

/// The step that was being worked on.
fn worked_on(record: &Record) -> Option<&StepId> {
    match record {
        Record::Started(Started { step, .. })
        | Record::Spawned { step, .. }
        | Record::Performing { step, .. }
        | Record::Succeeded(Succeeded { step, .. })
        | Record::Failed(Failed { step, .. })
        | Record::UndoFailed(Failed { step, .. })
        | Record::Cancelled { step, .. }
        | Record::Unknown { step, .. }
        | Record::UndoStarted { step, .. }
        | Record::UndoneInPart { step, .. }
        | Record::Undone { step, .. } => Some(step),
        _ => None,
    }
}
