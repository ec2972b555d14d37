//! What is known to go wrong, as data: hints, where they come from, and which of them fits what was seen.
//!
//! Owns the hints that come with the program ([`shipped`]) and the choice of the best one ([`mod@best`]). How a hint is written is
//! `plan`'s business; what is seen comes from steps as [`runbook_steps::Facts`].

pub mod best;
pub mod findings;
pub mod folder;
mod model;
pub mod shipped;
pub mod trigger;

pub use best::{About, Seen, best, explain};
pub use model::{Hint, HintMatch, ObjectMatch, Origin, Pattern};

use crate::plan::{Plan, Step};

/// Every hint that may speak of a step, nearest first: its own, those beside the plan, those of its kind, and the rest.
pub fn of_step<'h>(plan: &'h Plan, step: &'h Step) -> impl Iterator<Item = &'h Hint> {
    let kind = step.work.as_ref().map(|work| work.kind.name);
    step.hints.iter().chain(beside(plan, kind))
}

/// The hints that belong to no step of a plan: those beside it, and those that come with the program.
pub fn beside<'h>(plan: &'h Plan, kind: Option<&'h str>) -> impl Iterator<Item = &'h Hint> {
    let replaced = |hint: &&Hint| !plan.hints.iter().any(|own| own.id.is_some() && own.id == hint.id);
    let all = plan.hints.iter().chain(shipped::hints().iter().filter(replaced));
    all.filter(move |hint| hint.kind.as_deref().is_none_or(|wanted| kind == Some(wanted)))
}
