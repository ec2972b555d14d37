//! The file layer under the journal: bytes in a file, and what makes them safe from a power cut. Knows nothing of records.
//!
//! It is a seam: tests put storages here that fail, forget or lose their power.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use super::heartbeat::Trust;

/// Where a journal's bytes are: lines behind one another, that can be replaced as a whole.
pub trait Storage: Send + Sync {
    /// All that is in it.
    fn read(&self) -> io::Result<Vec<u8>>;
    /// How long it is, and its checksum.
    fn sum(&self) -> io::Result<Sum> {
        Ok(Sum::of(&self.read()?))
    }
    /// Appends bytes, all of them or an error. What an error left of them is taken back by [`Storage::truncate`], or is a torn tail.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written before the call safe from a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to a length.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Gives back what was only kept ready: nothing more is written.
    fn finish(&self) -> io::Result<()>;
    /// Puts other content in the place of all of it. When this returns the content is safe from a power cut; at any moment before, the
    /// old one or the new one is there, whole.
    fn replace(&self, bytes: &[u8]) -> io::Result<()>;
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

/// A file on a disk.
///
/// Behind its end there is room for more: zeros, which no line of a journal holds, and which whoever reads the file leaves out.
/// They are gone when nothing more is written, unless the process was killed. Where others might write to the file
/// at the same time, because the locks of the file system cannot be trusted, there is no room and all is appended.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    open: RwLock<Open>,
}

/// The file that has the path now.
#[derive(Debug)]
struct Open {
    file: File,
    room: Option<Mutex<Room>>,
}

/// How far a file reaches that this process alone writes to.
#[derive(Debug)]
struct Room {
    /// Where the next byte goes.
    from: u64,
    /// Where the file ends.
    to: u64,
}

/// How much room a file gets at once. A sync of what was written into room writes just that; where it has made the file longer, most
/// file systems must also sync a journal of their own.
const MORE: usize = 64 * 1024;

impl Room {
    /// Writes bytes, and makes room first if there is too little. Where none can be had the file just becomes longer.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let end = self.from + bytes.len() as u64;
        if end > self.to && file.write_all_at(&[0; MORE], self.from).is_ok() {
            self.to = self.from + MORE as u64;
        }
        file.write_all_at(bytes, self.from)?;
        self.from = end;
        self.to = self.to.max(end);
        Ok(())
    }
}

impl Open {
    fn new(path: &Path, trust: Trust) -> io::Result<Self> {
        let alone = trust == Trust::Lock;
        let file = OpenOptions::new().read(true).write(true).append(!alone).create(true).mode(0o600).open(path)?;
        let (from, to) = (end_of_written(&file)?, file.metadata()?.len());
        if !alone && from < to {
            // A killed run left room there when nobody else could write: what is appended belongs before it.
            file.set_len(from)?;
        }
        Ok(Self { file, room: alone.then_some(Mutex::new(Room { from, to })) })
    }

    fn room(&self) -> Option<MutexGuard<'_, Room>> {
        self.room.as_ref().map(|room| room.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self.room() {
            Some(mut room) => room.write(&self.file, bytes),
            None => (&self.file).write_all(bytes),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        if let Some(mut room) = self.room() {
            *room = Room { from: length, to: length };
        }
        Ok(())
    }
}

/// How much of a file's bytes was written: zeros at its end are room.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// What of a file's bytes was written.
pub(super) fn without_room(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(written(&bytes));
    bytes
}

/// How much of a file was written: looks at its end only.
pub(super) fn end_of_written(file: &File) -> io::Result<u64> {
    let mut length = file.metadata()?.len();
    let mut piece = [0; 4096];
    while length > 0 {
        let from = length.saturating_sub(piece.len() as u64);
        let piece = &mut piece[..usize::try_from(length - from).expect("a piece")];
        file.read_exact_at(piece, from)?;
        match written(piece) {
            0 => length = from,
            some => return Ok(from + some as u64),
        }
    }
    Ok(0)
}

impl FileStorage {
    /// Opens the file, or makes it, with its name safe from a power cut.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, path.parent().map_or(Trust::Lock, Trust::of))
    }

    /// The same on a file system whose locks deserve so much trust.
    pub fn open_as(path: &Path, trust: Trust) -> io::Result<Self> {
        let open = Open::new(path, trust)?;
        if open.file.metadata()?.len() == 0 {
            // It may be new, and so may be its folder and the folder of that, whose names are in the one above.
            path.ancestors().skip(1).take(3).try_for_each(sync_dir)?;
        }
        Ok(Self { path: path.to_owned(), open: RwLock::new(open) })
    }

    fn with<T>(&self, work: impl FnOnce(&Open) -> io::Result<T>) -> io::Result<T> {
        work(&self.open.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for FileStorage {
    fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path).map(without_room)
    }

    fn sum(&self) -> io::Result<Sum> {
        let file = File::open(&self.path)?;
        let mut sum = Sum::default();
        each_piece(&file, |piece| sum.add(piece))?;
        Ok(sum)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.with(|open| open.write(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|open| open.file.sync_data())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with(|open| open.truncate(length))
    }

    fn finish(&self) -> io::Result<()> {
        self.with(|open| {
            let room = open.room().filter(|room| room.from < room.to).map(|room| room.from);
            room.map_or(Ok(()), |from| open.truncate(from))
        })
    }

    fn archive(&self, name: &str) -> io::Result<()> {
        let dir = self.path.with_file_name("runs");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?;
        put(&dir.join(name), &self.read()?)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        put(&self.path, bytes)?;
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let trust = if open.room.is_some() { Trust::Lock } else { Trust::Heartbeat(None) };
        *open = Open::new(&self.path, trust)?;
        Ok(())
    }
}

/// What was written to a file, piece by piece.
pub(super) fn each_piece(file: &File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = file.take(end_of_written(file)?);
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(()),
            count => take(&piece[..count]),
        }
    }
}

/// Makes a file what it is to be in one step: it is written beside, synced, renamed, and its folder synced.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    // What a crash left there is nobody's.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Syncs a folder, so that the names in it are there after a power cut. One that may not be read is not of our making.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        dir => dir?.sync_all(),
    }
}
