//! A program's process group: waiting for it and ending it.
//!
//! A group is ended until it is gone, not until a signal was sent: a kill can miss a process that is just being forked. The id
//! stays ours while the leader is unreaped or any member lives, so no stranger can be hit.
//!
//! How long stopping takes is said here alone: at most [`GRACE`] and [`UNKILLABLE`] when told gently, at most [`UNKILLABLE`] when told
//! for good. Who waits for a step to stop waits longer than that, or it would go on beside what still runs.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::linger::{MOMENT, lingers};
use super::orphans::{Hunt, Mark, Orphan, members, start_since};
use super::output::Pump;
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

/// How the wait for a program ended.
#[derive(Debug)]
pub(super) enum Ending {
    Code(i32),
    Signal(i32),
    Cancelled,
    /// It was told to stop, and these processes of it live on: even SIGKILL does not end them.
    Survived(Vec<u32>),
    Lost(std::io::Error),
}

/// A running group. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Group {
    handle: Arc<duct::Handle>,
    pid: Pid,
    started: u64,
    program: String,
    gone: bool,
}

impl Group {
    /// Of a program that was not started before the tick `earliest`.
    pub(super) fn new(handle: duct::Handle, program: String, earliest: u64) -> Self {
        let id = handle.pids()[0];
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("the kernel gives positive process ids");
        let started = start_since(earliest, id);
        Self { handle: Arc::new(handle), pid, started, program, gone: false }
    }

    pub(super) fn child(&self) -> Child {
        Child {
            pid: self.pid.as_raw_nonzero().get().unsigned_abs(),
            started: self.started,
            program: self.program.clone(),
        }
    }

    /// Reads the program's output until it ends, by itself or because the step was told to stop. The group is gone afterwards.
    pub(super) async fn watch(mut self, cx: &Context, pump: &mut Pump) -> Ending {
        if pump.can_wait() && lingers() {
            if let Some(ending) = self.ends_in_a_moment() {
                return self.clean_up(ending, cx).await;
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
        Ending::Lost(deaf)
    }

    async fn supervise(&mut self, cx: &Context) -> Ending {
        let ending = tokio::select! {
            biased;
            () = cx.cancel.hard.cancelled() => Ending::Cancelled,
            () = cx.cancel.soft.cancelled() => Ending::Cancelled,
            ending = self.exited() => ending,
        };
        // What has ended by itself, and was only not heard yet, was not stopped.
        let ending = Some(ending).filter(|ending| !matches!(ending, Ending::Cancelled)).or_else(|| self.reap());
        self.clean_up(ending.unwrap_or(Ending::Cancelled), cx).await
    }

    /// Sees to it that nothing of the group is left, however it ended. What has left the group on purpose is left alone when the step ends
    /// by itself, but not when it is stopped.
    async fn clean_up(&mut self, ending: Ending, cx: &Context) -> Ending {
        match ending {
            Ending::Cancelled => self.stop(cx).await,
            _ => {
                self.end_leftovers(cx).await;
                ending
            }
        }
    }

    async fn end_leftovers(&mut self, cx: &Context) {
        if !self.send(Signal::TERM) {
            self.gone = true;
            return;
        }
        tokio::select! {
            () = cx.cancel.hard.cancelled() => {}
            _ = wait_until(cx.clock(), LEFTOVER_GRACE, || self.is_gone()) => {}
        }
        self.kill(cx.clock()).await;
    }

    /// Ends the group and what has left it: gently where there is time for it, then both at once for good.
    async fn stop(&mut self, cx: &Context) -> Ending {
        let mut deserters = Hunt::in_time(&[Mark::of(cx)], cx.clock()).sparing(self.child().pid);
        tokio::select! {
            biased;
            () = cx.cancel.hard.cancelled() => {}
            () = self.stop_gently(&mut deserters, cx) => {}
        }
        let over = wait_until(cx.clock(), UNKILLABLE, || {
            let killed = self.is_killed();
            deserters.is_over(Signal::KILL) && killed
        })
        .await;
        self.gone = true;
        let deserters = deserters.fates();
        tell(&deserters, cx);
        if over { Ending::Cancelled } else { Ending::Survived(self.survivors(&deserters)) }
    }

    fn survivors(&self, deserters: &[Orphan]) -> Vec<u32> {
        let here = members(self.child().pid).map(|found| found.id);
        here.chain(deserters.iter().filter(|orphan| !orphan.gone).map(|orphan| orphan.pid)).collect()
    }

    /// One grace for all: what has left the group is told when the group has gone, which it may well serve until then.
    async fn stop_gently(&self, deserters: &mut Hunt, cx: &Context) {
        cx.note(&format!("told to stop: SIGTERM to `{}`", self.program));
        self.send(Signal::TERM);
        wait_until(cx.clock(), GRACE, || self.is_gone() && deserters.is_over(Signal::TERM)).await;
    }

    /// Waits for the leader and reaps it.
    async fn exited(&self) -> Ending {
        if self.readable().await.is_err() {
            // No pidfd (an old kernel, a sandbox): a thread waits instead.
            let handle = self.handle.clone();
            let _ = tokio::task::spawn_blocking(move || handle.wait().map(drop)).await;
        }
        self.reap().unwrap_or_else(|| Ending::Lost(std::io::Error::other("it ended, but its status cannot be had")))
    }

    /// Waits on this very thread, but not for long.
    #[cfg(target_os = "linux")]
    fn ends_in_a_moment(&self) -> Option<Ending> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let pidfd = rustix::process::pidfd_open(self.pid, rustix::process::PidfdFlags::empty()).ok()?;
        let moment = Timespec { tv_sec: 0, tv_nsec: i64::from(MOMENT.subsec_nanos()) };
        // A signal cuts it short, which does no harm: then somebody else waits on.
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&moment)).ok()?;
        self.reap()
    }

    #[cfg(not(target_os = "linux"))]
    fn ends_in_a_moment(&self) -> Option<Ending> {
        None
    }

    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "an `OwnedFd` keeps its descriptor open; the replacement is `unsafe`, which is forbidden here"
    )]
    async fn readable(&self) -> std::io::Result<()> {
        use tokio::io::Interest;
        let pidfd = rustix::process::pidfd_open(self.pid, rustix::process::PidfdFlags::NONBLOCK)?;
        let pidfd = tokio::io::unix::AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        pidfd.readable().await.map(drop)
    }

    #[cfg(not(target_os = "linux"))]
    async fn readable(&self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn reap(&self) -> Option<Ending> {
        use std::os::unix::process::ExitStatusExt as _;
        match self.handle.try_wait() {
            Ok(None) => None,
            Ok(Some(output)) => Some(match (output.status.code(), output.status.signal()) {
                (Some(code), _) => Ending::Code(code),
                (None, Some(signal)) => Ending::Signal(signal),
                (None, None) => Ending::Lost(std::io::Error::other("it neither exited nor was killed")),
            }),
            Err(error) => Some(Ending::Lost(error)),
        }
    }

    /// Whether there was anybody to get it.
    fn send(&self, signal: Signal) -> bool {
        kill_process_group(self.pid, signal).is_ok()
    }

    fn is_gone(&self) -> bool {
        self.reap();
        test_kill_process_group(self.pid).is_err() || self.only_zombies()
    }

    /// An orphan stays as a zombie until process 1 reaps it, which some containers' process 1 never does.
    fn only_zombies(&self) -> bool {
        cfg!(target_os = "linux") && members(self.child().pid).next().is_none()
    }

    /// Kills what is left of it, and says whether nothing was.
    fn is_killed(&self) -> bool {
        self.reap();
        !self.send(Signal::KILL) || self.only_zombies()
    }

    async fn kill(&mut self, clock: Clock) {
        wait_until(clock, UNKILLABLE, || self.is_killed()).await;
        self.gone = true;
    }
}

/// Says what had left the group, and what became of it.
fn tell(deserters: &[Orphan], cx: &Context) {
    for orphan in deserters {
        let (program, pid, fate) = (&orphan.program, orphan.pid, orphan.fate());
        cx.note(&format!("`{program}` (pid {pid}) had left the process group; {fate}"));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.gone || !self.send(Signal::KILL) {
            return;
        }
        let (handle, pid) = (self.handle.clone(), self.pid);
        // There is no reactor to wait on here. Failing to start the thread leaves a zombie, which the next spawn reaps.
        let _ = std::thread::Builder::new().name("reaper".to_owned()).spawn(move || finish_off(&handle, pid));
    }
}

#[expect(clippy::disallowed_methods, reason = "a detached thread that ends with the group, not a step that waits")]
fn finish_off(handle: &duct::Handle, pid: Pid) {
    let _ = handle.wait();
    for _ in 0..250 {
        if kill_process_group(pid, Signal::KILL).is_err() {
            return;
        }
        std::thread::sleep(POLL);
    }
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
