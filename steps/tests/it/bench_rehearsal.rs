//! Probes and benchmarks in a rehearsal: a simulated model behind a load balancer's address, on a clock that runs fast.

use std::sync::Arc;

use runbook_fixtures::actors::Surroundings;
use runbook_fixtures::faults::{Fault, FaultKind, Faults};
use runbook_fixtures::gateway;
use runbook_fixtures::gcp::{self, Cloud, ClusterId};
use runbook_fixtures::kube::{Kube, serve_http};
use runbook_fixtures::ledger::Ledger;
use runbook_fixtures::scenario::{Durations, Initial};
use runbook_fixtures::time::ModelClock;
use runbook_steps::{Clock, Context, Failure, Outputs, World};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::workshop::{Workshop, step};

/// How many times as fast as the machine's clock that of the rehearsal runs.
const SPEED: f64 = 20.0;

pub(crate) struct Rehearsal {
    workshop: Workshop,
    proxy: String,
}

impl Rehearsal {
    /// A Service `model` with an address of its own in front of so many model servers.
    async fn new(replicas: u32, faults: Vec<Fault>) -> Self {
        Self::at(SPEED, replicas, faults).await
    }

    /// The same on a clock of another speed.
    pub(crate) async fn at(speed: f64, replicas: u32, faults: Vec<Fault>) -> Self {
        let clock = ModelClock::starting_now(speed);
        let ledger = Ledger::in_memory(clock);
        let faults = Faults::new(faults, clock, ledger.clone());
        let durations = Durations::default();
        let initial = Initial::default();
        let (around, kube) = (faults.clone(), Kube::new(clock));
        let cloud = Cloud::new(gcp::Surroundings {
            clock,
            durations: durations.clone(),
            faults,
            ledger: ledger.clone(),
            initial,
        });
        let cluster = ClusterId { project: "demo".into(), zone: "z".into(), name: "c".into() };
        let cloud = cloud.within(&cluster);
        let surroundings =
            Surroundings { kube: kube.clone(), clock, durations: Arc::new(durations), faults: around, ledger, cloud };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(gateway::serve(listener, surroundings));
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut workshop = Workshop::new();
        workshop.clock = Clock::scaled(clock.epoch_unix_ms(), speed);
        workshop.write("state/kubeconfig", &kubeconfig(&api.local_addr().unwrap().to_string()).to_string());
        tokio::spawn(serve_http(kube.clone(), api));
        fill(&kube, replicas);
        Self { workshop, proxy }
    }

    fn context(&self) -> Context {
        let cx = self.workshop.context();
        let world = World {
            http_proxy: Some(self.proxy.clone()),
            simulated: Some("simulated cloud".to_owned()),
            ..(*cx.world).clone()
        };
        Context { world: Arc::new(world), ..cx }
    }

    pub(crate) async fn run(&self, kind: &str, with: Value) -> Result<Outputs, Failure> {
        step(kind, &with.to_string()).perform(&self.context()).await
    }
}

fn kubeconfig(address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": format!("http://{address}") } }], "users": [{ "name": "it", "user": {} }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it", "namespace": "default" } }],
    })
}

fn fill(kube: &Kube, replicas: u32) {
    let labels = json!({ "app": "model" });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "model", "namespace": "default" },
        "spec": { "type": "LoadBalancer", "selector": labels, "ports": [{ "port": 80, "targetPort": 8000 }] },
    });
    kube.create(service).unwrap();
    let address = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }] } });
    kube.set_status("it", "v1", "Service", "default", "model", address).unwrap();
    for number in 0..replicas {
        let name = format!("model-{number}");
        let command = json!(["python3", "-m", "vllm.entrypoints.openai.api_server"]);
        let arguments =
            json!(["--model=/mnt/models", "--served-model-name=qwen", "--port=8000", "--enable-prefix-caching"]);
        let container =
            json!({ "name": "main", "image": "vllm/vllm-tpu:v0.11.1", "command": command, "args": arguments });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default", "labels": labels },
            "spec": { "nodeName": "n", "containers": [container] },
        });
        kube.create(pod).unwrap();
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let status = json!({ "phase": "Running", "podIP": format!("10.0.0.{}", number + 1), "conditions": ready });
        kube.set_status("it", "v1", "Pod", "default", &name, status).unwrap();
    }
}

fn completion(more: &Value) -> Value {
    let mut json = json!({ "model": "qwen", "prompt": "{{ prompt }}", "max_tokens": 20 });
    json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json
}

const URL: &str = "http://203.0.113.7/v1/completions";

#[tokio::test]
async fn a_bench_rehearses_in_the_plans_time_and_says_that_it_is_simulated() {
    let rehearsal = Rehearsal::new(2, Vec::new()).await;
    let with = json!({
        "url": URL, "json": completion(&json!({ "stream": true, "stream_options": { "include_usage": true } })),
        "prompts": ["Explain quantum computing in one sentence:"],
        "scenarios": [{ "name": "serial", "requests": 4 }, { "name": "light", "requests": 10, "concurrency": 5 }],
        "assert": ["bench.light.success == 1", "bench.serial.tokens == 80"],
    });
    let outputs = rehearsal.run("http.bench", with).await.unwrap();
    let serial = &outputs["bench"]["serial"];
    // 40 ms to the first of twenty tokens, then 457 ms for fifty; on this clock at least that.
    assert!(serial["first_token_p50_ms"].as_f64().unwrap() >= 39.9, "{serial}");
    assert!(serial["token_p50_ms"].as_f64().unwrap() >= 9.1, "{serial}");
    assert_eq!(outputs["bench"]["simulated"], true);
    assert!(
        outputs["table"].as_str().unwrap().ends_with("simulated: these figures are the rehearsal's, not a model's\n")
    );
    assert!(std::fs::read_to_string(outputs["files"]["csv"].as_str().unwrap()).unwrap().contains(",simulated\n"));
}

#[tokio::test]
async fn a_service_that_takes_turns_fails_the_cache_test() {
    let test = json!({
        "prompt": format!("{} {{{{ number }}}}", "You are a helpful assistant for people who run clusters. ".repeat(12)),
        "replicas": { "selector": "app=model" },
    });
    let with = |test: &Value| {
        json!({
            "url": URL, "json": completion(&json!({})), "prompts": ["hello"],
            "scenarios": [{ "name": "serial", "requests": 2 }], "cache_test": test,
        })
    };
    let failure = Rehearsal::new(2, Vec::new()).await.run("http.bench", with(&test)).await.expect_err("turns");
    assert!(failure.what.starts_with("the cache test: 2 replicas share"), "{}", failure.what);
    let outputs = Rehearsal::new(1, Vec::new()).await.run("http.bench", with(&test)).await.unwrap();
    let cache = &outputs["bench"]["cache"];
    assert_eq!(cache["same_replica"], 1.0);
    assert!(
        cache["second_half"].as_f64().unwrap() > 0.8 && cache["first_half"].as_f64() < cache["second_half"].as_f64(),
        "{cache}"
    );
}

#[tokio::test]
async fn http_1_0_is_refused_as_by_envoy() {
    let rehearsal = Rehearsal::new(1, Vec::new()).await;
    let with = json!({
        "url": URL, "http_version": "1.0", "json": completion(&json!({})), "prompts": ["hello"],
        "scenarios": [{ "name": "heavy", "requests": 100, "concurrency": 20 }],
    });
    let failure = rehearsal.run("http.bench", with).await.expect_err("426");
    assert_eq!(failure.facts.http_status, Some(426));
    assert!(failure.cause.is_some_and(|cause| cause.contains("HTTP/1.0")));
}

#[tokio::test]
async fn a_probe_reaches_a_pod_inside_and_survives_what_the_gateway_does() {
    let mut fault = Fault::of(FaultKind::Api503);
    (fault.at, fault.times) = (Some("gateway".to_owned()), Some(2));
    let rehearsal = Rehearsal::new(1, vec![fault]).await;
    let outside = json!({ "url": "http://203.0.113.7/v1/models", "retries": { "server_error": 2 }, "capture": { "model": "response.json.data[0].id" } });
    assert_eq!(rehearsal.run("http.probe", outside).await.unwrap()["model"], "qwen");
    let inside = json!({ "url": "http://model/health", "port_forward": { "service": "model", "port": 80 } });
    assert_eq!(rehearsal.run("http.probe", inside).await.unwrap()["status"], 200);
    let closed = json!({ "url": "http://model/health", "port_forward": { "pod": "model-0", "port": 8001 } });
    let failure = rehearsal.run("http.probe", closed).await.expect_err("nobody listens");
    assert!(failure.what.contains("connection refused"), "{}", failure.what);
}
