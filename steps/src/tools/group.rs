//! A program's process group: waiting for it and ending it.
//!
//! A group is ended until it is gone, not until a signal was sent: a kill can miss a process that is just being forked. What is left is
//! told to end while its leader is still unreaped, since the number is surely ours until then; [`Leader`] sees to the rest.
//!
//! How long stopping takes is said here alone: at most [`GRACE`] and [`UNKILLABLE`] when told gently, at most [`UNKILLABLE`] when told
//! for good. Who waits for a step to stop waits longer than that, or it would go on beside what still runs.

use std::convert::Infallible;
use std::time::Duration;

use rustix::process::Signal;

use super::leader::{End, Leader};
use super::linger::{MOMENT, lingers};
use super::orphans::{Found, Hunt, Orphan, start_since};
use super::output::Pump;
use super::shorten;
use crate::clock::Clock;
use crate::context::{Child, Context};

/// How long what a step has started may take to end by itself when it is told to stop: its group, and then what has left that. Real time:
/// programs do not live by the model's clock.
pub const GRACE: Duration = Duration::from_secs(10);
/// The same for what a program leaves behind when it ends by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// How long to go on killing what cannot die, such as a process that hangs in a dead network disk.
pub const UNKILLABLE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// How often it is asked whether a program wants the terminal.
const GLANCE: Duration = Duration::from_secs(1);

/// How the wait for a program ended.
#[derive(Debug)]
pub(super) enum Ending {
    Code(i32),
    Signal(i32),
    Cancelled,
    Lost(std::io::Error),
}

/// A running group. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Group {
    leader: Leader,
    started: u64,
    program: String,
    /// Whether any exit code is fine.
    unchecked: bool,
    gone: bool,
    /// What lives on: even SIGKILL does not end it.
    alive: Vec<Child>,
}

impl Group {
    /// Of a program that was not started before the tick `earliest`.
    pub(super) fn new(handle: duct::Handle, (program, unchecked): (String, bool), earliest: u64) -> Self {
        let leader = Leader::new(handle);
        let started = start_since(earliest, leader.id());
        Self { leader, started, program, unchecked, gone: false, alive: Vec::new() }
    }

    pub(super) fn child(&self) -> Child {
        Child { pid: self.leader.id(), started: self.started, program: self.program.clone() }
    }

    /// Reads the program's output until it ends, by itself or because the step was told to stop. The group is gone afterwards, and what has
    /// left it as well unless the program ended well; but for what even SIGKILL does not end, which is told.
    pub(super) async fn watch(mut self, cx: &Context, pump: &mut Pump) -> (Ending, Vec<Child>) {
        let ending = self.see_to_its_end(cx, pump).await;
        (ending, std::mem::take(&mut self.alive))
    }

    async fn see_to_its_end(&mut self, cx: &Context, pump: &mut Pump) -> Ending {
        if pump.can_wait() && lingers() {
            if self.ends_in_a_moment() {
                return self.clean_up(cx).await;
            }
            pump.hurry();
        }
        let deaf = {
            let pumping = pump.run();
            tokio::pin!(pumping);
            let supervised = self.supervise(cx);
            tokio::pin!(supervised);
            tokio::select! {
                ending = &mut supervised => return ending,
                heard = &mut pumping => match heard {
                    Ok(()) => return supervised.await,
                    Err(error) => error,
                },
            }
        };
        self.kill(cx.clock()).await;
        self.end_deserters(cx).await;
        Ending::Lost(deaf)
    }

    async fn supervise(&mut self, cx: &Context) -> Ending {
        let stopped = tokio::select! {
            biased;
            () = cx.cancel.hard.cancelled() => true,
            () = cx.cancel.soft.cancelled() => true,
            () = self.ended() => false,
            never = self.tell_of_terminal(cx) => match never {},
        };
        // What has ended by itself, and was only not heard yet, was not stopped.
        if stopped && !self.leader.has_ended() { self.stop(cx).await } else { self.clean_up(cx).await }
    }

    /// The leader has ended by itself: sees to it that nothing of the group is left. What has left the group on purpose is left alone,
    /// unless the program failed: it would run beside the next attempt.
    ///
    /// Nearly always nothing is. One cheap question tells that when the leader is reaped, and none before.
    async fn clean_up(&mut self, cx: &Context) -> Ending {
        let ending = self.leader.reap().map_or_else(lost, Ending::from);
        if self.leader.has_living() {
            self.end_leftovers(cx).await;
        }
        self.gone = true;
        if !self.is_well(&ending) {
            self.end_deserters(cx).await;
        }
        ending
    }

    fn is_well(&self, ending: &Ending) -> bool {
        matches!(ending, Ending::Code(code) if *code == 0 || self.unchecked)
    }

    async fn end_leftovers(&mut self, cx: &Context) {
        let leftovers: Vec<Child> = self.leader.living().iter().map(Found::child).collect();
        self.leader.tell_to_end();
        tokio::select! {
            () = cx.cancel.hard.cancelled() => {}
            _ = wait_until(cx.clock(), LEFTOVER_GRACE, || !self.leader.has_living()) => {}
        }
        self.kill(cx.clock()).await;
        if let Some(words) = self.leftovers_in_words(&leftovers) {
            cx.note(&words);
            cx.progress(words);
        }
    }

    fn leftovers_in_words(&self, leftovers: &[Child]) -> Option<String> {
        let is_over = |child: &&Child| !self.alive.contains(child);
        let named = leftovers.iter().filter(is_over).map(|child| format!("`{}` (pid {})", child.program, child.pid));
        let named = named.collect::<Vec<_>>().join(", ");
        let all = shorten(&named, 200);
        let words = format!(
            "`{}` left {all} in its process group, which was ended; `setsid` starts what is to live on",
            self.program
        );
        (!named.is_empty()).then_some(words)
    }

    async fn end_deserters(&mut self, cx: &Context) {
        let mut deserters = Hunt::for_deserters(cx);
        let over = tokio::select! {
            biased;
            () = cx.cancel.hard.cancelled() => false,
            over = wait_until(cx.clock(), GRACE, || deserters.is_over(Signal::TERM)) => over,
        };
        if !over {
            wait_until(cx.clock(), UNKILLABLE, || deserters.is_over(Signal::KILL)).await;
        }
        self.tell(&deserters.fates(), cx);
    }

    /// Ends the group and what has left it: gently where there is time for it, then both at once for good.
    async fn stop(&mut self, cx: &Context) -> Ending {
        let mut deserters = Hunt::for_deserters(cx);
        tokio::select! {
            biased;
            () = cx.cancel.hard.cancelled() => {}
            () = self.stop_gently(&mut deserters, cx) => {}
        }
        let over = wait_until(cx.clock(), UNKILLABLE, || {
            let killed = self.leader.is_killed();
            deserters.is_over(Signal::KILL) && killed
        })
        .await;
        self.gone = true;
        if !over {
            self.remember_survivors();
        }
        self.tell(&deserters.fates(), cx);
        Ending::Cancelled
    }

    fn remember_survivors(&mut self) {
        self.alive.extend(self.leader.living().iter().map(Found::child));
    }

    /// One grace for all: what has left the group is told when the group has gone, which it may well serve until then.
    async fn stop_gently(&self, deserters: &mut Hunt, cx: &Context) {
        cx.note(&format!("told to stop: SIGTERM to `{}`", self.program));
        self.leader.tell_to_end();
        let is_gone = || self.leader.has_ended() && !self.leader.has_living();
        wait_until(cx.clock(), GRACE, || is_gone() && deserters.is_over(Signal::TERM)).await;
    }

    /// Says what had left the group, and what became of it.
    fn tell(&mut self, deserters: &[Orphan], cx: &Context) {
        for orphan in deserters {
            let (program, pid, fate) = (&orphan.program, orphan.pid, orphan.fate());
            cx.note(&format!("`{program}` (pid {pid}) had left the process group; {fate}"));
        }
        self.alive.extend(deserters.iter().filter(|orphan| !orphan.gone).map(Orphan::child));
    }

    /// Says so when the program is stopped because it wants the terminal. Never ends.
    async fn tell_of_terminal(&self, cx: &Context) -> Infallible {
        let clock = cx.clock();
        while !self.leader.wants_terminal() {
            clock.sleep(clock.model_span(GLANCE)).await;
        }
        let way = "give it what it asks for through `env` or `stdin`";
        let words = format!("`{}` waits for a terminal, which steps do not have: {way}", self.program);
        cx.note(&words);
        cx.progress(words);
        std::future::pending().await
    }

    /// Waits for the end of the leader, which stays unreaped.
    async fn ended(&self) {
        if self.readable().await.is_err() || !self.leader.has_ended() {
            // No pidfd (an old kernel, a sandbox): a thread waits instead.
            let leader = self.leader.clone();
            let _ = tokio::task::spawn_blocking(move || leader.wait()).await;
        }
    }

    /// Waits on this very thread, but not for long. The leader stays unreaped.
    #[cfg(target_os = "linux")]
    fn ends_in_a_moment(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use rustix::process::{PidfdFlags, pidfd_open};
        let Ok(pidfd) = pidfd_open(self.leader.pid(), PidfdFlags::empty()) else { return false };
        let moment = Timespec { tv_sec: 0, tv_nsec: i64::from(MOMENT.subsec_nanos()) };
        // A signal cuts it short, which does no harm: then somebody else waits on.
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&moment)).is_ok_and(|ready| ready > 0)
    }

    #[cfg(not(target_os = "linux"))]
    fn ends_in_a_moment(&self) -> bool {
        false
    }

    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "an `OwnedFd` keeps its descriptor open; the replacement is `unsafe`, which is forbidden here"
    )]
    async fn readable(&self) -> std::io::Result<()> {
        use tokio::io::Interest;
        let pidfd = rustix::process::pidfd_open(self.leader.pid(), rustix::process::PidfdFlags::NONBLOCK)?;
        let pidfd = tokio::io::unix::AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        pidfd.readable().await.map(drop)
    }

    #[cfg(not(target_os = "linux"))]
    async fn readable(&self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    async fn kill(&mut self, clock: Clock) {
        if !wait_until(clock, UNKILLABLE, || self.leader.is_killed()).await {
            self.remember_survivors();
        }
        self.gone = true;
    }
}

impl From<End> for Ending {
    fn from(end: End) -> Self {
        match end {
            End::Code(code) => Ending::Code(code),
            End::Signal(signal) => Ending::Signal(signal),
            End::Lost(error) => Ending::Lost(error),
        }
    }
}

fn lost() -> Ending {
    Ending::Lost(std::io::Error::other("it ended, but its status cannot be had"))
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        self.leader.send(Signal::KILL);
        let leader = self.leader.clone();
        // There is no reactor to wait on here. Failing to start the thread leaves a zombie, which the next spawn reaps.
        let _ = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || finish_off(&leader));
    }
}

#[expect(clippy::disallowed_methods, reason = "a detached thread that ends with the group, not a step that waits")]
fn finish_off(leader: &Leader) {
    leader.wait();
    for _ in 0..250 {
        if leader.is_killed() {
            return;
        }
        std::thread::sleep(POLL);
    }
    leader.reap();
}

/// Asks again and again, for at most a span of real time. True when it came to hold.
pub(super) async fn wait_until(clock: Clock, most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let since = std::time::Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if holds() {
            return true;
        }
        if since.elapsed() >= most {
            return false;
        }
        clock.sleep(clock.model_span(pause)).await;
        pause = (pause * 2).min(POLL);
    }
}

/// The name of a signal, as people know it.
pub(super) fn signal_name(signal: i32) -> String {
    let known = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (3, "SIGQUIT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (14, "SIGALRM"),
        (15, "SIGTERM"),
        (24, "SIGXCPU"),
        (25, "SIGXFSZ"),
    ];
    known
        .iter()
        .find(|(number, _)| *number == signal)
        .map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_signals_have_numbers() {
        assert_eq!(signal_name(15), "SIGTERM");
        assert_eq!(signal_name(40), "signal 40");
    }
}
