//! The journal: what happened, in order, and what follows from it.
//!
//! A deployment's home is one folder:
//!
//! ```text
//! .runbook/<deployment>/
//!   journal.jsonl                     every record, none ever changed: `crc32 SP json` a line; or a snapshot, and every record since
//!   runs/journal.<first>-<last>.jsonl the records that a snapshot stands for, whole
//!   lock                              held by the running process through the operating system; says who that is
//!   logs/<step>.<run>-<attempt>.log   what each attempt printed, redacted
//! ```
//!
//! A [`Record`](record::Record) is the only thing that changes what is true of a deployment, and [`RunState::apply`] the only
//! function that does it, for a running engine and for a reader alike. Three rules make that survive a crash:
//!
//! 1. **Written before it happens.** A record is in the file, whole and in order, before what it announces happens: `Started` before
//!    the attempt begins, `Spawned` before the engine waits for the process, an end before a successor starts or anybody hears of
//!    it. A killed engine loses nothing that it had written.
//! 2. **Synced where a repeat could hurt.** The start of a step that can neither be observed nor repeated is synced before it touches
//!    the world, together with all that was written before it: the ends of the steps that it needs. So is every `performing`, before
//!    anything is changed, and every `undo_started`, before anything is taken away: an undo takes back what they say, and nothing that
//!    was made may be forgotten. So is the header of a run before it goes to work, and the end of a run before it is reported or the
//!    lock is given back. All else is synced in groups: a sync begins at most [`journal::GROUP`] after a record was written, and takes
//!    along all that is waiting. A power cut then takes us back to an earlier true state, a prefix of the journal, with no such step
//!    started behind its end.
//! 3. **Made safe whole.** A file that is made has its name synced before anything in it counts; one that is replaced is written beside,
//!    synced, renamed, and its folder synced. After a failed write or sync nothing more is believed from that handle: the run starts
//!    nothing new, and the next run reads what is there.
//!
//! A journal that is being written has room behind its end, zeros, because a sync within room costs less than one of a file that became
//! longer ([`storage`]). A killed run leaves it there, and it is no part of the journal.
//!
//! What a crash leaves: at worst an end that is not whole, which the next run cuts off and says so once; and steps that started and did
//! not end. Those are looked at before anything else becomes of them ([`fold::InFlight`]). Damage anywhere else is not of a crash,
//! and is an error that names its line.
//!
//! A journal that has become much longer than what it tells is put into `runs/`, whole, when a run opens, and a snapshot takes its
//! place ([`compact`]). Until that is there the old one is.

pub mod asked;
pub mod compact;
pub mod dir;
pub mod early;
pub mod error;
pub mod fingerprint;
pub mod fold;
pub mod follow;
pub mod heartbeat;
pub mod journal;
pub mod lines;
pub mod lock;
pub mod log;
pub mod raw;
pub mod record;
mod relocate;
pub mod storage;
mod torn;

pub use dir::Home;
pub use early::Early;
pub use error::{IllegalTransition, StateError};
pub use fold::{RunState, Status, StepState};
pub use journal::{Cut, Journal, Sync};
pub use lock::{Holder, Lock, LockId};
