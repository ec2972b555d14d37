//! The deepest reason, family by family.

use serde_json::json;

use super::*;

const NOW: &str = "2026-01-01T00:10:00Z";

fn owned(kind: &str, name: &str, uid: &str, owner: &str, rest: &Value) -> Arc<Value> {
    let mut object = json!({
        "kind": kind, "apiVersion": "apps/v1",
        "metadata": { "name": name, "namespace": "a", "uid": uid, "ownerReferences": [{ "uid": owner }] }
    });
    object.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    Arc::new(object)
}

fn revision(mut object: Arc<Value>, number: &str) -> Arc<Value> {
    let it = Arc::get_mut(&mut object).expect("unshared");
    it["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": number });
    object
}

fn pod(name: &str, owner: &str, status: &Value) -> Arc<Value> {
    owned("Pod", name, name, owner, &json!({ "status": status }))
}

fn crashing(name: &str, owner: &str) -> Arc<Value> {
    pod(
        name,
        owner,
        &json!({ "phase": "Running", "containerStatuses": [{
        "name": "main", "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 2, "reason": "Error", "finishedAt": "2026-01-01T00:09:20Z" } } }] }),
    )
}

fn event(about: &str, kind: &str, reason: &str, message: &str, time: &str) -> Arc<Value> {
    Arc::new(
        json!({ "type": kind, "reason": reason, "message": message, "lastTimestamp": time, "involvedObject": { "uid": about } }),
    )
}

fn told(object: &Arc<Value>, why: &str, family: Family, words: &str) -> String {
    let family = narrow(object, family);
    explain(object, why, &family, troubles(&family)).text(words, NOW.parse().expect("a time"))
}

#[test]
fn a_service_is_explained_by_the_last_words_of_its_newest_pod() {
    let service = owned("LLMInferenceService", "m", "1", "", &json!({}));
    let family = Family {
        controllers: vec![
            owned("Deployment", "m-kserve", "2", "1", &json!({ "status": {} })),
            revision(owned("ReplicaSet", "m-kserve-a", "3", "2", &json!({})), "9"),
            revision(owned("ReplicaSet", "m-kserve-b", "4", "2", &json!({})), "10"),
        ],
        pods: vec![crashing("old", "3"), crashing("qwen2-3b-kserve-5d4f8c7b9b-pod-x7k2", "4"), crashing("other", "7")],
        events: Vec::new(),
    };
    let family = narrow(&service, family);
    let explained = explain(&service, "MainWorkloadReady=False", &family, troubles(&family));
    assert_eq!(
        explained.text("unrecognized arguments: --prefix-cache-block-size", NOW.parse().expect("a time")),
        "pod qwen2-3b-…-x7k2 · main · waiting CrashLoopBackOff: unrecognized arguments: --prefix-cache-block-size \
         (3rd restart, 40 s ago)"
    );
    assert_eq!((explained.troubles.len(), explained.facts.other["restarts"].as_u64()), (1, Some(3)));
}

#[test]
fn without_pods_the_controllers_and_the_latest_warning_tell() {
    let deployment = owned("Deployment", "d", "1", "", &json!({}));
    let set = owned("ReplicaSet", "d-a", "2", "1", &json!({ "status": { "observedGeneration": 1, "replicas": 0 } }));
    let events = vec![
        event("2", "Warning", "FailedCreate", "older", "2026-01-01T00:00:01Z"),
        event("2", "Warning", "FailedCreate", "exceeded quota", "2026-01-01T00:00:02Z"),
    ];
    let family = Family { controllers: vec![set], pods: Vec::new(), events };
    let family = narrow(&deployment, family);
    let explained = explain(&deployment, "0 of 1 replicas available", &family, troubles(&family));
    assert_eq!(
        explained.above,
        "deployment/d: 0 of 1 replicas available · replicaset/d-a: 0 of 1 replicas available · FailedCreate: exceeded quota"
    );
    assert_eq!(explained.facts.events, ["FailedCreate: exceeded quota", "FailedCreate: older"]);
}

#[test]
fn pods_of_every_owner_tell() {
    let unscheduled = json!({ "phase": "Pending", "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: Insufficient google.com/tpu" }] });
    let triggered =
        event("p", "Normal", "TriggeredScaleUp", "pod triggered scale-up: 0->1 (max: 2)", "2026-01-01T00:00:02Z");
    let expected = "pod p · waits for a new node: pod triggered scale-up: 0->1 (max: 2)";
    let set = |kind: &str, uid: &str, owner: &str| owned(kind, "s", uid, owner, &json!({}));
    for (kind, below) in [
        ("StatefulSet", vec![]),
        ("DaemonSet", vec![]),
        ("Job", vec![]),
        ("LeaderWorkerSet", vec![set("StatefulSet", "2", "1")]),
        ("LLMInferenceService", vec![set("LeaderWorkerSet", "3", "1"), set("StatefulSet", "2", "3")]),
    ] {
        let owner = if below.is_empty() { "1" } else { "2" };
        let pods = vec![pod("p", owner, &unscheduled)];
        let family = Family { controllers: below, pods, events: vec![Arc::clone(&triggered)] };
        assert_eq!(told(&owned(kind, "o", "1", "", &json!({})), "0 of 1", family, ""), expected, "{kind}");
    }
}

#[test]
fn an_init_container_is_named_as_one() {
    let status = json!({ "phase": "Pending", "initContainerStatuses": [
        { "name": "download", "restartCount": 1, "state": { "terminated": { "exitCode": 1, "reason": "Error" } } }],
        "containerStatuses": [{ "name": "main", "state": { "waiting": { "reason": "PodInitializing" } } }] });
    let it = pod("p", "", &status);
    let family = || Family { pods: vec![Arc::clone(&it)], ..Family::default() };
    assert_eq!(
        told(&it, "phase Pending", family(), "401 Client Error: gated repo"),
        "pod p · init download · died: 401 Client Error: gated repo (1st restart)"
    );
    assert_eq!(told(&it, "phase Pending", family(), ""), "pod p · init download · died: exit 1 (1st restart)");
}

#[test]
fn a_probe_that_fails_and_the_last_line_of_the_log_are_both_said() {
    let status = json!({ "phase": "Running", "containerStatuses": [
        { "name": "main", "ready": false, "restartCount": 0, "state": { "running": {} } }] });
    let it = pod("p", "", &status);
    let probe = event("p", "Warning", "Unhealthy", "Readiness probe failed: 503", "2026-01-01T00:00:02Z");
    let family = Family { pods: vec![Arc::clone(&it)], events: vec![probe], ..Family::default() };
    assert_eq!(
        told(&it, "x", family, "Loading weights: 40 %"),
        "pod p · main · running, not ready: Readiness probe failed: 503 · Loading weights: 40 %"
    );
}

#[test]
fn what_has_no_pods_is_explained_by_its_events() {
    let sync = event("1", "Warning", "SYNC", "An active proxy-only subnetwork is required", "2026-01-01T00:00:02Z");
    let family = || Family { events: vec![Arc::clone(&sync)], ..Family::default() };
    let gateway = owned("Gateway", "g", "1", "", &json!({}));
    assert_eq!(
        told(&gateway, "Programmed=False", family(), ""),
        "gateway/g: Programmed=False · SYNC: An active proxy-only subnetwork is required"
    );
    let same = "Programmed=False: An active proxy-only subnetwork is required";
    assert_eq!(told(&gateway, same, family(), ""), format!("gateway/g: {same}"), "it is not said twice");
    let route = owned("HTTPRoute", "r", "1", "", &json!({}));
    assert!(
        told(&route, "gateway g has not looked at it yet", family(), "")
            .ends_with("SYNC: An active proxy-only subnetwork is required")
    );
    let claim = owned("PersistentVolumeClaim", "c", "1", "", &json!({}));
    let waits = event("1", "Normal", "WaitForFirstConsumer", "waiting for first consumer", "2026-01-01T00:00:02Z");
    let family = Family { events: vec![waits], ..Family::default() };
    assert_eq!(
        told(&claim, "phase Pending", family, ""),
        "persistentvolumeclaim/c: phase Pending · WaitForFirstConsumer: waiting for first consumer"
    );
}

#[test]
fn a_service_whose_pods_run_is_explained_by_its_route() {
    let service = owned("LLMInferenceService", "m", "1", "", &json!({}));
    let mut route = owned("HTTPRoute", "m-route", "2", "1", &json!({ "spec": { "parentRefs": [{ "name": "g" }] } }));
    Arc::get_mut(&mut route).expect("unshared")["apiVersion"] = json!("gateway.networking.k8s.io/v1");
    let family = Family { controllers: vec![route], ..Family::default() };
    assert_eq!(
        told(&service, "HTTPRoutesReady=False", family, ""),
        "llminferenceservice/m: HTTPRoutesReady=False · httproute/m-route: gateway g has not looked at it yet"
    );
}

#[test]
fn conditions_that_are_not_as_wanted_come_first() {
    let status = json!({ "conditions": [
        { "type": "Accepted", "status": "True" }, { "type": "Conflicted", "status": "False" },
        { "type": "Programmed", "status": "False", "message": "no proxy-only subnet" } ] });
    let object = owned("Gateway", "g", "1", "", &json!({ "status": status }));
    let facts = explain(&object, "x", &Family::default(), Vec::new()).facts;
    assert_eq!(facts.conditions[0].r#type, "Programmed");
    assert_eq!(facts.conditions[0].object, "gateway/a/g");
    assert_eq!(facts.conditions.len(), 3);
}
