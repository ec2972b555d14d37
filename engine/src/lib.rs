//! Deployment guides made executable.
//!
//! The engine in rings, each knowing only those before it:
//! [`plan`] turns text into a checked graph, pure. [`state`] is the journal and what it says. [`run`] decides what is next (pure)
//! and drives it (async). `report` shows it. [`cli`] is the only part that reads the environment, prints besides the reports,
//! and exits. What one step does is in `runbook-steps`; the world to rehearse in is in `runbook-fixtures`, which only
//! `cli/rehearse.rs`, `cli/world.rs` and `cli/tool.rs` may import.

pub mod cli;
pub mod event;
pub mod hints;
pub mod maps;
pub mod plan;
mod report;
pub mod run;
pub mod state;
