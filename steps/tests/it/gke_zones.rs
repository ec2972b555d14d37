//! `gke.node_pool` with alternates, beside the simulated cloud.

use runbook_steps::context::Stream;
use runbook_steps::{Class, Standing};
use serde_json::{Value, json};

use crate::gke_cloud::{Skies, cluster_in};
use crate::workshop::{apply, step};

const POOL: &str = "{ name: tpu, cluster: c, project: p-1, zone: us-east5-a, alternates: [us-east5-b],
  machine_type: ct6e-standard-4t, nodes: 1 }";
const POOLS: &str = "v1/projects/p-1/locations/us-east5-a/clusters/c/nodePools";

/// The zones in which the cloud was asked to make a pool, in order.
fn zones_asked(skies: &Skies) -> Vec<Value> {
    skies.asked("nodePools.create").into_iter().map(|asked| asked["request"]["nodePool"]["locations"].clone()).collect()
}

fn pool_in(zone: &str) -> Value {
    json!({ "nodePool": {
        "name": "tpu", "initialNodeCount": 1, "locations": [zone],
        "config": { "machineType": "ct6e-standard-4t", "resourceLabels": { "runbook-deployment": "trial" } },
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_zone_is_tried_where_the_first_is_empty() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[{ kind: stockout, at: us-east5-a }]").await;
    let (changed, outputs) = apply(&*step("gke.node_pool", POOL), &skies.context()).await.unwrap();
    assert!(changed);
    assert_eq!(
        (&outputs["zone"], &outputs["zones"], &outputs["tried"]),
        (&json!("us-east5-b"), &json!(["us-east5-b"]), &json!(["us-east5-a"]))
    );
    assert_eq!(zones_asked(&skies), [json!(["us-east5-a"]), json!(["us-east5-b"])]);
    assert_eq!(skies.asked("nodePools.delete").len(), 1, "the pool that failed is gone");
    let said = skies.shop.ears.progress.lock().unwrap().join("\n");
    assert!(said.contains("in us-east5-b (out of machines: us-east5-a)"), "{said}");
    assert_eq!(skies.strange(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_zone_has_machines_all_are_named() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[{ kind: stockout, at: tpu }]").await;
    let failure = apply(&*step("gke.node_pool", POOL), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Stockout);
    assert!(failure.what.starts_with("`us-east5-b` has no `ct6e-standard-4t`"), "{failure}");
    assert!(failure.what.ends_with("(tried before: us-east5-a)"), "{failure}");
    assert_eq!(failure.facts.other["tried"], json!(["us-east5-a"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_the_same_in_every_zone() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[{ kind: quota, at: pool/tpu }]").await;
    let failure = apply(&*step("gke.node_pool", POOL), &skies.context()).await.unwrap_err();
    assert_eq!((failure.class, zones_asked(&skies).len()), (Class::Quota, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_in_an_alternate_stays_there() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[]").await;
    skies.send("POST", POOLS, pool_in("us-east5-b")).await;
    let step = step("gke.node_pool", POOL);
    let Standing::InProgress(why) = step.observe(&skies.context()).await.unwrap() else { panic!("it is being made") };
    assert!(why.contains("is being made in us-east5-b by operation-"), "{why}");
    let outputs = step.perform(&skies.context()).await.unwrap();
    assert_eq!(outputs["zone"], "us-east5-b");
    let Standing::Holds(outputs) = step.observe(&skies.context()).await.unwrap() else { panic!("it is there") };
    assert_eq!((&outputs["zone"], &outputs["tried"]), (&json!("us-east5-b"), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_in_a_zone_that_nobody_asked_for_does_not_fit() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[]").await;
    let mut elsewhere = pool_in("us-east5-c");
    elsewhere["nodePool"]["config"]["machineType"] = json!("n1-standard-4");
    skies.send("POST", POOLS, elsewhere).await;
    let with = POOL.replace("ct6e-standard-4t", "n1-standard-4");
    let failure = apply(&*step("gke.node_pool", &with), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert_eq!(failure.detail, "zones: the plan wants `us-east5-a` or `us-east5-b`, it is `us-east5-c`");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_an_empty_zone_is_not_asked_again() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[{ kind: stockout, at: us-east5-a }]").await;
    let cx = skies.context();
    // Dropped in the instant in which the failed pool is being deleted, as a kill would end it.
    {
        let first = step("gke.node_pool", POOL);
        tokio::select! {
            ended = first.perform(&cx) => panic!("too early: {ended:?}"),
            () = skies.is_asked("nodePools.delete", 1) => {}
        }
    }
    let (changed, outputs) = apply(&*step("gke.node_pool", POOL), &skies.resumed()).await.unwrap();
    assert_eq!((changed, &outputs["zone"], &outputs["tried"]), (true, &json!("us-east5-b"), &json!(["us-east5-a"])));
    assert_eq!(zones_asked(&skies), [json!(["us-east5-a"]), json!(["us-east5-b"])]);
    let left: Vec<_> = std::fs::read_dir(skies.shop.path("state")).unwrap().collect();
    assert!(!format!("{left:?}").contains("stockouts"), "what was kept for the crash is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_a_pool_that_waits_in_an_empty_zone_is_given_up() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[{ kind: stockout, at: us-east5-a }]").await;
    let cx = skies.context();
    // Dropped while GKE still tries, and does not let anybody delete the pool.
    {
        let first = step("gke.node_pool", POOL);
        tokio::select! {
            ended = first.perform(&cx) => panic!("too early: {ended:?}"),
            () = skies.until(|| skies.shop.ears.logged(Stream::Note).contains("us-east5-b is next")) => {}
        }
    }
    let outputs = apply(&*step("gke.node_pool", POOL), &skies.resumed()).await.unwrap().1;
    assert_eq!((&outputs["zone"], &outputs["tried"]), (&json!("us-east5-b"), &json!(["us-east5-a"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_others_is_not_deleted_for_want_of_machines() {
    let skies = Skies::with(&cluster_in("us-east5-a"), "[{ kind: stockout, at: us-east5-a }]").await;
    let mut theirs = pool_in("us-east5-a");
    theirs["nodePool"]["config"]["resourceLabels"] = json!({ "runbook-deployment": "other" });
    skies.send("POST", POOLS, theirs).await;
    let failure = apply(&*step("gke.node_pool", POOL), &skies.context()).await.unwrap_err();
    assert_eq!((failure.class, skies.asked("nodePools.delete").len()), (Class::Stockout, 0));
}

#[test]
fn the_intent_names_every_zone() {
    let intent = step("gke.node_pool", POOL).intent();
    assert!(intent[0].contains("--node-locations=us-east5-a"), "{intent:?}");
    assert_eq!(intent[1], "# where there are no machines: the same with --node-locations=us-east5-b");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gcloud_tries_the_zones_too() {
    let fault = "[{ kind: stockout, at: us-east5-a }]";
    let Some(skies) = Skies::real(&cluster_in("us-east5-a"), fault).await else { return };
    let outputs = apply(&*step("gke.node_pool", POOL), &skies.context()).await.unwrap().1;
    assert_eq!((&outputs["zone"], skies.strange()), (&json!("us-east5-b"), Vec::new()));
}
