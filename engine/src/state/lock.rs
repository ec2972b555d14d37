//! One run for each deployment: the lock, and who holds it.
//!
//! The operating system holds the lock (`flock`), so that of a dead holder is free at once; the file's content only says who it
//! was. On a network file system such a lock may not reach the other machines: there the holder shows signs of life as well
//! ([`super::heartbeat`]), and who sees one refuses although the lock is free. It knows nothing of journals.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use runbook_steps::tools::start_of;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::dir::Home;
use super::error::{Held, StateError};
use super::heartbeat::{Heartbeat, SILENCE, Trust};

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
    /// When the process was started, in clock ticks since boot: tells it from a later one with the same id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
}

/// What a note says about its holder, to somebody who got the lock all the same or wants to break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It is gone.
    Dead,
    /// It runs on this machine.
    Here,
    /// It is on another machine, from where this long ago there was a sign of life.
    Elsewhere(Duration),
}

impl Note {
    /// Whether the holder lives, as far as that can be told on the machine `host` and by how long its lock was not touched.
    fn life(&self, host: &str, silence: Option<Duration>) -> Life {
        if self.holder.host == host {
            let alive = start_of(self.holder.pid).is_some_and(|start| self.started.is_none_or(|noted| noted == start));
            return if alive { Life::Here } else { Life::Dead };
        }
        match silence {
            Some(silence) if silence < SILENCE => Life::Elsewhere(silence),
            _ => Life::Dead,
        }
    }
}

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub struct Lock {
    home: Home,
    file: File,
    id: LockId,
    previous: Option<Holder>,
    heartbeat: Option<Heartbeat>,
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

    /// Whether nobody has taken it away with `unlock`.
    pub(super) fn is_ours(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() > 0)
    }

    /// Whether it shows signs of life, because the file system's locks cannot be trusted.
    pub fn beats(&self) -> bool {
        self.heartbeat.is_some()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.heartbeat.take());
        // Best effort: closing the file gives the lock back, and stale content is only ever taken over.
        let _ = self.file.set_len(0);
    }
}

/// Takes the lock of a home that exists.
pub(super) fn take(home: &Home, holder: Holder, trust: Trust) -> Result<Lock, StateError> {
    let path = home.lock_path();
    let mut file = open_locked(home, &path, &holder.host)?;
    let found = read_note(&mut file);
    if let (Some(note), Trust::Heartbeat(_)) = (&found, trust) {
        let silence = trust.silence(&file, home.path()).map_err(StateError::io("look at", &path))?;
        refuse_if_alive(home, note, note.life(&holder.host, silence))?;
    }
    let previous = found.map(|note| note.holder);
    let note = Note { id: new_id(&holder), started: start_of(holder.pid), holder };
    write_note(&mut file, &note).map_err(StateError::io("write", &path))?;
    let heartbeat = match trust {
        Trust::Lock => None,
        Trust::Heartbeat(_) => {
            refuse_if_outrun(home, &note)?;
            let beating = file.try_clone().and_then(Heartbeat::start);
            Some(beating.map_err(StateError::io("show signs of life in", &path))?)
        }
    };
    Ok(Lock { home: home.clone(), file, id: note.id, previous, heartbeat })
}

fn refuse_if_alive(home: &Home, note: &Note, life: Life) -> Result<(), StateError> {
    let silence = match life {
        Life::Dead => return Ok(()),
        Life::Here => None,
        Life::Elsewhere(silence) => Some(silence),
    };
    Err(StateError::Held(Box::new(describe(home, Some(note.clone()), silence))))
}

/// Where two got the lock at once, the one whose note stands has it. That makes the gap small, and does not close it.
fn refuse_if_outrun(home: &Home, ours: &Note) -> Result<(), StateError> {
    match current_note(home) {
        Some(found) if found.id != ours.id => {
            Err(StateError::Held(Box::new(describe(home, Some(found), Some(Duration::ZERO)))))
        }
        _ => Ok(()),
    }
}

/// How long a lock may outlive its holder, in pauses, the last one first: a program that was just being started when the holder was
/// killed, or gave it back, has copies of all its files until it is loaded.
const AFTERLIFE: [Duration; 5] = [
    Duration::from_millis(1000),
    Duration::from_millis(500),
    Duration::from_millis(100),
    Duration::from_millis(20),
    Duration::from_millis(2),
];

/// Whether a lock is held though whoever took it has given it back, which leaves no note, or is a process of this machine that is gone.
fn is_of_the_dead(home: &Home, host: &str) -> bool {
    current_note(home).is_none_or(|note| note.holder.host == host && note.life(host, None) == Life::Dead)
}

#[expect(
    clippy::disallowed_methods,
    reason = "before a run begins there is nothing else to do, and no clock of its own"
)]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Opens and locks the file that has the path now: `unlock` may put another file there between the two.
fn open_locked(home: &Home, path: &Path, host: &str) -> Result<File, StateError> {
    let mut patience = AFTERLIFE.len();
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
            Err(TryLockError::WouldBlock) if patience > 0 && is_of_the_dead(home, host) => {
                patience -= 1;
                pause(AFTERLIFE[patience]);
                continue;
            }
            Err(TryLockError::WouldBlock) => return Err(held(home)),
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

/// Who holds the lock now, if anybody does, as it looks from the machine `host`.
pub(super) fn holder(home: &Home, host: &str, trust: Trust) -> Result<Option<Note>, StateError> {
    let path = home.lock_path();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::io("open", &path)(error)),
    };
    let note = read_note(&mut file);
    match file.try_lock_shared() {
        Ok(()) if trust == Trust::Lock => Ok(None),
        Ok(()) => {
            let silence = trust.silence(&file, home.path()).map_err(StateError::io("look at", &path))?;
            Ok(note.filter(|note| note.life(host, silence) != Life::Dead))
        }
        Err(TryLockError::WouldBlock) => Ok(note),
        Err(TryLockError::Error(error)) => Err(StateError::io("lock", &path)(error)),
    }
}

/// Takes the lock away from its holder, by removing its file. One that is known to live keeps it, unless `force`: where the
/// operating system's lock can be trusted and is not free, somebody lives, whatever the note says (a machine may get another name).
pub(super) fn break_it(home: &Home, id: &LockId, host: &str, trust: Trust, force: bool) -> Result<(), StateError> {
    let path = home.lock_path();
    let mut file = File::open(&path).map_err(StateError::io("open", &path))?;
    let note = named(&mut file, id)?;
    // One that is free is held from here on, so that nobody takes it before its file is gone.
    let is_held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    if !force {
        if trust == Trust::Lock && is_held {
            return Err(held(home));
        }
        let silence = trust.silence(&file, home.path()).map_err(StateError::io("look at", &path))?;
        refuse_if_alive(home, &note, note.life(host, silence))?;
    }
    remove(&mut file, &path, id)
}

/// The note of a lock, if it has this id.
fn named(file: &mut File, id: &LockId) -> Result<Note, StateError> {
    match read_note(file) {
        Some(note) if note.id == *id => Ok(note),
        found => {
            let found = found.map_or_else(|| LockId(String::new()), |note| note.id);
            Err(StateError::OtherLock { found, given: id.clone() })
        }
    }
}

/// Removes a lock's file, as long as it is there and says the same: whoever had the lock may have given it back, and another has it by now.
fn remove(file: &mut File, path: &Path, id: &LockId) -> Result<(), StateError> {
    if !is_at(file, path) {
        *file = File::open(path).map_err(StateError::io("open", path))?;
    }
    named(file, id)?;
    std::fs::remove_file(path).map_err(StateError::io("remove", path))
}

fn current_note(home: &Home) -> Option<Note> {
    File::open(home.lock_path()).ok().and_then(|mut file| read_note(&mut file))
}

fn held(home: &Home) -> StateError {
    StateError::Held(Box::new(describe(home, current_note(home), None)))
}

fn describe(home: &Home, note: Option<Note>, silence: Option<Duration>) -> Held {
    let state = super::journal::read(home).map(|reading| reading.state).unwrap_or_default();
    Held {
        deployment: home.deployment().to_owned(),
        id: note.as_ref().map(|note| note.id.clone()),
        holder: note.map(|note| note.holder),
        doing: state.running(),
        simulated: state.simulated().is_some(),
        silence,
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

/// By it the processes of a run are recognised, and ended. No two have it in common: a process takes a lock at most once in a nanosecond.
fn new_id(holder: &Holder) -> LockId {
    let taken = format!("{} {} {}", holder.host, holder.pid, holder.since.as_nanosecond());
    let digest = Sha256::digest(taken);
    LockId(digest[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(host: &str, pid: u32, started: Option<u64>) -> Note {
        let (who, command) = (format!("me@{host}"), "apply".to_owned());
        let holder = Holder { who, host: host.to_owned(), pid, command, since: Timestamp::UNIX_EPOCH };
        Note { id: LockId("1".to_owned()), holder, started }
    }

    #[test]
    fn a_holder_on_this_machine_lives_as_long_as_its_process_does() {
        let pid = std::process::id();
        let start = start_of(pid);
        let fresh = Some(Duration::ZERO);
        assert_eq!(note("here", pid, start).life("here", None), Life::Here);
        assert_eq!(note("here", pid, start.map(|start| start + 1)).life("here", fresh), Life::Dead, "another process");
        assert_eq!(note("here", u32::MAX, start).life("here", fresh), Life::Dead, "no process");
    }

    #[test]
    fn a_lock_that_is_held_is_not_broken_even_if_its_machine_has_another_name_by_now() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::new(dir.path(), "d").expect("a name");
        std::fs::create_dir_all(home.path()).expect("made");
        let holder = note("before", std::process::id(), None).holder;
        let held = take(&home, holder, Trust::Lock).expect("free");
        let broken = |force| break_it(&home, held.id(), "renamed", Trust::Lock, force);
        assert!(matches!(broken(false), Err(StateError::Held(_))));
        assert!(held.is_ours());
        broken(true).expect("forced");
        assert!(!held.is_ours());
    }

    /// Between the look at a lock and its removal: it is given back and taken anew, in the same file; and another file is put in its place.
    #[test]
    fn a_lock_that_was_taken_since_it_was_named_is_not_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::new(dir.path(), "d").expect("a name");
        std::fs::create_dir_all(home.path()).expect("made");
        let path = home.lock_path();
        let taken = |host: &str| take(&home, note(host, std::process::id(), None).holder, Trust::Lock).expect("free");
        let first = taken("one");
        let (mut file, id) = (File::open(&path).expect("there"), first.id().clone());
        drop(first);
        let second = taken("two");
        let removed = remove(&mut file, &path, &id);
        assert!(matches!(&removed, Err(StateError::OtherLock { found, .. }) if found == second.id()), "{removed:?}");
        assert!(second.is_ours());
        std::fs::remove_file(&path).expect("there");
        let third = taken("three");
        let removed = remove(&mut file, &path, second.id());
        assert!(matches!(&removed, Err(StateError::OtherLock { found, .. }) if found == third.id()), "{removed:?}");
        assert!(third.is_ours());
    }

    #[test]
    fn a_holder_elsewhere_lives_as_long_as_it_is_heard() {
        let far = note("there", std::process::id(), start_of(std::process::id()));
        let heard = Duration::from_secs(44);
        assert_eq!(far.life("here", Some(heard)), Life::Elsewhere(heard));
        assert_eq!(far.life("here", Some(SILENCE)), Life::Dead);
        assert_eq!(far.life("here", None), Life::Dead, "the operating system's lock was free");
    }
}
