//! A plan: from text to a checked graph. Pure, but for `load` reading files.

mod bind;
mod braces;
mod build;
mod check;
mod early;
pub mod error;
pub mod eval;
mod expr;
mod file;
pub(crate) mod files;
mod gives;
pub mod graph;
pub(crate) mod hints;
pub(crate) mod inputs;
pub mod load;
pub mod model;
mod references;
mod scalar;
mod scan;
pub mod schema;
mod schema_check;
pub mod schema_hints;
mod sight;
mod slip;
mod template;
pub(crate) mod texts;
mod tree;
#[cfg(test)]
mod tree_tests;
mod with_rules;
mod work;

pub use error::{Problem, Problems};
pub use eval::{EvalError, Rendered, RenderedOutput, Unmet};
pub use load::{Given, Loaded, load};
pub use model::{Graph, Plan, Step, StepId};
pub use runbook_steps::duration;
