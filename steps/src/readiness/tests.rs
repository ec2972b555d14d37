//! What readiness is, kind by kind, as a table of objects and verdicts.

use serde_json::{Value, json};

use super::*;
use crate::failure::Class;

/// What a case expects: the variant, and a part of its words.
enum Expected {
    Ready,
    Progressing(&'static str),
    Failed(&'static str),
    Gone,
}
use Expected::{Failed, Gone, Progressing, Ready};

fn check(name: &str, object: &Value, expected: &Expected) {
    let judged = judge(object, Around { has_status: kind_of(object) != "ConfigMap" });
    let fits = match (&judged, expected) {
        (Readiness::Ready, Ready) | (Readiness::Gone, Gone) => true,
        (Readiness::Progressing(why), Progressing(part)) | (Readiness::Failed(why), Failed(part)) => why.contains(part),
        _ => false,
    };
    assert!(fits, "{name}: {judged:?}");
}

fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "n", "generation": 2 } });
    for (key, value) in rest.as_object().expect("an object") {
        match (object.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => object[key] = value.clone(),
        }
    }
    object
}

fn condition(kind: &str, status: &str) -> Value {
    json!({ "type": kind, "status": status, "observedGeneration": 2 })
}

fn because(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 2 })
}

#[test]
fn workloads() {
    let deployment =
        |status: Value| object("apps/v1", "Deployment", json!({ "spec": { "replicas": 2 }, "status": status }));
    let full = json!({
        "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "conditions": [condition("Available", "True")]
    });
    let with = |changes: Value| {
        let mut status = full.clone();
        status.as_object_mut().expect("an object").extend(changes.as_object().expect("an object").clone());
        status
    };
    let late = because("Progressing", "False", "ProgressDeadlineExceeded", "late");
    let cases = [
        ("fresh", deployment(json!({})), Progressing("not seen")),
        ("stale", deployment(with(json!({ "observedGeneration": 1 }))), Progressing("generation 2")),
        ("full", deployment(full.clone()), Ready),
        (
            "half",
            deployment(with(json!({ "readyReplicas": 1, "availableReplicas": 1 }))),
            Progressing("1 of 2 replicas available"),
        ),
        ("old pods", deployment(with(json!({ "replicas": 3 }))), Progressing("1 old replicas")),
        (
            "a late model server is not a failure",
            deployment(with(json!({ "readyReplicas": 0, "availableReplicas": 0, "conditions": [late] }))),
            Progressing("past its progress deadline"),
        ),
        (
            "unavailable",
            deployment(with(json!({ "conditions": [condition("Available", "False")] }))),
            Progressing("Available=False"),
        ),
        ("deleted", object("apps/v1", "Deployment", json!({ "metadata": { "deletionTimestamp": "x" } })), Gone),
        (
            "stateful set that rolls",
            object(
                "apps/v1",
                "StatefulSet",
                json!({ "spec": { "replicas": 2 }, "status": {
                "observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b" } }),
            ),
            Progressing("1 of 2 replicas updated"),
        ),
        (
            "daemon set on no nodes",
            object(
                "apps/v1",
                "DaemonSet",
                json!({ "status": { "observedGeneration": 2, "desiredNumberScheduled": 0 } }),
            ),
            Ready,
        ),
        ("fresh daemon set", object("apps/v1", "DaemonSet", json!({})), Progressing("not seen")),
        ("running job", object("batch/v1", "Job", json!({ "status": { "active": 1 } })), Progressing("1 active")),
        (
            "complete job",
            object("batch/v1", "Job", json!({ "status": { "conditions": [condition("Complete", "True")] } })),
            Ready,
        ),
        (
            "failed job",
            object(
                "batch/v1",
                "Job",
                json!({ "status": { "conditions": [because("Failed", "True", "BackoffLimitExceeded", "")] } }),
            ),
            Failed("BackoffLimitExceeded"),
        ),
        (
            "leader worker set",
            object(
                "leaderworkerset.x-k8s.io/v1",
                "LeaderWorkerSet",
                json!({ "spec": { "replicas": 2 }, "status": { "readyReplicas": 1, "conditions": [condition("Available", "False")] } }),
            ),
            Progressing("1 of 2 groups"),
        ),
        (
            "fresh leader worker set",
            object("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", json!({})),
            Progressing("Available"),
        ),
    ];
    for (name, object, expected) in &cases {
        check(name, object, expected);
    }
}

#[test]
fn resources() {
    let cases = [
        ("configuration", object("v1", "ConfigMap", json!({})), Ready),
        (
            "cluster ip",
            object("v1", "Service", json!({ "spec": { "type": "ClusterIP", "clusterIP": "10.0.0.1" } })),
            Ready,
        ),
        (
            "load balancer without address",
            object("v1", "Service", json!({ "spec": { "type": "LoadBalancer", "clusterIP": "10.0.0.1" } })),
            Progressing("no address"),
        ),
        ("claim", object("v1", "PersistentVolumeClaim", json!({ "status": { "phase": "Bound" } })), Ready),
        ("lost claim", object("v1", "PersistentVolumeClaim", json!({ "status": { "phase": "Lost" } })), Failed("lost")),
        ("ending namespace", object("v1", "Namespace", json!({ "status": { "phase": "Terminating" } })), Gone),
        ("node", object("v1", "Node", json!({ "status": { "conditions": [condition("Ready", "True")] } })), Ready),
        (
            "accelerator node without its device",
            object(
                "v1",
                "Node",
                json!({
                "metadata": { "labels": { "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice" } },
                "status": { "conditions": [condition("Ready", "True")], "allocatable": { "cpu": "4" } } }),
            ),
            Progressing("google.com/tpu"),
        ),
        (
            "fresh definition",
            object("apiextensions.k8s.io/v1", "CustomResourceDefinition", json!({})),
            Progressing("Established"),
        ),
        (
            "clashing definition",
            object(
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                json!({ "status": { "conditions": [because("NamesAccepted", "False", "Conflict", "taken")] } }),
            ),
            Failed("taken"),
        ),
        (
            "webhook without authority",
            object(
                "admissionregistration.k8s.io/v1",
                "ValidatingWebhookConfiguration",
                json!({ "webhooks": [{ "name": "w", "clientConfig": {} }] }),
            ),
            Progressing("w has no CA bundle"),
        ),
        (
            "certificate that is issued anew",
            object(
                "cert-manager.io/v1",
                "Certificate",
                json!({ "status": { "conditions": [condition("Ready", "True"), because("Issuing", "True", "Renewing", "")] } }),
            ),
            Progressing("Issuing"),
        ),
        (
            "issuer",
            object(
                "cert-manager.io/v1",
                "ClusterIssuer",
                json!({ "status": { "conditions": [condition("Ready", "True")] } }),
            ),
            Ready,
        ),
        ("unknown kind without status", object("x.io/v1", "Thing", json!({})), Progressing("no controller")),
        (
            "unknown kind that stalls",
            object(
                "x.io/v1",
                "Thing",
                json!({ "status": { "conditions": [because("Stalled", "True", "Bad", "no")] } }),
            ),
            Failed("no"),
        ),
        (
            "condition of an earlier generation",
            object(
                "x.io/v1",
                "Thing",
                json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "observedGeneration": 1 }] } }),
            ),
            Progressing("earlier generation"),
        ),
        (
            "inference service names its most particular trouble",
            object(
                "serving.kserve.io/v1alpha1",
                "LLMInferenceService",
                json!({ "status": { "conditions": [
                because("Ready", "False", "X", "sum"), because("WorkloadsReady", "False", "X", "part sum"),
                because("MainWorkloadReady", "False", "MinimumReplicasUnavailable", "0 of 1") ] } }),
            ),
            Progressing("MainWorkloadReady"),
        ),
        (
            "inference service with a wrong CA",
            object(
                "serving.kserve.io/v1alpha1",
                "LLMInferenceService",
                json!({ "status": { "conditions": [
                because("PresetsCombined", "False", "ReconcileCertsError", "CA private key is not an RSA key") ] } }),
            ),
            Failed("RSA"),
        ),
    ];
    for (name, object, expected) in &cases {
        check(name, object, expected);
    }
}

#[test]
fn gateways() {
    const GROUP: &str = "gateway.networking.k8s.io/v1";
    let accepted = condition("Accepted", "True");
    let programmed = condition("Programmed", "True");
    let refs = condition("ResolvedRefs", "True");
    let route = |parents: Value| {
        object(
            GROUP,
            "HTTPRoute",
            json!({
            "metadata": { "namespace": "a" },
            "spec": { "parentRefs": [{ "name": "g", "namespace": "b" }] }, "status": { "parents": parents } }),
        )
    };
    let parent = |namespace: &str, conditions: Value| json!({ "parentRef": { "name": "g", "namespace": namespace }, "conditions": conditions });
    let pool = |parents: Value| {
        object("inference.networking.k8s.io/v1", "InferencePool", json!({ "status": { "parents": parents } }))
    };
    let cases = [
        ("fresh gateway", object(GROUP, "Gateway", json!({})), Progressing("Accepted")),
        (
            "gateway without address",
            object(GROUP, "Gateway", json!({ "status": { "conditions": [accepted, programmed] } })),
            Progressing("without an address"),
        ),
        (
            "gateway",
            object(
                GROUP,
                "Gateway",
                json!({ "status": { "addresses": [{ "value": "1.2.3.4" }], "conditions": [accepted, programmed] } }),
            ),
            Ready,
        ),
        (
            "gateway without a proxy subnet",
            object(
                GROUP,
                "Gateway",
                json!({ "status": { "conditions": [
                accepted, because("Programmed", "False", "Invalid", "no active proxy-only subnet") ] } }),
            ),
            Progressing("proxy-only subnet"),
        ),
        (
            "gateway with wrong parameters",
            object(
                GROUP,
                "Gateway",
                json!({ "status": { "conditions": [because("Accepted", "False", "InvalidParameters", "no")] } }),
            ),
            Failed("InvalidParameters"),
        ),
        ("class", object(GROUP, "GatewayClass", json!({ "status": { "conditions": [accepted] } })), Ready),
        ("fresh route", route(json!([])), Progressing("gateway g")),
        ("route of another parent", route(json!([parent("a", json!([accepted, refs]))])), Progressing("gateway g")),
        ("route", route(json!([parent("b", json!([accepted, refs]))])), Ready),
        (
            "route that is not programmed",
            route(json!([parent("b", json!([accepted, refs, because("Reconciled", "False", "X", "soon")]))])),
            Progressing("Reconciled"),
        ),
        (
            "route with timeouts",
            route(json!([parent(
                "b",
                json!([because("Accepted", "False", "X", "GWCER104: Timeouts are not supported")])
            )])),
            Failed("GWCER104"),
        ),
        (
            "route without its backend",
            route(json!([parent("b", json!([accepted, because("ResolvedRefs", "False", "BackendNotFound", "p")]))])),
            Progressing("BackendNotFound"),
        ),
        ("fresh pool", pool(json!([])), Progressing("no gateway")),
        ("pool", pool(json!([parent("b", json!([accepted, refs]))])), Ready),
        (
            "pool behind a global gateway",
            pool(json!([parent("b", json!([because("Accepted", "False", "NotSupportedByParent", "global")]))])),
            Failed("NotSupportedByParent"),
        ),
        (
            "old pool with its placeholder",
            object(
                "inference.networking.x-k8s.io/v1alpha2",
                "InferencePool",
                json!({ "status": { "parent": [
                { "parentRef": { "kind": "Status", "name": "default" }, "conditions": [condition("Accepted", "Unknown")] } ] } }),
            ),
            Progressing("no gateway"),
        ),
        (
            "policy",
            object(
                "networking.gke.io/v1",
                "HealthCheckPolicy",
                json!({ "status": { "conditions": [condition("Attached", "True")] } }),
            ),
            Ready,
        ),
        ("fresh policy", object("networking.gke.io/v1", "HealthCheckPolicy", json!({})), Progressing("Attached")),
    ];
    for (name, object, expected) in &cases {
        check(name, object, expected);
    }
}

fn pod(status: Value) -> Value {
    object("v1", "Pod", json!({ "status": status }))
}

fn container(state: Value, restarts: u64) -> Value {
    json!({ "name": "main", "restartCount": restarts, "ready": false, "state": state,
            "lastState": { "terminated": { "exitCode": 2, "reason": "Error" } } })
}

#[test]
fn pods() {
    let ready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
    let cases = [
        ("fresh", pod(json!({})), Progressing("no node")),
        ("ready", pod(ready), Ready),
        ("done", pod(json!({ "phase": "Succeeded" })), Ready),
        ("failed", pod(json!({ "phase": "Failed", "reason": "Evicted" })), Failed("Evicted")),
        (
            "crash loop",
            pod(
                json!({ "phase": "Running", "containerStatuses": [container(json!({ "waiting": { "reason": "CrashLoopBackOff" } }), 3)] }),
            ),
            Progressing("container main waiting CrashLoopBackOff after 3 restarts, last exit 2"),
        ),
    ];
    for (name, object, expected) in &cases {
        check(name, object, expected);
    }
}

#[test]
fn troubles_know_when_hope_ends() {
    let of = |state: Value, restarts: u64, events: &[&Value]| {
        let pod = pod(json!({ "phase": "Pending", "containerStatuses": [container(state, restarts)] }));
        trouble_of(&pod, events).expect("a trouble").hopeless_after.map(|after| after.as_secs())
    };
    let waiting = |reason: &str, message: &str| json!({ "waiting": { "reason": reason, "message": message } });
    assert_eq!(of(waiting("CrashLoopBackOff", ""), 2, &[]), None);
    assert_eq!(of(waiting("CrashLoopBackOff", ""), 3, &[]), Some(0));
    assert_eq!(of(waiting("ImagePullBackOff", "Back-off pulling image"), 0, &[]), Some(180));
    assert_eq!(of(waiting("ErrImagePull", "rpc error: 401 Unauthorized"), 0, &[]), Some(60));
    let event = json!({ "type": "Warning", "reason": "Failed", "message": "Failed to pull image \"x\": unauthorized" });
    assert_eq!(of(waiting("ImagePullBackOff", "Back-off pulling image"), 0, &[&event]), Some(60));
    assert_eq!(of(waiting("ContainerCreating", ""), 0, &[]), None);
    assert_eq!(of(json!({ "running": {} }), 5, &[]), None);
}

#[test]
fn an_autoscaler_that_makes_a_node_is_progress_and_one_that_gave_up_is_not() {
    let pod = pod(
        json!({ "phase": "Pending", "conditions": [because("PodScheduled", "False", "Unschedulable", "Insufficient google.com/tpu")] }),
    );
    let of = |reason: &str, message: &str| {
        let event = json!({ "type": "Normal", "reason": reason, "message": message });
        let trouble = trouble_of(&pod, &[&event]).expect("a trouble");
        (trouble.hopeless_after.map(|after| after.as_secs()), trouble.class)
    };
    assert_eq!(trouble_of(&pod, &[]).expect("a trouble").text, "no node fits: Insufficient google.com/tpu");
    assert_eq!(of("TriggeredScaleUp", "pod triggered scale-up").0, None);
    assert_eq!(of("NotTriggerScaleUp", "didn't match"), (Some(180), Class::Permanent));
    assert_eq!(of("FailedScaleUp", "GCE out of resources"), (Some(0), Class::Stockout));
    assert_eq!(of("FailedScaleUp", "GCE quota exceeded"), (Some(0), Class::Quota));
}
