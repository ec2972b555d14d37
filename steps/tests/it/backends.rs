//! `backends` beside the simulated cloud.

use std::collections::BTreeMap;

use runbook_fixtures::gcp::{BackendService, LoadBalancer};
use runbook_steps::{Class, Standing, Step};
use serde_json::{Value, json};

use crate::gke_cloud::Skies;
use crate::workshop::step;

const NAME: &str = "gkegw1-qd0b-llm-qwen-pool-ip-5a3f9c21-54321-5k2n1dm9b5yz";

fn backends(more: &str) -> Box<dyn Step> {
    step("backends", &format!("{{ project: p-1, region: europe-west4, namespace: llm, pool: qwen-pool{more} }}"))
}

fn service(name: &str, path: &str, states: &[(&str, bool)]) -> BackendService {
    let backends: BTreeMap<String, bool> =
        states.iter().map(|(address, fine)| ((*address).to_owned(), *fine)).collect();
    BackendService { name: name.to_owned(), health_path: path.to_owned(), port: 8000, backends }
}

/// Puts up a load balancer, or changes what is behind it.
fn balance(skies: &Skies, services: Vec<BackendService>) {
    skies.cloud.register_load_balancer(LoadBalancer {
        name: "gkegw1-a".to_owned(),
        region: "europe-west4".to_owned(),
        address: "203.0.113.10".to_owned(),
        port: 80,
        services,
        ..LoadBalancer::default()
    });
}

/// The last words of the step.
fn said(skies: &Skies) -> String {
    skies.shop.ears.progress.lock().unwrap().last().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_backends_are_counted() {
    let skies = Skies::new("[]").await;
    let other = service("gkegw1-zzzz-other-store-8080-5k2n1dm9b5yz", "/", &[("10.4.0.9", false)]);
    balance(&skies, vec![service(NAME, "/health", &[("10.4.0.1", true), ("10.4.0.2", true)]), other]);
    let Standing::Holds(outputs) = backends("").observe(&skies.context()).await.unwrap() else { panic!("healthy") };
    assert_eq!(Value::from(outputs), json!({ "healthy": 2, "total": 2, "unhealthy": [], "services": [NAME] }));
    assert_eq!(skies.strange(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_healthy_is_told_with_its_check_and_waited_for() {
    let skies = Skies::new("[]").await;
    balance(&skies, vec![service(NAME, "/", &[("10.4.0.1", true), ("10.4.0.2", false)])]);
    let Standing::Lacks(why) = backends("").observe(&skies.context()).await.unwrap() else { panic!("one is ill") };
    assert!(
        why.starts_with(
            "1 of 2 backends are healthy: 10.4.0.2:8000 is UNHEALTHY; the health check asks HTTP `/` on port 8000"
        ),
        "{why}"
    );
    let cx = skies.context();
    let waiting = tokio::spawn(async move { backends("").perform(&cx).await });
    skies.until(|| said(&skies).contains("UNHEALTHY")).await;
    balance(&skies, vec![service(NAME, "/health", &[("10.4.0.1", true), ("10.4.0.2", true)])]);
    assert_eq!(waiting.await.unwrap().unwrap()["healthy"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn some_may_be_enough() {
    let skies = Skies::new("[]").await;
    balance(&skies, vec![service(NAME, "/health", &[("10.4.0.1", true), ("10.4.0.2", false)])]);
    let Standing::Holds(outputs) = backends(", min: 1").observe(&skies.context()).await.unwrap() else {
        panic!("one is")
    };
    assert_eq!(outputs["unhealthy"], json!(["10.4.0.2:8000"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_load_balancer_ends_when_told_to_stop() {
    let skies = Skies::new("[]").await;
    let cx = skies.context();
    let waiting = tokio::spawn(async move { backends("").perform(&cx).await });
    skies.until(|| said(&skies) == "there is no backend service of the InferencePool `llm/qwen-pool` yet").await;
    skies.shop.cancel.soft.cancel();
    assert_eq!(waiting.await.unwrap().unwrap_err().class, Class::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_is_told() {
    let skies = Skies::with("{ project: other }", "[]").await;
    let failure = backends("").observe(&skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Permanent, "{failure:?}");
    assert!(failure.what.contains("Permission denied on resource project p-1"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gcloud_asks_for_health_too() {
    let Some(skies) = Skies::real("{}", "[]").await else { return };
    balance(&skies, vec![service(NAME, "/", &[("10.4.0.1", true), ("10.4.0.2", false)])]);
    let Standing::Lacks(why) = backends("").observe(&skies.context()).await.unwrap() else { panic!("one is ill") };
    assert!(why.contains("10.4.0.2:8000 is UNHEALTHY; the health check asks HTTP `/` on port 8000"), "{why}");
    assert_eq!(skies.strange(), Vec::<Value>::new());
}
