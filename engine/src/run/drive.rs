//! The loop that runs a plan: asks the schedule, writes the journal, starts attempts, hears what becomes of them.
//!
//! Decisions are elsewhere and pure; here and in `launch` and `outcome` is only the order of things.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runbook_steps::{Cancel, Class, Redactor, Secrets, World, tools};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::attempt::Ended;
use super::book::Book;
use super::cancel::{Interrupts, Signal, Stop};
use super::prepare::{Ready, masked};
use super::schedule::{self, Schedule};
use crate::event::Event;
use crate::plan::Step;
use crate::plan::{Plan, StepId};
use crate::state::record::{self, Entry, FORMAT, Record, Verdict};
use crate::state::{Home, Journal, RunState, StateError, Status, Sync};

/// How often a watcher that asks for it is told that time passes.
const TICK: Duration = Duration::from_millis(100);

/// Progress and output that wait to be shown; what does not fit is dropped.
const PASSING: usize = 1024;

/// All that a run needs.
pub struct Run {
    /// What to run.
    pub plan: Arc<Plan>,
    /// Where to run it.
    pub world: Arc<World>,
    /// What is known of it, and where to write what happens. Holds the lock.
    pub journal: Journal,
    /// The plan's secrets.
    pub secrets: Arc<Secrets>,
    /// How to run it.
    pub options: Options,
    /// Who runs it.
    pub header: Header,
    /// Who looks on.
    pub watcher: Box<dyn Watcher>,
    /// How it is told to stop.
    pub interrupts: Interrupts,
}

/// Who runs it, for the journal.
#[derive(Clone, Debug)]
pub struct Header {
    /// The command, such as `apply`.
    pub command: String,
    /// `user@host`.
    pub who: String,
    /// The program's version.
    pub version: String,
}

/// How to run a plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many steps at once, at least 1.
    pub parallel: usize,
    /// Whether nothing new starts after a failure.
    pub fail_fast: bool,
    /// For the jitter of pauses.
    pub seed: u64,
    /// Steps that are done again even if they hold.
    pub redo: BTreeSet<StepId>,
    /// Steps that are left out and count as not wanted.
    pub skip: BTreeSet<StepId>,
    /// If not empty, all other steps stay as they are.
    pub only: BTreeSet<StepId>,
    /// Whether a step that holds is left alone although it would now do something else.
    pub keep_stale: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parallel: 32,
            fail_fast: false,
            seed: 0,
            redo: BTreeSet::new(),
            skip: BTreeSet::new(),
            only: BTreeSet::new(),
            keep_stale: false,
        }
    }
}

/// What a watcher asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// [`Watcher::tick`], about ten times a second while something runs.
    pub ticks: bool,
    /// [`Event::Output`] of every line that a step prints. Lines are dropped when they come faster than they are taken.
    pub output: bool,
}

/// Looks on. Must not block for long: the run waits for it.
pub trait Watcher: Send {
    /// What it asks for; asked once.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// Something happened; a record is folded in already.
    fn on(&mut self, event: &Event, state: &RunState);

    /// Time passed.
    fn tick(&mut self, _state: &RunState) {}
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// How.
    pub verdict: Verdict,
    /// The signal that it was first told to stop by.
    pub signal: Option<Signal>,
    /// Which run it was.
    pub run: u32,
    /// The steps that held already and were left alone.
    pub reused: Vec<StepId>,
    /// The journal, with the state after the run.
    pub journal: Journal,
}

/// Runs a plan to its end.
///
/// Whatever can go wrong with steps is in the summary; an error is about the journal only. Then nothing new was started, what ran was
/// let finish, and the watcher was told the results that could not be stored.
pub async fn drive(run: Run) -> Result<Summary, StateError> {
    let mut driver = Driver::new(run);
    driver.begin()?;
    driver.end_orphans().await;
    driver.run().await;
    driver.close()
}

/// A run under way.
pub(super) struct Driver {
    pub(super) plan: Arc<Plan>,
    pub(super) options: Options,
    pub(super) common: Common,
    pub(super) book: Book,
    pub(super) schedule: Schedule,
    /// Steps that were evaluated and stand in a queue for a lock.
    pub(super) queued: HashMap<usize, Box<Ready>>,
    pub(super) tracks: Vec<Track>,
    pub(super) attempts: JoinSet<(usize, Ended)>,
    pub(super) pauses: BinaryHeap<Reverse<(Instant, usize)>>,
    pub(super) reused: Vec<StepId>,
    /// Whether a step that is not in `finally` was started.
    pub(super) acted: bool,
    pub(super) passing: mpsc::Sender<Event>,
    pub(super) wants: Wants,
    header: Header,
    watcher: Box<dyn Watcher>,
    interrupts: Interrupts,
    written: mpsc::UnboundedReceiver<Entry>,
    passed: mpsc::Receiver<Event>,
    stop: Stop,
    signal: Option<Signal>,
    broken: Option<StateError>,
}

/// What all attempts of a run have in common.
pub(super) struct Common {
    pub(super) run: u32,
    pub(super) home: Home,
    pub(super) world: Arc<World>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) deployment: Arc<str>,
    pub(super) plan_dir: Arc<Path>,
    pub(super) state_dir: Arc<Path>,
    /// Stops the steps.
    pub(super) cancel: Cancel,
    /// Stops those of `finally`, which the first signal leaves alone.
    pub(super) cancel_finally: Cancel,
}

/// A step's attempts in this run.
#[derive(Clone, Copy, Default)]
pub(super) struct Track {
    pub(super) attempt: u32,
    pub(super) first: Option<Instant>,
    pub(super) began: Option<Instant>,
}

/// What the loop hears.
enum Heard {
    Signal(Signal),
    Ended(Result<(usize, Ended), JoinError>),
    Due,
    Written(Entry),
    Passing(Event),
    Tick,
}

impl Driver {
    fn new(run: Run) -> Self {
        let Run { plan, world, journal, secrets, options, header, watcher, interrupts } = run;
        let count = plan.steps.len();
        let finally = plan.steps.iter().map(|step| step.finally).collect();
        let priority = {
            let took: Vec<Duration> = plan.steps.iter().map(Step::typical).collect();
            schedule::ways(&plan.graph, &took)
        };
        let common = Common {
            run: journal.state().current().map_or(1, |run| run.opened.run + 1),
            home: journal.home().clone(),
            redactor: Arc::new(secrets.redactor()),
            deployment: journal.home().deployment().into(),
            plan_dir: plan.dir.as_path().into(),
            state_dir: journal.home().path().into(),
            cancel: Cancel::default(),
            cancel_finally: Cancel::default(),
            world,
            secrets,
        };
        let (book, written) = Book::new(journal);
        let (passing, passed) = mpsc::channel(PASSING);
        Self {
            schedule: Schedule::new(&plan.graph, priority, finally, options.parallel),
            queued: HashMap::new(),
            tracks: vec![Track::default(); count],
            attempts: JoinSet::new(),
            pauses: BinaryHeap::new(),
            reused: Vec::new(),
            acted: false,
            wants: watcher.wants(),
            stop: Stop::No,
            signal: None,
            broken: None,
            plan,
            options,
            common,
            book,
            passing,
            header,
            watcher,
            interrupts,
            written,
            passed,
        }
    }

    /// Writes the header and what the user asked for, synced: from here on the world may be touched.
    fn begin(&mut self) -> Result<(), StateError> {
        let opened = Record::Opened(self.opened());
        self.append(opened, Sync::Soon)?;
        for step in std::mem::take(&mut self.options.redo) {
            self.append(Record::Settled { step, done: false }, Sync::Soon)?;
        }
        self.sync()
    }

    fn opened(&self) -> record::Opened {
        let file = std::path::absolute(&self.plan.file).unwrap_or_else(|_| self.plan.file.clone());
        record::Opened {
            format: FORMAT,
            run: self.common.run,
            command: self.header.command.clone(),
            plan: self.plan.name.clone(),
            file: file.display().to_string(),
            digest: self.plan.digest.clone(),
            inputs: masked(&self.common.redactor, self.plan.inputs.clone()),
            version: self.header.version.clone(),
            who: self.header.who.clone(),
            pid: std::process::id(),
            simulated: self.common.world.simulated.clone(),
        }
    }

    /// Ends what an earlier run left running, before its steps may start again.
    async fn end_orphans(&mut self) {
        let clock = self.common.world.clock;
        let orphans = self.with_state(|state| {
            let flights = state.steps().filter_map(|(id, step)| Some((id, step.in_flight()?)));
            let children =
                flights.flat_map(|(id, flight)| flight.children.iter().map(|child| (id.clone(), child.clone())));
            children.filter(|(_, child)| tools::still_running(child)).collect::<Vec<_>>()
        });
        let ending = orphans.into_iter().map(|(id, child)| async move {
            let gone = tools::end_group(&child, clock).await;
            match gone {
                true => format!("`{id}` had left `{}` (pid {}) running; it was ended", child.program, child.pid),
                false => format!("`{id}` left `{}` (pid {}) running, and it cannot be ended", child.program, child.pid),
            }
        });
        for notice in futures::future::join_all(ending).await {
            self.notice(notice);
        }
    }

    async fn run(&mut self) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.launch();
            let over = self.schedule.is_finished() && self.attempts.is_empty();
            if over || self.stop == Stop::Leave {
                return;
            }
            match self.listen(&mut ticker).await {
                Heard::Signal(signal) => self.interrupt(signal),
                Heard::Ended(ended) => self.ended(ended),
                Heard::Due => self.wake(),
                Heard::Written(entry) => self.show(&Event::Recorded(entry)),
                Heard::Passing(event) => self.show(&event),
                Heard::Tick => self.tick(),
            }
        }
    }

    async fn listen(&mut self, ticker: &mut tokio::time::Interval) -> Heard {
        let due = self.pauses.peek().map(|Reverse((at, _))| *at);
        let ticks = self.wants.ticks && !self.attempts.is_empty();
        tokio::select! {
            biased;
            signal = self.interrupts.next() => Heard::Signal(signal),
            Some(ended) = self.attempts.join_next() => Heard::Ended(ended),
            () = until(due) => Heard::Due,
            Some(entry) = self.written.recv() => Heard::Written(entry),
            Some(event) = self.passed.recv() => Heard::Passing(event),
            _ = ticker.tick(), if ticks => Heard::Tick,
        }
    }

    /// The first signal ends what runs gently, the second kills it, the third leaves.
    fn interrupt(&mut self, signal: Signal) {
        self.stop = self.stop.harder();
        match self.stop {
            Stop::Gently => {
                self.signal = Some(signal);
                self.record(Record::Interrupted { signal: signal.name().to_owned() });
                self.schedule.stop();
                self.common.cancel.soft.cancel();
            }
            Stop::Kill => {
                self.schedule.halt();
                for cancel in [&self.common.cancel, &self.common.cancel_finally] {
                    cancel.soft.cancel();
                    cancel.hard.cancel();
                }
            }
            Stop::No | Stop::Leave => {}
        }
    }

    /// Steps whose pause is over.
    fn wake(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, step))) = self.pauses.peek().copied() {
            if at > now {
                return;
            }
            self.pauses.pop();
            self.schedule.due(step);
        }
    }

    /// Writes a record, folds it, shows it. If it cannot be written, nothing more is started, and what runs is let finish.
    pub(super) fn record(&mut self, record: Record) -> bool {
        if self.broken.is_some() {
            return false;
        }
        let result = self.append(record, Sync::Soon);
        self.held(result)
    }

    /// Syncs what was written.
    pub(super) fn synced(&mut self) -> bool {
        let result = self.sync();
        self.held(result)
    }

    fn held(&mut self, result: Result<(), StateError>) -> bool {
        let Err(error) = result else { return true };
        if self.broken.is_none() {
            self.notice(format!("{error}; nothing new is started, what runs is let finish"));
            self.schedule.halt();
            self.broken = Some(error);
        }
        false
    }

    fn sync(&self) -> Result<(), StateError> {
        self.book.open().as_ref().map_or(Ok(()), Journal::flush)
    }

    fn append(&mut self, record: Record, sync: Sync) -> Result<(), StateError> {
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

    fn show(&mut self, event: &Event) {
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

    pub(super) fn notice(&mut self, text: String) {
        self.show(&Event::Notice(text));
    }

    fn tick(&mut self) {
        if let Some(journal) = self.book.open().as_ref() {
            self.watcher.tick(journal.state());
        }
    }

    pub(super) fn with_state<T: Default>(&self, look: impl FnOnce(&RunState) -> T) -> T {
        self.book.open().as_ref().map(|journal| look(journal.state())).unwrap_or_default()
    }

    /// Ends the run: gives up what still waited to be tried again, says how it ended, syncs.
    fn close(mut self) -> Result<Summary, StateError> {
        self.give_up_pauses();
        let verdict = self.verdict();
        // Steps that a third signal left running have no end, so the run has none either: the next one looks at them first.
        if self.stop != Stop::Leave {
            self.record(Record::Closed { verdict });
        }
        self.synced();
        if let Some(error) = self.broken {
            return Err(error);
        }
        let journal = self.book.open().take().expect("only the end of a run takes the journal");
        Ok(Summary { verdict, signal: self.signal, run: self.common.run, reused: self.reused, journal })
    }

    fn give_up_pauses(&mut self) {
        let failures = self.with_state(|state| {
            let steps = state.steps().filter_map(|(id, step)| match step.status() {
                Status::Retrying { attempt, .. } => {
                    Some((id.clone(), *attempt, step.failure()?.clone(), step.took_ms()))
                }
                _ => None,
            });
            steps.collect::<Vec<_>>()
        });
        for (step, attempt, failure, took_ms) in failures {
            self.record(Record::Failed(record::Failed { step, attempt, failure, retry_in_ms: None, took_ms }));
        }
    }

    fn verdict(&self) -> Verdict {
        if self.signal.is_some() {
            return Verdict::Interrupted;
        }
        let chosen = |id: &StepId| self.options.only.is_empty() || self.options.only.contains(id);
        self.with_state(|state| {
            let verdicts =
                self.plan.steps.iter().filter(|step| chosen(&step.id)).map(|step| verdict_of(state, &step.id));
            Some(verdicts.fold(Verdict::Holds, worse))
        })
        .unwrap_or(Verdict::Failed)
    }
}

/// What one step means for the run.
fn verdict_of(state: &RunState, id: &StepId) -> Verdict {
    let failure = state.step(id).and_then(|step| step.failure());
    match state.status(id) {
        Status::Unknown { .. } => Verdict::NeedsPerson,
        Status::Failed if failure.is_some_and(|failure| failure.class == Class::NeedsPerson) => Verdict::NeedsPerson,
        Status::Failed => Verdict::Failed,
        _ => Verdict::Holds,
    }
}

fn worse(one: Verdict, other: Verdict) -> Verdict {
    let rank = |verdict: Verdict| match verdict {
        Verdict::Holds => 0,
        Verdict::NeedsPerson => 1,
        Verdict::Failed => 2,
        Verdict::Interrupted => 3,
    };
    if rank(other) > rank(one) { other } else { one }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
