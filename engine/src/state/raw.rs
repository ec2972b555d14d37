//! The file itself: bytes at places, and what the operating system does with them. Knows neither room nor lines.
//!
//! It is a seam: tests put disks here that fail, forget or lose their power, and everything above is what a run uses.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::heartbeat::Trust;

/// A file whose bytes are read and written at their places. What an error left of a write may be any part of it.
pub trait RawFile: Send + Sync + Sized {
    /// Where it ends.
    fn length(&self) -> io::Result<u64>;
    /// Fills a piece with what is there from a place on, and says how much that was: less than all only where the file ends.
    fn read_at(&self, piece: &mut [u8], from: u64) -> io::Result<usize>;
    /// Writes all of some bytes from a place on. Where the file ended before it becomes longer.
    fn write_at(&self, bytes: &[u8], from: u64) -> io::Result<()>;
    /// Writes all of some bytes behind what anybody has written.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it to a length.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Makes what was written before the call safe from a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Whether others may write to it at the same time, so that all must be appended.
    fn is_shared(&self) -> bool;
    /// Puts another file in its place: see [`Storage::replace`](super::storage::Storage::replace).
    fn replace(&self, _bytes: &[u8], _may: &dyn Fn() -> bool) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Puts a file beside: see [`Storage::archive`](super::storage::Storage::archive).
    fn archive(&self, name: &str, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("nowhere to put `{name}`")))
    }
}

/// A file on a disk.
#[derive(Debug)]
pub struct DiskFile {
    path: PathBuf,
    file: File,
    shared: bool,
}

impl DiskFile {
    /// Opens the file, or makes it, with its name safe from a power cut.
    pub fn open(path: &Path, trust: Trust) -> io::Result<Self> {
        Self::open_as(path, trust != Trust::Lock)
    }

    fn open_as(path: &Path, shared: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).append(shared).create(true).mode(0o600).open(path)?;
        if file.metadata()?.len() == 0 {
            // It may be new, and so may be its folder and the folder of that, whose names are in the one above.
            path.ancestors().skip(1).take(3).try_for_each(sync_dir)?;
        }
        Ok(Self { path: path.to_owned(), file, shared })
    }

    /// Whether it still has its name. What is safe in a file that nobody finds any more is lost all the same.
    fn is_in_place(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let here = self.file.metadata().map(identity).ok();
        here.is_some() && here == fs::metadata(&self.path).map(identity).ok()
    }

    /// Opens a file that is there, for reading only.
    pub(super) fn to_read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // A folder may be opened too, and may say that it has no length.
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self { path: path.to_owned(), file, shared: true })
    }
}

impl RawFile for DiskFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, piece: &mut [u8], from: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < piece.len() {
            match self.file.read_at(&mut piece[filled..], from + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], from: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, from)
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.file).write_all(bytes)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.is_in_place().then_some(()).ok_or_else(|| io::Error::other("it was moved, removed or replaced meanwhile"))
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn replace(&self, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<Self> {
        put(&self.path, bytes, may)?;
        Self::open_as(&self.path, self.shared)
    }

    fn archive(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let dir = self.path.with_file_name("runs");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?;
        put(&dir.join(name), bytes, &|| true)
    }
}

/// Makes a file what it is to be in one step: it is written beside, synced, renamed if it still may, and its folder synced.
fn put(path: &Path, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<()> {
    let beside = path.with_extension("new");
    // What a crash left there is nobody's.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if !may() {
        return Err(io::Error::other("it may not be replaced any more"));
    }
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
