//! Written first, folded second, shown third: the journal of a run under way, and who looks on. Knows nothing of order.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use runbook_steps::Redactor;
use tokio::sync::mpsc;

use super::attempt::Watch;
use super::bell::Bell;
use super::book::Book;
use super::drive::{Wants, Watcher};
use crate::event::Event;
use crate::plan::StepId;
use crate::state::journal::Tail;
use crate::state::log::{OnLine, OnLost};
use crate::state::record::{Entry, Record, Verdict};
use crate::state::{Journal, RunState, StateError, Sync};

/// Progress and output that wait to be shown; what does not fit is dropped.
const PASSING: usize = 1024;

/// Where steps say what passes.
#[derive(Clone)]
pub(crate) struct Passing {
    sender: mpsc::Sender<Event>,
    bell: Arc<Bell>,
}

impl Passing {
    /// A watcher that is behind misses some: of progress it gets newer, and the log has all lines.
    pub(crate) fn send(&self, event: Event) {
        if self.sender.try_send(event).is_ok() {
            self.bell.ring();
        }
    }
}

/// A step whose log is not whole, and what is to be said of that.
type Lost = (StepId, String);

/// The journal and the watcher of a run. After the first failure nothing more is written.
pub(super) struct Scribe {
    pub(super) wants: Wants,
    tail: Arc<Tail>,
    /// Rung when there is something to show.
    bell: Arc<Bell>,
    /// What attempts wrote.
    written: mpsc::UnboundedReceiver<Entry>,
    /// What steps say.
    passed: mpsc::Receiver<Event>,
    /// Steps whose log cannot be written any more, in words: unlike what passes, that is not dropped.
    lost: (mpsc::UnboundedSender<Lost>, mpsc::UnboundedReceiver<Lost>),
    /// Those of which that was said.
    told: HashSet<StepId>,
    book: Book,
    watcher: Box<dyn Watcher>,
    redactor: Arc<Redactor>,
    passing: Passing,
    broken: Option<StateError>,
}

impl Scribe {
    /// For a run that begins.
    pub(super) fn new(journal: Journal, watcher: Box<dyn Watcher>, redactor: Arc<Redactor>) -> Self {
        let (bell, tail, wants) = (Arc::new(Bell::default()), journal.tail(), watcher.wants());
        let (book, written) = Book::new(journal, Arc::clone(&bell), wants.output);
        let (sender, passed) = mpsc::channel(PASSING);
        let passing = Passing { sender, bell: Arc::clone(&bell) };
        let (lost, told) = (mpsc::unbounded_channel(), HashSet::new());
        Self { wants, tail, bell, written, passed, lost, told, book, watcher, redactor, passing, broken: None }
    }

    /// The journal's end.
    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// What calls the listener.
    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Whether something is written for which no sync is due yet.
    pub(super) fn wants_sync(&self) -> bool {
        !self.bell.syncs() && self.tail.is_behind()
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
        self.tail.sync()
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
        while let Ok((step, words)) = self.lost.1.try_recv() {
            if self.told.insert(step) {
                self.notice(&words);
            }
        }
    }

    /// Shows what steps have said, and what attempts wrote if somebody wants to see it before the next record.
    pub(super) fn show_news(&mut self) {
        while self.wants.output
            && let Ok(entry) = self.written.try_recv()
        {
            self.show(&Event::Recorded(entry));
        }
        self.show_passing();
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
            passing.send(Event::Output { step: step.clone(), stream, line: line.to_owned() });
        }))
    }

    /// Who is told that a step's log cannot be written any more. The run goes on: logs are no state.
    pub(super) fn on_lost(&self, step: &StepId, path: &Path) -> OnLost {
        let (step, path, sender, bell) = (step.clone(), path.to_owned(), self.lost.0.clone(), Arc::clone(&self.bell));
        Box::new(move |error| {
            let what = format!("cannot write the log `{}`: {error}", path.display());
            let words = format!("{what}; what `{step}` prints from here on is not kept, and the run goes on");
            if sender.send((step.clone(), words)).is_ok() {
                bell.ring();
            }
        })
    }

    /// Ends the run and gives the journal back, synced. Without a verdict it is left open, as by a crash.
    pub(super) fn close(mut self, verdict: Option<Verdict>) -> Result<Journal, StateError> {
        self.show_passing();
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
