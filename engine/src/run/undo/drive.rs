//! Taking back: asks the schedule, writes the journal, starts attempts, says how it ended.
//!
//! The same rules hold as for a run that makes things: a record is in the file before what it announces happens, and synced before
//! something is taken away. Killed at any instant, it goes on where it was: what was in the middle is taken back again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use runbook_steps::{Class, Failure, Secrets, World};

use super::super::cancel::{Interrupts, Signal};
use super::super::conductor::{Announced, Driver};
use super::super::course::{Course, Start};
use super::super::drive::{Header, Watcher};
use super::super::listen::{self, Terms};
use super::super::prepare::masked;
use super::super::schedule::{self, Schedule};
use super::attempt::Ended;
use super::plan::{Deed, UndoPlan};
use crate::hints;
use crate::plan::model::{Retry, Step};
use crate::plan::{Plan, StepId};
use crate::state::record::{Failed, Opened, Record, Verdict};
use crate::state::{Journal, StateError, Status, Sync};

/// All that taking back needs.
pub struct Undoing {
    /// The plan: order, retries, timeouts, hints.
    pub plan: Arc<Plan>,
    /// What is taken back.
    pub undo: UndoPlan,
    /// What was asked for, as it would be typed; empty for all of it.
    pub selection: String,
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
    /// Whether grouped syncs hold it up, so that the same events lead to the same journal.
    pub sync_inline: bool,
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
    let (mut unmaking, terms) = Unmaking::new(undoing);
    unmaking.begin()?;
    // Nothing may be made any more while it is taken back.
    unmaking.course.end_orphans().await;
    listen::run(unmaking, terms).await.close()
}

/// Taking back, under way.
pub(super) struct Unmaking {
    pub(super) plan: Arc<Plan>,
    pub(super) course: Course,
    pub(super) steps: HashMap<usize, Work>,
    /// The names of those that the plan no longer has: nodes after its steps.
    gone: Vec<StepId>,
    /// By the node of one that is gone, that of the step which found what it had made.
    pub(super) heirs: BTreeMap<usize, usize>,
    selection: String,
    left: Vec<(StepId, String)>,
    /// Steps whose success counts no more, because what they were made in goes.
    pub(super) invalid: Vec<bool>,
    blocked: Vec<(StepId, Vec<StepId>)>,
}

/// A step that is taken back.
pub(super) struct Work {
    pub(super) id: StepId,
    pub(super) deeds: Arc<Vec<Deed>>,
    pub(super) locks: Vec<String>,
}

impl Driver for Unmaking {
    type Ended = Ended;
    type Launch = ();

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn ended(&mut self, node: usize, ended: Ended) {
        self.write_end(node, ended);
    }

    fn announce(&mut self) -> Announced<()> {
        self.write_starts()
    }

    fn start(&mut self, node: usize, (): ()) -> BoxFuture<'static, Ended> {
        Box::pin(self.attempt(node).run())
    }
}

impl Unmaking {
    fn new(undoing: Undoing) -> (Self, Terms) {
        let Undoing { plan, undo, selection, world, journal, secrets, parallel, seed, .. } = undoing;
        let Undoing { sync_inline, header, watcher, interrupts, .. } = undoing;
        let count = undo.graph.order.len();
        let took: Vec<Duration> = (0..count).map(|node| plan.steps.get(node).map_or(UNSAID, Step::typical)).collect();
        let ways = schedule::ways(&undo.graph, &took);
        let schedule = Schedule::new(&undo.graph, ways, vec![false; count], parallel);
        let work = |item: super::plan::Item| Work { id: item.step, deeds: Arc::new(item.deeds), locks: item.locks };
        let terms = Terms { interrupts, sync_inline, lanes: 0 };
        let start = Start { plan: &plan, world, journal, secrets, schedule, header, watcher, seed };
        let unmaking = Self {
            course: Course::new(start),
            selection,
            gone: undo.gone,
            heirs: undo.heirs,
            steps: undo.items.into_iter().map(|(node, item)| (node, work(item))).collect(),
            left: undo.left.into_iter().map(|(step, why)| (step, why.to_string())).collect(),
            invalid: vec![false; count],
            blocked: Vec::new(),
            plan,
        };
        (unmaking, terms)
    }

    /// What a node is called.
    pub(super) fn id(&self, node: usize) -> &StepId {
        let steps = &self.plan.steps;
        steps.get(node).map_or_else(|| &self.gone[node - steps.len()], |step| &step.id)
    }

    /// Writes the header and what is left alone, synced: from here on things may be taken away.
    fn begin(&mut self) -> Result<(), StateError> {
        let opened = Opened { selection: std::mem::take(&mut self.selection), ..self.course.opened(&self.plan) };
        self.course.scribe.append(Record::Opened(opened), Sync::Soon)?;
        for (step, why) in std::mem::take(&mut self.left) {
            let why = self.course.common.redactor.mask(&why).into_owned();
            self.course.scribe.append(Record::UndoSkipped { step, why }, Sync::Soon)?;
        }
        self.course.scribe.sync()
    }

    fn write_end(&mut self, node: usize, ended: Ended) {
        let (step, attempt) = (self.steps[&node].id.clone(), self.course.attempt(node));
        match ended {
            Ended::Undone => {
                let said = format!("`{step}` is undone");
                let took_ms = self.course.took_ms(node);
                self.course.store(Record::Undone { step, attempt, took_ms }, |_| said);
                self.course.schedule.finished(node, schedule::Ended::Succeeded);
            }
            Ended::Cancelled => {
                let said = format!("undoing `{step}` was stopped");
                self.course.store(Record::Cancelled { step, attempt, untouched: false }, |_| said);
                self.course.schedule.finished(node, schedule::Ended::Cancelled);
            }
            Ended::Failed(failure) => self.failed(node, failure),
        }
    }

    fn failed(&mut self, node: usize, mut failure: Failure) {
        if let Some(step) = self.plan.steps.get(node) {
            hints::explain(hints::of_step(&self.plan, step), &mut failure, hints::About::default());
        }
        let failure = masked(&self.course.common.redactor, failure);
        let usual = Retry::default();
        let step = self.plan.steps.get(node);
        let terms = (step.map_or(&usual, |step| &step.retry), step.and_then(|step| step.deadline));
        let pause = self.course.decide(node, self.steps[&node].id.as_str(), terms, &failure);
        let said = format!("`{}` could not be undone: {}", self.steps[&node].id, failure.what);
        let (step, attempt) = (self.steps[&node].id.clone(), self.course.attempt(node));
        let took_ms = self.course.took_ms(node);
        let retry_in_ms = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        self.course.store(
            Record::UndoFailed(Failed { step, attempt, failure, retry_in_ms, took_ms, untouched: false }),
            |_| said,
        );
        match pause {
            Some(pause) => self.course.pause(node, pause),
            None => self.course.schedule.finished(node, schedule::Ended::Failed),
        }
    }

    pub(super) fn tell_blocked(&mut self) {
        while let Some((node, roots)) = self.course.schedule.take_blocked() {
            let Some(work) = self.steps.get(&node) else { continue };
            let step = work.id.clone();
            let by: Vec<StepId> = roots.into_iter().map(|root| self.id(root).clone()).collect();
            self.blocked.push((step.clone(), by.clone()));
            self.course.record(Record::Blocked { step, by });
        }
    }

    /// Ends the run: gives up what still waited to be tried again, says how it ended, syncs.
    fn close(mut self) -> Result<Summary, StateError> {
        self.give_up_pauses();
        self.course.tell_leftovers();
        let (verdict, signal, run) = (self.verdict(), self.course.signal(), self.course.common.run);
        let journal = self.course.close(verdict)?;
        Ok(Summary { verdict, signal, run, blocked: self.blocked, journal })
    }

    fn give_up_pauses(&mut self) {
        let failures = self.course.scribe.with_state(|state| {
            let waits = |step: &Work| matches!(state.status(&step.id), Status::UndoFailed { until: Some(_) });
            let waiting = self.steps.iter().filter(|(_, work)| waits(work));
            let failed = waiting.filter_map(|(node, work)| {
                let step = state.step(&work.id)?;
                Some((work.id.clone(), self.course.attempt(*node), step.failure()?.clone(), step.took_ms()))
            });
            failed.collect::<Vec<_>>()
        });
        for (step, attempt, failure, took_ms) in failures {
            let failed = Failed { step, attempt, failure, retry_in_ms: None, took_ms, untouched: false };
            self.course.record(Record::UndoFailed(failed));
        }
    }

    fn verdict(&self) -> Verdict {
        if self.course.signal().is_some() {
            return Verdict::Interrupted;
        }
        self.course
            .scribe
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

#[cfg(test)]
#[path = "haunted_tests.rs"]
mod haunted_tests;
