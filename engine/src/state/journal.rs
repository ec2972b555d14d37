//! The journal: writes first, folds second.
//!
//! Owns the file and the state that follows from it, so that nothing can be folded that is not written. It does not know what the
//! records are about.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runbook_steps::Clock;

use super::dir::{Home, sync_dir};
use super::error::StateError;
use super::fold::RunState;
use super::lines;
use super::lock::Lock;
use super::record::{Entry, Format, Record};

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

/// A torn tail that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The line that was torn, from 1.
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
            "the journal's last line ({line}) was cut off, {bytes} bytes: {why}; an earlier run was killed while it wrote it"
        )
    }
}

/// Where the journal's bytes go: a file, or in tests something that fails.
pub trait Storage: Send + std::marker::Sync {
    /// Appends bytes, all of them or an error.
    fn write(&self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written safe from a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

impl Storage for File {
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
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
    let replayed = lines::replay(&read_bytes(&path)?, &path)?;
    Ok(Reading { state: replayed.state, later: replayed.later })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, StateError> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StateError::io("read", path)(error)),
    }
}

/// The journal of a deployment that this process has locked. Dropping it syncs it and gives the lock back.
pub struct Journal {
    path: PathBuf,
    clock: Clock,
    state: RunState,
    length: u64,
    shared: Arc<Shared>,
    flusher: Option<std::thread::JoinHandle<()>>,
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
        let path = lock.home().journal_path();
        let made = !path.exists();
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(StateError::io("open", &path))?;
        if made {
            sync_dir(lock.home().path())?;
            lock.home().path().parent().map_or(Ok(()), sync_dir)?;
        }
        Self::open_with(lock, clock, Arc::new(file))
    }

    /// The same with another storage; what it holds already is read from the home's file.
    pub fn open_with(lock: Lock, clock: Clock, storage: Arc<dyn Storage>) -> Result<(Self, Option<Cut>), StateError> {
        let path = lock.home().journal_path();
        let bytes = read_bytes(&path)?;
        let replayed = lines::replay(&bytes, &path)?;
        if let Some(found) = replayed.later {
            return Err(StateError::Newer { path, found });
        }
        let cut =
            replayed.torn.map(|why| Cut { line: replayed.lines + 1, bytes: bytes.len() as u64 - replayed.whole, why });
        if cut.is_some() {
            storage.truncate(replayed.whole).map_err(StateError::io("cut the torn end of", &path))?;
            storage.sync().map_err(StateError::io("sync", &path))?;
        }
        let shared = Arc::new(Shared::new(storage));
        let flusher = Some(start_flusher(&shared, &path)?);
        Ok((Self { path, clock, state: replayed.state, length: replayed.whole, shared, flusher, lock }, cut))
    }

    /// What follows from the records.
    pub fn state(&self) -> &RunState {
        &self.state
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

    /// Writes a record and folds it in. When this returns, the record is in the file, and synced if that was asked for.
    ///
    /// An illegal record is refused before anything is written. After a write or a sync failed, every later call fails.
    pub fn append(&mut self, record: Record, sync: Sync) -> Result<Entry, StateError> {
        let entry = Entry { seq: self.state.seq() + 1, time: self.clock.now(), record };
        self.state.legal(&entry)?;
        self.shared.believed(&self.path)?;
        let line = lines::encode(&entry)
            .map_err(io::Error::from)
            .map_err(StateError::io("encode a record for", &self.path))?;
        if let Err(error) = self.shared.storage.write(&line) {
            // Part of the line may be in the file. Whether or not it can be taken back, the next run cuts it off.
            let _ = self.shared.storage.truncate(self.length);
            self.shared.poison(&format!("a write failed: {error}"));
            return Err(StateError::io("write", &self.path)(error));
        }
        self.length += line.len() as u64;
        self.shared.wrote();
        if sync == Sync::Now {
            self.flush()?;
        }
        self.state.apply(&entry)?;
        Ok(entry)
    }

    /// Syncs what is not synced yet.
    pub fn flush(&self) -> Result<(), StateError> {
        self.shared.believed(&self.path)?;
        self.shared.sync().map_err(StateError::io("sync", &self.path))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // A failure cannot be reported from here; whoever must know calls `flush` first, as the driver does.
        let _ = self.flush();
        self.shared.stop();
        if let Some(flusher) = self.flusher.take() {
            let _ = flusher.join();
        }
    }
}

/// What the journal and its flusher share.
struct Shared {
    storage: Arc<dyn Storage>,
    progress: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    written: u64,
    synced: u64,
    stopped: bool,
    poisoned: Option<String>,
}

impl Shared {
    fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, progress: Mutex::default(), changed: Condvar::new() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn believed(&self, path: &Path) -> Result<(), StateError> {
        match &self.progress().poisoned {
            None => Ok(()),
            Some(why) => Err(StateError::Poisoned { path: path.to_owned(), why: why.clone() }),
        }
    }

    fn poison(&self, why: &str) {
        self.progress().poisoned.get_or_insert_with(|| why.to_owned());
    }

    fn wrote(&self) {
        let mut progress = self.progress();
        progress.written += 1;
        // Only the first record of a group has to wake the flusher: it is asleep without end.
        if progress.written == progress.synced + 1 {
            self.changed.notify_all();
        }
    }

    fn stop(&self) {
        self.progress().stopped = true;
        self.changed.notify_all();
    }

    /// Syncs all that was written before the call, without keeping others from writing meanwhile.
    fn sync(&self) -> io::Result<()> {
        let written = {
            let progress = self.progress();
            if progress.synced == progress.written {
                return Ok(());
            }
            progress.written
        };
        let result = self.storage.sync();
        let mut progress = self.progress();
        match &result {
            Ok(()) => progress.synced = progress.synced.max(written),
            Err(error) => {
                progress.poisoned.get_or_insert_with(|| format!("a sync failed: {error}"));
            }
        }
        result
    }

    /// Waits for something to sync, then for the rest of its group. False when there is nothing more to do.
    fn wait_for_group(&self) -> bool {
        let idle = |progress: &mut Progress| !progress.stopped && progress.written == progress.synced;
        let progress = self.changed.wait_while(self.progress(), idle).unwrap_or_else(PoisonError::into_inner);
        let (progress, _) = self
            .changed
            .wait_timeout_while(progress, GROUP, |progress| !progress.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        !progress.stopped && progress.poisoned.is_none()
    }
}

fn start_flusher(shared: &Arc<Shared>, path: &Path) -> Result<std::thread::JoinHandle<()>, StateError> {
    let shared = Arc::clone(shared);
    let work = move || {
        while shared.wait_for_group() {
            // A failure poisons the journal, and the next append reports it.
            let _ = shared.sync();
        }
    };
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(work)
        .map_err(StateError::io("start the flusher of", path))
}
