//! Why a process cannot be ended, and what a person can do about it.

use rustix::io::Errno;
use rustix::process::test_kill_process;

use super::orphans::pid;
use crate::context::Child;
use crate::failure::Failure;

/// What stands against ending a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// It runs as another user.
    Forbidden,
    /// It does not come back from the kernel.
    Hangs,
}

impl Obstacle {
    fn of(id: u32) -> Self {
        let forbidden = pid(id).is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM));
        if forbidden { Obstacle::Forbidden } else { Obstacle::Hangs }
    }

    fn explain(self, pids: &str, failure: Failure) -> Failure {
        match self {
            Obstacle::Forbidden => failure.cause("it runs as another user, and we may not end it").fix(format!(
                "see whose it is with `ps -o pid,user,args -p {pids}`; end it as that user, or go on when it is gone"
            )),
            Obstacle::Hangs => failure
                .cause("it hangs in the kernel, most often on a disk or a mount that does not answer")
                .fix(format!("see where with `ps -o pid,stat,wchan:32,args -p {pids}`; go on when it is gone")),
        }
    }
}

/// Adds to a failure what even SIGKILL does not end: why that is, what to do about it, and what it was, for whoever comes next.
#[must_use]
pub fn beside(failure: Failure, alive: Vec<Child>) -> Failure {
    let obstacles = alive.iter().map(|child| Obstacle::of(child.pid));
    // Who may not end one of them need not wait for the others.
    let Some(obstacle) = obstacles.min_by_key(|obstacle| *obstacle == Obstacle::Hangs) else { return failure };
    let pids = alive.iter().map(|child| child.pid.to_string()).collect::<Vec<_>>().join(",");
    let mut failure = obstacle.explain(&pids, failure);
    failure.facts.alive = alive;
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(obstacle: Obstacle) -> Failure {
        obstacle.explain("7,11", Failure::permanent("it goes on"))
    }

    #[test]
    fn what_belongs_to_somebody_else_does_not_hang() {
        let forbidden = failure(Obstacle::Forbidden);
        assert!(forbidden.cause.is_some_and(|cause| cause.contains("another user")));
        assert!(forbidden.fix.is_some_and(|fix| fix.contains("pid,user,args -p 7,11`")));
        assert!(failure(Obstacle::Hangs).cause.is_some_and(|cause| cause.contains("kernel")));
    }

    #[test]
    fn what_lives_on_is_remembered() {
        let child = Child { pid: std::process::id(), started: 1, program: "it".to_owned() };
        let failure = beside(Failure::permanent("it goes on"), vec![child.clone()]);
        assert_eq!(failure.facts.alive, [child]);
        assert!(failure.fix.is_some_and(|fix| fix.contains(&format!("-p {}`", std::process::id()))));
        assert_eq!(beside(Failure::permanent("all is gone"), Vec::new()), Failure::permanent("all is gone"));
    }
}
