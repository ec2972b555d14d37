//! The journal, shared between the driver and the attempts, which write down the processes that they start.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runbook_steps::Child;
use tokio::sync::mpsc;

use super::bell::Bell;
use crate::plan::StepId;
use crate::plan::model::Known;
use crate::state::journal::Tail;
use crate::state::record::{Entry, Recipe, Record};
use crate::state::{Journal, RunState, StateError, Sync};

/// The journal of a run. Empty once the run has ended, so that whoever kept a handle cannot write any more.
#[derive(Clone)]
pub(crate) struct Book {
    journal: Arc<Mutex<Option<Journal>>>,
    /// What attempts wrote, to be shown by the driver in the order in which it was written.
    written: mpsc::UnboundedSender<Entry>,
    bell: Arc<Bell>,
    /// Whether somebody wants to see these at once.
    seen: bool,
    /// Why the first record that an attempt wrote could not be written, until the driver takes it.
    failed: Arc<Mutex<Option<StateError>>>,
}

impl Book {
    /// For a journal and the bell of whoever listens, who may want to see at once what attempts write.
    pub(crate) fn new(journal: Journal, bell: Arc<Bell>, seen: bool) -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let (written, receiver) = mpsc::unbounded_channel();
        let journal = Arc::new(Mutex::new(Some(journal)));
        (Self { journal, written, bell, seen, failed: Arc::default() }, receiver)
    }

    /// The journal itself. What a thread that panicked left is whole: appending changes it in one step.
    pub(crate) fn open(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_known<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        self.with_state(|state| look(state.known()))
    }

    /// Looks at the state, which is empty once the run has ended.
    pub(crate) fn with_state<T>(&self, look: impl FnOnce(&RunState) -> T) -> T {
        match &*self.open() {
            Some(journal) => look(journal.state()),
            None => look(&RunState::default()),
        }
    }

    /// Writes down that the newest of several things that a step made is gone. False when that cannot be written; then no more is taken
    /// back.
    pub(crate) fn undone_in_part(&self, step: &StepId, attempt: u32, left: usize) -> bool {
        self.write(Record::UndoneInPart { step: step.clone(), attempt, left }).is_some()
    }

    /// Writes down that an attempt begins to change the world, synced: what a deployment has made must not be forgotten. False when
    /// that cannot be written; then nothing may be changed.
    pub(crate) fn performing(&self, step: &StepId, attempt: u32, undo: Option<Recipe>) -> bool {
        let Some(tail) = self.write(Record::Performing { step: step.clone(), attempt, undo }) else { return false };
        // Others write on meanwhile.
        self.hold(tail.sync()).is_some()
    }

    /// Writes down a process group. A failure poisons the journal, and the driver meets it with its next record.
    pub(crate) fn spawned(&self, step: &StepId, attempt: u32, child: Child) {
        if self.write(Record::Spawned { step: step.clone(), attempt, child }).is_some() && !self.bell.syncs() {
            self.bell.ring();
        }
    }

    /// Writes a record and has it shown. The end of the journal that it is now; nothing if it cannot be written, or nobody listens any more.
    fn write(&self, record: Record) -> Option<Arc<Tail>> {
        let mut journal = self.open();
        let journal = journal.as_mut()?;
        let entry = self.hold(journal.append(record, Sync::Soon))?;
        self.written.send(entry).ok()?;
        if self.seen {
            self.bell.ring();
        }
        Some(journal.tail())
    }

    /// Keeps the first failure for the driver.
    fn hold<T>(&self, result: Result<T, StateError>) -> Option<T> {
        result
            .map_err(|error| {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            })
            .ok()
    }

    /// Why an attempt could not write: what the driver then meets itself says less.
    pub(crate) fn take_failure(&self) -> Option<StateError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
