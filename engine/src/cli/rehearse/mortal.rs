//! A journal's file that ends its own process at a chosen record: what a crash at that very instant would leave.
//!
//! Only a rehearsal can have it. Everything but the count and the end is the real file's doing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use runbook_steps::Clock;
use rustix::process::{Signal, getpid, kill_process};

use crate::cli::deployment::Opened;
use crate::state::lock::Lock;
use crate::state::storage::{FileStorage, Storage};
use crate::state::{Journal, StateError};

/// When the process ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Death {
    /// The number of the last record that comes into the file whole.
    pub(super) after_record: u64,
    /// Whether half of the next one does too.
    pub(super) torn: bool,
}

/// Opens a journal in which this process dies.
pub(super) fn open(death: Death, lock: Lock, clock: Clock) -> Opened {
    let path = lock.home().journal_path();
    let unopened = |source| StateError::Io { doing: "open", path: path.clone(), source };
    let file = FileStorage::open(&path).map_err(unopened)?;
    let written = file.read().map_err(unopened)?.iter().filter(|byte| **byte == b'\n').count() as u64;
    Journal::open_with(lock, clock, Arc::new(Mortal { file, death, written: written.into() }))
}

/// The file, and how many records are in it.
struct Mortal {
    file: FileStorage,
    death: Death,
    written: AtomicU64,
}

impl Mortal {
    fn is_due(&self) -> bool {
        self.written.load(Ordering::SeqCst) >= self.death.after_record
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        if self.is_due() {
            let half = &line[..line.len() / 2];
            self.file.write(if self.death.torn { half } else { &[] })?;
            die();
        }
        self.file.write(line)?;
        self.written.fetch_add(1, Ordering::SeqCst);
        if self.is_due() && !self.death.torn {
            die();
        }
        Ok(())
    }
}

impl Storage for Mortal {
    fn read(&self) -> io::Result<Vec<u8>> {
        self.file.read()
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        bytes.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| self.write_line(line))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn finish(&self) -> io::Result<()> {
        self.file.finish()
    }

    fn replace(&self, bytes: &[u8], may: &dyn Fn() -> bool) -> io::Result<()> {
        self.file.replace(bytes, may)
    }
}

/// Ends this process as `kill -9` would: nothing is tidied up.
fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        std::thread::park();
    }
}
