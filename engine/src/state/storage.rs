//! Where a journal's lines are: behind one another in a file, with room behind its end. Knows nothing of records.
//!
//! What it does with a [`RawFile`] is the same for a file on a disk and for one that a test lets fail or lose its power.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::heartbeat::Trust;
use super::raw::{DiskFile, RawFile};

/// Where a journal's bytes are: lines behind one another, that can be replaced as a whole.
pub trait Storage: Send + Sync {
    /// All that is in it.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// How long it is, and its checksum.
    fn sum(&self) -> io::Result<Sum> {
        Ok(Sum::of(&self.read()?))
    }
    /// Appends a line, all of it or an error. What an error left of it is taken back by [`Storage::truncate`], or is a torn tail.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written before the call safe from a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to a length.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Gives back what was only kept ready: nothing more is written.
    fn finish(&self) -> io::Result<()>;
    /// Puts other content in the place of all of it, if at the last moment it still may. When this returns the content is safe from a
    /// power cut; at any moment before, the old one or the new one is there, whole.
    fn replace(&self, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<()>;
    /// Puts a copy of all of it beside, under a name, safe from a power cut; one that is there already is replaced. A storage that
    /// cannot do that is never compacted.
    fn archive(&self, name: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("nowhere to put `{name}`")))
    }
}

/// Memory for all of a large file costs more time than reading it does: where a piece is enough, it is of this size.
const PIECE: usize = 64 * 1024;

/// The length and the checksum of some bytes: two journals with one sum hold the same, as surely as each of their lines is whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    length: u64,
    crc: u32,
}

impl Sum {
    /// The sum of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }

    /// More bytes come behind.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.crc);
        hasher.update(bytes);
        self.crc = hasher.finalize();
        self.length += bytes.len() as u64;
    }

    /// How many bytes it is of.
    pub(super) fn length(self) -> u64 {
        self.length
    }
}

/// Lines in a file.
///
/// Behind its end there is room for more: zeros, which no line of a journal holds, and which whoever reads the file leaves out.
/// They are gone when nothing more is written, unless the process was killed. Where others might write to the file
/// at the same time, because the locks of the file system cannot be trusted, there is no room and all is appended.
#[derive(Debug)]
pub struct FileStorage<F = DiskFile> {
    open: RwLock<Open<F>>,
}

/// The file that has the name now.
#[derive(Debug)]
struct Open<F> {
    file: F,
    room: Option<Mutex<Room>>,
}

/// How far a file reaches that this process alone writes to.
#[derive(Debug)]
struct Room {
    /// Where the next byte goes.
    from: u64,
    /// Where the room ends.
    to: u64,
    /// The last line.
    last: Option<Line>,
    /// The one that was the last at the sync before.
    synced: Option<Line>,
}

/// Where a line is, and how it begins: with its checksum.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: u64,
    beginning: [u8; 8],
}

impl Line {
    fn is_in(self, file: &impl RawFile) -> io::Result<bool> {
        let mut found = [0; 8];
        file.read_at(&mut found, self.at)?;
        Ok(found == self.beginning)
    }
}

/// How much room a file gets at once. A sync of what was written into room writes just that; where it has made the file longer, most
/// file systems must also sync a journal of their own.
const MORE: usize = 64 * 1024;

impl Room {
    /// Writes a line, and makes new room behind one that the old could not hold. Where none can be had the file just becomes longer.
    fn write(&mut self, file: &impl RawFile, bytes: &[u8]) -> io::Result<()> {
        file.write_at(bytes, self.from)?;
        self.last = bytes.first_chunk().map(|beginning| Line { at: self.from, beginning: *beginning });
        self.from += bytes.len() as u64;
        if self.from > self.to {
            let made = file.write_at(&[0; MORE], self.from).is_ok();
            self.to = self.from + if made { MORE as u64 } else { 0 };
        }
        Ok(())
    }

    fn truncate(&mut self, file: &impl RawFile, length: u64) -> io::Result<()> {
        file.set_length(length)?;
        *self = Self::at(length, length);
        Ok(())
    }

    fn at(from: u64, to: u64) -> Self {
        Self { from, to, last: None, synced: None }
    }

    /// Whether what was written is still there: somebody may put another content into the file without replacing it.
    fn holds(&mut self, file: &impl RawFile) -> io::Result<bool> {
        for line in [self.synced, self.last].into_iter().flatten() {
            if !line.is_in(file)? {
                return Ok(false);
            }
        }
        self.synced = self.last;
        Ok(true)
    }
}

impl<F: RawFile> Open<F> {
    fn new(file: F) -> io::Result<Self> {
        let (from, to) = (end_of_written(&file)?, file.length()?);
        if file.is_shared() && from < to {
            // A killed run left room there when nobody else could write: what is appended belongs before it.
            file.set_length(from)?;
        }
        let room = (!file.is_shared()).then_some(Mutex::new(Room::at(from, to)));
        Ok(Self { file, room })
    }

    fn room(&self) -> Option<MutexGuard<'_, Room>> {
        self.room.as_ref().map(|room| room.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FileStorage {
    /// Opens a file on a disk, or makes it, with its name safe from a power cut.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::over(DiskFile::open(path, path.parent().map_or(Trust::Lock, Trust::of))?)
    }
}

impl<F: RawFile> FileStorage<F> {
    /// Lines in any file.
    pub fn over(file: F) -> io::Result<Self> {
        Ok(Self { open: RwLock::new(Open::new(file)?) })
    }

    fn with<T>(&self, work: impl FnOnce(&Open<F>) -> io::Result<T>) -> io::Result<T> {
        work(&self.open.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<F: RawFile> Storage for FileStorage<F> {
    fn read(&self) -> io::Result<Vec<u8>> {
        self.with(|open| read(&open.file))
    }

    fn sum(&self) -> io::Result<Sum> {
        let mut sum = Sum::default();
        self.with(|open| each_piece(&open.file, |piece| sum.add(piece)))?;
        Ok(sum)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|open| match open.room() {
            Some(mut room) => room.write(&open.file, bytes),
            None => open.file.append(bytes),
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|open| {
            open.file.sync()?;
            let holds = open.room().map_or(Ok(true), |mut room| room.holds(&open.file))?;
            holds.then_some(()).ok_or_else(|| io::Error::other("something else was written into it meanwhile"))
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with(|open| match open.room() {
            Some(mut room) => room.truncate(&open.file, length),
            None => open.file.set_length(length),
        })
    }

    fn finish(&self) -> io::Result<()> {
        self.with(|open| match open.room() {
            // What could not be made whole is there in part.
            Some(mut room) if room.from < open.file.length()? => {
                let from = room.from;
                room.truncate(&open.file, from)
            }
            _ => Ok(()),
        })
    }

    fn archive(&self, name: &str) -> io::Result<()> {
        self.with(|open| open.file.archive(name, &read(&open.file)?))
    }

    fn replace(&self, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = Open::new(open.file.replace(bytes, may)?)?;
        Ok(())
    }
}

/// How much of some bytes was written: zeros at their end are room.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// How much of a file was written: looks at its end only.
fn end_of_written(file: &impl RawFile) -> io::Result<u64> {
    let mut end = file.length()?;
    let mut piece = [0; 4096];
    while end > 0 {
        let from = end.saturating_sub(piece.len() as u64);
        let wanted = usize::try_from(end - from).expect("a piece");
        let count = file.read_at(&mut piece[..wanted], from)?;
        match written(&piece[..count]) {
            0 => end = from,
            some => return Ok(from + some as u64),
        }
    }
    Ok(0)
}

/// All that was written to a file.
pub(super) fn read(file: &impl RawFile) -> io::Result<Vec<u8>> {
    let end = usize::try_from(end_of_written(file)?).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = vec![0; end];
    // Whoever writes may cut off a torn end meanwhile.
    let count = file.read_at(&mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// The same, piece by piece.
pub(super) fn each_piece(file: &impl RawFile, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut left = end_of_written(file)?;
    let (mut piece, mut from) = (vec![0; PIECE], 0);
    while left > 0 {
        let wanted = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let count = file.read_at(&mut piece[..wanted], from)?;
        take(&piece[..count]);
        from += count as u64;
        left = if count < wanted { 0 } else { left - count as u64 };
    }
    Ok(())
}
