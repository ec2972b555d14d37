//! Whether enough endpoints of a service are ready.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::sight::Sight;
use super::verdict::Finding;
use crate::cluster::{Selector, text_at};
use crate::failure::Failure;
use crate::readiness::is_ready_endpoint;

/// The endpoints that are wanted.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) service: String,
    /// Empty: that of the kubeconfig.
    pub(super) namespace: String,
    pub(super) min: usize,
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {} has {} ready endpoint(s)", self.service, self.min)?;
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " -n {}", self.namespace) }
    }
}

/// Looks how many there are.
pub(super) async fn ready(wanted: &Endpoints, sight: &mut Sight<'_>) -> Result<Finding, Failure> {
    let service = &wanted.service;
    let Some(found) = slices(sight, &wanted.namespace, service).await? else {
        return Ok(Finding::not(format!("service {service}: the cluster has no EndpointSlices")));
    };
    let (ready, all) = count(&found);
    if ready >= wanted.min {
        return Ok(Finding::holds());
    }
    let of = if all == 0 { "none is known yet".to_owned() } else { format!("of {all} known") };
    Ok(Finding::not(format!("service {service}: {ready} of {} endpoints ready, {of}", wanted.min)))
}

/// The slices of a service.
pub(super) async fn slices(
    sight: &mut Sight<'_>,
    namespace: &str,
    service: &str,
) -> Result<Option<Vec<Arc<Value>>>, Failure> {
    let Some(slices) = sight.resolve("endpointslices.discovery.k8s.io").await? else { return Ok(None) };
    let selector = Selector::read(&format!("kubernetes.io/service-name={service}"))
        .map_err(|message| Failure::invalid(format!("service `{service}`: {message}")))?;
    let namespace = sight.namespace(namespace);
    sight.objects(&slices, &namespace, Some(&selector)).await.map(Some)
}

/// How many are ready, of how many. Where a service has addresses of two families, each of its pods is in a slice for either.
fn count(slices: &[Arc<Value>]) -> (usize, usize) {
    let endpoints = || slices.iter().filter_map(|slice| slice.get("endpoints")?.as_array()).flatten();
    let name = |endpoint: &Value| match text_at(endpoint, "/targetRef/uid") {
        "" => text_at(endpoint, "/addresses/0").to_owned(),
        uid => uid.to_owned(),
    };
    let ready: BTreeSet<String> = endpoints().filter(|endpoint| is_ready_endpoint(endpoint)).map(name).collect();
    let all: BTreeSet<String> = endpoints().map(name).collect();
    (ready.len(), all.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pods_count_once_and_a_missing_ready_is_ready() {
        let slice = |endpoints: Value| Arc::new(json!({ "endpoints": endpoints }));
        let found = [
            slice(json!([
                { "addresses": ["10.0.0.1"], "targetRef": { "uid": "a" }, "conditions": { "ready": true } },
                { "addresses": ["10.0.0.2"], "targetRef": { "uid": "b" }, "conditions": { "ready": false } }])),
            slice(json!([{ "addresses": ["fd00::1"], "targetRef": { "uid": "a" } }, { "addresses": ["10.0.0.9"] }])),
            slice(Value::Null),
        ];
        assert_eq!(count(&found), (2, 3));
    }
}
