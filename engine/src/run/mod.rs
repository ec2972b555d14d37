//! What is next, and doing it.
//!
//! Pure: [`schedule`] says which step may start, [`retry`] whether a failure is tried again,
//! [`resume`] what becomes of each step when a run continues. Thin: [`mod@drive`] joins them with the journal, `course` is the loop that it
//! shares with [`undo`], `attempt` does one attempt of one step, [`cancel`] hears signals, [`preflight`] looks for programs. [`undo`] takes back what was
//! made.

mod attempt;
mod book;
pub mod cancel;
mod common;
mod course;
pub mod drive;
mod group;
mod insight;
mod launch;
pub(crate) mod orphans;
mod outcome;
mod pauses;
pub mod preflight;
mod prepare;
pub mod resume;
pub mod retry;
pub mod schedule;
mod scribe;
pub mod select;
pub mod survey;
pub mod undo;
pub mod verify;

pub(crate) use attempt::panic_text;
pub use cancel::{Interrupter, Interrupts, Signal};
pub use drive::{Header, Options, Run, Summary, Watcher, drive};
pub(crate) use prepare::only_reads;
pub use resume::{Fate, verdicts};
pub use select::Asked;
