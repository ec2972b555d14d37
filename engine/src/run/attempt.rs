//! One attempt of one step, from its `check` to its `assert`.
//!
//! Knows nothing of order, retries or records: it says how the attempt ended, and the driver writes that down.

use std::sync::{Arc, Mutex, PoisonError};

use runbook_steps::condition::Verdict;
use runbook_steps::{Child, Class, Condition, Context, Facts, Failure, Lookup, Observer, Outputs, Progress, Standing};
use serde_json::Value;

use super::book::Book;
use super::bounded::{Bounded, Limit, bounded};
use super::insight::Insight;
use super::panics::{Panic, caught, panic_text};
use super::prepare::{self, Ready};
use super::scribe::Passing;
use super::undo::{order, recipe};
use crate::event::{Event, Reached};
use crate::plan::eval::RenderedOutput;
use crate::plan::model::{Known, Step};
use crate::plan::{Plan, StepId};
use crate::state::record::{Outcome, Recipe, Touches};

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Succeeded { outcome: Outcome, outputs: Outputs },
    Failed { failure: Failure, untouched: bool },
    Cancelled { untouched: bool },
    Unknown(String),
}

/// One attempt of one step.
pub(crate) struct Attempt {
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: usize,
    pub(crate) ready: Box<Ready>,
    pub(crate) cx: Context,
    pub(crate) watch: Arc<Watch>,
    pub(crate) limit: Option<Limit>,
    /// What it gave when it last held, if that was by doing the same: then it is only looked at, unless something is seen to lack.
    pub(crate) before: Option<Outputs>,
    /// Whether the user wants it done even if its `check` holds.
    pub(crate) forced: bool,
    /// What its start says of when it changes the world.
    pub(crate) touches: Touches,
    /// Whether an earlier run ended in the middle of taking back what it had made.
    pub(crate) half_undone: bool,
}

/// Why the life of an attempt ended early.
enum Early {
    Failed(Failure),
    Unknown(String),
}

impl From<Failure> for Early {
    fn from(failure: Failure) -> Self {
        Early::Failed(failure)
    }
}

impl Attempt {
    fn step(&self) -> &Step {
        &self.plan.steps[self.index]
    }

    /// Runs the attempt. A panic in the step is a failure of the step.
    pub(crate) async fn run(self) -> Ended {
        let ended = self.lived().await;
        if let Ended::Failed { failure, .. } = &ended {
            self.cx.note(&format!("failed: {}", failure.what));
        }
        ended
    }

    async fn lived(&self) -> Ended {
        match bounded(caught(self.life()), self.limit, &self.cx).await {
            Bounded::Ended(ended) => self.judge(ended),
            Bounded::Killed => self.cancelled(),
            Bounded::Late(limit, ended) => self.timed_out(limit, ended),
        }
    }

    fn judge(&self, ended: Lived) -> Ended {
        match ended {
            Ok(Ok((outcome, outputs))) => Ended::Succeeded { outcome, outputs },
            Ok(Err(Early::Unknown(why))) => Ended::Unknown(why),
            Ok(Err(Early::Failed(failure))) if failure.class == Class::Cancelled && self.cx.cancel.asked() => {
                self.cancelled()
            }
            Ok(Err(Early::Failed(failure))) => self.failed(failure),
            Err(panic) => self.failed(Failure::permanent(format!("step panicked: {}", panic_text(panic.as_ref())))),
        }
    }

    fn failed(&self, failure: Failure) -> Ended {
        Ended::Failed { failure, untouched: !self.watch.performs() }
    }

    fn cancelled(&self) -> Ended {
        Ended::Cancelled { untouched: !self.cx.after_crash && !self.watch.performs() }
    }

    fn timed_out(&self, limit: Limit, ended: Option<Lived>) -> Ended {
        match ended {
            Some(Ok(Ok((outcome, outputs)))) => return Ended::Succeeded { outcome, outputs },
            // Something worse than that it was late, such as what cannot be stopped: another attempt would run beside it.
            Some(Ok(Err(Early::Failed(failure)))) if failure.class == Class::NeedsPerson => {
                return self.failed(failure);
            }
            _ => {}
        }
        let last = self.watch.last();
        let seen = if last.text.is_empty() { String::new() } else { format!("; last seen: {}", last.text) };
        let what = format!("{limit}{seen}");
        self.failed(Failure::new(Class::Timeout, what).facts(last.facts))
    }

    async fn life(&self) -> Result<(Outcome, Outputs), Early> {
        let (outcome, outputs) = self.make_it_so().await?;
        let outputs = self.add_outputs(outputs).await?;
        self.assert(&outputs)?;
        Ok((outcome, outputs))
    }

    async fn make_it_so(&self) -> Result<(Outcome, Outputs), Early> {
        let checked = self.check_holds().await?;
        let Some(work) = &self.ready.work else {
            self.wait().await?;
            return Ok((Outcome::Ok, Outputs::new()));
        };
        let standing = work.observe(&self.cx).await?;
        match standing {
            Standing::Holds(outputs) => {
                self.wait_unless(checked).await?;
                Ok((Outcome::Ok, outputs))
            }
            _ if checked => Ok((Outcome::Ok, self.before.clone().unwrap_or_default())),
            Standing::Unknown if self.only_looks() => Ok((Outcome::Ok, self.before.clone().unwrap_or_default())),
            Standing::Unknown if self.is_uncertain() => Err(Early::Unknown(self.uncertainty())),
            Standing::Due(_) | Standing::Lacks(_) | Standing::InProgress(_) | Standing::Unknown => {
                self.perform(work.as_ref()).await
            }
        }
    }

    async fn perform(&self, work: &dyn runbook_steps::Step) -> Result<(Outcome, Outputs), Early> {
        // A step that was told to stop before it began has done nothing that anybody would have to settle.
        if self.cx.cancel.asked() {
            return Err(Failure::cancelled().into());
        }
        self.watch.begin_to_perform();
        self.announce(work).await?;
        let outputs = work.perform(&self.cx).await?;
        self.wait().await?;
        let outcome = if prepare::only_reads(self.step()) { Outcome::Ok } else { Outcome::Changed };
        Ok((outcome, outputs))
    }

    /// Writes down that the world is changed from here on, and how that can be taken back.
    async fn announce(&self, work: &dyn runbook_steps::Step) -> Result<(), Failure> {
        let step = self.step();
        if prepare::only_reads(step) || self.touches == Touches::AtOnce {
            return Ok(());
        }
        let needs = || self.watch.book.with_state(|state| order::stands_on(&self.plan, self.index, state));
        let recipe = recipe::of(step, &self.ready, work, &self.cx).await;
        let recipe = recipe.map(|recipe| Recipe { needs: Some(needs()), ..recipe });
        match self.watch.book.performing(&step.id, self.watch.attempt, recipe) {
            true => Ok(()),
            false => Err(Failure::permanent("nothing was done: the journal cannot be written")),
        }
    }

    /// An earlier attempt may have done it, nobody can look, and doing it twice may hurt.
    fn is_uncertain(&self) -> bool {
        self.cx.after_crash && self.step().check.is_empty() && !prepare::repeatable(self.step())
    }

    fn uncertainty(&self) -> String {
        let kind = self.step().work.as_ref().map_or("step", |work| work.kind.name);
        let (what, way) = match self.half_undone {
            false => ("it", "a `check`, or `idempotent: true` where a repeat is safe, would let it go on by itself"),
            true => {
                ("taking it back", "it is done only if what it made still stands; `destroy` goes on taking it back")
            }
        };
        format!("an earlier run ended in the middle of {what}, and a `{kind}` cannot be looked at; {way}")
    }

    /// It held before, and nothing says that it does not any more.
    fn only_looks(&self) -> bool {
        self.before.is_some() && self.step().check.is_empty()
    }

    /// Whether the plan's `check` is there and all of it holds.
    async fn check_holds(&self) -> Result<bool, Failure> {
        if self.forced && !self.cx.after_crash {
            return Ok(false);
        }
        for value in &self.ready.rendered.check {
            if let Verdict::Not(why) = condition(value)?.look(&self.cx).await? {
                self.cx.note(&format!("check: {why}"));
                return Ok(false);
            }
        }
        Ok(!self.ready.rendered.check.is_empty())
    }

    async fn wait_unless(&self, checked: bool) -> Result<(), Failure> {
        if checked { Ok(()) } else { self.wait().await }
    }

    async fn wait(&self) -> Result<(), Failure> {
        for value in &self.ready.rendered.wait {
            condition(value)?.wait(&self.cx).await?;
        }
        Ok(())
    }

    /// The kind's outputs and those that the plan adds.
    async fn add_outputs(&self, mut outputs: Outputs) -> Result<Outputs, Failure> {
        if self.step().outputs.is_empty() {
            return Ok(outputs);
        }
        let rules = self.watch.book.with_known(|known| self.step().own_outputs(known, &outputs));
        for (name, rule) in rules.map_err(|error| prepare::refusal(&error))? {
            let value = match rule {
                RenderedOutput::Value(value) => value,
                RenderedOutput::Lookup(value) => lookup(&value)?.fetch(&self.cx).await?,
            };
            outputs.insert(name, value);
        }
        Ok(outputs)
    }

    fn assert(&self, outputs: &Outputs) -> Result<(), Failure> {
        if self.step().assert.is_empty() {
            return Ok(());
        }
        let judge = |known: &Known| self.step().failed_assertions(known, outputs);
        let failed = self.watch.book.with_known(judge).map_err(|error| prepare::refusal(&error))?;
        match failed.split_first() {
            None => Ok(()),
            Some((first, rest)) => Err(Failure::permanent(format!("assertion does not hold: {first}"))
                .detail(rest.join("\n"))
                .facts(self.watch.last().facts)),
        }
    }
}

type Lived = Result<Result<(Outcome, Outputs), Early>, Panic>;

fn condition(value: &Value) -> Result<Condition, Failure> {
    Condition::read(value).map_err(|error| Failure::invalid(format!("a condition cannot be read: {}", error.message)))
}

fn lookup(value: &Value) -> Result<Lookup, Failure> {
    Lookup::read(value).map_err(|error| Failure::invalid(format!("an output cannot be read: {}", error.message)))
}

/// Listens to one attempt: keeps what it saw last, tells the watcher, and writes down the processes that it starts.
pub(crate) struct Watch {
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) book: Book,
    pub(crate) passing: Passing,
    pub(crate) redactor: Arc<runbook_steps::Redactor>,
    /// What its words mean; nothing for what is undone.
    insight: Option<Insight>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last: Progress,
    performs: bool,
    stage: Option<Reached>,
}

impl Watch {
    pub(crate) fn new(
        step: StepId,
        attempt: u32,
        book: Book,
        passing: Passing,
        redactor: Arc<runbook_steps::Redactor>,
    ) -> Self {
        Self { step, attempt, book, passing, redactor, insight: None, seen: Mutex::default() }
    }

    /// The same with the meaning of what it hears.
    pub(crate) fn with(self, insight: Insight) -> Self {
        Self { insight: Some(insight), ..self }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> Progress {
        self.seen().last.clone()
    }

    /// The stage that the step is in, now that it has said this.
    fn come_to(&self, progress: &Progress) -> Option<Reached> {
        let mut seen = self.seen();
        seen.stage = self.insight.as_ref().and_then(|insight| insight.stage(progress, seen.stage));
        seen.stage
    }

    fn begin_to_perform(&self) {
        self.seen().performs = true;
    }

    fn performs(&self) -> bool {
        self.seen().performs
    }
}

impl Observer for Watch {
    fn progress(&self, mut progress: Progress) {
        if let std::borrow::Cow::Owned(masked) = self.redactor.mask(&progress.text) {
            progress.text = masked;
        }
        let facts: Box<Facts> = Box::new(progress.facts.clone());
        let advice = self.insight.as_ref().and_then(|insight| insight.advice(&progress)).map(Box::new);
        let stage = self.come_to(&progress);
        let event = Event::Progress { step: self.step.clone(), text: progress.text.clone(), facts, advice, stage };
        self.seen().last = progress;
        self.passing.send(event);
    }

    fn spawned(&self, child: Child) {
        self.book.spawned(&self.step, self.attempt, child);
    }
}
