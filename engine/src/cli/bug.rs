//! What a panic means to whoever started the program: a bug, with its place, and what to do about it.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use super::exit::{Exit, Fatal};
use crate::run::panics::{Panic, is_of_a_step, panic_text};

/// A panic in a step is a failure of that step and is told as one; the usual words would write into the live picture as well. Every
/// other panic is told at once, with its place, on whatever thread it is.
pub(super) fn silence_step_panics() {
    let usual = take_hook();
    set_hook(Box::new(move |panic| {
        if !is_of_a_step() {
            usual(panic);
        }
    }));
}

/// Does something; a panic in it is an error.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fatal>) -> Result<T, Fatal> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(bug(&panic)))
}

/// What is said of a bug, below the place that was already printed.
pub(super) fn bug(panic: &Panic) -> Fatal {
    let what = format!("this is a bug in runbook: {}", panic_text(panic.as_ref()));
    let version = env!("CARGO_PKG_VERSION");
    Fatal::new(Exit::Unexpected, what)
        .hint(format!("please report it with the lines above, which say where it was, and the version: {version}"))
        .hint("what a run has done is in its journal; the same command goes on from there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_engine_is_an_error_with_words() {
        let fatal = guarded::<()>(|| panic!("the impossible")).expect_err("a panic");
        assert_eq!(fatal.exit, Exit::Unexpected);
        assert_eq!(fatal.message, "this is a bug in runbook: the impossible");
        assert!(fatal.hints[0].contains("report it"), "{:?}", fatal.hints);
    }

    #[test]
    fn a_panic_where_steps_run_is_an_error_of_the_command_too() {
        let work =
            async { tokio::spawn(async { panic!("on a worker") }).await.map_err(|error| bug(&error.into_panic())) };
        let fatal = super::super::block_on(work).expect_err("a panic");
        assert_eq!(fatal.message, "this is a bug in runbook: on a worker");
        let fatal = super::super::block_on(async { panic!("on the main thread") as Result<(), Fatal> });
        assert_eq!(fatal.expect_err("a panic").exit, Exit::Unexpected);
    }
}
