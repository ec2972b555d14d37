//! What else can be waited for: expressions, logs, events, endpoints, ages, expected gateways.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use runbook_fixtures::kube::Status;
use runbook_steps::condition::{Condition, Verdict};
use runbook_steps::{Class, Context, Failure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::site::{Site, config_map, gadget, gadgets};

fn condition(text: &str) -> Condition {
    let value: Value = serde_yaml::from_str(text).expect("YAML");
    Condition::read(&value).unwrap_or_else(|error| panic!("{text}: {}: {}", error.path, error.message))
}

fn waiting(text: &str, cx: Context) -> JoinHandle<Result<(), Failure>> {
    let condition = condition(text);
    tokio::spawn(async move { condition.wait(&cx).await })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default", "labels": { "app": "x" } },
        "spec": { "containers": [{ "name": "main", "image": "x" }, { "name": "side", "image": "y" }] }
    })
}

#[tokio::test]
async fn expressions_decide_and_end_what_has_failed() {
    let site = Site::new().await;
    site.kube.establish_definitions_after(std::time::Duration::ZERO);
    site.create(gadgets());
    site.create(gadget("g"));
    let text = "{ object: gadget/g, for: { ready_when: \"object.status.phase == 'Up'\", failed_when: \"object.status.phase == 'Bad'\" } }";
    let up = waiting(text, site.context());
    site.told.hears("object.status.phase is not there").await;
    site.status("example.com/v1", "Gadget", "g", json!({ "phase": "Up" }));
    up.await.unwrap().expect("up");
    site.status("example.com/v1", "Gadget", "g", json!({ "phase": "Slow" }));
    let bad = waiting(text, site.context());
    site.told.hears("object.status.phase is \"Slow\"").await;
    site.status("example.com/v1", "Gadget", "g", json!({ "phase": "Bad" }));
    let failure = bad.await.unwrap().expect_err("failed");
    assert!(failure.what.contains("`object.status.phase == 'Bad'` holds"), "{}", failure.what);
}

#[tokio::test]
async fn a_line_of_a_log_is_waited_for_in_all_selected_pods() {
    let site = Site::new().await;
    let wait = waiting("{ log: { selector: app=x, container: side, match: '^ready in [0-9]+ s$' } }", site.context());
    site.told.hears("there is no pod yet").await;
    site.create(pod("p"));
    site.create(pod("q"));
    site.told.hears("0 of 2 pods have logged").await;
    site.kube.set_log("default", "p", "side", "starting\nready in 3 s\n");
    site.kube.set_log("default", "q", "main", "ready in 1 s\n");
    site.told.hears("1 of 2 pods have logged").await;
    site.kube.set_log("default", "q", "side", "starting\n");
    site.kube.set_log("default", "q", "side", "starting\nready in 5 s\nserving\n");
    wait.await.unwrap().expect("both have logged it");
}

#[tokio::test]
async fn a_line_of_one_pod_is_enough_where_so_many_are_asked_for() {
    let site = Site::new().await;
    site.create(pod("p"));
    site.create(pod("q"));
    site.kube.set_log("default", "p", "main", "hello\n");
    let cx = site.context();
    let look = async |text: &str| condition(text).look(&cx).await.unwrap() == Verdict::Holds;
    assert!(look("{ log: { selector: app=x, match: hello, min: 1 } }").await);
    assert!(look("{ log: { pod: p, match: hello } }").await);
    assert!(!look("{ log: { selector: app=x, match: hello } }").await);
    assert!(!look("{ log: { pod: q, match: hello } }").await);
}

#[tokio::test]
async fn a_log_that_may_not_be_read_ends_the_wait_and_says_why() {
    let site = Site::new().await;
    site.create(pod("p"));
    site.kube.set_log("default", "p", "main", "hello\n");
    site.kube.guard_by(|asked| {
        let of_log = (asked.verb, asked.resource) == ("get", "pods");
        of_log.then(|| Status::forbidden("it", "get", "pods/log", "", "default", asked.name))
    });
    let failure = waiting("{ log: { pod: p, match: hello } }", site.context()).await.unwrap().expect_err("forbidden");
    assert_eq!((failure.class, failure.facts.http_status), (Class::Invalid, Some(403)));
    assert!(failure.what.starts_with("cannot read the log of `default/p`"), "{}", failure.what);
}

#[tokio::test]
async fn a_log_that_cannot_be_read_for_a_while_is_told_and_read_later() {
    let site = Site::new().await;
    site.create(pod("p"));
    site.kube.set_log("default", "p", "main", "hello\n");
    let closed = Arc::new(AtomicUsize::new(0));
    let asked_for = Arc::clone(&closed);
    site.kube.guard_by(move |asked| {
        let refused = (asked.verb, asked.resource) == ("get", "pods") && asked_for.fetch_add(1, Ordering::SeqCst) < 8;
        refused.then(|| Status::internal("dial timeout, backstop"))
    });
    let wait = waiting("{ log: { pod: p, match: hello } }", site.context());
    let told = site.told.hears("0 of 1 pods have logged `hello` · cannot read the log of `default/p`").await;
    assert!(told.text.contains("dial timeout, backstop"), "{}", told.text);
    wait.await.unwrap().expect("the way is open by now");
}

#[tokio::test]
async fn an_event_is_waited_for() {
    let site = Site::new().await;
    site.create(pod("p"));
    site.create(pod("q"));
    let text = "{ event: { reason: TriggeredScaleUp, object: po/p, match: 'tpu-pool 0->' } }";
    let wait = waiting(text, site.context());
    site.told.hears("not yet: there is an event TriggeredScaleUp about po/p").await;
    let of = |name: &str| site.kube.get("v1", "Pod", "default", name).expect("there");
    site.kube.event(&of("q"), "Normal", "TriggeredScaleUp", "pod triggered scale-up: [{tpu-pool 0->1}]");
    site.kube.event(&of("p"), "Normal", "TriggeredScaleUp", "pod triggered scale-up: [{cpu-pool 0->1}]");
    assert!(matches!(condition(text).look(&site.context()).await.unwrap(), Verdict::Not(_)));
    site.kube.event(&of("p"), "Normal", "TriggeredScaleUp", "pod triggered scale-up: [{tpu-pool 0->1}]");
    wait.await.unwrap().expect("it was reported");
}

fn slice(name: &str, ready: [bool; 2]) -> Value {
    let endpoint = |number: usize| json!({ "addresses": [format!("10.0.0.{number}")], "conditions": { "ready": ready[number] }, "targetRef": { "uid": number.to_string() } });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "namespace": "default", "labels": { "kubernetes.io/service-name": "s" } },
        "endpoints": [endpoint(0), endpoint(1)], "ports": []
    })
}

#[tokio::test]
async fn endpoints_are_counted() {
    let site = Site::new().await;
    let wait = waiting("{ endpoints: s, min: 2 }", site.context());
    site.told.hears("service s: 0 of 2 endpoints ready, none is known yet").await;
    site.create(slice("s-1", [true, false]));
    site.told.hears("service s: 1 of 2 endpoints ready, of 2 known").await;
    assert_eq!(condition("{ endpoints: s }").look(&site.context()).await.unwrap(), Verdict::Holds);
    site.kube.apply("actor", slice("s-1", [true, true])).unwrap();
    wait.await.unwrap().expect("both are ready");
}

#[tokio::test]
async fn an_age_comes_by_itself() {
    let site = Site::new().await;
    site.create(config_map("c", "1"));
    let cx = site.context();
    let look = async |text: &str| condition(text).look(&cx).await.unwrap() == Verdict::Holds;
    assert!(look("{ object: cm/c, age: { under: 10h } }").await);
    assert!(!look("{ object: cm/c, age: { over: 10h } }").await);
    waiting("{ object: cm/c, age: { over: 30s } }", site.context()).await.unwrap().expect("it grows old");
    assert!(look("{ object: cm/c, age: { over: 30s, under: 10h } }").await);
}

#[tokio::test]
async fn a_template_of_paths_is_compared_as_kubectl_prints_it() {
    let site = Site::new().await;
    site.kube.establish_definitions_after(std::time::Duration::ZERO);
    site.create(gadgets());
    site.create(gadget("g"));
    let text = "{ object: gadget/g, path: '{range .status.parts[*]}{.name}={.up};{end}', equals: 'a=true;b=true;' }";
    let wait = waiting(text, site.context());
    site.told.hears("leads to nothing yet").await;
    site.status(
        "example.com/v1",
        "Gadget",
        "g",
        json!({ "parts": [{ "name": "a", "up": true }, { "name": "b", "up": false }] }),
    );
    site.told.hears("is a=true;b=false;, not a=true;b=true;").await;
    site.status(
        "example.com/v1",
        "Gadget",
        "g",
        json!({ "parts": [{ "name": "a", "up": true }, { "name": "b", "up": true }] }),
    );
    wait.await.unwrap().expect("all are up");
}

fn hook(policy: &str, selector: Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "hook" },
        "webhooks": [{
            "name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": policy,
            "namespaceSelector": selector,
            "clientConfig": { "caBundle": "Y2E=", "service": { "namespace": "default", "name": "s", "path": "/" } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }]
        }]
    })
}

#[tokio::test]
async fn a_webhook_is_really_asked_in_a_namespace_that_it_is_for() {
    let site = Site::new().await;
    site.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "watched", "labels": { "hook": "on" } } }));
    let created = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&created);
    site.kube.guard_by(move |asked| {
        let probe = asked.verb == "create" && asked.resource == "configmaps" && asked.namespace == "watched";
        counted.fetch_add(usize::from(probe), Ordering::SeqCst);
        None
    });
    site.kube.apply("actor", hook("Fail", json!({ "matchLabels": { "hook": "on" } }))).unwrap();
    site.create(slice("s-1", [true, false]));
    waiting("{ webhook: hook.example.com, for: answers }", site.context()).await.unwrap().expect("it answers");
    assert_eq!(created.load(Ordering::SeqCst), 1);
    assert!(site.kube.list("v1", "ConfigMap", "watched", "").is_empty(), "it was a dry-run");
}

/// The real definitions fill in a status that says "waiting for controller", which others take for ready.
#[tokio::test]
async fn what_the_real_definitions_fill_in_is_not_ready() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/crds");
    if !folder.is_dir() {
        tracing::warn!("skipped: there is no folder `../shared/crds` beside the repository");
        return;
    }
    let site = Site::new().await;
    site.kube.establish_definitions_after(std::time::Duration::ZERO);
    let real = [
        (
            "gateway.networking.k8s.io_gateways.yaml",
            "gateway.networking.k8s.io/v1",
            "Gateway",
            json!({ "gatewayClassName": "gke-l7-regional-external-managed", "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }] }),
        ),
        (
            "gateway.networking.k8s.io_gatewayclasses.yaml",
            "gateway.networking.k8s.io/v1",
            "GatewayClass",
            json!({ "controllerName": "networking.gke.io/gateway" }),
        ),
        (
            "gateway.networking.k8s.io_httproutes.yaml",
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            json!({ "parentRefs": [{ "name": "g" }] }),
        ),
        (
            "inference.networking.x-k8s.io_inferencepools.yaml",
            "inference.networking.x-k8s.io/v1alpha2",
            "InferencePool",
            json!({ "selector": { "a": "b" }, "targetPortNumber": 8000, "extensionRef": { "name": "e" } }),
        ),
        (
            "inference.networking.k8s.io_inferencepools.yaml",
            "inference.networking.k8s.io/v1",
            "InferencePool",
            json!({ "selector": { "matchLabels": { "a": "b" } }, "targetPorts": [{ "number": 8000 }], "endpointPickerRef": { "name": "e", "port": { "number": 9002 } } }),
        ),
        (
            "leaderworkerset.x-k8s.io_leaderworkersets.yaml",
            "leaderworkerset.x-k8s.io/v1",
            "LeaderWorkerSet",
            json!({ "leaderWorkerTemplate": { "workerTemplate": { "spec": { "containers": [{ "name": "m", "image": "x" }] } } } }),
        ),
        (
            "serving.kserve.io_llminferenceservices.yaml",
            "serving.kserve.io/v1alpha1",
            "LLMInferenceService",
            json!({ "model": { "uri": "hf://a/b" } }),
        ),
        (
            "cert-manager.io_certificates.yaml",
            "cert-manager.io/v1",
            "Certificate",
            json!({ "secretName": "s", "issuerRef": { "name": "i" } }),
        ),
        ("cert-manager.io_clusterissuers.yaml", "cert-manager.io/v1", "ClusterIssuer", json!({ "selfSigned": {} })),
    ];
    for (file, api_version, kind, spec) in real {
        let definition: Value = serde_yaml::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap();
        site.create(definition);
        site.create(json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "n", "namespace": "default" }, "spec": spec }));
        let group = api_version.split('/').next().unwrap();
        let ready = condition(&format!("{{ object: {}.{group}/n, for: ready }}", kind.to_lowercase()));
        let verdict = ready.look(&site.context()).await.unwrap();
        assert!(matches!(&verdict, Verdict::Not(why) if !why.contains("does not exist")), "{kind}: {verdict:?}");
    }
}

/// Nobody looks at a pod between two changes that come at once, and yet both are seen.
#[tokio::test]
async fn what_is_true_for_an_instant_is_seen() {
    let site = Site::new().await;
    site.create(pod("p"));
    let wait = waiting("{ object: pod/p, path: '{.status.phase}', equals: Succeeded }", site.context());
    site.told.hears("is Pending, not Succeeded").await;
    // On this single thread the waiting step cannot look before all of these were made.
    for phase in ["Running", "Succeeded", "Failed"] {
        site.status("v1", "Pod", "p", json!({ "phase": phase }));
    }
    site.kube.delete("v1", "Pod", "default", "p").unwrap();
    wait.await.unwrap().expect("it had succeeded");
}
