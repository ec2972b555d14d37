//! A run that is refused before it begins leaves no deployment behind. Does not know why it was refused.

use std::fs;
use std::path::PathBuf;

use crate::state::{Home, Journal};

/// The folders that come to be with a deployment's lock, the innermost first.
pub(super) struct Unbegun {
    made: Vec<PathBuf>,
}

impl Unbegun {
    /// Looks before the lock is taken.
    pub(super) fn before(home: &Home) -> Self {
        Self { made: home.path().ancestors().take_while(|folder| !folder.exists()).map(ToOwned::to_owned).collect() }
    }

    /// Removes what came to be, if no run ever began. Whoever calls this holds the lock, so that nobody begins one meanwhile; what cannot
    /// be removed, or has something else in it, does no harm.
    pub(super) fn clear(&self, journal: &Journal) {
        if journal.state().seq() > 0 {
            return;
        }
        let home = journal.home();
        let _ = fs::remove_file(home.journal_path());
        if self.made.is_empty() {
            return;
        }
        let _ = fs::remove_dir(home.logs_dir());
        let _ = fs::remove_file(home.lock_path());
        for folder in &self.made {
            let _ = fs::remove_dir(folder);
        }
    }
}
