//! What becomes of each step when a deployment is continued: decided before anything runs, from the plan and the journal.
//!
//! Also here, because a run decides it by the same words: whether a step that holds is looked at again after what it stands on has
//! changed. Pure but for the files that fingerprints cover.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZero;
use std::thread;

use runbook_steps::Redactor;
use runbook_steps::secret::mentions_secret;

use super::cleanup::{is_owed, last_acted};
use super::drive::Options;
use super::prepare::{Prepared, Ready, only_reads, prepare, recoverable};
use crate::plan::eval::RenderedOutput;
use crate::plan::load::MANY;
use crate::plan::model::{Graph, Known, Step};
use crate::plan::{Plan, StepId};
use crate::state::fingerprint::short_digest;
use crate::state::fold::{Done, InFlight};
use crate::state::{RunState, Status, StepState};

/// What becomes of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It holds and would do the same: it is left alone.
    Reuse,
    /// It holds, but would now do something else: these are the differences.
    Stale(Vec<String>),
    /// It never ran.
    New,
    /// It was in the middle when the engine died or was stopped: it is looked at first.
    InFlight(Flight),
    /// It holds, but this step, on which it stands, runs again and may change: then it is looked at.
    Look(StepId),
    /// It ran and did not end well: it runs again. How it ended, in one word.
    Again(&'static str),
    /// Nobody could tell whether it was done, and the user settled that it is done again.
    Settled,
    /// It holds and runs again all the same: the user said so, or it belongs to the end of every run that does something.
    Redo,
    /// It would be skipped: its `when` is false, or the user said so.
    Skip,
    /// The user asked for other steps, or it runs only when it is asked for: it stays as it is.
    Left,
    /// It is in the journal and no longer in the plan.
    Gone,
}

/// What is known of a step that was in the middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Whether looking or repeating can settle what became of it; otherwise a person must.
    pub recoverable: bool,
    /// What it would now do otherwise than what it was doing.
    pub changes: Vec<String>,
    /// Whether it was being taken back.
    pub undoing: bool,
    /// Whether its last attempt was seen to end, and failed.
    pub failed: bool,
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.undoing, self.failed) {
            (true, true) => "its undo failed",
            (true, false) => "its undo was in flight",
            (false, _) => "it was in flight",
        })?;
        f.write_str(match (self.recoverable, self.undoing) {
            (true, _) => ": it is looked at before anything is done",
            (false, false) => ", and nothing can look at it: `runbook settle` says what became of it",
            (false, true) => ", and nothing can look at it: `runbook settle` says whether what it made still stands",
        })?;
        match self.changes.as_slice() {
            [] => Ok(()),
            changes => write!(f, "; it would now do something else: {}", changes.join("; ")),
        }
    }
}

impl Fate {
    /// Whether the step is left as it is, or out, so that nothing is needed for it.
    pub fn rests(&self) -> bool {
        matches!(self, Fate::Reuse | Fate::Skip | Fate::Left | Fate::Gone)
    }

    /// Whether the step runs for sure, so that what it gives may come out otherwise.
    fn runs(&self) -> bool {
        !self.rests() && !matches!(self, Fate::Look(_))
    }
}

/// The fate of every step of the plan, in an order in which they can run, and of those that are gone.
///
/// A step that uses outputs of one that runs again counts as stale: whether it has to run is known only when those have come out.
pub fn verdicts(plan: &Plan, state: &RunState, options: &Options, redactor: &Redactor) -> Vec<(StepId, Fate)> {
    let mut outlook = Outlook::new(plan, state, options, redactor);
    let (last, first): (Vec<usize>, Vec<usize>) =
        plan.graph.order.iter().partition(|&&index| plan.steps[index].finally);
    let mut verdicts: Vec<(StepId, Fate)> =
        first.into_iter().chain(last).map(|index| (plan.steps[index].id.clone(), outlook.judge(index))).collect();
    verdicts.extend(gone(plan, state).map(|(id, _)| (id.clone(), Fate::Gone)));
    verdicts
}

/// The steps that are no longer in the plan and have done something, or may have.
fn gone<'s>(plan: &Plan, state: &'s RunState) -> impl Iterator<Item = (&'s StepId, &'s StepState)> {
    state.steps().filter(|(id, step)| !plan.index.contains_key(*id) && step.has_begun())
}

/// The steps that are no longer in the plan, or stand there under another name, and of which only a person can say what became of them.
pub fn lost(plan: &Plan, state: &RunState) -> Vec<StepId> {
    let in_doubt = |step: &StepState| match step.in_flight() {
        Some(flight) => flight.needs_a_person(),
        None => matches!(step.status(), Status::Unknown { .. }),
    };
    gone(plan, state).filter(|(_, step)| in_doubt(step)).map(|(id, _)| id.clone()).collect()
}

/// What a step comes to with what is known of others, as far as its fate depends on that.
enum Prospect {
    /// Its `when` is false.
    Unwanted,
    /// It cannot be evaluated.
    Refused,
    /// It can run.
    Ready {
        /// What differs from when it last held; nothing, too, if it does not hold.
        changes: Vec<String>,
        /// Whether a look at it tells something.
        lookable: bool,
    },
}

fn prospect(plan: &Plan, step: &Step, state: Option<&StepState>, known: &Known, redactor: &Redactor) -> Prospect {
    let ready = match prepare(plan, step, known, redactor) {
        Prepared::Unwanted(_) => return Prospect::Unwanted,
        Prepared::Refused(_) => return Prospect::Refused,
        Prepared::Ready(ready) => ready,
    };
    let done = state.and_then(StepState::done);
    let changes = done.map(|done| changes_since(done, step, &ready, known)).unwrap_or_default();
    Prospect::Ready { changes, lookable: lookable(step, &ready) }
}

/// What a step that held would now do otherwise, or give besides.
pub(super) fn changes_since(done: &Done, step: &Step, ready: &Ready, known: &Known) -> Vec<String> {
    let changes = done.fingerprint.differences_to(&ready.fingerprint, &ready.rendered);
    if changes.is_empty() { new_outputs(done, step, known) } else { changes }
}

/// The outputs that a plan has had added to a step since, or gets from it in another way. Only what can be had without doing it again: a
/// person who settled a step has said what was asked for, and nothing else is known of it.
fn new_outputs(done: &Done, step: &Step, known: &Known) -> Vec<String> {
    if step.outputs.is_empty() {
        return Vec::new();
    }
    let Ok(now) = step.own_outputs(known, &done.outputs) else { return Vec::new() };
    let fresh: Vec<(usize, String)> =
        now.iter().enumerate().filter_map(|(index, output)| Some((index, new_output(output, done)?))).collect();
    if fresh.is_empty() {
        return Vec::new();
    }
    let again = had_again(step, known, done, &now);
    // What builds on itself would come out otherwise each time.
    fresh.into_iter().filter(|&(index, _)| again.get(index) == now.get(index)).map(|(_, change)| change).collect()
}

/// The outputs once more, over what they came to.
fn had_again(step: &Step, known: &Known, done: &Done, now: &[NamedOutput]) -> Vec<NamedOutput> {
    let mut outputs = done.outputs.clone();
    for (name, output) in now {
        if let RenderedOutput::Value(value) = output {
            outputs.insert(name.clone(), value.clone());
        }
    }
    step.own_outputs(known, &outputs).unwrap_or_default()
}

type NamedOutput = (String, RenderedOutput);

/// What is new about an output of a step that holds. What is looked up is compared by how it is; what holds a secret, and what a person
/// gave, is not compared.
fn new_output((name, output): &NamedOutput, done: &Done) -> Option<String> {
    match (done.outputs.get(name), output) {
        (None, _) => Some(format!("the output `{name}` is new")),
        (Some(old), RenderedOutput::Value(new))
            if old != new && !done.settled && !mentions_secret(&new.to_string()) =>
        {
            Some(format!("the output `{name}` is had in another way"))
        }
        (Some(_), RenderedOutput::Lookup(rule))
            if done.looked_up.get(name).is_some_and(|digest| *digest != short_digest(rule)) =>
        {
            Some(format!("the output `{name}` is looked up in another way"))
        }
        _ => None,
    }
}

/// Goes through a plan in its order, and remembers what will run.
struct Outlook<'a> {
    plan: &'a Plan,
    state: &'a RunState,
    /// What the journal says of each step.
    states: Vec<Option<&'a StepState>>,
    options: &'a Options,
    redactor: &'a Redactor,
    /// The outputs of the steps that stay as they are.
    sure: Cow<'a, Known>,
    /// What the steps of a large plan come to if all stay as they are, as long as nobody has asked.
    early: Vec<Option<Prospect>>,
    runs: Vec<bool>,
    ripple: Ripple,
    /// The last run that did something besides `finally`.
    last_acted: u32,
}

impl<'a> Outlook<'a> {
    fn new(plan: &'a Plan, state: &'a RunState, options: &'a Options, redactor: &'a Redactor) -> Self {
        let count = plan.steps.len();
        let sure = Cow::Borrowed(state.known());
        let (runs, ripple, early) = (vec![false; count], Ripple::new(count), Vec::new());
        let states = plan.steps.iter().map(|step| state.step(&step.id)).collect();
        let last_acted = last_acted(plan, state);
        let mut outlook = Self { plan, state, states, options, redactor, sure, early, runs, ripple, last_acted };
        if count >= MANY {
            outlook.early = outlook.look_ahead();
        }
        outlook
    }

    /// The prospects of all steps, if all stay as they are: then none depends on the fate of another, and every processor can help.
    fn look_ahead(&self) -> Vec<Option<Prospect>> {
        let count = self.plan.steps.len();
        let share = count.div_ceil(thread::available_parallelism().map_or(1, NonZero::get));
        let mut early: Vec<Option<Prospect>> = (0..count).map(|_| None).collect();
        thread::scope(|scope| {
            for (part, early) in early.chunks_mut(share).enumerate() {
                let indices = part * share..;
                scope.spawn(move || {
                    for (index, early) in indices.zip(early).filter(|(index, _)| self.asks(*index)) {
                        *early = Some(self.prospect_with(index, self.state.known()));
                    }
                });
            }
        });
        early
    }

    /// Whether a step's fate depends on its prospect.
    fn asks(&self, index: usize) -> bool {
        let step = &self.plan.steps[index];
        !self.options.leaves_alone(step) && !self.options.skip.contains(&step.id) && !self.is_new(index)
    }

    /// Whether it is plain that a step is new: nobody has heard of it, and it is wanted in any case.
    fn is_new(&self, index: usize) -> bool {
        self.plan.steps[index].when.is_none() && self.states[index].is_none()
    }

    /// What a step comes to.
    fn prospect(&mut self, index: usize) -> Prospect {
        let early = self.early.get_mut(index).and_then(Option::take);
        match (&self.sure, early) {
            (Cow::Borrowed(_), Some(prospect)) => prospect,
            (sure, _) => self.prospect_with(index, sure),
        }
    }

    fn prospect_with(&self, index: usize, known: &Known) -> Prospect {
        prospect(self.plan, &self.plan.steps[index], self.states[index], known, self.redactor)
    }

    fn judge(&mut self, index: usize) -> Fate {
        let (plan, runs, states) = (self.plan, &self.runs, &self.states);
        let shaken = |need: usize| match (Shaken::of(states[need]), runs[need] && !only_reads(&plan.steps[need])) {
            (shaken, true) => Shaken { changed_at: u64::MAX, ..shaken },
            (shaken, false) => shaken,
        };
        self.ripple.feel(&plan.graph, index, shaken);
        let fate = self.fate(index);
        self.runs[index] = fate.runs();
        let id = &plan.steps[index].id;
        if (fate.runs() || fate == Fate::Skip) && self.sure.contains_key(id) {
            self.sure.to_mut().remove(id);
        }
        fate
    }

    fn fate(&mut self, index: usize) -> Fate {
        let (step, skip) = (&self.plan.steps[index], &self.options.skip);
        if self.options.leaves_alone(step) {
            return Fate::Left;
        }
        let state = self.states[index];
        if skip.contains(&step.id) {
            let holds = state.is_some_and(|state| state.done().is_some());
            return if holds { Fate::Left } else { Fate::Skip };
        }
        if self.is_new(index) {
            return Fate::New;
        }
        match self.prospect(index) {
            Prospect::Unwanted => Fate::Skip,
            _ if self.options.redo.contains(&step.id) => Fate::Redo,
            _ if state.is_some_and(|state| state.is_forced() && state.has_begun()) => Fate::Redo,
            prospect => state.map_or(Fate::New, |state| self.of_known(index, state, prospect)),
        }
    }

    /// The fate of a step that the journal speaks of.
    fn of_known(&self, index: usize, state: &StepState, prospect: Prospect) -> Fate {
        if let Some(flight) = state.in_flight() {
            let failed = matches!(state.status(), Status::UndoFailed { .. });
            return Fate::InFlight(Flight { failed, ..self.of_flight(index, flight) });
        }
        match (state.status(), state.done(), prospect) {
            (Status::Unknown { .. }, ..) => Fate::Again("unknown"),
            _ if state.is_to_be_redone() => Fate::Settled,
            (_, Some(done), _) if is_owed(&self.plan.steps[index], done, self.last_acted) => Fate::Redo,
            (_, Some(_), _) if self.options.keep_stale => self.unless_at_the_end(index).unwrap_or(Fate::Reuse),
            (_, Some(done), Prospect::Ready { changes, lookable }) if changes.is_empty() => {
                self.unless_undone(index, done).unwrap_or_else(|| self.unless_shaken(index, done, lookable))
            }
            // As long as all that it uses is known as it was, this is what differs.
            (_, Some(_), Prospect::Ready { changes, .. }) if matches!(self.sure, Cow::Borrowed(_)) => {
                Fate::Stale(changes)
            }
            (_, Some(done), _) => Fate::Stale(self.cascade(index, done)),
            (Status::Failed | Status::Retrying { .. }, ..) => Fate::Again("failed"),
            (Status::Cancelled, ..) => Fate::Again("cancelled"),
            _ if state.failure().is_some() => Fate::Again("failed"),
            _ => Fate::New,
        }
    }

    /// What becomes of a step that was doing this when it was last seen.
    fn of_flight(&self, index: usize, was: &InFlight) -> Flight {
        let (step, undoing) = (&self.plan.steps[index], was.undoing);
        match prepare(self.plan, step, self.state.known(), self.redactor) {
            Prepared::Ready(ready) => {
                let changes = was.doing().differences_to(&ready.fingerprint, &ready.rendered);
                let recoverable = recoverable(step, &ready) || !was.is_doubtful();
                Flight { recoverable, changes, undoing, failed: false }
            }
            _ => Flight { recoverable: true, changes: Vec::new(), undoing, failed: false },
        }
    }

    /// What `finally` does belongs to the end of every run that does something.
    fn unless_at_the_end(&self, index: usize) -> Option<Fate> {
        (self.plan.steps[index].finally && self.runs.contains(&true)).then_some(Fate::Redo)
    }

    fn unless_undone(&self, index: usize, done: &Done) -> Option<Fate> {
        self.ripple.undone(self.plan, index, done).map(|why| Fate::Stale(vec![why]))
    }

    fn unless_shaken(&self, index: usize, done: &Done, lookable: bool) -> Fate {
        if let Some(fate) = self.unless_at_the_end(index) {
            return fate;
        }
        let by = self.ripple.reaches(index, done).filter(|_| lookable);
        by.map_or(Fate::Reuse, |by| Fate::Look(self.plan.steps[by].id.clone()))
    }

    /// Why a step is stale whose needs run again, or are left out now: it cannot be evaluated without their outputs, or only to something
    /// that it will not come to.
    fn cascade(&self, index: usize, done: &Done) -> Vec<String> {
        let step = &self.plan.steps[index];
        if let Prepared::Ready(ready) = prepare(self.plan, step, self.state.known(), self.redactor) {
            let changes = changes_since(done, step, &ready, self.state.known());
            if !changes.is_empty() {
                return changes;
            }
        }
        let again = self.needs_that(index, |need| self.runs[need]);
        let out = self.needs_that(index, |need| self.is_left_out(need));
        let whose = if again.len() == 1 { "its" } else { "their" };
        let be = if out.len() == 1 { "is" } else { "are" };
        match (again.as_slice(), out.as_slice()) {
            ([], []) => vec!["what it uses is not known any more".to_owned()],
            ([], out) => vec![format!("it uses {}, which {be} left out now", out.join(", "))],
            (again, _) => {
                vec![format!("it uses {}, which would run again, and {whose} outputs may change", again.join(", "))]
            }
        }
    }

    fn needs_that(&self, index: usize, is_so: impl Fn(usize) -> bool) -> Vec<String> {
        let needs = self.plan.graph.needs[index].iter().filter(|edge| is_so(edge.step));
        needs.map(|edge| format!("`{}`", self.plan.steps[edge.step].id)).collect()
    }

    /// Whether a step had outputs, and has none in this run.
    fn is_left_out(&self, index: usize) -> bool {
        let id = &self.plan.steps[index].id;
        !self.runs[index] && self.state.known().contains_key(id) && !self.sure.contains_key(id)
    }
}

/// The newest change that each step stands on, directly or through what it needs, and the newest taking back.
#[derive(Debug, Default)]
pub(crate) struct Ripple {
    changed: Vec<Option<Change>>,
    undone: Vec<Option<Change>>,
}

/// When something was last done to what a step is about, as the state counts; 0 is never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shaken {
    changed_at: u64,
    undone_at: u64,
}

impl Shaken {
    /// By what the journal says of it.
    pub(crate) fn of(step: Option<&StepState>) -> Self {
        let (changed_at, undone_at) = step.map_or((0, 0), |step| (step.changed_at(), step.undone_at()));
        Self { changed_at, undone_at }
    }
}

/// Which step changed something, and when, as the state counts.
#[derive(Clone, Copy, Debug)]
struct Change {
    step: usize,
    at: u64,
}

impl Ripple {
    /// For so many steps.
    pub(crate) fn new(count: usize) -> Self {
        Self { changed: vec![None; count], undone: vec![None; count] }
    }

    /// A step's turn has come: all that it needs has ended, and is asked what was last done to it.
    pub(crate) fn feel(&mut self, graph: &Graph, index: usize, shaken: impl Fn(usize) -> Shaken) {
        self.changed[index] = newest(graph, index, &self.changed, |step| shaken(step).changed_at);
        self.undone[index] = newest(graph, index, &self.undone, |step| shaken(step).undone_at);
    }

    /// The step whose change reaches one that has held since before.
    pub(crate) fn reaches(&self, index: usize, done: &Done) -> Option<usize> {
        self.changed[index].filter(|change| change.at > done.told).map(|change| change.step)
    }

    /// Whether anything that a step stands on was ever taken back.
    pub(crate) fn is_undone(&self, index: usize) -> bool {
        self.undone[index].is_some()
    }

    /// Why a step does not hold any more although it does the same: something that it stood on was taken back since, by a program that did
    /// not know what stands on what.
    pub(crate) fn undone(&self, plan: &Plan, index: usize, done: &Done) -> Option<String> {
        let undone = self.undone[index].filter(|undone| undone.at > done.told)?;
        Some(format!("what it stands on was undone: `{}`", plan.steps[undone.step].id))
    }
}

/// The newest that is known of what a step needs, and of what that stands on.
fn newest(graph: &Graph, index: usize, of_all: &[Option<Change>], at: impl Fn(usize) -> u64) -> Option<Change> {
    let own = |step: usize| Some(Change { step, at: at(step) }).filter(|change| change.at > 0);
    let changes = graph.needs[index].iter().flat_map(|edge| own(edge.step).into_iter().chain(of_all[edge.step]));
    // Of changes that are as new the nearest is named.
    changes.reduce(|one, other| if other.at > one.at { other } else { one })
}

/// Whether looking at a step again tells something and is cheap and safe: it has a `check`, it can be looked at, or it does nothing
/// but wait. Where nothing can be seen after all, it stays as it is: what succeeded is not done again, a probe neither.
pub(super) fn lookable(step: &Step, ready: &Ready) -> bool {
    let observes = step.work.as_ref().is_some_and(|work| work.kind.observes);
    match &ready.work {
        _ if !step.check.is_empty() => true,
        None => !step.wait.is_empty(),
        Some(work) => observes && work.can_look(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::load;
    use crate::run::prepare::looked_up;
    use crate::state::record::{Entry, Fingerprint, Opened, Outcome, Record, Started, Succeeded, Touches};

    const PLAN: &str = r#"
runbook: 1
steps:
  a: { command: [/bin/true], idempotent: true }
  b: { command: [/bin/echo, "${{ steps.a.outputs.stdout }}"], idempotent: true }
  c: { when: "steps.b.outputs.stdout == 'x'", command: [/bin/true], idempotent: true }
  d: { needs: [c], command: [/bin/true], idempotent: true }
  e: { when: "1 > 2", command: [/bin/true], idempotent: true }
finally:
  z: { command: [/bin/true], idempotent: true }
"#;

    fn plan() -> Plan {
        load::of_text(PLAN)
    }

    /// A state in which all steps that are wanted hold; some did something else.
    fn held(plan: &Plan, otherwise: &[&str]) -> RunState {
        let mut state = RunState::default();
        let tell = |state: &mut RunState, record: Record| {
            let entry = Entry { seq: state.seq() + 1, time: Timestamp::UNIX_EPOCH, record };
            state.apply(&entry).expect("legal");
        };
        tell(&mut state, Record::Opened(Opened::first()));
        for step in plan.graph.order.iter().map(|&index| &plan.steps[index]) {
            let Prepared::Ready(ready) = prepare(plan, step, state.known(), &Redactor::default()) else { continue };
            let same = !otherwise.contains(&step.id.as_str());
            let fingerprint = if same { ready.fingerprint } else { Fingerprint::default() };
            let (step, attempt, touches) = (step.id.clone(), 1, Touches::AtOnce);
            let started = Started { step: step.clone(), attempt, fingerprint, recoverable: true, touches };
            tell(&mut state, Record::Started(started));
            let outputs = json!({ "stdout": "x", "v": "x" }).as_object().expect("a map").clone();
            let looked_up = looked_up(&plan.steps[plan.index[&step]], state.known(), &outputs);
            let (outcome, took_ms, note) = (Outcome::Changed, 1, None);
            tell(
                &mut state,
                Record::Succeeded(Succeeded { step, attempt, outcome, outputs, looked_up, took_ms, note }),
            );
        }
        state
    }

    fn fates(plan: &Plan, state: &RunState, options: &Options, ahead: bool) -> Vec<Fate> {
        let redactor = Redactor::default();
        let mut outlook = Outlook::new(plan, state, options, &redactor);
        if ahead {
            outlook.early = outlook.look_ahead();
        }
        plan.graph.order.iter().map(|&index| outlook.judge(index)).collect()
    }

    #[test]
    fn looking_ahead_changes_no_fate() {
        let plan = plan();
        let named = |names: &[&str]| names.iter().copied().map(StepId::from).collect::<BTreeSet<_>>();
        for otherwise in [&[][..], &["a"], &["b"], &["d"], &["z"], &["a", "c"]] {
            let state = held(&plan, otherwise);
            let redo = Options { redo: named(&["b"]), ..Options::default() };
            let only = Options { only: named(&["b", "d"]), ..Options::default() };
            let skip = Options { skip: named(&["a"]), ..Options::default() };
            for options in [Options::default(), redo, only, skip] {
                let fates = |ahead| fates(&plan, &state, &options, ahead);
                assert_eq!(fates(true), fates(false), "{otherwise:?} {options:?}");
            }
        }
        let fates = fates(&plan, &held(&plan, &["a"]), &Options::default(), true);
        assert!(matches!(fates[0], Fate::Stale(_)), "{fates:?}");
        assert!(
            fates.iter().filter(|fate| matches!(fate, Fate::Stale(_))).count() > 1,
            "what uses `a` as well: {fates:?}"
        );
    }

    #[test]
    fn an_output_that_is_looked_up_in_another_way_is_had_again() {
        let text = "runbook: 1\nsteps:\n  a: { command: [/bin/true], outputs: { v: { object: configmap/c, namespace: default, path: '{.data.old}' } } }\n";
        let (plan, edited) = (load::of_text(text), load::of_text(&text.replace("data.old", "data.new")));
        let state = held(&plan, &[]);
        let fates = |plan: &Plan| fates(plan, &state, &Options::default(), false);
        assert_eq!(fates(&plan), [Fate::Reuse]);
        assert_eq!(fates(&edited), [Fate::Stale(vec!["the output `v` is looked up in another way".to_owned()])]);
    }
}
