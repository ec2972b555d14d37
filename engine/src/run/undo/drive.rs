//! The loop that takes back: asks the schedule, writes the journal, starts attempts, hears what becomes of them.
//!
//! The same rules hold as for a run that makes things: a record is in the file before what it announces happens, and synced before
//! something is taken away. Killed at any instant, it goes on where it was: what was in the middle is taken back again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use runbook_steps::tools::Orphan;
use runbook_steps::{Class, Failure, Secrets, World};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::super::cancel::{Interrupts, Signal, Stop};
use super::super::common::Common;
use super::super::drive::{Header, Watcher, absolute};
use super::super::orphans;
use super::super::pauses::Pauses;
use super::super::prepare::masked;
use super::super::retry::{self, Decision, Tried};
use super::super::schedule::{self, Schedule};
use super::super::scribe::Scribe;
use super::attempt::Ended;
use super::plan::{Deed, UndoPlan};
use crate::event::Event;
use crate::hints;
use crate::plan::model::{Retry, Step};
use crate::plan::{Plan, StepId};
use crate::state::record::{self, Entry, FORMAT, Failed, Record, Verdict};
use crate::state::{Journal, RunState, StateError, Status, Sync};

/// All that taking back needs.
pub struct Undoing {
    /// The plan: order, retries, timeouts, hints.
    pub plan: Arc<Plan>,
    /// What is taken back.
    pub undo: UndoPlan,
    /// Where.
    pub world: Arc<World>,
    /// What is known, and where to write what happens. Holds the lock.
    pub journal: Journal,
    /// The secrets that it needs.
    pub secrets: Arc<Secrets>,
    /// How many steps at once, at least 1.
    pub parallel: usize,
    /// For the jitter of pauses.
    pub seed: u64,
    /// Who does it.
    pub header: Header,
    /// Who looks on.
    pub watcher: Box<dyn Watcher>,
    /// How it is told to stop.
    pub interrupts: Interrupts,
}

/// How it ended.
#[derive(Debug)]
pub struct Summary {
    /// How: everything that was to be undone is, a step could not be undone, or it was told to stop.
    pub verdict: Verdict,
    /// The signal that it was first told to stop by.
    pub signal: Option<Signal>,
    /// Which run it was.
    pub run: u32,
    /// What could not be undone because something that needs it is still there, with the steps at the root of it.
    pub blocked: Vec<(StepId, Vec<StepId>)>,
    /// The journal, with the state afterwards.
    pub journal: Journal,
}

/// Takes back what the plan of it says, to the end.
///
/// Whatever can go wrong with steps is in the summary; an error is about the journal only.
pub async fn drive(undoing: Undoing) -> Result<Summary, StateError> {
    let mut driver = Driver::new(undoing);
    driver.begin()?;
    driver.end_orphans().await;
    driver.run().await;
    driver.close()
}

pub(super) struct Driver {
    pub(super) plan: Arc<Plan>,
    pub(super) steps: HashMap<usize, Work>,
    left: Vec<(StepId, String)>,
    pub(super) schedule: Schedule,
    seed: u64,
    pub(super) common: Common,
    pub(super) scribe: Scribe,
    pub(super) attempts: JoinSet<(usize, Ended)>,
    pauses: Pauses,
    /// Steps whose success counts no more, because what they were made in goes.
    pub(super) invalid: Vec<bool>,
    blocked: Vec<(StepId, Vec<StepId>)>,
    header: Header,
    interrupts: Interrupts,
    stop: Stop,
    signal: Option<Signal>,
}

/// A step that is taken back, and how far that has come.
pub(super) struct Work {
    pub(super) id: StepId,
    pub(super) deeds: Arc<Vec<Deed>>,
    pub(super) locks: Vec<String>,
    pub(super) attempt: u32,
    pub(super) first: Option<Instant>,
    pub(super) began: Option<Instant>,
}

enum Heard {
    Signal(Signal),
    Synced(Result<(), StateError>),
    Ended(Result<(usize, Ended), JoinError>),
    Due,
    Written(Entry),
    Passing(Event),
}

impl Driver {
    fn new(undoing: Undoing) -> Self {
        let Undoing { plan, undo, world, journal, secrets, parallel, seed, header, watcher, interrupts } = undoing;
        let count = undo.graph.order.len();
        let took: Vec<Duration> = (0..count).map(|node| plan.steps.get(node).map_or(UNSAID, Step::typical)).collect();
        let work = |item: super::plan::Item| Work {
            id: item.step,
            deeds: Arc::new(item.deeds),
            locks: item.locks,
            attempt: 0,
            first: None,
            began: None,
        };
        let common = Common::new(&journal, world, secrets, &plan.dir);
        let scribe = Scribe::new(journal, watcher, Arc::clone(&common.redactor), false);
        let ways = schedule::ways(&undo.graph, &took);
        Self {
            schedule: Schedule::new(&undo.graph, ways, vec![false; count], parallel),
            steps: undo.items.into_iter().map(|(node, item)| (node, work(item))).collect(),
            left: undo.left.into_iter().map(|(step, why)| (step, why.to_string())).collect(),
            invalid: vec![false; count],
            attempts: JoinSet::new(),
            pauses: Pauses::default(),
            blocked: Vec::new(),
            stop: Stop::No,
            signal: None,
            plan,
            seed,
            header,
            interrupts,
            common,
            scribe,
        }
    }

    /// Writes the header and what is left alone, synced: from here on things may be taken away.
    fn begin(&mut self) -> Result<(), StateError> {
        self.scribe.append(Record::Opened(self.opened()), Sync::Soon)?;
        for (step, why) in std::mem::take(&mut self.left) {
            let why = self.common.redactor.mask(&why).into_owned();
            self.scribe.append(Record::UndoSkipped { step, why }, Sync::Soon)?;
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
            selection: String::new(),
            home: absolute(self.common.home.path()),
        }
    }

    /// Ends what an earlier run left running: nothing may be made any more while it is taken back.
    async fn end_orphans(&mut self) {
        let state = self.scribe.with_state(RunState::clone);
        for orphan in orphans::end(&state, self.common.world.clock).await {
            let Orphan { pid, program, step, .. } = &orphan;
            self.scribe.notice(&format!("`{step}` had left `{program}` (pid {pid}) running; {}", orphan.fate()));
        }
    }

    async fn run(&mut self) {
        loop {
            self.launch();
            let over = self.schedule.is_finished() && self.attempts.is_empty();
            if over || self.stop == Stop::Leave {
                return;
            }
            self.scribe.group.mind();
            match self.listen().await {
                Heard::Signal(signal) => self.interrupt(signal),
                Heard::Synced(result) => {
                    let held = self.scribe.held(result);
                    self.go_on_if(held);
                }
                Heard::Ended(ended) => self.ended(ended),
                Heard::Due => self.wake(),
                Heard::Written(entry) => self.scribe.show(&Event::Recorded(entry)),
                Heard::Passing(event) => self.scribe.show(&event),
            }
        }
    }

    async fn listen(&mut self) -> Heard {
        tokio::select! {
            biased;
            signal = self.interrupts.next() => Heard::Signal(signal),
            result = self.scribe.group.synced() => Heard::Synced(result),
            Some(ended) = self.attempts.join_next() => Heard::Ended(ended),
            () = self.pauses.due() => Heard::Due,
            Some(entry) = self.scribe.written.recv(), if self.scribe.wants.output => Heard::Written(entry),
            Some(event) = self.scribe.passed.recv() => Heard::Passing(event),
        }
    }

    fn ended(&mut self, ended: Result<(usize, Ended), JoinError>) {
        self.scribe.show_passing();
        // A panic of a step is caught inside the attempt; one that is not is a bug of the engine, and must be seen as one.
        let (node, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        let (step, attempt) = (self.steps[&node].id.clone(), self.steps[&node].attempt);
        match ended {
            Ended::Undone => {
                let said = format!("`{step}` is undone");
                self.store(Record::Undone { step, attempt, took_ms: self.took_ms(node) }, &said);
                self.schedule.finished(node, schedule::Ended::Succeeded);
            }
            Ended::Cancelled => {
                let said = format!("undoing `{step}` was stopped");
                self.store(Record::Cancelled { step, attempt, untouched: false }, &said);
                self.schedule.finished(node, schedule::Ended::Cancelled);
            }
            Ended::Failed(failure) => self.failed(node, failure),
        }
    }

    fn failed(&mut self, node: usize, mut failure: Failure) {
        if let Some(step) = self.plan.steps.get(node) {
            hints::explain(hints::of_step(&self.plan, step), &mut failure, hints::About::default());
        }
        let failure = masked(&self.common.redactor, failure);
        let decision = self.decide(node, &failure);
        let said = format!("`{}` could not be undone: {}", self.steps[&node].id, failure.what);
        let (step, attempt, took_ms) = (self.steps[&node].id.clone(), self.steps[&node].attempt, self.took_ms(node));
        let pause = match decision {
            Decision::Again { after } => Some(after),
            Decision::Enough => None,
        };
        let retry_in_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.store(
            Record::UndoFailed(Failed { step, attempt, failure, retry_in_ms, took_ms, untouched: false }),
            &said,
        );
        match pause {
            Some(pause) => {
                self.schedule.pause(node);
                self.pauses.push(Instant::now() + self.common.world.clock.real_span(pause), node);
            }
            None => self.schedule.finished(node, schedule::Ended::Failed),
        }
    }

    fn decide(&self, node: usize, failure: &Failure) -> Decision {
        if self.schedule.given_up(node) {
            return Decision::Enough;
        }
        let work = &self.steps[&node];
        let step = self.plan.steps.get(node);
        let usual = Retry::default();
        let spent = work.first.map(|first| self.common.world.clock.model_span(first.elapsed())).unwrap_or_default();
        let tried = Tried {
            step: work.id.as_str(),
            attempt: work.attempt,
            spent,
            deadline: step.and_then(|step| step.deadline),
            seed: self.seed,
        };
        retry::decide(step.map_or(&usual, |step| &step.retry), failure, tried)
    }

    fn took_ms(&self, node: usize) -> u64 {
        let took = self.steps[&node].began.map(|began| self.common.world.clock.model_span(began.elapsed()));
        took.map_or(0, |took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn tell_blocked(&mut self) {
        while let Some((node, roots)) = self.schedule.take_blocked() {
            let Some(work) = self.steps.get(&node) else { continue };
            let step = work.id.clone();
            let roots = roots.iter().filter_map(|root| self.steps.get(root));
            let by: Vec<StepId> = roots.map(|work| work.id.clone()).collect();
            self.blocked.push((step.clone(), by.clone()));
            self.record(Record::Blocked { step, by });
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
                self.common.cancel.hard.cancel();
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

    /// Writes a record. If it cannot be stored, what it says is at least said.
    fn store(&mut self, record: Record, said: &str) {
        if !self.record(record) {
            self.scribe.notice(&format!("{said}, but that could not be stored"));
        }
    }

    /// Writes a record. If it cannot be written, nothing more is started, and what runs is let finish.
    pub(super) fn record(&mut self, record: Record) -> bool {
        let written = self.scribe.record(record);
        self.go_on_if(written)
    }

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
        let verdict = self.verdict();
        // Steps that a third signal left running have no end, so the run has none either: the next one takes them back again.
        let journal = self.scribe.close((self.stop != Stop::Leave).then_some(verdict))?;
        Ok(Summary { verdict, signal: self.signal, run: self.common.run, blocked: self.blocked, journal })
    }

    fn give_up_pauses(&mut self) {
        let failures = self.scribe.with_state(|state| {
            let waits = |step: &&Work| matches!(state.status(&step.id), Status::UndoFailed { until: Some(_) });
            let failed = |work: &Work| Some((work.id.clone(), work.attempt, state.step(&work.id)?.failure()?.clone()));
            self.steps.values().filter(waits).filter_map(failed).collect::<Vec<_>>()
        });
        for (step, attempt, failure) in failures {
            let failed = Failed { step, attempt, failure, retry_in_ms: None, took_ms: 0, untouched: false };
            self.record(Record::UndoFailed(failed));
        }
    }

    fn verdict(&self) -> Verdict {
        if self.signal.is_some() {
            return Verdict::Interrupted;
        }
        self.scribe
            .with_state(|state| {
                let steps = self.steps.values().map(|work| (state.status(&work.id), state.step(&work.id)));
                let left: Vec<_> = steps.filter(|(status, _)| **status != Status::Undone).collect();
                let person = left.iter().any(|(status, step)| {
                    let class = step.and_then(|step| step.failure()).map(|failure| failure.class);
                    matches!(status, Status::UndoFailed { .. }) && class == Some(Class::NeedsPerson)
                });
                Some(match left.is_empty() {
                    true => Verdict::Holds,
                    false if person => Verdict::NeedsPerson,
                    false => Verdict::Failed,
                })
            })
            .unwrap_or(Verdict::Failed)
    }
}

/// What a step counts for that the plan says nothing of.
const UNSAID: Duration = Duration::from_secs(5);
