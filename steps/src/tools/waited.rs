//! The process groups that this process has started and still waits for. Knows nothing of what they do.
//!
//! A step may run several programs at once. Who looks for what has left the group of one of them spares the groups of all others: each has
//! somebody who ends it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

/// Held, by many at once, while a program is there that is not entered yet.
static STARTS: RwLock<()> = RwLock::new(());
static WAITED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// From before a program is started until it is entered.
pub(super) fn starting() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// A group that is waited for until this is dropped.
#[derive(Debug)]
pub(super) struct Waited(u32);

impl Waited {
    pub(super) fn enter(group: u32) -> Self {
        WAITED.lock().unwrap_or_else(PoisonError::into_inner).insert(group);
        Self(group)
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        WAITED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// The groups that are waited for. Whatever had been started when this was asked, and is waited for, is among them.
pub(super) fn groups() -> BTreeSet<u32> {
    drop(STARTS.write().unwrap_or_else(PoisonError::into_inner));
    WAITED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No process has this number.
    const GROUP: u32 = u32::MAX;

    #[test]
    fn what_is_being_started_is_not_missed() {
        let starting = starting();
        let asked = std::thread::spawn(groups);
        std::thread::yield_now();
        let waited = Waited::enter(GROUP);
        drop(starting);
        assert!(asked.join().expect("no panic").contains(&GROUP));
        drop(waited);
        assert!(!groups().contains(&GROUP), "nobody waits for it any more");
    }
}
