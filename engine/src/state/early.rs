//! A long journal that is read before its lock is taken, while there is other work to do.
//!
//! Nothing is believed of it before the lock is held. Then the file is compared with what was read, byte by byte: what another process
//! has appended meanwhile is folded in, and a file that was changed in any other way is read as if nobody had read it before.

use std::fs;
use std::path::Path;

use super::dir::Home;
use super::error::StateError;
use super::fold::RunSummary;
use super::lines::{self, Replayed};
use super::storage::Storage;

/// What was read of a journal early, for [`Journal::open_early`](super::Journal::open_early).
pub struct Early {
    bytes: Vec<u8>,
    replayed: Replayed,
}

impl Early {
    /// Reads a journal if it is there, and long enough to be worth it. What is wrong with it is left to whoever opens it.
    pub fn read(home: &Home) -> Option<Self> {
        let path = home.journal_path();
        let long = fs::metadata(&path).is_ok_and(|file| file.len() >= lines::LONG as u64);
        let bytes = long.then(|| fs::read(&path).ok()).flatten()?;
        let replayed = lines::replay(&bytes, &path).ok()?;
        Some(Self { bytes, replayed })
    }

    /// The newest run when it was read.
    pub fn last_run(&self) -> Option<&RunSummary> {
        self.replayed.state.current()
    }

    /// How many bytes the storage of a journal holds now, and what follows from them; nothing if they do not go on from what was read.
    pub(super) fn go_on(self, storage: &dyn Storage, path: &Path) -> Result<Option<(u64, Replayed)>, StateError> {
        let Self { mut bytes, replayed } = self;
        let Some(more) = storage.read_after(&bytes).map_err(StateError::io("read", path))? else { return Ok(None) };
        bytes.extend(more);
        Ok(Some((bytes.len() as u64, lines::replay_on(replayed, &bytes, path)?)))
    }
}
