//! The journal, shared between the driver and the attempts, which write down the processes that they start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runbook_steps::Child;
use tokio::sync::mpsc;

use super::bell::Bell;
use crate::plan::StepId;
use crate::plan::model::Known;
use crate::state::record::{Entry, Recipe, Record};
use crate::state::{Journal, StateError, Sync};

/// The journal of a run. Empty once the run has ended, so that whoever kept a handle cannot write any more.
#[derive(Clone)]
pub(crate) struct Book {
    journal: Arc<Mutex<Option<Journal>>>,
    /// What attempts wrote, to be shown by the driver in the order in which it was written.
    written: mpsc::UnboundedSender<Entry>,
    /// Rung for each of these, if somebody wants to see them at once.
    bell: Option<Arc<Bell>>,
    /// Why the first record that an attempt wrote could not be written, until the driver takes it.
    failed: Arc<Mutex<Option<StateError>>>,
}

impl Book {
    pub(crate) fn new(journal: Journal, bell: Option<Arc<Bell>>) -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let (written, receiver) = mpsc::unbounded_channel();
        let journal = Arc::new(Mutex::new(Some(journal)));
        (Self { journal, written, bell, failed: Arc::default() }, receiver)
    }

    /// The journal itself. What a thread that panicked left is whole: appending changes it in one step.
    pub(crate) fn open(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        match &*self.open() {
            Some(journal) => look(journal.state().known()),
            None => look(&Known::new()),
        }
    }

    /// Writes down that an attempt begins to change the world, synced: what a deployment has made must not be forgotten. False when
    /// that cannot be written; then nothing may be changed.
    pub(crate) fn performing(&self, step: &StepId, attempt: u32, undo: Option<Recipe>) -> bool {
        self.write(Record::Performing { step: step.clone(), attempt, undo }, Sync::Now)
    }

    /// Writes down a process group. A failure poisons the journal, and the driver meets it with its next record.
    pub(crate) fn spawned(&self, step: &StepId, attempt: u32, child: Child) {
        self.write(Record::Spawned { step: step.clone(), attempt, child }, Sync::Soon);
    }

    fn write(&self, record: Record, sync: Sync) -> bool {
        let mut journal = self.open();
        match journal.as_mut().map(|journal| journal.append(record, sync)) {
            Some(Ok(entry)) => self.announce(entry),
            Some(Err(error)) => {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                false
            }
            None => false,
        }
    }

    /// False when nobody listens any more.
    fn announce(&self, entry: Entry) -> bool {
        let heard = self.written.send(entry).is_ok();
        self.bell.iter().for_each(|bell| bell.ring());
        heard
    }

    /// Why an attempt could not write: what the driver then meets itself says less.
    pub(crate) fn take_failure(&self) -> Option<StateError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
