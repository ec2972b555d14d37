//! The file layer under the journal: bytes in a file, and what makes them safe from a power cut. Knows nothing of records.
//!
//! It is a seam: tests put storages here that fail, forget or lose their power.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Where a journal's bytes are: one file that grows at its end, and that can be replaced as a whole.
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
    /// Puts other content in the place of all of it. When this returns the content is safe from a power cut; at any moment before, the
    /// old one or the new one is there, whole.
    fn replace(&self, bytes: &[u8]) -> io::Result<()>;
    /// Puts a copy of all of it beside, under a name, safe from a power cut; one that is there already is replaced. A storage that
    /// cannot do that is never compacted.
    fn archive(&self, name: &str) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("nowhere to put `{name}`")))
    }
}

/// Room for all of a large file costs more time than reading it does: where a piece is enough, it is of this size.
pub(super) const PIECE: usize = 64 * 1024;

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
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    file: RwLock<File>,
}

impl FileStorage {
    /// Opens the file, or makes it, with its name safe from a power cut.
    pub fn open(path: &Path) -> io::Result<Self> {
        let made = !path.exists();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if made {
            // The folder may be new as well, and then its name is in its own folder.
            path.ancestors().skip(1).take(2).try_for_each(sync_dir)?;
        }
        Ok(Self { path: path.to_owned(), file: RwLock::new(file) })
    }

    fn with_file<T>(&self, work: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        work(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for FileStorage {
    fn read(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    fn sum(&self) -> io::Result<Sum> {
        let mut sum = Sum::default();
        let mut file = File::open(&self.path)?;
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(sum),
                count => sum.add(&piece[..count]),
            }
        }
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.with_file(|mut file| file.write_all(bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.with_file(File::sync_data)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with_file(|file| file.set_len(length))
    }

    fn archive(&self, name: &str) -> io::Result<()> {
        let dir = self.path.with_file_name("runs");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        dir.parent().map_or(Ok(()), sync_dir)?;
        put(&dir.join(name), &self.read()?)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        put(&self.path, bytes)?;
        *self.file.write().unwrap_or_else(PoisonError::into_inner) =
            OpenOptions::new().append(true).open(&self.path)?;
        Ok(())
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

/// Syncs a folder, so that the names in it are there after a power cut.
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}
