//! Panics of steps: caught where a step is polled, and known as such while they happen.
//!
//! A panic of a step is a failure of that step, and is told as one. Every other panic is a bug of the engine.

use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// What a panic carries.
pub(crate) type Panic = Box<dyn Any + Send>;

thread_local! {
    static POLLS_STEP: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in the middle of what a step does, so that a panic now is the step's own.
pub(crate) fn is_of_a_step() -> bool {
    POLLS_STEP.get()
}

/// Does what a step does. A panic ends that and nothing else.
pub(crate) fn caught<T>(step: impl Future<Output = T>) -> impl Future<Output = Result<T, Panic>> {
    let mut step = Box::pin(step);
    poll_fn(move |cx| {
        let _until_then = Polling(POLLS_STEP.replace(true));
        match catch_unwind(AssertUnwindSafe(|| step.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
}

/// The words of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

/// Puts back what was before, after a panic too.
struct Polling(bool);

impl Drop for Polling {
    fn drop(&mut self) {
        POLLS_STEP.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_panic_in_a_step_is_the_step_s_own_and_one_beside_it_is_not() {
        assert!(!is_of_a_step());
        let inside = caught(async { is_of_a_step() }).now_or_never().expect("it does not wait");
        assert!(inside.expect("no panic"));
        let panic = caught(async { panic!("in a {}", "step") }).now_or_never().expect("it does not wait");
        assert_eq!(panic_text(panic.expect_err("a panic").as_ref()), "in a step");
        assert!(!is_of_a_step(), "a panic does not leave it on");
    }
}
