//! Looks on while the engine runs, and holds every record against the disk and the world.

use std::sync::Arc;

use runbook::event::Event;
use runbook::plan::model::{Accept, Plan, StepId};
use runbook::run::{Options, Summary, Watcher, undo};
use runbook::state::record::{Entry, Record, Verdict};
use runbook::state::{RunState, Status};
use runbook_steps::Class;

use super::disk::Shared;
use super::drafts::Draft;
use super::notes;
use super::world::{self, Made};

/// The watcher of a simulated run.
pub(crate) struct Checker {
    pub(crate) disk: Shared,
    pub(crate) plan: Arc<Plan>,
    pub(crate) draft: Draft,
    pub(crate) partial: bool,
    /// What follows from the disk, and from how many records of it.
    shadow: RunState,
    folded: usize,
}

impl Checker {
    pub(crate) fn new(disk: Shared, plan: Arc<Plan>, draft: Draft, options: &Options) -> Self {
        let partial = !options.only.is_empty();
        Self { disk, plan, draft, partial, shadow: RunState::default(), folded: 0 }
    }

    /// Folds what is new on the disk; that must be what the engine has in memory.
    fn compare(&mut self, state: &RunState) {
        let disk = self.disk.lock();
        let entries = disk.entries();
        if entries.len() < self.folded {
            (self.shadow, self.folded) = (RunState::default(), 0);
        }
        for (_, entry) in &entries[self.folded..] {
            if let Err(error) = self.shadow.apply(entry) {
                notes::wrong(format!("an illegal record is on the disk: {error}"));
            }
        }
        self.folded = entries.len();
        if self.shadow != *state {
            notes::wrong("what is in memory is not what follows from the disk");
        }
    }

    fn recorded(&self, entry: &Entry, state: &RunState) {
        notes::say(|| format!("#{} {}", entry.seq, brief(&entry.record)));
        match &entry.record {
            Record::Opened(_) => kill_orphans(state),
            Record::Started(started) => self.started(&started.step, state),
            Record::Succeeded(succeeded) if succeeded.note.is_none() => self.succeeded(&succeeded.step),
            _ => {}
        }
    }

    fn started(&self, id: &StepId, state: &RunState) {
        let Some(index) = self.plan.step(id.as_str()) else { return notes::wrong(format!("{id} is in no plan")) };
        for edge in &self.plan.graph.needs[index] {
            let need = &self.plan.steps[edge.step].id;
            let status = state.status(need);
            let well = matches!(status, Status::Succeeded { .. } | Status::Skipped { .. });
            if edge.accept == Accept::Succeeded && !well && !self.partial {
                notes::wrong(format!("{id} starts, and its need {need} is {status:?}"));
            }
        }
    }

    fn succeeded(&self, id: &StepId) {
        let made = world::with(|world| world.made(id.as_str()));
        let wanted = self.draft.lasting_mark(id.as_str()).map(|mark| Made { mark });
        if wanted.is_some() && made != wanted {
            notes::wrong(format!("{id} is said to hold with {wanted:?}, and there is {made:?}"));
        }
    }
}

impl Watcher for Checker {
    fn on(&mut self, event: &Event, state: &RunState) {
        if self.disk.lock().is_dead() {
            return;
        }
        match event {
            Event::Recorded(entry) => {
                self.compare(state);
                self.recorded(entry, state);
            }
            Event::Notice(text) => notes::say(|| format!("     says: {text}")),
            Event::Progress { .. } | Event::Output { .. } => {}
        }
    }
}

/// The engine ends the processes that it finds in its journal, at its start. Simulated ones are ended here.
fn kill_orphans(state: &RunState) {
    for (id, flight) in state.steps().filter_map(|(id, step)| Some((id, step.in_flight()?))) {
        let run = state.runs().iter().find(|run| run.opened.run == flight.run);
        let mark = run.map(|run| run.opened.mark.as_str()).unwrap_or_default();
        world::with(|world| world.kill(id.as_str(), mark));
    }
}

/// What a run says of itself must agree with the states of its steps and with the disk.
pub(crate) fn summary(summary: &Summary, plan: &Plan, options: &Options, disk: &Shared) {
    if !disk.lock().all_is_safe() {
        notes::wrong("the run reports its end, and not all of it is safe");
    }
    let state = summary.journal.state();
    let chosen = plan.steps.iter().filter(|step| options.only.is_empty() || options.only.contains(&step.id));
    let ids: Vec<&StepId> = chosen.map(|step| &step.id).collect();
    let wanted = match summary.signal {
        Some(_) => Verdict::Interrupted,
        None => verdict(state, &ids),
    };
    if summary.verdict != wanted {
        notes::wrong(format!("the verdict is {:?}, and the steps say {wanted:?}", summary.verdict));
    }
    let closed = state.current().and_then(|run| run.verdict);
    let left_at_once = closed.is_none() && summary.verdict == Verdict::Interrupted;
    if closed != Some(summary.verdict) && !left_at_once {
        notes::wrong(format!("the journal says {closed:?}, the summary {:?}", summary.verdict));
    }
    if summary.verdict == Verdict::Holds {
        holds(state, &ids);
        if ids.len() == plan.steps.len() {
            tidied(plan, options, disk);
        }
    }
}

/// What a destroy says of itself must agree with the states of what it was to take back, and with the disk.
pub(crate) fn undone(summary: &undo::drive::Summary, wanted: &[StepId], disk: &Shared) {
    if !disk.lock().all_is_safe() {
        notes::wrong("the destroy reports its end, and not all of it is safe");
    }
    let state = summary.journal.state();
    let open: Vec<&StepId> = wanted.iter().filter(|id| *state.status(id) != Status::Undone).collect();
    if (summary.verdict == Verdict::Holds) != (open.is_empty() && summary.signal.is_none()) {
        notes::wrong(format!("the verdict is {:?}, and these are not undone: {open:?}", summary.verdict));
    }
    for id in wanted.iter().filter(|id| *state.status(id) == Status::Undone) {
        let standing = world::with(|world| world.standing().any(|step| step == id.as_str()));
        if standing {
            notes::wrong(format!("{id} is said to be undone, and something of it stands"));
        }
    }
}

/// Where everything holds, `finally` came after the last thing that was done, whichever run did it.
fn tidied(plan: &Plan, options: &Options, disk: &Shared) {
    let disk = disk.lock();
    let last = |wanted: &dyn Fn(&Record) -> bool| disk.entries().iter().rposition(|(_, entry)| wanted(&entry.record));
    let is_finally = |id: &StepId| plan.step(id.as_str()).map(|index| plan.steps[index].finally);
    let acted = last(&|record| matches!(record, Record::Started(it) if is_finally(&it.step) == Some(false)));
    for step in plan.steps.iter().filter(|step| step.finally && !options.skip.contains(&step.id)) {
        let ended = last(&|record| match record {
            Record::Succeeded(it) => it.step == step.id,
            Record::Skipped { step: skipped, .. } => *skipped == step.id,
            Record::Settled { step: settled, .. } => *settled == step.id,
            _ => false,
        });
        if ended < acted {
            notes::wrong(format!("everything holds, it says, but {} has not come after what was done last", step.id));
        }
    }
}

fn verdict(state: &RunState, ids: &[&StepId]) -> Verdict {
    let needs_person = |id: &StepId| state.step(id).and_then(|step| step.failure()).map(|failure| failure.class);
    let failed = |id: &&&StepId| *state.status(id) == Status::Failed && needs_person(id) != Some(Class::NeedsPerson);
    let waits = |id: &&&StepId| {
        matches!(state.status(id), Status::Unknown { .. })
            || (*state.status(id) == Status::Failed && needs_person(id) == Some(Class::NeedsPerson))
    };
    match () {
        () if ids.iter().any(|id| failed(&id)) => Verdict::Failed,
        () if ids.iter().any(|id| waits(&id)) => Verdict::NeedsPerson,
        () => Verdict::Holds,
    }
}

fn holds(state: &RunState, ids: &[&StepId]) {
    for id in ids {
        if !matches!(state.status(id), Status::Succeeded { .. } | Status::Skipped { .. }) {
            notes::wrong(format!("everything holds, it says, but {id} is {:?}", state.status(id)));
        }
    }
}

/// A record in a few words.
fn brief(record: &Record) -> String {
    match record {
        Record::Opened(opened) => format!("opened, run {}", opened.run),
        Record::Started(started) => format!("started {} attempt {}", started.step, started.attempt),
        Record::Succeeded(done) => format!("succeeded {} {:?} {:?}", done.step, done.outcome, done.note),
        Record::Failed(failed) => format!(
            "failed {} attempt {}: {} {} (again: {:?})",
            failed.step, failed.attempt, failed.failure.class, failed.failure.what, failed.retry_in_ms
        ),
        other => format!("{other:?}"),
    }
}
