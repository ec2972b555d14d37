//! A long journal that is read before its lock is taken, while there is other work to do.
//!
//! Nothing is believed of it before the lock is held. If the file is then still what was read, down to the last byte, what follows from
//! it stands; if not, it is read as if nobody had read it before. So is one with anything wrong in it, by whoever can say what.

use std::path::Path;

use super::dir::Home;
use super::error::StateError;
use super::fold::RunSummary;
use super::lines::{Folding, LONG, Replayed};
use super::raw::{DiskFile, RawFile as _};
use super::storage::{Storage, Sum, each_piece};

/// What was read of a journal early, for [`Journal::open_early`](super::Journal::open_early).
pub struct Early {
    sum: Sum,
    replayed: Replayed,
}

impl Early {
    /// Reads a journal if it is whole, and long enough to be worth it.
    pub fn read(home: &Home) -> Option<Self> {
        let path = home.journal_path();
        let file = DiskFile::to_read(&path).ok()?;
        let long = file.length().is_ok_and(|length| length >= LONG as u64);
        long.then(|| Self::fold(&file, &path)).flatten()
    }

    /// Piece by piece: what was folded is not wanted any more, and there is much of it.
    fn fold(file: &DiskFile, path: &Path) -> Option<Self> {
        let (mut folding, mut sum) = (Folding::default(), Sum::default());
        let (mut open, mut whole) = (Vec::new(), true);
        each_piece(file, |piece| {
            sum.add(piece);
            open.extend_from_slice(piece);
            // A snapshot is a line of very many pieces, and nothing to look through with each of them.
            if whole && piece.contains(&b'\n') {
                let taken = folding.take(&open, path);
                whole = taken.is_some();
                open.drain(..taken.unwrap_or(open.len()));
            }
        })
        .ok()?;
        Some(Self { sum, replayed: folding.end() }).filter(|_| whole && open.is_empty())
    }

    /// The newest run when it was read.
    pub fn last_run(&self) -> Option<&RunSummary> {
        self.replayed.state.current()
    }

    /// How long a journal is and what follows from it, if it is the one that was read.
    pub(super) fn believed(self, storage: &dyn Storage, path: &Path) -> Result<Option<(u64, Replayed)>, StateError> {
        let now = storage.sum().map_err(StateError::io("read", path))?;
        Ok(Some((self.sum.length(), self.replayed)).filter(|_| self.sum == now))
    }
}
