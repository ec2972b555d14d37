//! The first process of a group, and the group's number, which is its id. Knows nothing of steps.
//!
//! The kernel gives a number to nobody else while its leader is unreaped or anything is in the group. So a signal goes to the group only
//! while the leader is unreaped, or where a member has just been seen. What remains is the moment between seeing the last member and the
//! signal: a stranger's group is hit only if that member dies in it, and every other number of the machine is used up in it as well, since
//! numbers are given in a circle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, test_kill_process_group, waitid,
};

use super::orphans::{Found, members};
use super::waited::Waited;

/// How a leader ended.
#[derive(Debug)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
    Lost(std::io::Error),
}

/// The leader of a group.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    handle: Arc<duct::Handle>,
    pid: Pid,
    reaped: Arc<AtomicBool>,
    /// As long as anybody may still end the group.
    _waited: Arc<Waited>,
}

impl Leader {
    pub(super) fn new(handle: duct::Handle) -> Self {
        let id = handle.pids()[0];
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("the kernel gives positive process ids");
        Self { handle: Arc::new(handle), pid, reaped: Arc::default(), _waited: Arc::new(Waited::enter(id)) }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its id, which is the number of the group.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it has ended. It stays unreaped.
    pub(super) fn has_ended(&self) -> bool {
        // An error says that it has been reaped.
        !matches!(self.look(WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Ok(None))
    }

    /// Whether it was stopped because it wanted to read from a terminal or write to one, in which it has no place.
    pub(super) fn wants_terminal(&self) -> bool {
        let stopped = self.look(WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
        let signal = stopped.ok().flatten().and_then(|status| status.stopping_signal());
        [Signal::TTIN, Signal::TTOU].iter().any(|wanted| signal == Some(wanted.as_raw()))
    }

    /// Waits on this very thread until it has ended. It stays unreaped.
    pub(super) fn wait(&self) {
        let _ = self.look(WaitIdOptions::EXITED);
    }

    fn look(&self, at: WaitIdOptions) -> rustix::io::Result<Option<WaitIdStatus>> {
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(self.pid), at | WaitIdOptions::NOWAIT))
    }

    /// How it ended, if it has. From now on the number is ours only as long as something is in the group.
    pub(super) fn reap(&self) -> Option<End> {
        use std::os::unix::process::ExitStatusExt as _;
        let end = match self.handle.try_wait() {
            Ok(None) => return None,
            Ok(Some(output)) => match (output.status.code(), output.status.signal()) {
                (Some(code), _) => End::Code(code),
                (None, Some(signal)) => End::Signal(signal),
                (None, None) => End::Lost(std::io::Error::other("it neither exited nor was killed")),
            },
            Err(error) => End::Lost(error),
        };
        self.reaped.store(true, Ordering::Relaxed);
        Some(end)
    }

    /// A signal to the whole group, where the number is ours.
    pub(super) fn send(&self, signal: Signal) {
        if !self.is_reaped() || self.has_living() {
            // There may be nobody left to get it, which is fine.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Tells the whole group to end. What was stopped, by a terminal or by somebody, hears that only when it goes on.
    pub(super) fn tell_to_end(&self) {
        self.send(Signal::TERM);
        self.send(Signal::CONT);
    }

    /// Whether anything lives in the group, the leader included. Looks through all processes, unless the number is nobody's.
    pub(super) fn has_living(&self) -> bool {
        if cfg!(target_os = "linux") {
            return self.is_number_taken() && !self.living().is_empty();
        }
        // Elsewhere a leader that has ended cannot be told from the living.
        self.reap();
        self.is_number_taken()
    }

    /// A program may have become one that we may not signal; it lives all the same.
    fn is_number_taken(&self) -> bool {
        test_kill_process_group(self.pid) != Err(Errno::SRCH)
    }

    /// What lives in the group. An orphan stays as a zombie until process 1 reaps it, which some containers' process 1 never does: it is no
    /// member. What leads the group after ours was reaped is a stranger.
    pub(super) fn living(&self) -> Vec<Found> {
        let members: Vec<Found> = members(self.id()).collect();
        let is_anothers = self.is_reaped() && members.iter().any(|found| found.id == self.id());
        if is_anothers { Vec::new() } else { members }
    }

    fn is_reaped(&self) -> bool {
        self.reaped.load(Ordering::Relaxed)
    }

    /// Kills what is left of the group, reaps the leader when it is the last, and says whether nothing was left.
    pub(super) fn is_killed(&self) -> bool {
        self.send(Signal::KILL);
        !self.has_living() && self.reap().is_some() && !self.has_living()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a process of the test's own")]
    fn leader(script: &str) -> Leader {
        let command = duct::cmd!("/bin/sh", "-c", script).unchecked();
        let command = command.before_spawn(|command| {
            std::os::unix::process::CommandExt::process_group(command, 0);
            Ok(())
        });
        Leader::new(command.start().expect("a shell"))
    }

    #[test]
    fn the_number_is_kept_until_the_leader_is_reaped() {
        let leader = leader("exit 3");
        leader.wait();
        assert!(leader.has_ended() && !leader.has_living());
        assert!(test_kill_process_group(leader.pid).is_ok(), "nobody else is given the number");
        assert!(matches!(leader.reap(), Some(End::Code(3))));
        assert!(leader.has_ended() && test_kill_process_group(leader.pid).is_err());
    }

    #[test]
    fn what_leads_the_group_after_the_leader_was_reaped_is_left_alone() {
        let stranger = leader("exec sleep 600");
        let ours = Leader { reaped: Arc::new(AtomicBool::new(true)), ..stranger.clone() };
        assert!(!ours.has_living());
        ours.send(Signal::KILL);
        assert!(!stranger.has_ended(), "it was not killed");
        while !stranger.is_killed() {
            std::thread::yield_now();
        }
        assert!(matches!(stranger.reap(), Some(End::Signal(9))));
    }
}
