//! What one step of a plan does to the world.
//!
//! A step is a value that was read from a plan's `with` ([`Step`]); a [`Kind`] is the family that it belongs to: its name, its
//! documentation, the schema of its `with`, and how to read it. [`KINDS`] lists every kind there is. Steps reach outside only
//! through a [`Context`], which carries the [`World`], a way to be cancelled, a log and the secrets.
//!
//! This crate knows nothing of plans, order, retries or journals: those belong to the engine. It reports failures with a
//! [`Class`] and leaves it to the engine what to do about them.
#![allow(clippy::result_large_err, reason = "a failure carries what a person needs, and it is rare")]

mod bench;
pub mod clock;
pub mod cluster;
pub mod condition;
pub mod context;
pub mod duration;
pub mod expression;
pub mod failure;
pub mod files;
mod gcloud;
mod helm;
mod http;
pub mod jsonpath;
pub mod kind;
pub mod kinds;
mod manifest;
mod nearest;
mod printable;
pub mod readiness;
mod scalar;
pub mod secret;
mod span;
pub mod step;
pub mod survey;
pub mod tools;
mod version;
pub mod world;

pub use clock::Clock;
pub use condition::{Condition, Lookup};
pub use context::{Cancel, Child, Context, Log, Observer, Progress, Stream};
pub use failure::{Class, Facts, Failure};
pub use gcloud::{GkeCluster, Location};
pub use kind::{Effect, Kind, OutputDoc, Reach, Read};
pub use kinds::KINDS;
pub use nearest::nearest;
pub use printable::printable;
pub use secret::{Redactor, Secret, Secrets};
pub use step::{Outputs, Standing, Step};
pub use world::World;

/// A kind by its name, as a plan's `uses` gives it.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}
