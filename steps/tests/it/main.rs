//! The one integration binary of this crate.
#![allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod backends;
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
mod probe;
mod programs;
mod programs_kinds;
mod quota;
mod secret_check;
mod site;
mod tools;
mod workshop;
