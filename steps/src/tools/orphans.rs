//! Programs that outlived the engine that started them: finding them and ending them.
//!
//! Everything that a step starts carries the mark of its run and its step in its environment, and hands it on to what it starts
//! itself. So what is left of a step can be found although it has left its process group, and although the engine was killed
//! between starting it and writing that down. A process that wipes its environment is found by its group: the group is ours for as long
//! as its leader lives, or another of it that was known before. One that wipes its environment and leaves its group, or whose group has
//! lost its leader before anybody looked, cannot be found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::group::{GRACE, UNKILLABLE, wait_until};
use super::waited;
use crate::clock::Clock;
use crate::context::{Child, Context};

/// In the environment of everything that a run starts: which run it was.
pub const RUN: &str = "RUNBOOK_RUN";
/// The same: which step it was.
pub(super) const STEP: &str = "RUNBOOK_STEP";

/// How the processes of a step are recognised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The run's mark, unique among runs. Empty for one that has none: then there are only groups to go by.
    pub run: String,
    /// The step, or nothing for all of the run.
    pub step: Option<String>,
    /// The process groups, and single processes, that are known to have been started.
    pub groups: Vec<Child>,
}

/// A process that was left running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub pid: u32,
    /// When it was started, in clock ticks since boot.
    pub started: u64,
    /// Its step, by its environment or by the mark that found it.
    pub step: String,
    /// Its name.
    pub program: String,
    /// Whether it is gone now.
    pub gone: bool,
}

impl Orphan {
    /// It, as what is remembered.
    pub fn child(&self) -> Child {
        Child { pid: self.pid, started: self.started, program: self.program.clone() }
    }

    /// What became of it, in words.
    pub fn fate(&self) -> &'static str {
        if self.gone { "it was ended" } else { "it cannot be ended" }
    }
}

impl Mark {
    pub(super) fn of(cx: &Context) -> Self {
        let run = cx.world.var(RUN).map(|run| run.to_string_lossy().into_owned()).unwrap_or_default();
        Self { run, step: Some(cx.step.to_string()), groups: Vec::new() }
    }

    /// Whether a process says itself that it is ours, or a group says it of it.
    fn names(&self, found: &Found) -> bool {
        !self.is_foreign(found) && (self.is_on(found) || self.groups.iter().any(|group| found.belongs_to(group)))
    }

    /// Whether a process proves that the group that it is in is ours, with all that is in it: no other group can have that number while
    /// it lives.
    fn proves(&self, found: &Found) -> bool {
        let has_number = |group: &Child| group.pid == found.process.group;
        let carries = self.is_on(found) && (found.leads() || self.groups.iter().any(has_number));
        !self.is_foreign(found) && (carries || self.groups.iter().any(|group| found.leads() && found.is(group)))
    }

    fn is_on(&self, found: &Found) -> bool {
        let of_step = self.step.is_none() || self.step.as_deref() == found.step();
        of_step && found.run() == Some(self.run.as_str())
    }

    /// Whether a process says itself that it is of another run or of another step: then it is, whatever number its group has.
    fn is_foreign(&self, found: &Found) -> bool {
        let other_run = found.run().is_some_and(|run| run != self.run);
        let other_step = |wanted: &str| found.step().is_some_and(|step| step != wanted);
        other_run || self.step.as_deref().is_some_and(other_step)
    }
}

/// How many searches that find nothing but processes whose marks cannot be seen yet are not taken for the end: about a tenth of a second.
const DOUBTS: u32 = 9;

/// The processes that carry one of the marks or are in their groups, but for this one.
pub fn marked(marks: &[Mark]) -> Vec<Orphan> {
    Hunt::new(marks, 0).look().found
}

/// Ends all that carries one of the marks or is in their groups: SIGTERM, ten seconds of grace, SIGKILL. Does nothing to strangers that have
/// an id by now that was one of theirs. Says what there was; what cannot be ended is not `gone`.
pub async fn end_marked(marks: &[Mark], clock: Clock) -> Vec<Orphan> {
    let mut hunt = Hunt::in_time(marks, clock);
    if !wait_until(clock, GRACE, || hunt.is_over(Signal::TERM)).await {
        wait_until(clock, UNKILLABLE, || hunt.is_over(Signal::KILL)).await;
    }
    hunt.fates()
}

/// What tells a process from all others: its id, and when it was started.
type Identity = (u32, u64);

/// Search after search for what is left of steps. What was once found to be ours stays so, whatever becomes of what showed it.
#[derive(Debug)]
pub(super) struct Hunt {
    marks: Vec<Mark>,
    /// Whether it leaves alone what this process waits for: somebody else ends that.
    spares_waited: bool,
    seen: BTreeMap<Identity, Orphan>,
    /// The groups that are ours, with the mark that each is of.
    groups: BTreeMap<u32, usize>,
    doubts: u32,
}

/// What a look at all processes has shown.
#[derive(Default)]
struct Look {
    found: Vec<Orphan>,
    /// Whether there was a process that may carry a mark by the next look.
    doubtful: bool,
    /// Whether one of ours was there and was gone before it was known to be nobody else's.
    restless: bool,
}

impl Hunt {
    fn new(marks: &[Mark], doubts: u32) -> Self {
        Self { marks: marks.to_vec(), spares_waited: false, seen: BTreeMap::new(), groups: BTreeMap::new(), doubts }
    }

    /// What the machine is busy with must not take time in a simulation: it would not be the same the next time.
    pub(super) fn in_time(marks: &[Mark], clock: Clock) -> Self {
        Self::new(marks, if clock.is_simulated() { 0 } else { DOUBTS })
    }

    /// For what has left the groups of a step's programs, while those are there.
    pub(super) fn for_deserters(cx: &Context) -> Self {
        Self { spares_waited: true, ..Self::in_time(&[Mark::of(cx)], cx.clock()) }
    }

    /// Sends a signal to all that is left: SIGKILL again and again, any other once. Says whether nothing was left: what is being ended may
    /// still start others, so that only an empty search is the end.
    pub(super) fn is_over(&mut self, signal: Signal) -> bool {
        let Look { found, doubtful, restless } = self.look();
        for orphan in &found {
            let new = self.seen.insert((orphan.pid, orphan.started), orphan.clone()).is_none();
            if new || signal == Signal::KILL {
                send(orphan.pid, signal);
            }
        }
        self.doubts -= u32::from(doubtful && found.is_empty() && self.doubts > 0);
        found.is_empty() && !restless && (!doubtful || self.doubts == 0)
    }

    /// What there was, and what became of it.
    pub(super) fn fates(mut self) -> Vec<Orphan> {
        let left: BTreeSet<Identity> = self.look().found.iter().map(|orphan| (orphan.pid, orphan.started)).collect();
        let fate = |(identity, orphan): (Identity, Orphan)| Orphan { gone: !left.contains(&identity), ..orphan };
        self.seen.into_iter().map(fate).collect()
    }

    fn look(&mut self) -> Look {
        let own = std::process::id();
        let all: Vec<Found> = every_process().filter(|found| found.id != own).collect();
        // Asked after the processes were seen: what was started before that is entered by now.
        let waited = if self.spares_waited { waited::groups() } else { BTreeSet::new() };
        self.groups = self.groups_among(&all);
        let mut look = Look::default();
        let concerns = |found: &&Found| !found.process.zombie && !waited.contains(&found.process.group);
        for process in all.iter().filter(concerns) {
            match self.claim(process) {
                // It may be of a group that was waited for until now.
                Some(_) if self.spares_waited && process.is_gone() => look.restless = true,
                Some(orphan) => look.found.push(orphan),
                None => look.doubtful |= process.is_loading(),
            }
        }
        look
    }

    /// The groups that one of these processes proves to be ours. One that was known before proves it for the group that was.
    fn groups_among(&self, all: &[Found]) -> BTreeMap<u32, usize> {
        let owner = |process: &Found| {
            let known =
                || self.groups.get(&process.process.group).filter(|_| self.seen.contains_key(&process.identity()));
            self.marks.iter().position(|mark| mark.proves(process)).or_else(|| known().copied())
        };
        all.iter().filter_map(|process| Some((process.process.group, owner(process)?))).collect()
    }

    fn claim(&self, process: &Found) -> Option<Orphan> {
        if let Some(known) = self.seen.get(&process.identity()) {
            return Some(known.clone());
        }
        let of_group = || self.groups.get(&process.process.group).map(|at| &self.marks[*at]);
        let named = self.marks.iter().find(|mark| mark.names(process));
        named.or_else(|| of_group().filter(|mark| !mark.is_foreign(process))).map(|mark| process.orphan(mark))
    }
}

fn send(id: u32, signal: Signal) {
    let Some(pid) = pid(id) else { return };
    // It may be gone by now, which is what we want.
    let _ = kill_process(pid, signal);
    if signal == Signal::TERM {
        // What was stopped hears it only when it goes on.
        let _ = kill_process(pid, Signal::CONT);
    }
}

pub(super) fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// When a process that is alive was started, in clock ticks since boot: with its id, that tells it from all others.
pub fn start_of(pid: u32) -> Option<u64> {
    Process::read(pid).filter(|process| !process.zombie).map(|process| process.started)
}

/// Now, as `/proc/PID/stat` counts: in clock ticks since boot.
pub(super) fn tick() -> u64 {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    let per_second = rustix::param::clock_ticks_per_second();
    let (seconds, nanoseconds) = (now.tv_sec.cast_unsigned(), now.tv_nsec.cast_unsigned());
    seconds * per_second + nanoseconds * per_second / 1_000_000_000
}

/// When a child of ours was started, which was not before the tick `earliest`. Nearly always that tick has not passed yet; opening a file
/// of `/proc` takes longer than many a program.
pub(super) fn start_since(earliest: u64, pid: u32) -> u64 {
    if tick() == earliest { earliest } else { Process::read(pid).map_or(0, |process| process.started) }
}

/// The living processes of a group.
pub(super) fn members(group: u32) -> impl Iterator<Item = Found> {
    processes().filter(move |found| found.process.group == group)
}

/// All living processes.
fn processes() -> impl Iterator<Item = Found> {
    every_process().filter(|found| !found.process.zombie)
}

/// All processes; also those that have ended, as long as nobody has asked how.
fn every_process() -> impl Iterator<Item = Found> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    ids.filter_map(|id| Some(Found { id, process: Process::read(id)?, marks: Default::default() }))
}

/// A process as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: u32,
    process: Process,
    marks: std::cell::OnceCell<Marks>,
}

/// What a process carries.
#[derive(Debug, Default)]
struct Marks {
    run: Option<String>,
    step: Option<String>,
    /// Whether it has an environment with nothing in it.
    empty: bool,
}

impl Marks {
    fn in_environment(bytes: &[u8]) -> Self {
        let variable = |name: &str| {
            let mut entries = bytes.split(|byte| *byte == 0);
            entries.find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('='))
        };
        let run = variable(RUN).filter(|run| !run.is_empty()).map(str::to_owned);
        Self { run, step: variable(STEP).map(str::to_owned), empty: bytes.is_empty() }
    }
}

impl Found {
    /// That of a process which runs as another user cannot be read, and says nothing.
    fn marks(&self) -> &Marks {
        let read = || std::fs::read(self.folder().join("environ"));
        self.marks.get_or_init(|| read().map(|bytes| Marks::in_environment(&bytes)).unwrap_or_default())
    }

    /// The run that it says it is of.
    fn run(&self) -> Option<&str> {
        self.marks().run.as_deref()
    }

    /// The step that it says it is of.
    fn step(&self) -> Option<&str> {
        self.marks().step.as_deref()
    }

    /// Whether it has ended since.
    fn is_gone(&self) -> bool {
        start_of(self.id) != Some(self.process.started)
    }

    fn identity(&self) -> Identity {
        (self.id, self.process.started)
    }

    /// Whether it leads the group that it is in.
    fn leads(&self) -> bool {
        self.id == self.process.group
    }

    /// Whether it is the very process that is meant, in whatever group it is now.
    fn is(&self, child: &Child) -> bool {
        self.identity() == (child.pid, child.started)
    }

    /// Whether it is of this group, and not of a stranger's that was given the same id since: that could not happen while the group
    /// lived.
    fn belongs_to(&self, group: &Child) -> bool {
        let follows = self.process.started >= group.started && self.step().is_some();
        self.is(group) || (self.process.group == group.pid && follows)
    }

    /// What is to be remembered of it.
    pub(super) fn child(&self) -> Child {
        let program = std::fs::read_to_string(self.folder().join("comm")).unwrap_or_default();
        Child { pid: self.id, started: self.process.started, program: program.trim_end().to_owned() }
    }

    fn orphan(&self, mark: &Mark) -> Orphan {
        let step = self.step().or(mark.step.as_deref()).unwrap_or_default().to_owned();
        let Child { pid, started, program } = self.child();
        Orphan { pid, started, step, program, gone: false }
    }

    /// Whether its program is just being loaded: for that instant the kernel shows no environment. A program that was started with an
    /// empty one looks the same while it computes.
    fn is_loading(&self) -> bool {
        self.process.busy && self.marks().empty
    }

    fn folder(&self) -> PathBuf {
        Path::new("/proc").join(self.id.to_string())
    }
}

/// What `/proc` says of a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    group: u32,
    pub(super) started: u64,
    zombie: bool,
    /// Whether it runs, or waits for a disk, in a memory of its own: the threads of the kernel have none.
    busy: bool,
}

impl Process {
    pub(super) fn read(id: u32) -> Option<Self> {
        use std::io::Read as _;
        // One line of at most a few hundred bytes, and of a process that is just starting it has to be read at once.
        let mut line = [0; 1024];
        let length = std::fs::File::open(format!("/proc/{id}/stat")).ok()?.read(&mut line).ok()?;
        Self::parse(&line[..length])
    }

    fn parse(stat: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may hold anything, parentheses too.
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(&stat[name_end + 1..]).ok()?.split_ascii_whitespace();
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let started = fields.nth(16)?.parse().ok()?;
        let memory: u64 = fields.next()?.parse().ok()?;
        let (zombie, busy) = (matches!(state, "Z" | "X"), matches!(state, "R" | "D") && memory > 0);
        Some(Self { group, started, zombie, busy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process of the test's own")]
    fn the_tick_is_that_of_the_kernel() {
        let earliest = tick();
        let child = duct::cmd!("/bin/cat").stdin_bytes(Vec::new()).unchecked().start().unwrap();
        let latest = tick();
        let started = Process::read(child.pids()[0]).unwrap().started;
        child.wait().unwrap();
        assert!((earliest..=latest).contains(&started), "{started} is not in {earliest}..={latest}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let stat = b"42 (a) (b) c) Z 1 40 40 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 987654 1 2";
        assert_eq!(Process::parse(stat), Some(Process { group: 40, started: 987_654, zombie: true, busy: false }));
    }
}
