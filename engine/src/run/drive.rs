//! The loop that runs a plan: asks the schedule, writes the journal, starts attempts, hears what becomes of them.
//!
//! Decisions are elsewhere and pure; here and in `launch` and `outcome` is only the order of things.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runbook_steps::tools::Orphan;
use runbook_steps::{Class, Outputs, Secrets, World};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::attempt::Ended;
use super::cancel::{Interrupts, Signal, Stop};
use super::common::Common;
use super::orphans;
use super::pauses::Pauses;
use super::prepare::{Ready, masked};
use super::resume::Ripple;
use super::schedule::{self, Schedule};
use super::scribe::Scribe;
use crate::event::Event;
use crate::plan::Step;
use crate::plan::{Plan, StepId};
use crate::state::record::{self, Entry, FORMAT, Record, Verdict};
use crate::state::{Journal, RunState, StateError, Status, Sync};

/// How often a watcher that asks for it is told that time passes.
const TICK: Duration = Duration::from_millis(100);

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
    /// What the user asked for of the above, in the user's words, for the journal.
    pub selection: String,
    /// Whether grouped syncs hold up the run instead of going on beside it: then the same events lead to the same journal.
    pub sync_inline: bool,
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
            selection: String::new(),
            sync_inline: false,
        }
    }
}

impl Options {
    /// Whether a step is no part of the run: others were asked for, or it runs only when it is asked for.
    pub(crate) fn leaves_alone(&self, step: &Step) -> bool {
        if self.only.is_empty() { step.on_demand } else { !self.only.contains(&step.id) }
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
    driver.redo()?;
    driver.run().await;
    driver.close()
}

/// A run under way.
pub(super) struct Driver {
    pub(super) plan: Arc<Plan>,
    pub(super) options: Options,
    pub(super) common: Common,
    pub(super) scribe: Scribe,
    pub(super) schedule: Schedule,
    /// Steps that were evaluated and stand in a queue for a lock.
    pub(super) queued: HashMap<usize, Box<Ready>>,
    pub(super) tracks: Vec<Track>,
    pub(super) attempts: JoinSet<(usize, Ended)>,
    pub(super) pauses: Pauses,
    pub(super) reused: Vec<StepId>,
    pub(super) ripple: Ripple,
    /// Whether a step that is not in `finally` was started.
    pub(super) acted: bool,
    /// Steps of an earlier run whose programs cannot be ended.
    pub(super) haunted: HashMap<StepId, Orphan>,
    header: Header,
    interrupts: Interrupts,
    stop: Stop,
    signal: Option<Signal>,
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
    Synced(Result<(), StateError>),
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
        let common = Common::new(&journal, world, secrets, &plan.dir);
        let scribe = Scribe::new(journal, watcher, Arc::clone(&common.redactor), options.sync_inline);
        Self {
            schedule: Schedule::new(&plan.graph, priority, finally, options.parallel),
            queued: HashMap::new(),
            tracks: vec![Track::default(); count],
            attempts: JoinSet::new(),
            pauses: Pauses::default(),
            reused: Vec::new(),
            ripple: Ripple::new(count),
            acted: false,
            haunted: HashMap::new(),
            stop: Stop::No,
            signal: None,
            plan,
            options,
            common,
            scribe,
            header,
            interrupts,
        }
    }

    /// Writes the header, synced: from here on the world may be touched.
    fn begin(&mut self) -> Result<(), StateError> {
        let opened = Record::Opened(self.opened());
        self.scribe.append(opened, Sync::Soon)?;
        self.scribe.sync()
    }

    /// Writes that the user wants steps done again: after their orphans have ended, because a settled step has none.
    fn redo(&mut self) -> Result<(), StateError> {
        for step in self.options.redo.clone() {
            self.scribe.append(Record::Settled { step, done: false, outputs: Outputs::new() }, Sync::Soon)?;
        }
        self.scribe.sync()
    }

    fn opened(&self) -> record::Opened {
        record::Opened {
            format: FORMAT,
            run: self.common.run,
            command: self.header.command.clone(),
            plan: self.plan.name.clone(),
            file: absolute(&self.plan.file),
            digest: self.plan.digest.clone(),
            inputs: masked(&self.common.redactor, self.plan.inputs.clone()),
            version: self.header.version.clone(),
            who: self.header.who.clone(),
            pid: std::process::id(),
            mark: self.common.mark.clone(),
            simulated: self.common.world.simulated.clone(),
            selection: self.options.selection.clone(),
            home: absolute(&self.common.state_dir),
        }
    }

    /// Ends what an earlier run left running, before its steps may start again. A step whose programs cannot be ended does not.
    async fn end_orphans(&mut self) {
        let state = self.scribe.with_state(RunState::clone);
        for orphan in orphans::end(&state, self.common.world.clock).await {
            let Orphan { pid, program, step, gone } = &orphan;
            self.scribe.notice(&format!("`{step}` had left `{program}` (pid {pid}) running; {}", orphan.fate()));
            if !gone {
                self.haunted.insert(StepId::from(step.as_str()), orphan);
            }
        }
    }

    /// Says what steps have left running on purpose: nobody ends it, and nobody else knows of it.
    fn tell_leftovers(&mut self) {
        if !self.acted {
            return;
        }
        for Orphan { pid, program, step, .. } in orphans::left_by(&self.common.mark) {
            self.scribe.notice(&format!(
                "`{step}` leaves `{program}` (pid {pid}) running: it has left the step's process group"
            ));
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
            self.scribe.group.mind();
            match self.listen(&mut ticker).await {
                Heard::Signal(signal) => self.interrupt(signal),
                Heard::Synced(result) => {
                    let held = self.scribe.held(result);
                    self.go_on_if(held);
                }
                Heard::Ended(ended) => self.all_ended(ended),
                Heard::Due => self.wake(),
                Heard::Written(entry) => self.scribe.show(&Event::Recorded(entry)),
                Heard::Passing(event) => self.scribe.show(&event),
                Heard::Tick => self.scribe.tick(),
            }
        }
    }

    async fn listen(&mut self, ticker: &mut tokio::time::Interval) -> Heard {
        let ticks = self.scribe.wants.ticks && !self.attempts.is_empty();
        tokio::select! {
            biased;
            signal = self.interrupts.next() => Heard::Signal(signal),
            result = self.scribe.group.synced() => Heard::Synced(result),
            Some(ended) = self.attempts.join_next() => Heard::Ended(ended),
            () = self.pauses.due() => Heard::Due,
            // Who only wants to see where things stand sees it with the next record.
            Some(entry) = self.scribe.written.recv(), if self.scribe.wants.output => Heard::Written(entry),
            Some(event) = self.scribe.passed.recv() => Heard::Passing(event),
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
        while let Some(step) = self.pauses.take_due() {
            self.schedule.due(step);
        }
    }

    /// Writes a record. If it cannot be written, nothing more is started, and what runs is let finish.
    pub(super) fn record(&mut self, record: Record) -> bool {
        let written = self.scribe.record(record);
        self.go_on_if(written)
    }

    /// Syncs what was written.
    pub(super) fn synced(&mut self) -> bool {
        let synced = self.scribe.synced();
        self.go_on_if(synced)
    }

    fn go_on_if(&mut self, stored: bool) -> bool {
        if !stored {
            self.schedule.halt();
        }
        stored
    }

    /// Ends the run: gives up what still waited to be tried again, says how it ended, syncs.
    fn close(mut self) -> Result<Summary, StateError> {
        self.give_up_pauses();
        self.tell_leftovers();
        let verdict = self.verdict();
        // Steps that a third signal left running have no end, so the run has none either: the next one looks at them first.
        let journal = self.scribe.close((self.stop != Stop::Leave).then_some(verdict))?;
        Ok(Summary { verdict, signal: self.signal, run: self.common.run, reused: self.reused, journal })
    }

    fn give_up_pauses(&mut self) {
        let failures = self.scribe.with_state(|state| {
            let steps = state.steps().filter_map(|(id, step)| match step.status() {
                Status::Retrying { attempt, .. } => {
                    Some((id.clone(), *attempt, step.failure()?.clone(), step.took_ms()))
                }
                _ => None,
            });
            steps.collect::<Vec<_>>()
        });
        for (step, attempt, failure, took_ms) in failures {
            let (retry_in_ms, untouched) = (None, true);
            let given_up = record::Failed { step, attempt, failure, retry_in_ms, took_ms, untouched };
            self.record(Record::Failed(given_up));
        }
    }

    fn verdict(&self) -> Verdict {
        if self.signal.is_some() {
            return Verdict::Interrupted;
        }
        let chosen = |step: &&Step| !self.options.leaves_alone(step);
        self.scribe
            .with_state(|state| {
                let verdicts = self.plan.steps.iter().filter(chosen).map(|step| verdict_of(state, &step.id));
                Some(verdicts.fold(Verdict::Holds, worse))
            })
            .unwrap_or(Verdict::Failed)
    }
}

/// A path as the journal has it: whoever reads it may stand elsewhere.
pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
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
