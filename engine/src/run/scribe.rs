//! Written first, folded second, shown third: the journal of a run under way, and who looks on. Knows nothing of order.

use std::sync::{Arc, MutexGuard};

use runbook_steps::Redactor;
use tokio::sync::mpsc;

use super::attempt::Watch;
use super::book::Book;
use super::drive::{Wants, Watcher};
use super::group::Group;
use crate::event::Event;
use crate::plan::StepId;
use crate::state::log::OnLine;
use crate::state::record::{Entry, Record, Verdict};
use crate::state::{Journal, RunState, StateError, Sync};

/// Progress and output that wait to be shown; what does not fit is dropped.
const PASSING: usize = 1024;

/// The journal and the watcher of a run. After the first failure nothing more is written.
pub(super) struct Scribe {
    pub(super) wants: Wants,
    pub(super) group: Group,
    /// What attempts wrote.
    pub(super) written: mpsc::UnboundedReceiver<Entry>,
    /// What steps say.
    pub(super) passed: mpsc::Receiver<Event>,
    book: Book,
    watcher: Box<dyn Watcher>,
    redactor: Arc<Redactor>,
    passing: mpsc::Sender<Event>,
    broken: Option<StateError>,
}

impl Scribe {
    /// For a run that begins. `sync_inline` is explained at [`super::Options`].
    pub(super) fn new(journal: Journal, watcher: Box<dyn Watcher>, redactor: Arc<Redactor>, sync_inline: bool) -> Self {
        let group = Group::new(journal.tail(), sync_inline);
        let (book, written) = Book::new(journal);
        let (passing, passed) = mpsc::channel(PASSING);
        Self { wants: watcher.wants(), group, written, passed, book, watcher, redactor, passing, broken: None }
    }

    /// Writes a record, folds it, shows it. False if it cannot be written, and ever after.
    pub(super) fn record(&mut self, record: Record) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let result = self.append(record, Sync::Soon);
        self.held(result)
    }

    /// Syncs what was written. False if that fails.
    pub(super) fn synced(&mut self) -> bool {
        let result = self.sync();
        self.held(result)
    }

    /// Takes the result of something done to the journal. The first failure is said.
    pub(super) fn held(&mut self, result: Result<(), StateError>) -> bool {
        let Err(error) = result else { return true };
        let error = self.book.take_failure().unwrap_or(error);
        if self.broken.is_none() {
            self.notice(&format!("{error}; nothing new is started, what runs is let finish"));
            self.broken = Some(error);
        }
        false
    }

    /// Syncs what was written, for a run that has not begun.
    pub(super) fn sync(&self) -> Result<(), StateError> {
        self.group.tail().sync()
    }

    /// Writes a record, folds it, shows it, for a run that has not begun.
    pub(super) fn append(&mut self, record: Record, sync: Sync) -> Result<(), StateError> {
        let book = self.book.clone();
        let mut journal = book.open();
        let Some(journal) = journal.as_mut() else { return Ok(()) };
        let entry = journal.append(record, sync)?;
        // What attempts wrote before it is shown before it: nobody writes while we hold the journal.
        while let Ok(earlier) = self.written.try_recv() {
            self.watcher.on(&Event::Recorded(earlier), journal.state());
        }
        self.watcher.on(&Event::Recorded(entry), journal.state());
        Ok(())
    }

    /// Shows an event.
    pub(super) fn show(&mut self, event: &Event) {
        if let Some(journal) = self.book.open().as_ref() {
            self.watcher.on(event, journal.state());
        }
    }

    /// Shows what steps have said so far, so that it comes before their end.
    pub(super) fn show_passing(&mut self) {
        while let Ok(event) = self.passed.try_recv() {
            self.show(&event);
        }
    }

    /// Says something that changes nothing.
    pub(super) fn notice(&mut self, text: &str) {
        let text = self.redactor.mask(text).into_owned();
        self.show(&Event::Notice(text));
    }

    /// Tells the watcher that time passes.
    pub(super) fn tick(&mut self) {
        if let Some(journal) = self.book.open().as_ref() {
            self.watcher.tick(journal.state());
        }
    }

    /// Looks at the state.
    pub(super) fn with_state<T: Default>(&self, look: impl FnOnce(&RunState) -> T) -> T {
        self.book.open().as_ref().map(|journal| look(journal.state())).unwrap_or_default()
    }

    /// The journal itself; nothing once the run has ended.
    pub(super) fn book(&self) -> MutexGuard<'_, Option<Journal>> {
        self.book.open()
    }

    /// Who listens to an attempt.
    pub(super) fn watch(&self, step: &StepId, attempt: u32) -> Watch {
        Watch::new(step.clone(), attempt, self.book.clone(), self.passing.clone(), Arc::clone(&self.redactor))
    }

    /// Who is shown the lines that a step prints, if anybody wants to see them.
    pub(super) fn on_line(&self, step: &StepId) -> Option<OnLine> {
        if !self.wants.output {
            return None;
        }
        let (step, passing) = (step.clone(), self.passing.clone());
        Some(Box::new(move |stream, line| {
            // A watcher that is behind misses lines; the log has them.
            let _ = passing.try_send(Event::Output { step: step.clone(), stream, line: line.to_owned() });
        }))
    }

    /// Ends the run and gives the journal back, synced. Without a verdict it is left open, as by a crash.
    pub(super) fn close(mut self, verdict: Option<Verdict>) -> Result<Journal, StateError> {
        if let (Some(verdict), None) = (verdict, &self.broken) {
            // Nobody hears how it ended before that is safe.
            let closed = self.append(Record::Closed { verdict }, Sync::Now);
            self.held(closed);
        }
        self.synced();
        // Taken in any case: what still runs may keep a handle, and must neither write any more nor hold the lock.
        let journal = self.book.open().take().expect("only the end of a run takes the journal");
        self.broken.map_or(Ok(journal), Err)
    }
}
