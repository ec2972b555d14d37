//! The one integration binary of this crate.

mod commands;
mod cut;
mod destroy;
mod edited;
mod follow;
mod kinds;
mod manifests;
mod plan;
mod readme;
mod run;
mod run_bench;
mod run_resume;
mod run_undo;
mod sandbox;
mod secrets;
mod select;
mod settle;
mod state;
mod state_faults;
mod state_history;
mod state_lock;
mod state_power;
mod surroundings;
mod tidy;
mod undo_bench;
mod verify;
