//! What one simulation says and finds: a trace for people, and the rules that were broken. One for each thread.

use std::cell::RefCell;
use std::fmt::Display;

use tokio::time::{Duration, Instant};

#[derive(Default)]
struct Notes {
    start: Option<Instant>,
    /// How much time had passed at the start.
    offset: Duration,
    trace: Option<Vec<String>>,
    wrong: Vec<String>,
    panic: Option<String>,
}

thread_local! {
    static NOTES: RefCell<Notes> = RefCell::default();
}

/// Begins anew, at the runtime's present, which is so long after the beginning of the world.
pub(crate) fn begin(offset: Duration, traced: bool) {
    let fresh = Notes { start: Some(Instant::now()), offset, trace: traced.then(Vec::new), ..Notes::default() };
    NOTES.with_borrow_mut(|notes| *notes = fresh);
}

/// How long the world has gone on, by its own clock.
pub(crate) fn now() -> Duration {
    NOTES.with_borrow(|notes| notes.offset + notes.start.map(|start| start.elapsed()).unwrap_or_default())
}

/// A line of the trace; made only if somebody wants to read it.
pub(crate) fn say<T: Display>(line: impl FnOnce() -> T) {
    let at = now().as_secs_f64();
    NOTES.with_borrow_mut(|notes| {
        if let Some(trace) = &mut notes.trace {
            trace.push(format!("{at:10.3}  {}", line()));
        }
    });
}

/// A rule was broken.
pub(crate) fn wrong(what: impl Display) {
    say(|| format!("WRONG: {what}"));
    NOTES.with_borrow_mut(|notes| notes.wrong.push(what.to_string()));
}

/// Nothing was broken so far.
pub(crate) fn all_is_well() -> bool {
    NOTES.with_borrow(|notes| notes.wrong.is_empty())
}

/// A panic happened in this thread. Those of steps are caught by the engine; of any other this is the text.
pub(crate) fn panicked(text: String) {
    let _ = NOTES.try_with(|notes| notes.try_borrow_mut().map(|mut notes| notes.panic = Some(text)));
}

/// What was said, what was broken, and the last panic.
pub(crate) fn end() -> (Vec<String>, Vec<String>, Option<String>) {
    let notes = NOTES.take();
    (notes.trace.unwrap_or_default(), notes.wrong, notes.panic)
}
