//! The journal, shared between the driver and the attempts, which write down the processes that they start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runbook_steps::Child;
use tokio::sync::mpsc;

use crate::plan::StepId;
use crate::plan::model::Known;
use crate::state::record::{Entry, Record};
use crate::state::{Journal, Sync};

/// The journal of a run. Empty once the run has ended, so that whoever kept a handle cannot write any more.
#[derive(Clone)]
pub(crate) struct Book {
    journal: Arc<Mutex<Option<Journal>>>,
    /// What attempts wrote, to be shown by the driver in the order in which it was written.
    written: mpsc::UnboundedSender<Entry>,
}

impl Book {
    pub(crate) fn new(journal: Journal) -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let (written, receiver) = mpsc::unbounded_channel();
        (Self { journal: Arc::new(Mutex::new(Some(journal))), written }, receiver)
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

    /// Writes down a process group. A failure poisons the journal, and the driver meets it with its next record.
    pub(crate) fn spawned(&self, step: &StepId, attempt: u32, child: Child) {
        let record = Record::Spawned { step: step.clone(), attempt, child };
        let mut journal = self.open();
        if let Some(Ok(entry)) = journal.as_mut().map(|journal| journal.append(record, Sync::Soon)) {
            let _ = self.written.send(entry);
        }
    }
}
