//! One run for each deployment: the lock, and who holds it.
//!
//! The operating system holds the lock (`flock`), so that of a dead holder is free at once; the file's content only says who it
//! was. It knows nothing of journals.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::dir::Home;
use super::error::{Held, StateError};

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `user@host`.
    pub who: String,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// The command, such as `apply`.
    pub command: String,
    /// Since when.
    pub since: Timestamp,
}

/// Names one taking of a lock, so that `unlock` cannot hit a later one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LockId(pub String);

impl std::fmt::Display for LockId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the lock's file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// This taking of the lock.
    pub id: LockId,
    /// By whom.
    #[serde(flatten)]
    pub holder: Holder,
}

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub struct Lock {
    home: Home,
    file: File,
    id: LockId,
    previous: Option<Holder>,
}

impl Lock {
    /// The deployment that it is for.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Its id.
    pub fn id(&self) -> &LockId {
        &self.id
    }

    /// Who held it before and died without giving it back.
    pub fn previous(&self) -> Option<&Holder> {
        self.previous.as_ref()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: closing the file gives the lock back, and stale content is only ever taken over.
        let _ = self.file.set_len(0);
    }
}

/// Takes the lock of a home that exists.
pub(super) fn take(home: &Home, holder: Holder) -> Result<Lock, StateError> {
    let path = home.lock_path();
    let mut file = open_locked(home, &path)?;
    let previous = read_note(&mut file).map(|note| note.holder);
    let note = Note { id: new_id(&holder), holder };
    write_note(&mut file, &note).map_err(StateError::io("write", &path))?;
    Ok(Lock { home: home.clone(), file, id: note.id, previous })
}

/// Opens and locks the file that has the path now: `unlock` may put another file there between the two.
fn open_locked(home: &Home, path: &Path) -> Result<File, StateError> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(StateError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Held(Box::new(describe(home)))),
            Err(TryLockError::Error(error)) => return Err(StateError::io("lock", path)(error)),
        }
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(theirs)) => ours.ino() == theirs.ino() && ours.dev() == theirs.dev(),
        _ => false,
    }
}

/// Who holds the lock now, if anybody does.
pub(super) fn holder(home: &Home) -> Result<Option<Note>, StateError> {
    let path = home.lock_path();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(read_note(&mut file)),
        Err(TryLockError::Error(error)) => Err(StateError::io("lock", &path)(error)),
    }
}

/// Takes the lock away from its holder, dead or not, by putting its file aside.
pub(super) fn break_it(home: &Home, id: &LockId) -> Result<(), StateError> {
    let path = home.lock_path();
    let mut file = File::open(&path).map_err(StateError::io("open", &path))?;
    let found = read_note(&mut file).map_or_else(|| LockId(String::new()), |note| note.id);
    if found != *id {
        return Err(StateError::OtherLock { found, given: id.clone() });
    }
    std::fs::remove_file(&path).map_err(StateError::io("remove", &path))
}

fn describe(home: &Home) -> Held {
    let note = File::open(home.lock_path()).ok().and_then(|mut file| read_note(&mut file));
    let doing = super::journal::read(home).map_or_else(|_| Vec::new(), |reading| reading.state.running());
    Held {
        deployment: home.deployment().to_owned(),
        id: note.as_ref().map(|note| note.id.clone()),
        holder: note.map(|note| note.holder),
        doing,
    }
}

fn read_note(file: &mut File) -> Option<Note> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_note(file: &mut File, note: &Note) -> io::Result<()> {
    let mut text = serde_json::to_vec(note)?;
    text.push(b'\n');
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&text)
}

/// Unique enough: a process takes a lock at most once in a nanosecond.
fn new_id(holder: &Holder) -> LockId {
    let seed = format!("{} {} {}", holder.host, holder.pid, holder.since.as_nanosecond());
    LockId(format!("{:08x}", crc32fast::hash(seed.as_bytes())))
}
