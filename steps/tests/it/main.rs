//! The one integration binary of this crate.
#![allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod cluster;
mod condition;
mod gke;
mod kubectl;
mod probe;
mod programs;
mod programs_kinds;
mod site;
mod waits;
mod workshop;
