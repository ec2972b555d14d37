//! The journal: writes first, folds second.
//!
//! Owns the file and the state that follows from it, so that nothing can be folded that is not written. It does not know what the
//! records are about.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runbook_steps::Clock;

use super::compact::{self, Compacted};
use super::dir::Home;
use super::early::Early;
use super::error::StateError;
use super::fold::RunState;
use super::lines::{self, Replayed};
use super::lock::Lock;
use super::raw::DiskFile;
use super::record::{Entry, Format, Record};
use super::storage::{self, FileStorage, Storage};

/// How far behind a grouped sync may be.
pub const GROUP: Duration = Duration::from_millis(50);

/// When a record is to be safe from a power cut. From a crash of the program it is safe in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before [`Journal::append`] returns.
    Now,
    /// With the next group.
    Soon,
}

/// An end that was not whole and was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first line that went, from 1.
    pub line: u64,
    /// How many bytes went.
    pub bytes: u64,
    /// What was wrong with it.
    pub why: String,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cut { line, bytes, why } = self;
        write!(
            f,
            "the journal was cut off at line {line}, {bytes} bytes: {why}; an earlier run was killed, or the power went, while it \
             was written, and all before it stands"
        )
    }
}

/// A journal that was read without being taken.
#[derive(Debug)]
pub struct Reading {
    /// What follows from it.
    pub state: RunState,
    /// A newer minor format that it is written in: shown, but some records may not be understood.
    pub later: Option<Format>,
}

/// Reads a deployment's journal, which another process may be writing. One that does not exist is empty.
pub fn read(home: &Home) -> Result<Reading, StateError> {
    let path = home.journal_path();
    let mut replayed = lines::replay(&read_bytes(&path)?, &path)?;
    replayed.state.relocate(&now_at(home));
    Ok(Reading { state: replayed.state, later: replayed.later })
}

/// Where a deployment's folder is now, as a run writes it down. A journal may have been moved with its folder.
fn now_at(home: &Home) -> String {
    std::path::absolute(home.path()).map(|path| path.display().to_string()).unwrap_or_default()
}

/// What a deployment's journal holds, as text for a person; nothing if it cannot be read.
pub fn text(home: &Home) -> String {
    read_bytes(&home.journal_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, StateError> {
    read_settled(path).map_err(StateError::io("read", path))
}

/// Where somebody writes meanwhile, a page may be read just before it was written and the next one just after. What is the same the next
/// time is no such thing.
fn read_settled(path: &Path) -> io::Result<Vec<u8>> {
    let hole = |bytes: &[u8]| bytes.iter().position(|byte| *byte == 0);
    let mut bytes = read_written(path)?;
    while let Some(seen) = hole(&bytes) {
        bytes = read_written(path)?;
        if hole(&bytes) == Some(seen) {
            break;
        }
    }
    Ok(bytes)
}

fn read_written(path: &Path) -> io::Result<Vec<u8>> {
    match DiskFile::to_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        file => storage::read(&file?),
    }
}

/// The journal of a deployment that this process has locked. Dropping it syncs it and gives the lock back.
pub struct Journal {
    path: PathBuf,
    clock: Clock,
    state: RunState,
    length: u64,
    lines: u64,
    tail: Arc<Tail>,
    lock: Lock,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("path", &self.path).field("seq", &self.state.seq()).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens or makes the journal of a locked deployment. Returns the torn tail that it had to cut off, to be said once.
    /// Records get their time from the clock.
    pub fn open(lock: Lock, clock: Clock) -> Result<(Self, Option<Cut>), StateError> {
        Self::open_early(lock, clock, None)
    }

    /// The same, with what was read of it early.
    pub fn open_early(lock: Lock, clock: Clock, early: Option<Early>) -> Result<(Self, Option<Cut>), StateError> {
        let path = lock.home().journal_path();
        let storage = FileStorage::open(&path).map_err(StateError::io("open", &path))?;
        Self::open_storage(lock, clock, Arc::new(storage), early)
    }

    /// The same with another storage.
    pub fn open_with(lock: Lock, clock: Clock, storage: Arc<dyn Storage>) -> Result<(Self, Option<Cut>), StateError> {
        Self::open_storage(lock, clock, storage, None)
    }

    fn open_storage(
        lock: Lock,
        clock: Clock,
        storage: Arc<dyn Storage>,
        early: Option<Early>,
    ) -> Result<(Self, Option<Cut>), StateError> {
        let path = lock.home().journal_path();
        let (read, mut replayed) = contents(&*storage, &path, early)?;
        replayed.state.relocate(&now_at(lock.home()));
        if let Some(found) = replayed.later {
            return Err(StateError::Newer { path, found });
        }
        let cut = replayed.torn.map(|why| Cut { line: replayed.lines + 1, bytes: read - replayed.whole, why });
        if cut.is_some() {
            storage.truncate(replayed.whole).map_err(StateError::io("cut the torn end of", &path))?;
            storage.sync().map_err(StateError::io("sync", &path))?;
        }
        let tail =
            Arc::new(Tail { path: path.clone(), storage, progress: Mutex::default(), syncing: Mutex::default() });
        let Replayed { state, whole: length, lines, .. } = replayed;
        Ok((Self { path, clock, state, length, lines, tail, lock }, cut))
    }

    /// What follows from the records.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// The same, for whoever wants nothing more of the journal: it is synced, and its lock given back.
    pub fn into_state(mut self) -> RunState {
        std::mem::take(&mut self.state)
    }

    /// The deployment's folder.
    pub fn home(&self) -> &Home {
        self.lock.home()
    }

    /// The lock that comes with it.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }

    /// Refuses to continue a rehearsal for real, or a real deployment in a rehearsal. A deployment without a run fits anything.
    pub fn ensure_simulated(&self, wanted: Option<&str>) -> Result<(), StateError> {
        let fits = self.state.current().is_none() || self.state.simulated().is_some() == wanted.is_some();
        if fits {
            return Ok(());
        }
        let state = self.state.simulated().map(str::to_owned);
        Err(StateError::Simulated { path: self.home().path().to_owned(), state, wanted: wanted.map(str::to_owned) })
    }

    /// Writes a record and folds it in. When this returns, the record is in the file, and synced if that was asked for. Where a run
    /// opens, a journal that has become too long is compacted first.
    ///
    /// An illegal record is refused before anything is written. After a write or a sync failed, every later call fails.
    pub fn append(&mut self, record: Record, sync: Sync) -> Result<Entry, StateError> {
        // Before the first byte of anything: what somebody else has written by now must not be replaced by what this run has read.
        self.tail.believed()?;
        self.ours()?;
        if matches!(record, Record::Opened(_)) {
            self.compact()?;
            self.ours()?;
        }
        let entry = Entry { seq: self.state.seq() + 1, time: self.clock.now(), record };
        self.state.legal(&entry)?;
        let line = lines::encode(&entry)
            .map_err(io::Error::from)
            .map_err(StateError::io("encode a record for", &self.path))?;
        self.write(&line)?;
        if sync == Sync::Now {
            self.flush()?;
        }
        self.state.apply(&entry)?;
        Ok(entry)
    }

    /// Two that write to one journal leave neither's.
    fn ours(&self) -> Result<(), StateError> {
        if self.lock.is_ours() {
            return Ok(());
        }
        self.tail.poison("its lock was taken away");
        Err(StateError::Unlocked { path: self.home().path().to_owned() })
    }

    fn write(&mut self, line: &[u8]) -> Result<(), StateError> {
        if let Err(error) = self.tail.storage.write(line) {
            // Part of the line may be in the file. What cannot be taken back the next run cuts off. What is taken back but not safe could
            // return after a power cut, in the middle of what the next run wrote in its place.
            let _ = self.tail.storage.truncate(self.length).and_then(|()| self.tail.storage.sync());
            self.tail.poison(&format!("a write failed: {error}"));
            return Err(StateError::io("write", &self.path)(error));
        }
        self.length += line.len() as u64;
        self.lines += 1;
        self.tail.progress().written += 1;
        Ok(())
    }

    /// Puts a snapshot in the place of a long journal, which goes to the archive.
    fn compact(&mut self) -> Result<(), StateError> {
        let now = self.state.current().map_or_else(|| self.clock.now(), |run| run.last);
        let Some(compacted) = compact::compacted(&self.state, self.lines, self.length, now) else { return Ok(()) };
        self.flush()?;
        let last = self.state.seq();
        let archived = self.tail.storage.archive(&compact::archive_name(last + 1 - self.lines, last));
        // Where there is no room for a copy, the journal goes on as it is.
        if archived.is_ok() { self.put(compacted) } else { Ok(()) }
    }

    fn put(&mut self, Compacted { line, state }: Compacted) -> Result<(), StateError> {
        if let Err(error) = self.tail.storage.replace(&line, &|| self.lock.is_ours()) {
            self.ours()?;
            // Which of the two is there now the next run will see; this handle may be that of neither.
            self.tail.poison(&format!("its replacement by a snapshot failed: {error}"));
            return Err(StateError::io("put a snapshot in the place of", &self.path)(error));
        }
        (self.state, self.length, self.lines) = (state, line.len() as u64, 1);
        Ok(())
    }

    /// Syncs what is not synced yet.
    pub fn flush(&self) -> Result<(), StateError> {
        self.tail.sync()
    }

    /// What is written and perhaps not synced, for whoever syncs it while others write on.
    pub fn tail(&self) -> Arc<Tail> {
        Arc::clone(&self.tail)
    }
}

/// How many bytes a storage holds, and what follows from them.
fn contents(storage: &dyn Storage, path: &Path, early: Option<Early>) -> Result<(u64, Replayed), StateError> {
    let known = early.map(|early| early.believed(storage, path)).transpose()?.flatten();
    known.map_or_else(
        || {
            let bytes = storage.read().map_err(StateError::io("read", path))?;
            Ok((bytes.len() as u64, lines::replay(&bytes, path)?))
        },
        Ok,
    )
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A failure cannot be reported from here; whoever must know calls `flush` first, as the driver does.
        if self.flush().is_ok() && self.lock.is_ours() {
            let _ = self.tail.storage.finish();
        }
    }
}

/// The end of a journal: how far it is written, and how far it is safe.
pub struct Tail {
    path: PathBuf,
    storage: Arc<dyn Storage>,
    progress: Mutex<Progress>,
    /// Held by whoever syncs: the kernel tells a failure to one caller only, so no second may be under way.
    syncing: Mutex<()>,
}

#[derive(Default)]
struct Progress {
    written: u64,
    synced: u64,
    poisoned: Option<String>,
}

impl Tail {
    /// Whether something is written and not synced, on a handle that is still believed.
    pub fn is_behind(&self) -> bool {
        let progress = self.progress();
        progress.written > progress.synced && progress.poisoned.is_none()
    }

    /// Syncs all that was written before the call, without keeping others from writing meanwhile.
    pub fn sync(&self) -> Result<(), StateError> {
        let wanted = self.progress().written;
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.believed()?;
        let written = {
            let progress = self.progress();
            // Whoever synced while we waited has taken ours along.
            if progress.synced >= wanted {
                return Ok(());
            }
            progress.written
        };
        let result = self.storage.sync();
        match &result {
            Ok(()) => {
                let mut progress = self.progress();
                progress.synced = progress.synced.max(written);
            }
            Err(error) => self.poison(&format!("a sync failed: {error}")),
        }
        result.map_err(StateError::io("sync", &self.path))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn believed(&self) -> Result<(), StateError> {
        match &self.progress().poisoned {
            None => Ok(()),
            Some(why) => Err(StateError::Poisoned { path: self.path.clone(), why: why.clone() }),
        }
    }

    fn poison(&self, why: &str) {
        self.progress().poisoned.get_or_insert_with(|| why.to_owned());
    }
}
