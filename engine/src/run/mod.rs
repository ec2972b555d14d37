//! What is next, and doing it.
//!
//! Pure: [`schedule`] says which step may start, [`retry`] whether a failure is tried again, [`hint`] what a failure means,
//! [`resume`] what becomes of each step when a run continues. Thin: [`mod@drive`] is the loop that joins them with the journal,
//! `attempt` does one attempt of one step, [`cancel`] hears signals, [`preflight`] looks for programs.

mod attempt;
mod book;
pub mod cancel;
pub mod drive;
pub mod hint;
mod launch;
mod outcome;
pub mod preflight;
mod prepare;
pub mod resume;
pub mod retry;
pub mod schedule;

pub use cancel::{Interrupter, Interrupts, Signal};
pub use drive::{Header, Options, Run, Summary, Watcher, drive};
pub use resume::{Fate, verdicts};
