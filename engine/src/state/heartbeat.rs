//! Signs of life in a lock's file, for file systems where the operating system's lock may not reach the other machines.
//!
//! Where `flock` can be trusted nothing of this runs. Where it cannot, the holder sets the file's time every few seconds, and whoever
//! gets the lock looks at that time as well. Both times are the file server's, so that the machines' clocks need not agree.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

/// How often a holder shows that it lives.
const EVERY: Duration = Duration::from_secs(5);

/// After so much silence it counts as dead.
pub const SILENCE: Duration = Duration::from_secs(45);

/// File systems whose locks the kernel may keep to this machine, by their magic numbers (statfs(2)).
const UNRELIABLE: [(u64, &str); 13] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x794C_7630, "overlay"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x5346_414F, "afs"),
    (0x7375_7245, "coda"),
    (0x786F_4256, "vboxsf"),
];

/// Whether a lock is believed by itself, or with a heartbeat only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The operating system's lock says it all.
    Lock,
    /// Signs of life count as well. A test gives the time that it is now; otherwise the file server is asked.
    Heartbeat(Option<SystemTime>),
}

impl Trust {
    /// What the file system of a folder deserves.
    pub(super) fn of(dir: &Path) -> Self {
        match rustix::fs::statfs(dir) {
            Ok(about) if is_unreliable(about.f_type) => Trust::Heartbeat(None),
            _ => Trust::Lock,
        }
    }

    /// How long ago a lock's file was touched last, if that counts.
    pub(super) fn silence(self, file: &File, dir: &Path) -> io::Result<Option<Duration>> {
        let now = match self {
            Trust::Lock => return Ok(None),
            Trust::Heartbeat(Some(now)) => now,
            Trust::Heartbeat(None) => server_time(dir)?,
        };
        let touched = file.metadata()?.modified()?;
        // A sign of life from the future is one.
        Ok(Some(now.duration_since(touched).unwrap_or_default()))
    }
}

#[expect(clippy::cast_sign_loss, reason = "the type differs between machines, the number does not")]
fn is_unreliable(magic: rustix::fs::FsWord) -> bool {
    // On some machines the word has 32 bits and a sign.
    let magic = magic as u64 & 0xFFFF_FFFF;
    UNRELIABLE.iter().any(|(number, _)| *number == magic)
}

/// The time by the machine that keeps the files: that of a file that was just made.
fn server_time(dir: &Path) -> io::Result<SystemTime> {
    tempfile::tempfile_in(dir)?.metadata()?.modified()
}

fn touch(file: &File) -> io::Result<()> {
    let time = |nanoseconds| Timespec { tv_sec: 0, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// A thread that touches a file until it is dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    pub(super) fn start(file: File) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                // A beat that fails is missed; the next may come through before the silence is too long.
                let _ = touch(&file);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        // It does nothing that could fail, and it ends at once.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_the_file_servers_time_and_ends_the_silence() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = File::create(dir.path().join("lock")).expect("made");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("set");
        let trust = Trust::Heartbeat(None);
        let before = trust.silence(&file, dir.path()).expect("asked").expect("it counts");
        touch(&file).expect("touched");
        let after = trust.silence(&file, dir.path()).expect("asked").expect("it counts");
        assert!(before > SILENCE && after < SILENCE, "{before:?}, then {after:?}");
        assert_eq!(Trust::Lock.silence(&file, dir.path()).expect("nothing to ask"), None);
    }

    #[test]
    fn a_heartbeat_ends_when_it_is_dropped() {
        let file = tempfile::tempfile().expect("a file");
        drop(Heartbeat::start(file).expect("started"));
    }
}
