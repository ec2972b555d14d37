//! The journal: what happened, in order, and what follows from it.
//!
//! A deployment's home is one folder:
//!
//! ```text
//! .runbook/<deployment>/
//!   journal.jsonl                     every record, append-only: `crc32 SP json` a line
//!   lock                              held by the running process through the operating system; says who that is
//!   logs/<step>.<run>-<attempt>.log   what each attempt printed, redacted
//! ```
//!
//! A [`Record`](record::Record) is the only thing that changes what is true of a deployment, and [`RunState::apply`] the only
//! function that does it, for a running engine and for a reader alike. Three rules make that survive a crash:
//!
//! 1. A record is in the file, in order, before what it announces happens. A killed engine loses nothing.
//! 2. It is synced as well before the world is touched wherever a repeat could hurt: by steps that can neither be observed nor
//!    repeated. All else is synced in groups, at most [`journal::GROUP`] behind, and always before a run reports its end or gives
//!    its lock back. A power cut then only takes us back to an earlier true state, a prefix of the journal.
//! 3. A file that is made is synced, and its folder after it. After a failed sync nothing more is believed from that handle.
//!
//! What a crash leaves: at worst a last line that is not whole, which the next run cuts off and says so once; and steps that
//! started and did not end. Those are looked at before anything else becomes of them ([`fold::InFlight`]).

pub mod dir;
pub mod error;
pub mod fingerprint;
pub mod fold;
pub mod journal;
pub mod lines;
pub mod lock;
pub mod log;
pub mod record;

pub use dir::Home;
pub use error::{IllegalTransition, StateError};
pub use fold::{RunState, Status, StepState};
pub use journal::{Cut, Journal, Sync};
pub use lock::{Holder, Lock, LockId};
