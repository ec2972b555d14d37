//! Looking at everything again: whether the world still is as the steps that hold left it.
//!
//! Every `check`, `wait` and look-up, every kind that observes, and every step that only reads. Nothing is changed, started anew or
//! written down, but for a note that a look is under way. Knows nothing of locks and records; how it is told is `cli/verify`'s business.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use runbook_steps::condition::Verdict;
use runbook_steps::{
    Cancel, Child, Class, Condition, Context, Failure, Log, Lookup, Observer, Outputs, Progress, Secrets, Standing,
    Stream, World,
};
use serde_json::Value;

use super::bounded::{Bounded, Limit, bounded};
use super::orphans;
use super::panics::{caught, panic_text};
use super::prepare::{self, Prepared, Ready};
use crate::plan::eval::RenderedOutput;
use crate::plan::model::{Known, Step};
use crate::plan::{Plan, StepId};
use crate::state::fingerprint::shown;
use crate::state::fold::Done;
use crate::state::{Home, RunState, Status};

/// All that looking needs.
pub struct Verification {
    /// The plan.
    pub plan: Arc<Plan>,
    /// What its deployment's journal says.
    pub state: RunState,
    /// Where it stands.
    pub world: Arc<World>,
    /// The plan's secrets.
    pub secrets: Arc<Secrets>,
    /// The deployment's folder.
    pub home: Home,
    /// How many steps are looked at at once.
    pub parallel: usize,
    /// How long looking at one step may take, by the run's clock; longer for steps that are expected to take longer.
    pub limit: Duration,
    /// How it is told to stop.
    pub cancel: Cancel,
}

/// What was found about a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All that can be seen of it is as it should be.
    Holds,
    /// It is not: what differs, a line each.
    Drift(Vec<String>),
    /// It could not be looked at, and why.
    Unseen(String),
    /// It did what cannot be seen: a program without a `check`.
    Blind,
    /// By the journal it does not hold, so there is nothing to look at.
    NotDone(&'static str),
    /// It is not wanted, and why, so that it need not hold.
    Skipped(String),
}

/// Looks at every step, in the order of the plan.
pub async fn verify(verification: Verification) -> Vec<(StepId, Found)> {
    let look = orphans::Look::begin(&verification.home);
    let world = look.carry(Arc::clone(&verification.world));
    let all = Arc::new(Verification { world, ..verification });
    let looks = (0..all.plan.steps.len()).map(|index| {
        let all = Arc::clone(&all);
        async move { (index, all.step(index).await) }
    });
    let mut found: Vec<(usize, Found)> =
        futures::stream::iter(looks).buffer_unordered(all.parallel.max(1)).collect().await;
    look.end();
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(index, found)| (all.plan.steps[index].id.clone(), found)).collect()
}

impl Verification {
    async fn step(&self, index: usize) -> Found {
        let step = &self.plan.steps[index];
        let Some(done) = self.state.step(&step.id).and_then(|state| state.done()) else {
            return match self.state.status(&step.id) {
                Status::Skipped { why } => Found::Skipped(why.clone()),
                _ => Found::NotDone("by the journal it does not hold"),
            };
        };
        let cx = self.context(step.id.as_str());
        let ready = match prepare::prepare(&self.plan, step, self.state.known(), &cx.redactor) {
            Prepared::Ready(ready) => ready,
            Prepared::Unwanted(why) => return Found::Skipped(why),
            Prepared::Refused(failure) => return Found::Unseen(failure.what),
        };
        let last = Arc::new(Last::default());
        let cx = Context { observer: Arc::clone(&last) as Arc<dyn Observer>, ..cx };
        let look = Look { step, done, known: self.state.known(), ready: &ready, cx: &cx };
        let limit = self.limit.max(step.expected.map_or(Duration::ZERO, |expected| expected.high));
        let limit = step.timeout.map_or(limit, |timeout| limit.min(timeout));
        match bounded(caught(look.all()), Limit::of(Some(limit), None, Duration::ZERO), &cx).await {
            Bounded::Ended(Ok(found)) => found,
            Bounded::Ended(Err(panic)) => {
                Found::Unseen(format!("looking at it panicked: {}", panic_text(panic.as_ref())))
            }
            Bounded::Killed => Found::Unseen("looking was stopped".to_owned()),
            Bounded::Late(..) => too_long(step, limit, &last.text()),
        }
    }

    /// What surrounds a look.
    fn context(&self, step: &str) -> Context {
        let Self { plan, world, secrets, home, cancel, .. } = self;
        onlooker(plan, world, secrets, home, cancel, step)
    }
}

/// What surrounds who only looks, in the name of a step: nothing is logged, and nobody listens.
pub(super) fn onlooker(
    plan: &Plan,
    world: &Arc<World>,
    secrets: &Arc<Secrets>,
    home: &Home,
    cancel: &Cancel,
    step: &str,
) -> Context {
    Context {
        world: Arc::clone(world),
        cancel: cancel.child(),
        log: Arc::new(Nowhere),
        observer: Arc::new(Last::default()),
        secrets: Arc::clone(secrets),
        redactor: Arc::new(secrets.redactor()),
        step: step.into(),
        attempt: 1,
        deployment: home.deployment().into(),
        plan_dir: plan.dir.as_path().into(),
        state_dir: home.path().into(),
        after_crash: false,
    }
}

fn too_long(step: &Step, limit: Duration, last: &str) -> Found {
    let span = jiff::SignedDuration::try_from(limit).unwrap_or(jiff::SignedDuration::MAX);
    let last = if last.is_empty() { String::new() } else { format!("; last seen: {last}") };
    // What asks until the answer is right has an answer by then, and it is not right.
    if prepare::kind_reads(step) {
        return Found::Drift(vec![format!("it did not come to hold within {span:#}{last}")]);
    }
    Found::Unseen(format!("looking took longer than {span:#}{last}"))
}

/// One look at one step.
struct Look<'a> {
    step: &'a Step,
    done: &'a Done,
    known: &'a Known,
    ready: &'a Ready,
    cx: &'a Context,
}

/// What a look has come to so far.
#[derive(Default)]
struct Seen {
    drift: Vec<String>,
    /// Whether anything could be seen.
    something: bool,
    /// The outputs as they are now.
    outputs: Option<Outputs>,
}

impl Look<'_> {
    async fn all(&self) -> Found {
        let mut seen = Seen::default();
        match self.gather(&mut seen).await {
            Err(failure) if seen.drift.is_empty() => Found::Unseen(failure.what),
            _ if !seen.drift.is_empty() => Found::Drift(seen.drift),
            _ if seen.something => Found::Holds,
            _ => Found::Blind,
        }
    }

    async fn gather(&self, seen: &mut Seen) -> Result<(), Failure> {
        self.conditions(seen).await?;
        self.observe(seen).await?;
        if seen.drift.is_empty() {
            self.read(seen).await?;
            self.outputs(seen).await?;
            self.assert(seen)?;
        }
        Ok(())
    }

    async fn conditions(&self, seen: &mut Seen) -> Result<(), Failure> {
        let rendered = &self.ready.rendered;
        for value in rendered.check.iter().chain(&rendered.wait) {
            let condition = Condition::read(value).map_err(|error| Failure::invalid(error.message))?;
            seen.something = true;
            if let Verdict::Not(why) = condition.look(self.cx).await? {
                seen.drift.push(why);
            }
        }
        Ok(())
    }

    async fn observe(&self, seen: &mut Seen) -> Result<(), Failure> {
        let Some(work) = &self.ready.work else { return Ok(()) };
        match work.observe(self.cx).await? {
            Standing::Holds(outputs) | Standing::Due(outputs) => seen.outputs = Some(outputs),
            // Where the plan says what counts as done, that counts; a JSON patch, say, can never be seen to hold.
            _ if !self.step.check.is_empty() => return Ok(()),
            Standing::Lacks(why) => seen.drift.push(why),
            Standing::InProgress(why) => seen.drift.push(format!("it is being changed now: {why}")),
            Standing::Unknown => return Ok(()),
        }
        seen.something = true;
        Ok(())
    }

    /// Steps that only read and cannot be looked at otherwise are done again. This is the only place that performs anything.
    async fn read(&self, seen: &mut Seen) -> Result<(), Failure> {
        let (Some(work), true, true) = (&self.ready.work, seen.outputs.is_none(), reads(self.step)) else {
            return Ok(());
        };
        seen.something = true;
        match work.perform(self.cx).await {
            Ok(outputs) => seen.outputs = Some(outputs),
            Err(failure) if says_nothing(failure.class) => return Err(failure),
            Err(failure) => seen.drift.push(failure.what),
        }
        Ok(())
    }

    /// Outputs that the plan reads off the world, against the journal's. Those of kinds tell how something was done as well, such as
    /// how many objects were made, and are no measure.
    async fn outputs(&self, seen: &mut Seen) -> Result<(), Failure> {
        let fresh = seen.outputs.is_some();
        let mut now = seen.outputs.take().unwrap_or_else(|| self.done.outputs.clone());
        let rules = self.step.own_outputs(self.known, &now).map_err(|error| prepare::refusal(&error))?;
        for (name, rule) in rules {
            match rule {
                RenderedOutput::Value(value) => drop(now.insert(name, value)),
                RenderedOutput::Lookup(value) => {
                    seen.something = true;
                    let lookup = Lookup::read(&value).map_err(|error| Failure::invalid(error.message))?;
                    match lookup.fetch(self.cx).await {
                        Ok(mut value) => {
                            self.cx.redactor.mask_value(&mut value);
                            seen.drift.extend(changed(&name, self.done.outputs.get(&name), &value));
                            now.insert(name, value);
                        }
                        Err(failure) if failure.class == Class::NotFound => seen.drift.push(failure.what),
                        Err(failure) => return Err(failure),
                    }
                }
            }
        }
        seen.outputs = Some(now).filter(|_| fresh);
        Ok(())
    }

    fn assert(&self, seen: &mut Seen) -> Result<(), Failure> {
        let Some(outputs) = &seen.outputs else { return Ok(()) };
        let failed = self.step.failed_assertions(self.known, outputs).map_err(|error| prepare::refusal(&error))?;
        seen.drift.extend(failed);
        Ok(())
    }
}

/// Whether doing a step again changes nothing. A question to a person is none that can be asked here, and load is no look.
fn reads(step: &Step) -> bool {
    prepare::only_reads(step)
        && step.work.as_ref().is_none_or(|work| !matches!(work.kind.name, "manual" | "http.bench"))
}

/// Whether a failure says nothing about what was asked for.
fn says_nothing(class: Class) -> bool {
    matches!(class, Class::AuthExpired | Class::Throttled | Class::Cancelled | Class::NeedsPerson)
}

/// An output that came out otherwise; one that the journal does not have yet is no difference.
fn changed(name: &str, before: Option<&Value>, now: &Value) -> Option<String> {
    let before = before.filter(|before| *before != now)?;
    Some(format!("`outputs.{name}` changed {} → {}", shown(before), shown(now)))
}

/// A log that nobody reads: nothing is written down.
struct Nowhere;

impl Log for Nowhere {
    fn write(&self, _: Stream, _: &[u8]) {}
}

/// Keeps the last that was said, for when it takes too long.
#[derive(Default)]
struct Last(Mutex<String>);

impl Last {
    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Last {
    fn progress(&self, progress: Progress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress.text;
    }

    fn spawned(&self, _: Child) {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_output_that_is_otherwise_is_named_and_a_new_one_is_not() {
        let (old, new) = (json!("1.2.3.4"), json!("5.6.7.8"));
        let text = "`outputs.ip` changed `1.2.3.4` → `5.6.7.8`";
        assert_eq!(changed("ip", Some(&old), &new).as_deref(), Some(text));
        assert_eq!((changed("ip", Some(&old), &old), changed("ip", None, &new)), (None, None));
    }
}
