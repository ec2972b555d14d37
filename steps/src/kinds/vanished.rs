//! A cluster that is gone takes with it all that was in it: then nothing in it is left to take back.

use serde_json::Value;

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Gcloud, Location};

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
    let Some((project, location, name)) = current_cluster(cx) else { return false };
    let describe = ["container", "clusters", "describe", &name, &location.flag()];
    matches!(Gcloud::new(cx, Some(&project)).find(describe).await, Ok(None))
}

/// Project, place and name of the cluster that the kubeconfig leads to, as gcloud writes them into the name of a context.
fn current_cluster(cx: &Context) -> Option<(String, Location, String)> {
    let text = std::fs::read_to_string(&cx.world.kubeconfig).ok()?;
    let config: Value = serde_yaml::from_str(&text).ok()?;
    read_context(config["current-context"].as_str()?)
}

fn read_context(context: &str) -> Option<(String, Location, String)> {
    let mut parts = context.strip_prefix("gke_")?.splitn(3, '_');
    let (project, place, name) = (parts.next()?, parts.next()?, parts.next()?);
    // `europe-west4` is a region, `europe-west4-a` one of its zones.
    let location = match place.matches('-').count() {
        2 => Location::Zone(place.to_owned()),
        _ => Location::Region(place.to_owned()),
    };
    Some((project.to_owned(), location, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_names_its_cluster() {
        let read = |context: &str| read_context(context).map(|(project, place, name)| (project, place.flag(), name));
        let zonal = ("p-1".to_owned(), "--zone=europe-west4-a".to_owned(), "llm-d".to_owned());
        assert_eq!(read("gke_p-1_europe-west4-a_llm-d"), Some(zonal));
        let regional = ("p-1".to_owned(), "--region=europe-west4".to_owned(), "llm-d".to_owned());
        assert_eq!(read("gke_p-1_europe-west4_llm-d"), Some(regional));
        assert_eq!(read("kind-kind"), None);
    }
}
