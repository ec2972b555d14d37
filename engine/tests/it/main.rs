//! The one integration binary of this crate.

mod commands;
mod kinds;
mod manifests;
mod plan;
mod readme;
mod run;
mod run_bench;
mod run_resume;
mod sandbox;
mod secrets;
mod state;
mod state_faults;
mod tidy;
