//! What the steps act on: things that are there or not, operations and processes that go on when the engine has died, and the rules
//! that nobody may break. One for each thread, as a step reaches outside only through what surrounds it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runbook::plan::StepId;
use runbook::state::record::{Entry, Fingerprint, Record, Touches};
use runbook_steps::Class;

use super::disk::Shared;
use super::notes;
use super::random::Random;

/// Something that a step made, and by which version of its `with`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Made {
    pub(crate) mark: u64,
}

/// How an attempt goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) takes: Duration,
    /// When the effect is there, if it will be.
    pub(crate) makes: Option<Duration>,
    pub(crate) end: End,
    pub(crate) stop: Stop,
}

/// How it ends if nobody stops it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Well,
    Badly(Class),
    Never,
    Panics,
}

/// What it does when it is told to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stop {
    Promptly,
    Slowly(Duration),
    /// Only when it is killed.
    Not,
    /// Says yes and finishes first.
    Later,
}

/// What the rules need to know of a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// A crash in the middle can be settled by looking or repeating.
    pub(crate) recoverable: bool,
    pub(crate) can_look: bool,
    pub(crate) finally: bool,
    pub(crate) may_hang: bool,
    pub(crate) locks: Vec<String>,
    pub(crate) needs: Vec<String>,
    /// Somebody knows how to take back what it makes.
    pub(crate) can_undo: bool,
}

/// What a step has made and nobody has taken away; another mark is another thing.
#[derive(Clone, Debug)]
struct Thing {
    /// The nearest steps before it of which something stood when it was begun.
    stands_on: BTreeSet<String>,
    can_undo: bool,
}

/// What a worker is at.
#[derive(Clone, Debug)]
enum Does {
    Makes(Thing),
    TakesAway,
}

/// Something that works on a step: an attempt, or the process that one left behind.
#[derive(Clone, Debug)]
struct Worker {
    id: u64,
    step: String,
    mark: u64,
    does: Does,
    /// When it has its effect.
    acts: Option<Duration>,
    ends: Duration,
    /// It has a process of its own, so it outlives the engine.
    has_process: bool,
    /// What the processes of its run are recognised by.
    run: String,
    orphan: bool,
}

/// An operation that goes on by itself.
#[derive(Clone, Debug)]
struct Operation {
    id: u64,
    mark: u64,
    makes: Thing,
    until: Duration,
    fails: Option<Class>,
}

/// What a cloud says when it is asked to make something.
pub(crate) enum Answer {
    Made,
    /// An operation is under way until then.
    Wait {
        id: u64,
        until: Duration,
    },
    Failed(Class),
}

/// How the engine ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Death {
    /// Its process was killed; what it had started goes on.
    Killed,
    /// The machine went off.
    PowerCut,
}

/// The simulated world.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) terms: BTreeMap<String, Terms>,
    pub(crate) parallel: usize,
    /// Nothing fails, nothing hangs, but what does so each time.
    pub(crate) healthy: bool,
    /// Steps that fail each time, in any health.
    pub(crate) hopeless: BTreeMap<String, Class>,
    pub(crate) death: Death,
    /// How often steps acted.
    pub(crate) acts: u64,
    made: BTreeMap<String, Made>,
    things: BTreeMap<(String, u64), Thing>,
    operations: BTreeMap<String, Operation>,
    workers: Vec<Worker>,
    next: u64,
    random: Random,
    disk: Shared,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Puts a world in the place of this thread's.
pub(crate) fn enter(world: World) {
    WORLD.set(Some(world));
}

/// This thread's world, as it is now.
pub(crate) fn with<T>(look: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| {
        let world = world.as_mut().expect("a simulation enters its world first");
        world.pass();
        look(world)
    })
}

impl World {
    pub(crate) fn new(disk: Shared, random: Random) -> Self {
        Self {
            terms: BTreeMap::new(),
            parallel: 1,
            healthy: false,
            hopeless: BTreeMap::new(),
            death: Death::Killed,
            acts: 0,
            made: BTreeMap::new(),
            things: BTreeMap::new(),
            operations: BTreeMap::new(),
            workers: Vec::new(),
            next: 0,
            random,
            disk,
        }
    }

    pub(crate) fn chance(&mut self) -> &mut Random {
        &mut self.random
    }

    /// This world after the engine was killed in it, beside another disk.
    pub(crate) fn left_behind(mut self, disk: Shared) -> Self {
        self.disk = disk;
        self.workers.retain(|worker| worker.has_process);
        self.workers.iter_mut().for_each(|worker| worker.orphan = true);
        self
    }

    /// The engine is dead, and what it still does is a ghost's.
    pub(crate) fn is_dead(&self) -> bool {
        self.disk.lock().is_dead()
    }

    /// Lets happen what has happened by now.
    fn pass(&mut self) {
        let now = notes::now();
        let mut done = Vec::new();
        for worker in &mut self.workers {
            if worker.acts.take_if(|at| *at <= now).is_some() {
                done.push((worker.step.clone(), worker.mark, worker.does.clone()));
            }
        }
        self.workers.retain(|worker| !worker.orphan || worker.ends > now);
        for (step, operation) in &self.operations {
            if operation.until <= now && operation.fails.is_none() {
                done.push((step.clone(), operation.mark, Does::Makes(operation.makes.clone())));
            }
        }
        done.into_iter().for_each(|(step, mark, does)| self.happens(&step, mark, does));
        self.operations.retain(|_, operation| operation.until > now || operation.fails.is_some());
    }

    fn happens(&mut self, step: &str, mark: u64, does: Does) {
        match does {
            Does::Makes(thing) => {
                self.made.insert(step.to_owned(), Made { mark });
                self.things.insert((step.to_owned(), mark), thing);
            }
            Does::TakesAway => {
                if self.made(step) == Some(Made { mark }) {
                    self.made.remove(step);
                }
                self.things.remove(&(step.to_owned(), mark));
            }
        }
    }

    /// What a step that begins now would stand on, and whether that can be taken back.
    fn thing(&self, step: &str) -> Thing {
        let needs = |step: &str| self.terms.get(step).map(|terms| terms.needs.clone()).unwrap_or_default();
        let (mut open, mut seen, mut stands_on) = (needs(step), BTreeSet::new(), BTreeSet::new());
        while let Some(need) = open.pop() {
            if !seen.insert(need.clone()) {
                continue;
            }
            if self.standing().any(|other| *other == need) {
                stands_on.insert(need);
            } else {
                open.extend(needs(&need));
            }
        }
        Thing { stands_on, can_undo: self.terms.get(step).is_some_and(|terms| terms.can_undo) }
    }

    /// The steps of which something stands that can be taken back.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &String> {
        self.things.iter().filter(|(_, thing)| thing.can_undo).map(|((step, _), _)| step)
    }

    /// What a step has made stays, because nobody knows any more how it is taken back.
    pub(crate) fn nobody_undoes(&mut self, step: &str) {
        let of_step = self.things.iter_mut().filter(|((other, _), _)| other == step);
        of_step.for_each(|(_, thing)| thing.can_undo = false);
    }

    pub(crate) fn made(&self, step: &str) -> Option<Made> {
        self.made.get(step).copied()
    }

    /// What is under way for a step, whoever began it.
    pub(crate) fn is_under_way(&self, step: &str) -> bool {
        let now = notes::now();
        self.workers.iter().any(|worker| worker.step == step)
            || self.operations.get(step).is_some_and(|operation| operation.until > now)
    }

    /// Until when an operation is under way that makes something of a step.
    pub(crate) fn makes_until(&self, step: &str) -> Option<Duration> {
        let operation = self.operations.get(step)?;
        (operation.until > notes::now()).then_some(operation.until)
    }

    /// All that was made.
    pub(crate) fn all_made(&self) -> BTreeMap<String, Made> {
        self.made.clone()
    }

    /// An attempt begins to act. Returns its number and how it will go.
    pub(crate) fn begin(&mut self, step: &str, attempt: u32, mark: u64, takes: Duration) -> (u64, Fate) {
        let fate = self.fate(step, takes);
        self.may_begin(step, attempt, mark);
        notes::say(|| format!("     {step} acts, attempt {attempt}, mark {mark}: {fate:?}"));
        let does = Does::Makes(self.thing(step));
        (self.works(step, mark, does, fate), fate)
    }

    /// An attempt begins to take something away. Returns its number and how it will go.
    pub(crate) fn begin_undo(&mut self, step: &str, attempt: u32, mark: u64, takes: Duration) -> (u64, Fate) {
        let fate = self.fate(step, takes);
        self.may_undo(step, attempt);
        notes::say(|| format!("     {step} is taken back, attempt {attempt}, mark {mark}: {fate:?}"));
        (self.works(step, mark, Does::TakesAway, fate), fate)
    }

    fn works(&mut self, step: &str, mark: u64, does: Does, fate: Fate) -> u64 {
        self.acts += 1;
        self.next += 1;
        let now = notes::now();
        self.workers.push(Worker {
            id: self.next,
            step: step.to_owned(),
            mark,
            does,
            acts: fate.makes.map(|at| now + at),
            ends: now + fate.takes,
            has_process: false,
            run: self.run(),
            orphan: false,
        });
        self.next
    }

    /// By what the present run marks its processes.
    fn run(&self) -> String {
        let disk = self.disk.lock();
        let opened =
            |entry: &Entry| if let Record::Opened(opened) = &entry.record { Some(opened.mark.clone()) } else { None };
        disk.entries().iter().rev().find_map(|(_, entry)| opened(entry)).unwrap_or_default()
    }

    /// The worker has started a process.
    pub(crate) fn has_process(&mut self, id: u64) {
        self.workers.iter_mut().filter(|worker| worker.id == id).for_each(|worker| worker.has_process = true);
    }

    /// The worker will have no effect any more that it has not had yet.
    pub(crate) fn gives_up(&mut self, id: u64) {
        self.workers.iter_mut().filter(|worker| worker.id == id).for_each(|worker| worker.acts = None);
    }

    /// The worker is gone; if the engine is, and nobody killed the worker's process, that goes on.
    pub(crate) fn leaves(&mut self, id: u64) {
        // What a bad disk has forgotten of a run nobody can find again, so such a run does not leave anything.
        let outlives = self.is_dead() && self.death == Death::Killed && !self.disk.lock().is_distrusted();
        self.workers.retain_mut(|worker| {
            worker.orphan |= worker.id == id && outlives && worker.has_process;
            worker.id != id || worker.orphan
        });
    }

    /// The machine goes off, and every process with it.
    pub(crate) fn power_cut(&mut self) {
        self.workers.clear();
    }

    /// Kills what a run has left behind of a step, as the engine does with what its journal says to be in flight.
    pub(crate) fn kill(&mut self, step: &str, run: &str) {
        self.workers.retain(|worker| !(worker.orphan && worker.step == step && worker.run == run));
    }

    /// Asks the cloud to make something. What is under way is waited for; what `awaited` became is told.
    pub(crate) fn ask(&mut self, step: &str, mark: u64, takes: Duration, awaited: Option<u64>) -> Answer {
        if let Some(Operation { id, until, fails, .. }) = self.operations.get(step).cloned() {
            let over = until <= notes::now();
            match fails.filter(|_| over) {
                None => return Answer::Wait { id, until },
                Some(class) => {
                    self.operations.remove(step);
                    if awaited == Some(id) {
                        return Answer::Failed(class);
                    }
                }
            }
        }
        if self.made(step) == Some(Made { mark }) {
            return Answer::Made;
        }
        self.start_operation(step, mark, takes)
    }

    fn start_operation(&mut self, step: &str, mark: u64, takes: Duration) -> Answer {
        let fate = self.fate(step, takes);
        let fails = if let End::Badly(class) = fate.end { Some(class) } else { None };
        self.next += 1;
        let (id, until) = (self.next, notes::now() + fate.takes.min(takes * 2));
        notes::say(|| format!("     the cloud begins {step}, mark {mark}: {fails:?} in {:?}", fate.takes));
        self.acts += 1;
        let makes = self.thing(step);
        self.operations.insert(step.to_owned(), Operation { id, mark, makes, until, fails });
        Answer::Wait { id, until }
    }

    fn fate(&mut self, step: &str, takes: Duration) -> Fate {
        let random = &mut self.random;
        // In good health nothing takes as long as the shortest timeout.
        let takes = if self.healthy { takes.min(Duration::from_secs(2)) } else { takes };
        let takes = takes.mul_f64(random.within(50, 150) as f64 / 100.0);
        let makes = Some(takes.mul_f64(random.within(10, 100) as f64 / 100.0));
        let stop = match random.below(6) {
            0 => Stop::Slowly(Duration::from_millis(random.below(20_000))),
            1 => Stop::Not,
            2 => Stop::Later,
            _ => Stop::Promptly,
        };
        let well = Fate { takes, makes, end: End::Well, stop };
        let may_hang = self.terms.get(step).is_some_and(|terms| terms.may_hang);
        match random.below(100) {
            _ if self.hopeless.contains_key(step) => Fate { makes: None, end: End::Badly(self.hopeless[step]), ..well },
            _ if self.healthy => well,
            0..12 => Fate { makes: None, end: End::Badly(*random.pick(&Class::ALL)), ..well },
            12..25 => Fate { makes: None, end: End::Badly(Class::Transient), ..well },
            25..28 => Fate { end: End::Badly(Class::Transient), ..well },
            28..36 if may_hang => Fate { takes: HANGS, end: End::Never, ..well },
            36..38 => Fate { makes: None, end: End::Panics, ..well },
            _ => well,
        }
    }

    /// The rules for beginning to act.
    fn may_begin(&self, step: &str, attempt: u32, mark: u64) {
        let terms = self.terms.get(step).cloned().unwrap_or_default();
        self.may_work(step, &terms);
        if terms.can_look && self.made(step) == Some(Made { mark }) {
            notes::wrong(format!("{step} acts though what it makes is there, and can be seen"));
        }
        self.may_by_the_journal(step, attempt, &terms);
    }

    /// The rules for beginning to take something away.
    fn may_undo(&self, step: &str, attempt: u32) {
        self.may_work(step, &self.terms.get(step).cloned().unwrap_or_default());
        let on_it = |thing: &Thing| thing.can_undo && thing.stands_on.contains(step);
        if let Some(((other, _), _)) = self.things.iter().find(|((other, _), thing)| other != step && on_it(thing)) {
            notes::wrong(format!("{step} is taken back while {other} stands on it"));
        }
        let disk = self.disk.lock();
        let of_step = |entry: &Entry| touched(&entry.record).is_some_and(|id| id.as_str() == step);
        let last = disk.entries().iter().rev().find(|(_, entry)| of_step(entry));
        match last.map(|(end, entry)| (*end, &entry.record)) {
            Some((end, Record::UndoStarted { attempt: found, .. })) if *found == attempt && disk.is_safe(end) => {}
            Some((_, Record::UndoneInPart { attempt: found, .. })) if *found == attempt => {}
            other => notes::wrong(format!("{step} is taken back, and the journal says {other:?} of it")),
        }
    }

    /// The rules for working at all.
    fn may_work(&self, step: &str, terms: &Terms) {
        if let Some(other) = self.workers.iter().find(|worker| worker.step == step) {
            let who = if other.orphan { "the process of an earlier run" } else { "an attempt" };
            notes::wrong(format!("{step} acts while {who} is at it"));
        }
        let alive = self.workers.iter().filter(|worker| !worker.orphan);
        if alive.clone().count() >= self.parallel {
            notes::wrong(format!("{step} acts beside {} others", self.parallel));
        }
        let locked = |worker: &&Worker| {
            let theirs = self.terms.get(&worker.step).map(|terms| terms.locks.as_slice()).unwrap_or_default();
            theirs.iter().any(|lock| terms.locks.contains(lock))
        };
        if let Some(other) = alive.clone().find(locked) {
            notes::wrong(format!("{step} acts while {} has a lock of it", other.step));
        }
    }

    /// What is on the disk must allow it.
    fn may_by_the_journal(&self, step: &str, attempt: u32, terms: &Terms) {
        let disk = self.disk.lock();
        let mut past = Past::default();
        let mut before = Past::default();
        for (end, entry) in disk.entries() {
            if let Record::Started(started) = &entry.record
                && started.step.as_str() == step
            {
                before = past.clone();
                past.start = Some((*end, started.attempt));
            }
            past.read(step, entry);
        }
        match past.start {
            Some((end, found)) if found == attempt => {
                if !terms.recoverable && !disk.is_safe(end) {
                    notes::wrong(format!("{step} acts before its start is safe, and must not be repeated"));
                }
            }
            _ => notes::wrong(format!("{step} acts without a start in the journal")),
        }
        if before.doubt && !terms.recoverable {
            notes::wrong(format!("{step} acts again, though nobody knows what became of it"));
        }
        let same = before.done.is_some() && before.done == past.print;
        if same && !terms.finally {
            notes::wrong(format!("{step} acts again, though it succeeded"));
        }
    }
}

/// The step that a record begins or ends something of, but for the processes that it starts.
fn touched(record: &Record) -> Option<&StepId> {
    match record {
        Record::Started(started) => Some(&started.step),
        Record::Succeeded(succeeded) => Some(&succeeded.step),
        Record::Failed(failed) | Record::UndoFailed(failed) => Some(&failed.step),
        Record::UndoStarted { step, .. } | Record::UndoneInPart { step, .. } | Record::Undone { step, .. } => {
            Some(step)
        }
        Record::Cancelled { step, .. } | Record::Settled { step, .. } => Some(step),
        _ => None,
    }
}

/// Longer than anything is waited for.
const HANGS: Duration = Duration::from_secs(100_000);

/// What the journal says of one step, as far as it was read: the rules of repeating, told apart from the engine's own.
#[derive(Clone, Default)]
struct Past {
    start: Option<(usize, u32)>,
    /// What the last start was for.
    print: Option<Fingerprint>,
    /// What it was doing when it last may have changed the world.
    doing: Option<Fingerprint>,
    /// It may have changed the world, and its end is not known.
    doubt: bool,
    /// What it has done, and nobody asked for again.
    done: Option<Fingerprint>,
}

impl Past {
    fn read(&mut self, step: &str, entry: &Entry) {
        match &entry.record {
            Record::Opened(opened) if opened.redo.iter().any(|id| id.as_str() == step) => {
                // What is in doubt stays so.
                self.done = None;
            }
            Record::Started(started) if started.step.as_str() == step => {
                self.print = Some(started.fingerprint.clone());
                // Where nobody can look, an earlier attempt may be all that there was.
                if !self.doubt || started.touches == Touches::AtOnce && started.recoverable {
                    self.doing = self.print.clone();
                }
                // One that says when it begins to change the world has only looked before.
                self.doubt |= started.touches != Touches::WhenSaid;
                self.done = None;
            }
            Record::Performing { step: other, .. } if other.as_str() == step => {
                self.doubt = true;
                self.doing = self.print.clone();
            }
            Record::Succeeded(succeeded) if succeeded.step.as_str() == step => {
                self.doubt = false;
                // A known issue that failed as expected counts as success, but nothing holds by it.
                let holds = !succeeded.note.as_ref().is_some_and(|note| note.starts_with("failed as expected"));
                self.done = self.print.clone().filter(|_| holds);
            }
            Record::UndoStarted { step: other, .. } if other.as_str() == step => (self.doubt, self.done) = (true, None),
            Record::Undone { step: other, .. } if other.as_str() == step => (self.doubt, self.done) = (false, None),
            Record::Failed(failed) if failed.step.as_str() == step && failed.attempt > 0 => self.doubt = false,
            Record::Cancelled { step: other, untouched: true, .. } if other.as_str() == step => self.doubt = false,
            Record::Settled { step: other, done, .. } if other.as_str() == step => {
                self.doubt = false;
                self.done = self.doing.clone().filter(|_| *done);
            }
            _ => {}
        }
    }
}
