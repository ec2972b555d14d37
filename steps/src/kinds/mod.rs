//! Every kind of step there is. A new kind is one new file and two adjacent lines here.

mod command;
mod gcloud;
mod git_clone;
mod gke_cluster;
mod gke_credentials;
mod gke_node_pool;
mod http_bench;
mod http_probe;
mod kubectl_apply;
mod kubectl_delete;
mod kubectl_patch;
mod kubectl_secret;
mod make;
mod manual;
mod run;
mod scripts;
mod wait;

/// Shared by the kinds that work inside a cluster.
mod vanished;

use crate::kind::Kind;

/// The kinds, in the order of the documentation.
#[rustfmt::skip] // one line a kind
pub static KINDS: &[&Kind] = &[
    &command::KIND,
    &gcloud::KIND,
    &git_clone::KIND,
    &gke_cluster::KIND,
    &gke_credentials::KIND,
    &gke_node_pool::KIND,
    &http_bench::KIND,
    &http_probe::KIND,
    &kubectl_apply::KIND,
    &kubectl_delete::KIND,
    &kubectl_patch::KIND,
    &kubectl_secret::KIND,
    &make::KIND,
    &manual::KIND,
    &run::KIND,
    &wait::KIND,
];
