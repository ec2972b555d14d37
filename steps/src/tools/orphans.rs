//! Programs that outlived the engine that started them: finding them and ending them.
//!
//! Everything that a step starts carries the mark of its run and its step in its environment, and hands it on to what it starts
//! itself. So what is left of a step can be found although it has left its process group, and although the engine was killed
//! between starting it and writing that down. A process that wipes its environment as well is found by its group, which the
//! journal has; one that does both cannot be found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::group::{GRACE, UNKILLABLE, wait_until};
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
    /// The process groups that are known to have been started.
    pub groups: Vec<Child>,
}

/// A process that was left running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its id.
    pub pid: u32,
    /// Its step, by its environment or by the mark that found it.
    pub step: String,
    /// Its name.
    pub program: String,
    /// Whether it is gone now.
    pub gone: bool,
}

impl Orphan {
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

    fn names(&self, found: &Found) -> bool {
        if self.is_foreign(found) {
            return false;
        }
        found.run().is_some() || self.groups.iter().any(|group| found.belongs_to(group))
    }

    /// Whether a process says itself that it is of another run or of another step: then it is, whatever number its group has.
    fn is_foreign(&self, found: &Found) -> bool {
        let other_run = found.run().is_some_and(|run| run != self.run);
        let other_step = |wanted: &str| found.mark(STEP).is_some_and(|step| step != wanted);
        other_run || self.step.as_deref().is_some_and(other_step)
    }
}

/// How many searches that find nothing but processes whose marks cannot be seen yet are not taken for the end: about a tenth of a second.
const DOUBTS: u32 = 9;

/// The processes that carry one of the marks, but for this one.
pub fn marked(marks: &[Mark]) -> Vec<Orphan> {
    search(marks).found
}

/// What a look at all processes has shown.
struct Search {
    found: Vec<Orphan>,
    /// Whether there was a process that may carry a mark by the next look.
    doubtful: bool,
}

fn search(marks: &[Mark]) -> Search {
    let own = std::process::id();
    let mut search = Search { found: Vec::new(), doubtful: false };
    for process in processes().filter(|found| found.id != own) {
        match marks.iter().find(|mark| mark.names(&process)) {
            Some(mark) => search.found.push(process.orphan(mark)),
            None => search.doubtful |= process.is_loading(),
        }
    }
    search
}

/// Ends all that carries one of the marks: SIGTERM, ten seconds of grace, SIGKILL. Does nothing to strangers that have an id by now that
/// was one of theirs. Says what there was; what cannot be ended is not `gone`.
pub async fn end_marked(marks: &[Mark], clock: Clock) -> Vec<Orphan> {
    let mut seen = BTreeMap::new();
    // What the machine is busy with must not take time in a simulation: it would not be the same the next time.
    let mut doubts = if clock.is_simulated() { 0 } else { DOUBTS };
    // What is being ended may still start others: only an empty search is the end.
    let mut none_left = |kill: bool| {
        let Search { found: left, doubtful } = search(marks);
        for orphan in &left {
            let new = seen.insert(orphan.pid, orphan.clone()).is_none();
            if kill || new {
                send(orphan.pid, if kill { Signal::KILL } else { Signal::TERM });
            }
        }
        doubts -= u32::from(doubtful && left.is_empty() && doubts > 0);
        left.is_empty() && (!doubtful || doubts == 0)
    };
    if !wait_until(clock, GRACE, || none_left(false)).await {
        wait_until(clock, UNKILLABLE, || none_left(true)).await;
    }
    let left: Vec<u32> = marked(marks).iter().map(|orphan| orphan.pid).collect();
    let fate = |orphan: Orphan| Orphan { gone: !left.contains(&orphan.pid), ..orphan };
    seen.into_values().map(fate).collect()
}

fn send(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may be gone by now, which is what we want.
        let _ = kill_process(pid, signal);
    }
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
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    let found = ids.filter_map(|id| Some(Found { id, process: Process::read(id)?, environment: Default::default() }));
    found.filter(|found| !found.process.zombie)
}

/// A living process.
pub(super) struct Found {
    id: u32,
    process: Process,
    environment: std::cell::OnceCell<Option<Vec<u8>>>,
}

impl Found {
    fn environment(&self) -> Option<&[u8]> {
        let read = || std::fs::read(self.folder().join("environ")).ok();
        self.environment.get_or_init(read).as_deref()
    }

    /// A variable of its environment. That of another user's process cannot be read, and is none of ours.
    fn mark(&self, name: &str) -> Option<&str> {
        let mut entries = self.environment()?.split(|byte| *byte == 0);
        entries.find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('='))
    }

    /// The run that it says it is of.
    fn run(&self) -> Option<&str> {
        self.mark(RUN).filter(|run| !run.is_empty())
    }

    /// Whether it is of this group, and not of a stranger's that was given the same id since: that could not happen while the group
    /// lived.
    fn belongs_to(&self, group: &Child) -> bool {
        let leads = self.id == group.pid && self.process.started == group.started;
        let follows = self.process.started >= group.started && self.mark(STEP).is_some();
        self.process.group == group.pid && (leads || follows)
    }

    fn orphan(&self, mark: &Mark) -> Orphan {
        let step = self.mark(STEP).or(mark.step.as_deref()).unwrap_or_default().to_owned();
        let name = std::fs::read_to_string(self.folder().join("comm")).unwrap_or_default();
        Orphan { pid: self.id, step, program: name.trim_end().to_owned(), gone: false }
    }

    /// Whether its program is just being loaded: for that instant the kernel shows no environment. A program that was started with an
    /// empty one looks the same while it computes.
    fn is_loading(&self) -> bool {
        self.process.busy && self.environment().is_some_and(<[u8]>::is_empty)
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
