//! Taking back what a deployment has made, in reverse order.
//!
//! Pure: [`mod@plan`] says from the plan and the journal what is undone, and what is left alone and why; `order`, in which order; `apart`,
//! what tells commands apart that read the same. Thin: [`mod@drive`] and `launch` do it, `attempt` one attempt at a step. `recipe` belongs
//! to the run that makes something: it writes down how that is taken back. `within` knows what goes with a cluster.

mod apart;
mod attempt;
pub mod drive;
mod launch;
pub(super) mod order;
pub mod plan;
pub(super) mod recipe;
mod within;

pub use apart::Does;
pub use drive::{Undoing, drive};
pub use plan::{Choice, Deed, Item, Left, UndoPlan, plan};
