//! Reading a deployment's journal while its plan is read: both take long where there are many steps, and neither needs the other.

use std::path::Path;
use std::thread::{self, JoinHandle};

use super::deployment::absolute;
use crate::state::{Early, Home};

/// A journal that is being read. Where nobody waits for it, it does not keep the program from ending.
pub(super) struct Reading(JoinHandle<Option<Early>>);

impl Reading {
    /// Begins to read the journal of a deployment. The name may be a guess: then what is read may turn out not to be wanted.
    pub(super) fn begin(root: &Path, name: &str) -> Option<Self> {
        let home = Home::new(&absolute(root), name).ok()?;
        thread::Builder::new().name("early".to_owned()).spawn(move || Early::read(&home)).ok().map(Self)
    }

    /// What was read. If that went wrong, whoever opens the journal meets the reason.
    pub(super) fn end(self) -> Option<Early> {
        self.0.join().unwrap_or_default()
    }
}
