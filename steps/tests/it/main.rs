//! The one integration binary of this crate.
#![allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod bench;
mod bench_docs;
mod bench_rehearsal;
mod bench_replicas;
mod bench_server;
mod cluster;
mod condition;
mod gke;
mod kubectl;
mod probe;
mod probe_answers;
mod probe_forward;
mod probe_secure;
mod programs;
mod programs_kinds;
mod site;
mod workshop;
