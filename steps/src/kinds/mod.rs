//! Every kind of step there is. A new kind is one new file and two adjacent lines here.

mod backends;
mod command;
mod gcloud;
mod gcloud_capacity;
mod gcloud_quota;
mod git_clone;
mod gke_cluster;
mod gke_credentials;
mod gke_node_pool;
mod gke_resize;
mod gke_update;
mod helm_release;
mod helm_repo;
mod helmfile;
mod http_bench;
mod http_probe;
mod kubectl_apply;
mod kubectl_delete;
mod kubectl_patch;
mod kubectl_secret;
mod kustomize;
mod make;
mod manual;
mod run;
mod scripts;
mod secret_check;
mod tools;
mod wait;

/// Shared by the kinds that work inside a cluster.
mod vanished;

use crate::kind::Kind;

/// The kinds, in the order of the documentation.
#[rustfmt::skip] // one line a kind
pub static KINDS: &[&Kind] = &[
    &backends::KIND,
    &command::KIND,
    &gcloud::KIND,
    &gcloud_capacity::KIND,
    &gcloud_quota::KIND,
    &git_clone::KIND,
    &gke_cluster::KIND,
    &gke_credentials::KIND,
    &gke_node_pool::KIND,
    &gke_resize::KIND,
    &gke_update::KIND,
    &helm_release::KIND,
    &helm_repo::KIND,
    &helmfile::KIND,
    &http_bench::KIND,
    &http_probe::KIND,
    &kubectl_apply::KIND,
    &kubectl_delete::KIND,
    &kubectl_patch::KIND,
    &kubectl_secret::KIND,
    &kustomize::KIND,
    &make::KIND,
    &manual::KIND,
    &run::KIND,
    &secret_check::KIND,
    &tools::KIND,
    &wait::KIND,
];
