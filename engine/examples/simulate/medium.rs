//! A file on a disk in memory, sector by sector: what is read of it now, and what of that a power cut leaves.
//!
//! Until a sync, a disk takes what it is given in any order: each sector may be as it was after any of the changes since the last
//! sync, and so may the length of the file.

use super::random::Random;

/// The smallest unit that a disk writes.
const SECTOR: usize = 512;

/// The file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Medium {
    now: Vec<u8>,
    /// Where the last byte of it ends that is not zero.
    written: usize,
    /// The file as it was at the last sync.
    safe: Vec<u8>,
    /// What was done since.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// Whether these bytes are room in a journal, and no line.
pub(crate) fn is_room(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0)
}

impl Change {
    /// From where on the file is another one.
    fn start(&self) -> usize {
        match self {
            Change::Write(at, _) | Change::Length(at) => *at,
        }
    }

    fn length_after(&self, before: usize) -> usize {
        match self {
            Change::Write(at, bytes) => before.max(at + bytes.len()),
            Change::Length(length) => *length,
        }
    }

    /// What becomes of the sector that starts at `from`.
    fn apply(&self, from: usize, sector: &mut [u8]) {
        let to = from + sector.len();
        match self {
            Change::Write(at, bytes) => {
                let (first, end) = (from.max(*at), to.min(at + bytes.len()));
                if first < end {
                    sector[first - from..end - from].copy_from_slice(&bytes[first - at..end - at]);
                }
            }
            Change::Length(length) if *length < to => sector[length.saturating_sub(from)..].fill(0),
            Change::Length(_) => {}
        }
    }
}

impl Medium {
    /// A file that is safe.
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let mut medium = Self::default();
        medium.write(0, bytes);
        medium.sync();
        medium
    }

    /// All that is in the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.now
    }

    /// The same without zeros at its end.
    pub(crate) fn written(&self) -> &[u8] {
        &self.now[..self.written]
    }

    /// So much of the file is as it was at the last sync.
    pub(crate) fn safe(&self) -> usize {
        self.changes.iter().map(Change::start).fold(self.safe.len(), usize::min)
    }

    /// How many changes were made since the last sync.
    pub(crate) fn changes(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn read(&self, piece: &mut [u8], from: usize) -> usize {
        let there = self.now.get(from..).unwrap_or_default();
        let count = there.len().min(piece.len());
        piece[..count].copy_from_slice(&there[..count]);
        count
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.change(Change::Write(at, bytes.to_vec()));
    }

    pub(crate) fn set_length(&mut self, length: usize) {
        self.change(Change::Length(length));
    }

    fn change(&mut self, change: Change) {
        self.now.resize(change.length_after(self.now.len()), 0);
        let from = change.start().min(self.now.len());
        let to = change.length_after(from);
        change.apply(from, &mut self.now[from..to]);
        let end = self.written.max(to).min(self.now.len());
        self.written = self.now[..end].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.changes.push(change);
    }

    pub(crate) fn sync(&mut self) {
        self.safe.clone_from(&self.now);
        self.changes.clear();
    }

    /// The power goes, and chance decides what is left.
    pub(crate) fn cut(&mut self, random: &mut Random) {
        let mut random = random.fork();
        let changes = self.changes();
        let (all, none, one) = (random.below(101), random.below(101), random.index(changes + 1));
        let length = if random.percent(50) { changes } else { random.index(changes + 1) };
        self.leave(length, |_| match () {
            () if random.percent(all) => changes,
            () if random.percent(none) => 0,
            () if random.percent(50) => one,
            () => random.index(changes + 1),
        });
    }

    /// The power goes, and there is left: the length after so many changes, and of each sector what it was after so many.
    pub(crate) fn leave(&mut self, length: usize, mut taken: impl FnMut(usize) -> usize) {
        let changes = std::mem::take(&mut self.changes);
        let length = changes[..length].iter().fold(self.safe.len(), |length, change| change.length_after(length));
        self.safe.resize(length, 0);
        let touched = changes.iter().map(Change::start).min().unwrap_or(length) / SECTOR;
        for (number, sector) in self.safe.chunks_mut(SECTOR).enumerate().skip(touched) {
            changes[..taken(number)].iter().for_each(|change| change.apply(number * SECTOR, sector));
        }
        self.now.clone_from(&self.safe);
        self.written = self.now.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    }
}
