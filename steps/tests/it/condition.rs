//! Conditions: looked at once, and waited for by watches, against the embedded API.

use runbook_steps::condition::{Condition, Lookup, Verdict};
use runbook_steps::failure::Class;
use runbook_steps::{Context, Failure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::site::{Site, config_map, deployment, gadget, gadgets};

fn condition(value: &Value) -> Condition {
    Condition::read(value).expect("a good condition")
}

fn waiting(value: &Value, cx: Context) -> JoinHandle<Result<(), Failure>> {
    let condition = condition(value);
    tokio::spawn(async move { condition.wait(&cx).await })
}

fn full() -> Value {
    json!({ "status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{ "type": "Available", "status": "True" }]
    } })
}

fn status(merge: &Value) -> Value {
    merge["status"].clone()
}

#[tokio::test]
async fn a_look_says_whether_and_why_not() {
    let site = Site::new().await;
    let cx = site.context();
    let ready = condition(&json!({ "object": "deploy/d", "for": "ready" }));
    assert_eq!(ready.look(&cx).await.unwrap(), Verdict::Not("deploy/d: does not exist yet".into()));
    site.create(deployment("d"));
    let why = Verdict::Not("deployment/d: the controller has not seen it yet".into());
    assert_eq!(ready.look(&cx).await.unwrap(), why);
    site.status("apps/v1", "Deployment", "d", status(&full()));
    assert_eq!(ready.look(&cx).await.unwrap(), Verdict::Holds);
    let unknown = condition(&json!({ "object": "gadget/g", "for": "ready" }));
    assert!(matches!(unknown.look(&cx).await.unwrap(), Verdict::Not(why) if why.contains("does not know the kind")));
    let gone = condition(&json!({ "object": "gadget/g", "for": "deleted" }));
    assert_eq!(gone.look(&cx).await.unwrap(), Verdict::Holds);
}

#[tokio::test]
async fn selected_objects_are_counted_at_a_look() {
    let site = Site::new().await;
    for (name, value) in [("a", "1"), ("b", "1"), ("c", "2")] {
        let mut object = config_map(name, value);
        object["metadata"]["labels"] = json!({ "group": value });
        site.create(object);
    }
    let look = async |rest: Value| {
        let mut value = json!({ "object": "configmaps", "selector": "group=1", "for": "exists" });
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        condition(&value).look(&site.context()).await.unwrap() == Verdict::Holds
    };
    assert!(look(json!({})).await);
    assert!(look(json!({ "count": 2 })).await);
    assert!(!look(json!({ "count": 3 })).await);
    assert!(!look(json!({ "min": 3 })).await);
}

#[tokio::test]
async fn a_wait_sees_an_object_come_and_become_ready() {
    let site = Site::new().await;
    let wait = waiting(&json!({ "object": "deployment/d", "for": "ready" }), site.context());
    site.told.hears("does not exist yet").await;
    site.create(deployment("d"));
    site.told.hears("the controller has not seen it yet").await;
    site.status("apps/v1", "Deployment", "d", status(&full()));
    wait.await.unwrap().expect("ready");
}

#[tokio::test]
async fn a_wait_outlasts_a_kind_that_is_not_there_yet() {
    let site = Site::new().await;
    let wait = waiting(&json!({ "object": "gadget/g", "path": "{.status.phase}", "equals": "Up" }), site.context());
    site.told.hears("does not know the kind `gadget` yet").await;
    site.create(gadgets());
    site.told.hears("does not exist yet").await;
    site.create(gadget("g"));
    site.told.hears("leads to nothing yet").await;
    site.status("example.com/v1", "Gadget", "g", json!({ "phase": "Up" }));
    wait.await.unwrap().expect("up");
}

#[tokio::test]
async fn a_wait_for_the_end_names_the_finalizer() {
    let site = Site::new().await;
    let mut object = config_map("c", "1");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    site.create(object);
    let wait = waiting(&json!({ "object": "configmap/c", "for": "deleted" }), site.context());
    site.told.hears("nobody has deleted it").await;
    site.kube.delete("v1", "ConfigMap", "default", "c").unwrap();
    site.told.hears("waits for example.com/hold").await;
    let patch = json!({ "metadata": { "finalizers": null } });
    site.kube.merge("actor", "v1", "ConfigMap", "default", "c", patch).unwrap();
    wait.await.unwrap().expect("gone");
}

/// A Deployment with its ReplicaSet and one pod.
fn family(site: &Site, containers: Value) {
    site.create(deployment("d"));
    let mut set = deployment("d-1");
    set["kind"] = json!("ReplicaSet");
    set["metadata"]["ownerReferences"] = owner(site, "apps/v1", "Deployment", "d");
    site.create(set);
    site.create(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "d-1-x", "namespace": "default", "ownerReferences": owner(site, "apps/v1", "ReplicaSet", "d-1") },
        "spec": { "containers": [{ "name": "main", "image": "x" }] }
    }));
    site.status("v1", "Pod", "d-1-x", json!({ "phase": "Running", "containerStatuses": containers }));
}

fn owner(site: &Site, api_version: &str, kind: &str, name: &str) -> Value {
    let object = site.kube.get(api_version, kind, "default", name).expect("the owner");
    json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": object["metadata"]["uid"], "controller": true }])
}

fn container(state: Value, restarts: u64) -> Value {
    json!([{
        "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": restarts, "state": state,
        "lastState": { "terminated": { "exitCode": 2 } }
    }])
}

#[tokio::test]
async fn a_container_that_keeps_dying_ends_the_wait_with_its_last_words() {
    let site = Site::new().await;
    site.kube.set_log("default", "d-1-x", "main", "loading\nerror: unrecognized arguments: --x\n");
    family(&site, container(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), 2));
    let wait = waiting(&json!({ "object": "deployment/d", "for": "ready" }), site.context());
    let progress = site.told.hears("unrecognized arguments").await;
    assert_eq!(
        progress.text,
        "pod d-1-x · main · waiting CrashLoopBackOff: error: unrecognized arguments: --x (2nd restart)"
    );
    let thrice = container(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), 3);
    site.status("v1", "Pod", "d-1-x", json!({ "containerStatuses": thrice }));
    let failure = wait.await.unwrap().expect_err("no hope");
    assert_eq!(failure.class, Class::Permanent);
    assert_eq!(
        failure.what,
        "pod/d-1-x in `default`: main · waiting CrashLoopBackOff: error: unrecognized arguments: --x (3rd restart)"
    );
    assert!(failure.facts.log.contains("unrecognized arguments"));
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_ends_the_wait_after_a_while() {
    let site = Site::new().await;
    let waits = json!({ "waiting": { "reason": "ErrImagePull", "message": "rpc error: not found" } });
    family(&site, container(waits, 0));
    let wait = waiting(&json!({ "object": "deployment/d", "for": "ready" }), site.context());
    let failure = wait.await.unwrap().expect_err("no hope");
    assert!(failure.what.contains("main · waiting ErrImagePull: rpc error: not found"), "{}", failure.what);
}

#[tokio::test]
async fn one_of_any_is_enough_and_all_need_all() {
    let site = Site::new().await;
    site.create(config_map("a", "1"));
    let (there, missing) = (json!({ "object": "cm/a", "for": "exists" }), json!({ "object": "cm/b", "for": "exists" }));
    let cx = site.context();
    waiting(&json!({ "any": [missing, there] }), cx.clone()).await.unwrap().expect("one is there");
    let wait = waiting(&json!({ "all": [missing, there] }), cx);
    site.told.hears("cm/b: does not exist yet").await;
    site.create(config_map("b", "1"));
    wait.await.unwrap().expect("both are there");
}

#[tokio::test]
async fn a_webhook_answers_when_it_has_an_authority_and_an_endpoint() {
    let site = Site::new().await;
    let wait = waiting(&json!({ "webhook": "hook", "for": "answers" }), site.context());
    site.told.hears("no webhook configuration of that name").await;
    let hook = |bundle: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "hook" },
            "webhooks": [{
                "name": "hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
                "clientConfig": { "caBundle": bundle, "service": { "namespace": "default", "name": "hook", "path": "/" } },
                "rules": [{ "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"] }]
            }]
        })
    };
    site.kube.apply("actor", hook(Value::Null)).unwrap();
    site.told.hears("has no CA bundle yet").await;
    site.kube.apply("actor", hook(json!("Y2E="))).unwrap();
    site.told.hears("service default/hook has no ready endpoint").await;
    site.create(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "hook-1", "namespace": "default", "labels": { "kubernetes.io/service-name": "hook" } },
        "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": true } }], "ports": []
    }));
    wait.await.unwrap().expect("it answers");
}

#[tokio::test]
async fn a_wait_that_is_told_to_stop_stops() {
    let site = Site::new().await;
    let cx = site.context();
    let wait = waiting(&json!({ "object": "cm/never", "for": "exists" }), cx.clone());
    site.told.hears("does not exist yet").await;
    cx.cancel.soft.cancel();
    assert_eq!(wait.await.unwrap().expect_err("stopped").class, Class::Cancelled);
}

#[tokio::test]
async fn a_lookup_reads_a_value_or_names_the_path() {
    let site = Site::new().await;
    site.create(config_map("c", "green"));
    let read = |path: &str| Lookup::read(&json!({ "object": "configmap/c", "path": path })).expect("a look-up");
    assert_eq!(read("{.data.k}").fetch(&site.context()).await.unwrap(), "green");
    let failure = read("{.data.missing}").fetch(&site.context()).await.expect_err("nothing there");
    assert_eq!(failure.class, Class::NotFound);
    assert_eq!(failure.what, "`{.data.missing}` of `configmap/c` leads to nothing");
}
