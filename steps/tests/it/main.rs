//! The one integration binary of this crate.
#![allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod backends;
mod bench;
mod bench_docs;
mod bench_rehearsal;
mod bench_replicas;
mod bench_server;
mod capacity;
mod cluster;
mod condition;
mod gke;
mod gke_cloud;
mod gke_resize;
mod gke_update;
mod gke_zones;
mod helm;
mod helmfile;
mod kubectl;
mod kustomize;
mod orphans;
mod probe;
mod probe_answers;
mod probe_forward;
mod probe_secure;
mod programs;
mod programs_kinds;
mod quota;
mod secret_check;
mod site;
mod tools;
mod waits;
mod workshop;
