//! The contract of a step.

use std::fmt;
use std::path::PathBuf;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::Failure;

/// What a step gives to the steps after it, by name. Never holds a secret.
pub type Outputs = Map<String, Value>;

/// How the world stands against what a step wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// The world is as the step wants it; nothing to do.
    Holds(Outputs),
    /// It is, and yet each run that comes to the step does it once more: it fetches something anew.
    Due(Outputs),
    /// It is not, and this is what is missing.
    Lacks(String),
    /// Somebody, perhaps an earlier attempt, is making it so right now. `perform` must wait for that instead of starting it again.
    InProgress(String),
    /// This kind cannot look.
    Unknown,
}

/// One thing that a plan does to the outside world.
///
/// Implementations are values read from a plan: everything they need is in them or in the [`Context`]. They must not keep state
/// between calls, must not sleep but by the context's clock, and must stop soon after `cx.cancel` asks them to.
pub trait Step: fmt::Debug + Send + Sync {
    /// What `perform` would do, as commands that a person could type. Must not touch the world.
    fn intent(&self) -> Vec<String>;

    /// Looks whether the world is already as this step wants it. Changes nothing. Always called before `perform`.
    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>>;

    /// Makes it so. May be called again after a crash or a failure, and must then converge.
    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>>;

    /// Takes back what `perform` made, and only that: what was there before is left alone. What is already gone is no failure.
    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>>;

    /// Whether `observe` can tell how the world stands. A kind of which no step can says so once, in `Kind::observes`.
    fn can_look(&self) -> bool {
        true
    }

    /// What `undo` would do, as commands that a person could type; empty where it cannot take anything back. Must not touch the world.
    fn undo_intent(&self) -> Vec<String> {
        Vec::new()
    }

    /// The `with` that `undo` needs later, asked for just before `perform`: without what may have changed by then, such as files,
    /// and without what it does not need. `None` where it is the whole of this one.
    fn undo_with<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(async { Ok(None) })
    }

    /// Programs that must be on PATH; looked for before anything starts.
    fn programs(&self) -> Vec<String> {
        Vec::new()
    }

    /// Files whose contents decide what this step does; they are part of its fingerprint. Relative to the plan's folder.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}
