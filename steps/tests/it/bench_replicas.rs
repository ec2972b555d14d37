//! The cache test of `http.bench`: routers that look at prefixes, and such that do not, in front of replicas that count.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use runbook_steps::{Failure, Outputs};
use serde_json::{Value, json};

use crate::bench_server::{Act, ok, serve};
use crate::workshop::{Workshop, refusal, step};

/// What a replica counts.
#[derive(Default)]
struct Counts {
    requests: u64,
    queries: u64,
    hits: u64,
    seen: HashSet<String>,
}

impl Counts {
    /// Ten tokens a request, eight of them the beginning.
    fn count(&mut self, body: &str) {
        self.requests += 1;
        self.queries += 10;
        let beginning: String = body.chars().take(40).collect();
        self.hits += if self.seen.insert(beginning) { 0 } else { 8 };
    }

    fn shown(&self) -> String {
        format!(
            "vllm:request_success_total{{model_name=\"m\"}} {}\nvllm:prefix_cache_queries_total {}\nvllm:prefix_cache_hits_total {}\n",
            self.requests, self.queries, self.hits
        )
    }
}

/// A router in front of three replicas, which sends request `number` to replica `choose(number)`; their metrics' addresses.
async fn fleet(choose: impl Fn(u64) -> usize + Send + Sync + 'static) -> (String, Vec<String>) {
    let replicas: Arc<Vec<Mutex<Counts>>> = Arc::new((0..3).map(|_| Mutex::default()).collect());
    let mut metrics = Vec::new();
    for at in 0..3 {
        let replicas = Arc::clone(&replicas);
        let shown = move |_, _: &str| Act::Answer("200 OK", "text/plain", replicas[at].lock().unwrap().shown());
        metrics.push(serve(shown).await.0);
    }
    let (url, _) = serve(move |number, body| {
        replicas[choose(number)].lock().unwrap().count(body);
        ok()
    })
    .await;
    (url, metrics)
}

async fn test(url: &str, metrics: &[String]) -> Result<Outputs, Failure> {
    let mut workshop = Workshop::new();
    workshop.clock = runbook_steps::Clock::scaled(0, 1000.0);
    let with = json!({
        "url": url, "json": { "prompt": "{{ prompt }}" }, "prompts": ["warm"],
        "scenarios": [{ "name": "a", "requests": 2 }],
        "cache_test": { "prompt": format!("{} question {{{{ number }}}}", "a long beginning ".repeat(20)), "metrics": metrics },
    });
    step("http.bench", &with.to_string()).perform(&workshop.context()).await
}

#[tokio::test]
async fn a_router_that_looks_at_prefixes_passes() {
    let (url, metrics) = fleet(|_| 1).await;
    let outputs = test(&url, &metrics).await.unwrap();
    let cache = &outputs["bench"]["cache"];
    assert_eq!(cache["same_replica"], 1.0);
    assert_eq!((&cache["first_half"], &cache["second_half"]), (&json!(0.64), &json!(0.8)));
    assert_eq!(cache["replicas"][1]["requests"], 10.0);
    assert!(outputs["table"].as_str().unwrap().contains("same replica 100 % · cache hits 64 % → 80 %"));
}

#[tokio::test]
async fn a_router_that_takes_turns_does_not_though_all_answers_are_the_same() {
    let (url, metrics) = fleet(|number| usize::try_from(number % 3).unwrap()).await;
    let failure = test(&url, &metrics).await.expect_err("spread");
    assert!(failure.what.starts_with("the cache test: 3 replicas share the requests"), "{}", failure.what);
    assert!(failure.fix.is_some_and(|fix| fix.contains("prefix-cache-scorer")));
    assert!(failure.detail.contains("same replica 40 %"), "{}", failure.detail);
}

#[tokio::test]
async fn requests_that_no_named_replica_counted_are_missed() {
    let (url, metrics) = fleet(|number| usize::try_from(number % 3).unwrap()).await;
    let failure = test(&url, &metrics[..2]).await.expect_err("one is not named");
    assert!(failure.what.contains("did not count all"), "{}", failure.what);
}

#[test]
fn mistakes_are_found_where_they_are() {
    let with = |test: Value, json: Value| {
        json!({ "url": "http://a", "json": json, "prompts": ["x"], "scenarios": [{ "name": "a", "requests": 1 }], "cache_test": test })
            .to_string()
    };
    let prompt = json!({ "prompt": "{{ prompt }}" });
    for (with, expected) in [
        (with(json!({ "prompt": "x" }), prompt.clone()), "cache_test: give `replicas` or `metrics`"),
        (
            with(json!({ "prompt": "x", "metrics": ["http://b"] }), json!({})),
            "cache_test: the body must hold `{{ prompt }}`",
        ),
        (with(json!({ "prompt": "x", "metrics": ["b"] }), prompt.clone()), "cache_test: `b` is no address"),
        (with(json!({ "prompt": "x", "metrics": ["http://b"], "requests": 1 }), prompt), "cache_test: one request"),
    ] {
        let found = refusal("http.bench", &with);
        assert!(found.starts_with(expected), "{with}: {found}");
    }
}
