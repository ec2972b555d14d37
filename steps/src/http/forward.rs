//! A way to a port of a pod through the Kubernetes API: which pod and which port a Service leads to, and the stream itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::DuplexStream;

use super::trouble::{Broken, Trouble};
use crate::cluster::{Cluster, Resource, Said, Selection, name_of, text_at};
use crate::context::Context;
use crate::failure::{Class, Failure};

/// A port inside the cluster, reached without a load balancer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortForward {
    /// A Service: one of its ready pods gets the request.
    pub(crate) service: Option<String>,
    /// A pod.
    pub(crate) pod: Option<String>,
    /// The namespace; without it the kubeconfig's.
    pub(crate) namespace: Option<String>,
    /// The port: of the Service, or of the pod.
    pub(crate) port: u16,
}

impl PortForward {
    /// What is wrong with it.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        (self.service.is_some() == self.pod.is_some()).then_some("give `service` or `pod`, one of them")
    }

    /// As a person would type it.
    pub(crate) fn command(&self) -> String {
        let namespace = self.namespace.as_ref().map(|name| format!(" -n {name}")).unwrap_or_default();
        let what = match (&self.service, &self.pod) {
            (Some(service), _) => format!("svc/{service}"),
            (None, pod) => format!("pod/{}", pod.as_deref().unwrap_or_default()),
        };
        format!("kubectl port-forward{namespace} {what} :{}", self.port)
    }

    /// Finds the pod.
    pub(crate) async fn resolve(&self, cx: &Context) -> Result<Forward, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| cluster.default_namespace().to_owned());
        let (pod, port) = match (&self.service, &self.pod) {
            (Some(service), _) => behind(&cluster, &namespace, service, self.port).await?,
            (None, pod) => (pod.clone().unwrap_or_default(), self.port),
        };
        Ok(Forward::new(cluster, namespace, pod, port))
    }
}

/// A pod's port.
#[derive(Clone)]
pub(crate) struct Forward {
    cluster: Cluster,
    namespace: String,
    pod: String,
    port: u16,
    /// What the newest stream's far end says.
    said: Arc<Mutex<Option<Said>>>,
}

/// How long a far end may take to say what went wrong, on the machine's clock.
const SAYING: Duration = Duration::from_secs(1);

impl Forward {
    /// A port of a pod that is known.
    pub(crate) fn new(cluster: Cluster, namespace: String, pod: String, port: u16) -> Self {
        Self { cluster, namespace, pod, port, said: Arc::default() }
    }

    pub(super) async fn open(&self) -> Result<DuplexStream, Broken> {
        let opened = self.cluster.forward(&self.namespace, &self.pod, self.port).await;
        let (stream, said) = opened.map_err(|failure| Broken::new(kind_of(&failure), failure.what))?;
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        Ok(stream)
    }

    /// Adds what the pod's end said to what is known of a failure.
    pub(super) async fn explain(&self, mut broken: Broken) -> Broken {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(said) = said else { return broken };
        if let Ok(Some(message)) = tokio::time::timeout(SAYING, said).await {
            broken.kind = if message.contains("refused") { Trouble::Refused } else { broken.kind };
            broken.text = format!("pod `{}` port {}: {}", self.pod, self.port, message.trim());
        }
        broken
    }
}

fn kind_of(failure: &Failure) -> Trouble {
    if failure.class == Class::Transient { Trouble::Reset } else { Trouble::Unreachable }
}

async fn behind(cluster: &Cluster, namespace: &str, name: &str, port: u16) -> Result<(String, u16), Failure> {
    let services = kind(cluster, "services").await?;
    let missing = || Failure::new(Class::NotFound, format!("there is no service `{namespace}/{name}`"));
    let service = cluster.get(&services, namespace, name).await?.ok_or_else(missing)?;
    let labels = labels(&service).ok_or_else(|| {
        Failure::invalid(format!("service `{namespace}/{name}` selects no pods, so there is none to forward to"))
    })?;
    let pods = kind(cluster, "pods").await?;
    let found = cluster.list(&pods, namespace, &Selection { labels, ..Selection::default() }).await?;
    target(&service, &found, port).map_err(|why| match why {
        Missing::Port(ports) => Failure::invalid(format!("service `{namespace}/{name}` has no port {port}"))
            .fix(format!("use one of its ports: {ports}")),
        Missing::Pod(all) => {
            Failure::transient(format!("none of the {all} pods behind service `{namespace}/{name}` is ready"))
        }
    })
}

/// What the server knows of a kind that every cluster has.
pub(crate) async fn kind(cluster: &Cluster, word: &str) -> Result<Resource, Failure> {
    let missing = || Failure::permanent(format!("the cluster does not know `{word}`"));
    cluster.resolve(word).await?.ok_or_else(missing)
}

/// The label selector of a Service, as text.
pub(crate) fn labels(service: &Value) -> Option<String> {
    let selector = service.pointer("/spec/selector")?.as_object().filter(|labels| !labels.is_empty())?;
    let pairs = selector.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    Some(pairs.collect::<Vec<_>>().join(","))
}

#[derive(Debug, PartialEq)]
enum Missing {
    /// The Service has other ports.
    Port(String),
    /// No pod is ready, of so many.
    Pod(usize),
}

/// The first ready pod, and its port that a Service's port leads to.
fn target(service: &Value, pods: &[Value], port: u16) -> Result<(String, u16), Missing> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let Some(entry) = ports.iter().find(|entry| entry["port"] == port) else {
        let known: Vec<String> = ports.iter().map(|entry| entry["port"].to_string()).collect();
        return Err(Missing::Port(known.join(", ")));
    };
    let pod = pods.iter().find(|pod| is_ready(pod)).ok_or(Missing::Pod(pods.len()))?;
    let number = match &entry["targetPort"] {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(name) => named_port(pod, name),
        _ => None,
    };
    Ok((name_of(pod).to_owned(), number.unwrap_or(port)))
}

fn named_port(pod: &Value, name: &str) -> Option<u16> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let mut ports = containers.iter().filter_map(|container| container["ports"].as_array()).flatten();
    let found = ports.find(|port| port["name"] == name)?;
    found["containerPort"].as_u64().and_then(|number| u16::try_from(number).ok())
}

/// Whether a pod takes requests.
pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    text_at(pod, "/metadata/deletionTimestamp").is_empty()
        && conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, ready: &str) -> Value {
        json!({
            "metadata": { "name": name },
            "spec": { "containers": [{ "ports": [{ "name": "http", "containerPort": 8000 }] }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        })
    }

    #[test]
    fn a_service_leads_to_a_ready_pod_and_its_own_port() {
        let service =
            json!({ "spec": { "ports": [{ "port": 80, "targetPort": "http" }, { "port": 90, "targetPort": 9000 }] } });
        let pods = [pod("a", "False"), pod("b", "True")];
        assert_eq!(target(&service, &pods, 80), Ok(("b".to_owned(), 8000)));
        assert_eq!(target(&service, &pods, 90), Ok(("b".to_owned(), 9000)));
        assert_eq!(target(&service, &pods, 70), Err(Missing::Port("80, 90".to_owned())));
        assert_eq!(target(&service, &pods[..1], 80), Err(Missing::Pod(1)));
    }

    #[test]
    fn one_of_service_and_pod_is_named() {
        let read = |text: &str| serde_json::from_str::<PortForward>(text).unwrap();
        assert!(read(r#"{"port": 1}"#).problem().is_some());
        assert!(read(r#"{"service": "a", "pod": "b", "port": 1}"#).problem().is_some());
        let good = read(r#"{"service": "a", "namespace": "n", "port": 80}"#);
        assert_eq!((good.problem(), good.command().as_str()), (None, "kubectl port-forward -n n svc/a :80"));
    }
}
