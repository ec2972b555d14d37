//! Running a plan: asks the schedule, writes the journal, starts attempts, says how it ended.
//!
//! Decisions are elsewhere and pure; here and in `launch` and `outcome` is only the order of things. What is heard meanwhile is the
//! business of the `course`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use runbook_steps::{Class, Outputs, Secrets, World};

use super::attempt::Ended;
use super::cancel::{Interrupts, Signal};
use super::cleanup;
use super::conductor::{Announced, Driver};
use super::course::{Course, Start};
use super::launch::Launch;
use super::listen::{self, Terms};
use super::prepare::Ready;
use super::resume::{Fate, Ripple};
use super::schedule::{self, Schedule};
use super::whence;
use crate::event::Event;
use crate::maps::NameSet;
use crate::plan::Step;
use crate::plan::{Plan, StepId};
use crate::state::asked::Asked;
use crate::state::record::{self, Opened, Record, Verdict};
use crate::state::{Journal, RunState, StateError, Status, StepState, Sync};

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
    /// Steps that run only when they are asked for, and were asked for: one left in the middle, of which somebody must find out how it stands,
    /// or one that no run has come to yet.
    pub unfinished: BTreeSet<StepId>,
    /// Whether a step that holds is left alone although it would now do something else.
    pub keep_stale: bool,
    /// Steps that were just found to hold and to do the same: left alone without another look, for as long as nothing has run.
    pub reuse: NameSet<StepId>,
    /// What the user asked for of the above, for the journal.
    pub asked: Asked,
    /// Whether grouped syncs hold up the run instead of going on beside it. With this, and without lanes, the same events lead to the
    /// same journal.
    pub sync_inline: bool,
    /// How many threads wait for short programs by themselves, which spares handing them over. Without one, all goes on among the
    /// runtime's tasks.
    pub lanes: usize,
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
            unfinished: BTreeSet::new(),
            keep_stale: false,
            reuse: NameSet::default(),
            asked: Asked::default(),
            sync_inline: false,
            lanes: 0,
        }
    }
}

impl Options {
    /// Whether a step is no part of the run: others were asked for, or it runs only when it is asked for.
    pub(crate) fn leaves_alone(&self, step: &Step) -> bool {
        let unasked = step.on_demand && !self.redo.contains(&step.id) && !self.unfinished.contains(&step.id);
        if self.only.is_empty() { unasked } else { !self.only.contains(&step.id) }
    }

    /// Leaves alone what was found to hold by these very options: nobody needs to find it out again.
    pub fn trust(&mut self, fates: &[(StepId, Fate)]) {
        let holds = fates.iter().filter(|(_, fate)| *fate == Fate::Reuse);
        self.reuse = holds.map(|(id, _)| id.clone()).collect();
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
    let (mut making, terms) = Making::new(run);
    making.begin()?;
    making.course.end_orphans().await;
    making.redo()?;
    listen::run(making, terms).await.close()
}

/// A run under way.
pub(super) struct Making {
    pub(super) plan: Arc<Plan>,
    pub(super) options: Options,
    pub(super) course: Course,
    /// Steps that were evaluated and stand in a queue for a lock.
    pub(super) queued: HashMap<usize, Box<Ready>>,
    pub(super) reused: Vec<StepId>,
    pub(super) ripple: Ripple,
    /// The last run in which a step that is not in `finally` was started, this one included.
    pub(super) last_acted: u32,
}

impl Driver for Making {
    type Ended = Ended;
    type Launch = Launch;

    fn course(&mut self) -> &mut Course {
        &mut self.course
    }

    fn ended(&mut self, step: usize, ended: Ended) {
        self.write_end(step, ended);
    }

    fn announce(&mut self) -> Announced<Launch> {
        self.write_starts()
    }

    fn start(&mut self, step: usize, launch: Launch) -> BoxFuture<'static, Ended> {
        Box::pin(self.attempt(step, launch).run())
    }
}

impl Making {
    fn new(run: Run) -> (Self, Terms) {
        let Run { plan, world, journal, secrets, options, header, watcher, interrupts } = run;
        let finally = plan.steps.iter().map(|step| step.finally).collect();
        let took: Vec<Duration> = plan.steps.iter().map(Step::typical).collect();
        let priority = schedule::ways(&plan.graph, &took);
        let schedule = Schedule::new(&plan.graph, priority, finally, options.parallel);
        let (seed, count, last_acted) = (options.seed, plan.steps.len(), cleanup::last_acted(&plan, journal.state()));
        let terms = Terms { interrupts, sync_inline: options.sync_inline, lanes: options.lanes.min(options.parallel) };
        let start = Start { plan: &plan, world, journal, secrets, schedule, header, watcher, seed };
        let making = Self {
            course: Course::new(start),
            queued: HashMap::new(),
            reused: Vec::new(),
            ripple: Ripple::new(count),
            last_acted,
            plan,
            options,
        };
        (making, terms)
    }

    /// Writes the header, synced: from here on the world may be touched.
    fn begin(&mut self) -> Result<(), StateError> {
        let Options { asked, redo, .. } = &self.options;
        let opened = Opened {
            selection: asked.to_string(),
            asked: (!asked.is_all()).then(|| Box::new(asked.clone())),
            redo: redo.iter().cloned().collect(),
            ..self.course.opened(&self.plan)
        };
        let home = &self.course.common.state_dir;
        let moved = self.course.scribe.with_state(|state| whence::moved(&self.plan, state, home));
        self.course.scribe.append(Record::Opened(opened), Sync::Soon)?;
        self.course.scribe.sync()?;
        moved.into_iter().for_each(|words| self.course.scribe.notice(&words));
        Ok(())
    }

    /// Writes that the user wants steps done again which are in flight or in doubt, or wanted it of a run that was killed before it could
    /// write that: after their orphans have ended, because a settled step has none. One whose orphans live on is not settled, or the next
    /// run would start a second copy beside them.
    fn redo(&mut self) -> Result<(), StateError> {
        let wanted = self.plan.steps.iter().filter(|step| !self.options.leaves_alone(step)).map(|step| &step.id);
        let free = wanted.filter(|step| !self.course.haunted.contains_key(*step));
        let steps: Vec<StepId> = self.course.scribe.with_state(|state| {
            let is_due = |step: &StepState| step.is_open() && step.is_forced();
            free.filter(|step| state.step(step).is_some_and(is_due)).cloned().collect()
        });
        for step in steps {
            self.course.scribe.append(Record::Settled { step, done: false, outputs: Outputs::new() }, Sync::Soon)?;
        }
        self.course.scribe.sync()
    }

    /// Ends the run: gives up what still waited to be tried again, says how it ended, syncs.
    fn close(mut self) -> Result<Summary, StateError> {
        self.give_up_pauses();
        self.course.tell_leftovers();
        let (verdict, signal, run) = (self.verdict(), self.course.signal(), self.course.common.run);
        let journal = self.course.close(verdict)?;
        Ok(Summary { verdict, signal, run, reused: self.reused, journal })
    }

    fn give_up_pauses(&mut self) {
        let failures = self.course.scribe.with_state(|state| {
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
            self.course.record(Record::Failed(given_up));
        }
    }

    fn verdict(&self) -> Verdict {
        if self.course.signal().is_some() {
            return Verdict::Interrupted;
        }
        let chosen = |step: &&Step| !self.options.leaves_alone(step);
        self.course
            .scribe
            .with_state(|state| {
                let verdicts = self.plan.steps.iter().filter(chosen).map(|step| verdict_of(state, &step.id));
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

#[cfg(test)]
#[path = "haunted_tests.rs"]
mod haunted_tests;
