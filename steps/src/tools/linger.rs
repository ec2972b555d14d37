//! Threads that may wait for a program by themselves. Knows nothing of programs.
//!
//! A thread of the runtime must never wait: others need it. One that was made for it may, and most programs end before it would have
//! been worth telling anybody.

use std::cell::Cell;
use std::time::Duration;

/// How long a program may run before anybody listens to it. Most end before, and then it is enough to look what they said.
pub(super) const MOMENT: Duration = Duration::from_millis(5);

thread_local! {
    static LINGERS: Cell<bool> = const { Cell::new(false) };
}

/// Polls something on a thread that has nothing else to do: it may stay for the first moments of each program that is started meanwhile.
pub fn lingering<T>(poll: impl FnOnce() -> T) -> T {
    let _until_then = Lingering(LINGERS.replace(true));
    poll()
}

/// Whether this thread may wait now.
pub(super) fn lingers() -> bool {
    LINGERS.get()
}

/// Puts back what was before, after a panic too.
struct Lingering(bool);

impl Drop for Lingering {
    fn drop(&mut self) {
        LINGERS.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_polled_in_it_may_linger() {
        assert!(!lingers());
        lingering(|| {
            lingering(|| ());
            assert!(lingers(), "an inner one takes nothing away");
        });
        assert!(!lingers());
        let _ = std::panic::catch_unwind(|| lingering(|| panic!("a step's own")));
        assert!(!lingers(), "nor does a panic leave it on");
    }
}
