//! Showing a run: live on a terminal, line by line elsewhere, as JSON for programs, and a summary at the end.
//!
//! Owns words and layout. Cannot fail or delay a run, and knows no more than the events, the folded state and the plan.

pub(crate) mod commands;
pub(crate) mod estimate;
pub(crate) mod events;
pub(crate) mod layout;
pub(crate) mod lines;
pub(crate) mod live;
pub(crate) mod snapshot;
pub(crate) mod summary;
pub(crate) mod tracker;
pub(crate) mod undo;
pub(crate) mod view;
pub(crate) mod words;
