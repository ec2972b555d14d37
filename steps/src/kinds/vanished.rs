//! A cluster that is gone takes with it all that was in it: then nothing in it is left to take back.

use serde_json::Value;

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Gcloud, GkeCluster};

/// Takes something in the cluster back; where that fails because the cluster itself has been deleted, it is gone already.
pub(super) async fn within_cluster(
    cx: &Context,
    work: impl Future<Output = Result<(), Failure>> + Send,
) -> Result<(), Failure> {
    let Err(failure) = work.await else { return Ok(()) };
    let unreachable = matches!(failure.class, Class::Transient | Class::AuthExpired | Class::NotFound);
    if unreachable && cluster_is_gone(cx).await {
        cx.note("the cluster does not exist any more, and what was in it neither");
        return Ok(());
    }
    Err(failure)
}

/// Only if Google says so: an API server that does not answer proves nothing.
async fn cluster_is_gone(cx: &Context) -> bool {
    let Some(GkeCluster { project, location, name }) = current_cluster(cx) else { return false };
    let describe = ["container", "clusters", "describe", &name, &location.flag()];
    matches!(Gcloud::new(cx, Some(&project)).find(describe).await, Ok(None))
}

/// The cluster that the kubeconfig leads to.
fn current_cluster(cx: &Context) -> Option<GkeCluster> {
    let text = std::fs::read_to_string(&cx.world.kubeconfig).ok()?;
    let config: Value = serde_yaml::from_str(&text).ok()?;
    GkeCluster::of_context(config["current-context"].as_str()?)
}
