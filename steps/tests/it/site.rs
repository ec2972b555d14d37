//! A workshop beside an embedded Kubernetes API, with a kubeconfig that leads there.

use std::sync::{Arc, Mutex};

use runbook_fixtures::kube::{Kube, serve_http};
use runbook_fixtures::time::ModelClock;
use runbook_steps::context::{Child, Observer, Progress};
use runbook_steps::{Clock, Context};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::workshop::Workshop;

/// Model time runs this much faster than real time in these tests.
pub(crate) const SPEED: f64 = 200.0;

pub(crate) struct Site {
    pub(crate) workshop: Workshop,
    pub(crate) kube: Kube,
    pub(crate) told: Arc<Told>,
    pub(crate) address: String,
    /// When model time began, in milliseconds since 1970.
    pub(crate) epoch: u64,
    pub(crate) server: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Remembers where a step said it stood.
#[derive(Default)]
pub(crate) struct Told {
    all: Mutex<Vec<Progress>>,
    children: Mutex<Vec<Child>>,
    more: Notify,
}

impl Observer for Told {
    fn progress(&self, progress: Progress) {
        self.all.lock().unwrap().push(progress);
        self.more.notify_waiters();
    }

    fn spawned(&self, child: Child) {
        self.children.lock().unwrap().push(child);
    }
}

impl Told {
    /// What was started so far.
    pub(crate) fn children(&self) -> Vec<Child> {
        self.children.lock().unwrap().clone()
    }

    /// Returns what was said once it holds that text.
    pub(crate) async fn hears(&self, text: &str) -> Progress {
        let heard = tokio::time::timeout(std::time::Duration::from_secs(60), self.heard(text)).await;
        heard.unwrap_or_else(|_| panic!("nobody said `{text}`, but {:?}", self.all.lock().unwrap()))
    }

    async fn heard(&self, text: &str) -> Progress {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if let Some(found) = self.all.lock().unwrap().iter().find(|it| it.text.contains(text)) {
                return found.clone();
            }
            more.await;
        }
    }
}

impl Site {
    pub(crate) async fn new() -> Self {
        let mut workshop = Workshop::new();
        let clock = ModelClock::starting_now(SPEED);
        workshop.clock = Clock::scaled(clock.epoch_unix_ms(), SPEED);
        let kube = Kube::new(clock);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(serve_http(kube.clone(), listener));
        let site = Self { workshop, kube, told: Arc::default(), address, epoch: clock.epoch_unix_ms(), server };
        site.write_kubeconfig(&json!({}));
        site
    }

    /// Writes the kubeconfig with that user.
    pub(crate) fn write_kubeconfig(&self, user: &Value) {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{ "name": "it", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "it", "user": user }],
            "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it", "namespace": "default" } }],
        });
        self.workshop.write("state/kubeconfig", &kubeconfig.to_string());
    }

    pub(crate) fn context(&self) -> Context {
        Context { observer: self.told.clone(), ..self.workshop.context() }
    }

    pub(crate) fn create(&self, object: Value) {
        self.kube.create(object).expect("an object that the API takes");
    }

    pub(crate) fn status(&self, api_version: &str, kind: &str, name: &str, status: Value) {
        self.kube.set_status("actor", api_version, kind, "default", name, status).expect("a status that the API takes");
    }
}

/// A Deployment of one replica.
pub(crate) fn deployment(name: &str) -> Value {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "main", "image": "x" }] } }
        }
    })
}

pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "default" }, "data": { "k": value } })
}

/// The definition of a kind `Gadget` in `example.com/v1`, with a status.
pub(crate) fn gadgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "gadgets.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Gadget", "plural": "gadgets", "singular": "gadget", "shortNames": ["gd"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": { "size": { "type": "integer" } } },
                    "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true }
                } } }
            }]
        }
    })
}

pub(crate) fn gadget(name: &str) -> Value {
    json!({ "apiVersion": "example.com/v1", "kind": "Gadget", "metadata": { "name": name, "namespace": "default" }, "spec": { "size": 1 } })
}
