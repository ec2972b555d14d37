//! Which step may start: a state machine without clock, files or tasks.
//!
//! A step goes through these phases; the driver moves it, and everything else follows from here:
//!
//! ```text
//! waiting ──needs ended──▶ ready ──next──▶ evaluating ──admit──▶ running ──finished──▶ ended
//!    │                       ▲                 │                  ▲  │
//!    │ a need failed         │due       locks taken ▼ locks free  │  ▼ pause
//!    ▼                       │              queued ──▶ startable ─┘ pausing
//!  blocked                   └──────────────────────────────────────┘
//! ```
//!
//! A step is evaluated (`when`, fingerprint, locks) only when its needs have ended and a slot is free, so nothing is rendered too
//! early. Locks are queues: a step stands in the queues of all its locks at once and holds them when it is first in each, so
//! two steps never wait for each other and nobody is overtaken for ever.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::plan::model::{Accept, Graph};

/// What the driver is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The step's needs have ended well: find out whether it is wanted and which locks it takes, then call [`Schedule::admit`] or
    /// [`Schedule::finished`].
    Evaluate(usize),
    /// The step was admitted before and has all its locks now: start it.
    Start(usize),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It holds.
    Succeeded,
    /// It was not wanted, which satisfies a need.
    Skipped,
    /// It failed for the last time.
    Failed,
    /// Nobody can tell whether it was done.
    Unknown,
    /// It was told to stop in the middle.
    Cancelled,
    /// What it needs failed.
    Blocked,
    /// The run ended before its turn.
    NotRun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting,
    Ready,
    Evaluating,
    Queued,
    Startable,
    Running,
    Pausing,
    Ended(Ended),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Open,
    /// Nothing new but `finally`.
    Closing,
    /// Nothing new at all.
    Halted,
}

/// Of equal priorities, the first in the plan.
type Heap = BinaryHeap<(Duration, Reverse<usize>)>;

type Roots = Arc<Vec<usize>>;

/// Which step may start.
#[derive(Debug)]
pub struct Schedule {
    dependents: Vec<Vec<(usize, Accept)>>,
    priority: Vec<Duration>,
    finally: Vec<bool>,
    phase: Vec<Phase>,
    /// How many needs have not ended.
    remaining: Vec<usize>,
    /// The failures at the root of what this step cannot run for.
    roots: Vec<Option<Roots>>,
    /// Whether something that it needs to hold did not get its turn.
    hindered: Vec<bool>,
    ready: Heap,
    startable: Heap,
    locks: HashMap<String, usize>,
    queues: Vec<VecDeque<usize>>,
    held: Vec<Vec<usize>>,
    /// In how many queues the step is not first.
    behind: Vec<usize>,
    blocked: VecDeque<usize>,
    limit: usize,
    running: usize,
    /// Steps that have not ended, apart from those of `finally`.
    open: usize,
    open_finally: usize,
    mode: Mode,
}

impl Schedule {
    /// A schedule for a graph. `priority` says what is started first when not all can be: the longest way to the end, from
    /// [`ways`]. `finally` marks the steps that start when all others have ended.
    pub fn new(graph: &Graph, priority: Vec<Duration>, finally: Vec<bool>, limit: usize) -> Self {
        let count = graph.needs.len();
        let mut dependents = vec![Vec::new(); count];
        for (step, needs) in graph.needs.iter().enumerate() {
            needs.iter().for_each(|edge| dependents[edge.step].push((step, edge.accept)));
        }
        let open_finally = finally.iter().filter(|last| **last).count();
        let mut schedule = Self {
            dependents,
            priority,
            phase: vec![Phase::Waiting; count],
            remaining: graph.needs.iter().map(Vec::len).collect(),
            roots: vec![None; count],
            hindered: vec![false; count],
            ready: Heap::new(),
            startable: Heap::new(),
            locks: HashMap::new(),
            queues: Vec::new(),
            held: vec![Vec::new(); count],
            behind: vec![0; count],
            blocked: VecDeque::new(),
            limit: limit.max(1),
            running: 0,
            open: count - open_finally,
            open_finally,
            finally,
            mode: Mode::Open,
        };
        for step in 0..count {
            if schedule.is_idle(step) && (!schedule.finally[step] || schedule.open == 0) {
                schedule.make_ready(step);
            }
        }
        schedule
    }

    /// What to do next, if anything can be done before something ends.
    pub fn next_move(&mut self) -> Option<Next> {
        if self.running >= self.limit {
            return None;
        }
        let startable = peek(&mut self.startable, &self.phase, Phase::Startable);
        let ready = peek(&mut self.ready, &self.phase, Phase::Ready);
        if startable.is_some() && startable >= ready {
            let step = self.startable.pop()?.1.0;
            self.start(step);
            return Some(Next::Start(step));
        }
        let step = self.ready.pop()?.1.0;
        self.phase[step] = Phase::Evaluating;
        Some(Next::Evaluate(step))
    }

    /// An evaluated step is to run, with these locks. True if it may start now; otherwise [`Schedule::next_move`] brings it up when
    /// the locks are free.
    pub fn admit(&mut self, step: usize, locks: &[String]) -> bool {
        debug_assert_eq!(self.phase[step], Phase::Evaluating);
        let mut names: Vec<&String> = locks.iter().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let lock = self.lock(name);
            self.held[step].push(lock);
            self.behind[step] += usize::from(!self.queues[lock].is_empty());
            self.queues[lock].push_back(step);
        }
        if self.behind[step] > 0 {
            self.phase[step] = Phase::Queued;
            return false;
        }
        self.start(step);
        true
    }

    /// A running step waits to be tried again. Its slot and its locks are free meanwhile.
    pub fn pause(&mut self, step: usize) {
        debug_assert_eq!(self.phase[step], Phase::Running);
        self.running -= 1;
        self.phase[step] = Phase::Pausing;
        self.release(step);
    }

    /// A pausing step is to be tried again. One that was given up meanwhile stays so.
    pub fn due(&mut self, step: usize) {
        if self.phase[step] == Phase::Pausing {
            self.make_ready(step);
        }
    }

    /// An evaluated or a running step has ended.
    pub fn finished(&mut self, step: usize, ended: Ended) {
        debug_assert!(matches!(self.phase[step], Phase::Evaluating | Phase::Running));
        self.running -= usize::from(self.phase[step] == Phase::Running);
        self.release(step);
        self.end(step, ended);
    }

    /// A step that cannot run any more because of failures, with the steps at the root of it; each is told once.
    pub fn take_blocked(&mut self) -> Option<(usize, Vec<usize>)> {
        let step = self.blocked.pop_front()?;
        Some((step, self.roots[step].as_ref().map(|roots| roots.to_vec()).unwrap_or_default()))
    }

    /// Starts nothing new but `finally`.
    pub fn stop(&mut self) {
        self.close(Mode::Closing);
    }

    /// Starts nothing at all.
    pub fn halt(&mut self) {
        self.close(Mode::Halted);
    }

    /// Whether a step that fails now may not be tried again, because the run is ending.
    pub fn given_up(&self, step: usize) -> bool {
        self.is_over(step)
    }

    /// How many steps it is about.
    pub fn steps(&self) -> usize {
        self.phase.len()
    }

    /// Whether every step has ended.
    pub fn is_finished(&self) -> bool {
        self.open + self.open_finally == 0
    }

    /// How a step ended, if it has.
    pub fn ended(&self, step: usize) -> Option<Ended> {
        match self.phase[step] {
            Phase::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    fn start(&mut self, step: usize) {
        self.phase[step] = Phase::Running;
        self.running += 1;
    }

    fn make_ready(&mut self, step: usize) {
        self.phase[step] = Phase::Ready;
        self.ready.push((self.priority[step], Reverse(step)));
    }

    fn lock(&mut self, name: &str) -> usize {
        if let Some(lock) = self.locks.get(name) {
            return *lock;
        }
        self.queues.push(VecDeque::new());
        self.locks.insert(name.to_owned(), self.queues.len() - 1);
        self.queues.len() - 1
    }

    /// Leaves the queues of all its locks; who comes first in the last of its queues by that may start.
    fn release(&mut self, step: usize) {
        self.behind[step] = 0;
        for lock in std::mem::take(&mut self.held[step]) {
            let queue = &mut self.queues[lock];
            let Some(position) = queue.iter().position(|other| *other == step) else { continue };
            queue.remove(position);
            let Some(first) = queue.front().copied().filter(|_| position == 0) else { continue };
            self.behind[first] -= 1;
            if self.behind[first] == 0 {
                self.phase[first] = Phase::Startable;
                self.startable.push((self.priority[first], Reverse(first)));
            }
        }
    }

    fn is_over(&self, step: usize) -> bool {
        self.mode == Mode::Halted || (self.mode == Mode::Closing && !self.finally[step])
    }

    fn close(&mut self, mode: Mode) {
        self.mode = self.mode.max(mode);
        for step in 0..self.phase.len() {
            let idle = matches!(self.phase[step], Phase::Ready | Phase::Queued | Phase::Startable | Phase::Pausing);
            if idle && self.is_over(step) {
                self.release(step);
                self.end(step, Ended::NotRun);
            }
        }
    }

    /// Ends a step and whatever follows from that at once.
    fn end(&mut self, step: usize, ended: Ended) {
        let mut ends = vec![(step, ended)];
        while let Some((step, ended)) = ends.pop() {
            // A step of `finally` may be found both through its last need and through the end of all others.
            if matches!(self.phase[step], Phase::Ended(_)) {
                continue;
            }
            self.phase[step] = Phase::Ended(ended);
            let last = !self.finally[step] && self.open == 1;
            *if self.finally[step] { &mut self.open_finally } else { &mut self.open } -= 1;
            if ended == Ended::Blocked {
                self.blocked.push_back(step);
            }
            self.tell_dependents(step, ended, &mut ends);
            if last {
                let finally = (0..self.phase.len()).filter(|step| self.finally[*step]);
                let idle: Vec<usize> = finally.filter(|step| self.is_idle(*step)).collect();
                ends.extend(idle.into_iter().filter_map(|step| Some((step, self.settle(step)?))));
            }
        }
    }

    fn tell_dependents(&mut self, step: usize, ended: Ended, ends: &mut Vec<(usize, Ended)>) {
        let roots = match ended {
            Ended::Failed | Ended::Unknown => Some(Arc::new(vec![step])),
            Ended::Blocked => self.roots[step].clone(),
            Ended::Succeeded | Ended::Skipped | Ended::Cancelled | Ended::NotRun => None,
        };
        let dependents = std::mem::take(&mut self.dependents[step]);
        for (dependent, accept) in &dependents {
            if *accept == Accept::Succeeded {
                self.hindered[*dependent] |= matches!(ended, Ended::Cancelled | Ended::NotRun);
                join(&mut self.roots[*dependent], roots.as_ref());
            }
            self.remaining[*dependent] -= 1;
            let may_settle = self.is_idle(*dependent) && (!self.finally[*dependent] || self.open == 0);
            ends.extend(may_settle.then(|| self.settle(*dependent)).flatten().map(|ended| (*dependent, ended)));
        }
        self.dependents[step] = dependents;
    }

    fn is_idle(&self, step: usize) -> bool {
        self.remaining[step] == 0 && self.phase[step] == Phase::Waiting
    }

    /// What becomes of a step whose needs have all ended: it is ready, or it has an end itself.
    fn settle(&mut self, step: usize) -> Option<Ended> {
        if self.roots[step].is_some() {
            return Some(Ended::Blocked);
        }
        if self.hindered[step] || self.is_over(step) {
            return Some(Ended::NotRun);
        }
        self.make_ready(step);
        None
    }
}

/// The best entry that is still in the phase that it was pushed for.
fn peek(heap: &mut Heap, phases: &[Phase], phase: Phase) -> Option<(Duration, Reverse<usize>)> {
    while let Some(entry) = heap.peek() {
        if phases[entry.1.0] == phase {
            return Some(*entry);
        }
        heap.pop();
    }
    None
}

/// Adds roots to roots, in order and each once. Steps behind one failure share the list.
fn join(ours: &mut Option<Roots>, more: Option<&Roots>) {
    let Some(more) = more else { return };
    match ours {
        None => *ours = Some(Arc::clone(more)),
        Some(roots) if Arc::ptr_eq(roots, more) => {}
        Some(roots) => {
            let mut all: Vec<usize> = roots.iter().chain(more.iter()).copied().collect();
            all.sort_unstable();
            all.dedup();
            *ours = Some(Arc::new(all));
        }
    }
}

/// For each step, how long the longest way from its start to the end of the plan is.
pub fn ways(graph: &Graph, took: &[Duration]) -> Vec<Duration> {
    let mut ways = vec![Duration::ZERO; took.len()];
    for step in graph.order.iter().rev() {
        let rest = graph.dependents[*step].iter().map(|dependent| ways[*dependent]).max();
        ways[*step] = took[*step].saturating_add(rest.unwrap_or_default());
    }
    ways
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "schedule_properties.rs"]
mod properties;
