//! What is next, and doing it.
//!
//! Pure: [`schedule`] says which step may start, [`retry`] whether a failure is tried again,
//! [`resume`] what becomes of each step when a run continues. Thin: [`mod@drive`] joins them with the journal, [`undo`] takes back what
//! was made, and both have a `course`, which threads take turns with (`conductor`): `lanes` that see short programs to their end, and the
//! one that has to `listen`. `attempt` does one attempt of one step, `panics` catches its panics, [`cancel`] hears signals, [`preflight`] looks for programs.

mod attempt;
mod bell;
mod book;
mod bounded;
pub mod cancel;
mod cleanup;
mod common;
mod conductor;
mod course;
pub mod drive;
mod group;
mod insight;
mod lanes;
mod launch;
mod listen;
pub(crate) mod masked;
pub(crate) mod orphans;
mod outcome;
pub(crate) mod panics;
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
mod whence;

pub(crate) use cancel::survive_size_limits;
pub use cancel::{Interrupter, Interrupts, Signal};
pub use drive::{Header, Options, Run, Summary, Watcher, drive};
pub(crate) use prepare::only_reads;
pub use resume::{Fate, lost, verdicts};
pub use select::Asked;
