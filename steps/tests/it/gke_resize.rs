//! `gke.resize` beside the simulated cloud.

use runbook_steps::{Class, Standing};
use serde_json::{Value, json};

use crate::gke_cloud::Skies;
use crate::workshop::{apply, step};

const WORLD: &str = "{ cluster: { name: c, zone: europe-west4-a, project: p-1,
  pools: { tpu: { machine_type: ct6e-standard-4t, nodes: 1 } } } }";
const CLUSTER: &str = "v1/projects/p-1/locations/europe-west4-a/clusters/c";

fn resize(nodes: u32, more: &str) -> Box<dyn runbook_steps::Step> {
    let with = format!("{{ pool: tpu, cluster: c, project: p-1, zone: europe-west4-a, nodes: {nodes}{more} }}");
    step("gke.resize", &with)
}

/// Turns the pool's autoscaler on, and waits until that is done.
async fn autoscale(skies: &Skies, least: u32, most: u32) {
    let to = json!({ "enabled": true, "minNodeCount": least, "maxNodeCount": most });
    let update = json!({ "update": { "desiredNodePoolId": "tpu", "desiredNodePoolAutoscaling": to } });
    skies.send("PUT", CLUSTER, update).await;
    while skies.get(CLUSTER).await["status"] != "RUNNING" {
        skies.a_moment().await;
    }
}

fn sizes_asked(skies: &Skies) -> Vec<Value> {
    skies.asked("nodePools.setSize").into_iter().map(|asked| asked["request"]["nodeCount"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_gets_a_size_and_gets_its_old_one_back() {
    let skies = Skies::with(WORLD, "[]").await;
    let (step, cx) = (resize(3, ""), skies.context());
    let lacks = Standing::Lacks("the node pool `tpu` has 1 nodes, not 3".to_owned());
    assert_eq!(step.observe(&cx).await.unwrap(), lacks);
    let undo = step.undo_with(&cx).await.unwrap().unwrap();
    assert_eq!(undo["before"], json!({ "nodes": 1 }));
    let outputs = step.perform(&cx).await.unwrap();
    assert_eq!(Value::from(outputs), json!({ "nodes": 3, "total": 3, "zones": ["europe-west4-a"] }));
    assert!(matches!(step.observe(&cx).await.unwrap(), Standing::Holds(_)));
    let back = (runbook_steps::kind("gke.resize").unwrap().read)(undo).unwrap();
    assert!(back.undo_intent()[0].contains("clusters resize c --node-pool=tpu --num-nodes=1"));
    back.undo(&cx).await.unwrap();
    assert_eq!((sizes_asked(&skies), skies.strange()), (vec![json!(3), json!(1)], Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_that_size_is_left_alone() {
    let skies = Skies::with(WORLD, "[]").await;
    assert!(!apply(&*resize(1, ""), &skies.context()).await.unwrap().0);
    assert_eq!(sizes_asked(&skies), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_that_runs_is_waited_for_and_not_begun_again() {
    let skies = Skies::with(WORLD, "[]").await;
    skies.send("POST", &format!("{CLUSTER}/nodePools/tpu:setSize"), json!({ "nodeCount": 3 })).await;
    let (step, cx) = (resize(3, ""), skies.context());
    let Standing::InProgress(why) = step.observe(&cx).await.unwrap() else { panic!("it is being resized") };
    assert!(why.ends_with("(set node pool size)"), "{why}");
    step.perform(&cx).await.unwrap();
    assert_eq!(sizes_asked(&skies), [json!(3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_stretched_only_where_that_is_wanted() {
    let skies = Skies::with(WORLD, "[]").await;
    autoscale(&skies, 0, 2).await;
    let failure = apply(&*resize(3, ""), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert_eq!(failure.what, "the node pool `tpu` is autoscaled from 0 to 2, and would not stay at 3 nodes");
    let (step, cx) = (resize(3, ", widen: true"), skies.context());
    let undo = step.undo_with(&cx).await.unwrap().unwrap();
    assert!(apply(&*step, &cx).await.unwrap().0);
    let pool = skies.get(&format!("{CLUSTER}/nodePools/tpu")).await;
    assert_eq!(pool["autoscaling"], json!({ "enabled": true, "minNodeCount": 0, "maxNodeCount": 3 }));
    (runbook_steps::kind("gke.resize").unwrap().read)(undo).unwrap().undo(&cx).await.unwrap();
    let pool = skies.get(&format!("{CLUSTER}/nodePools/tpu")).await;
    assert_eq!((&pool["autoscaling"]["maxNodeCount"], sizes_asked(&skies)), (&json!(2), vec![json!(3), json!(1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_without_machines_is_told_early() {
    let skies = Skies::with(WORLD, "[{ kind: stockout, at: tpu }]").await;
    let failure = apply(&*resize(3, ""), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Stockout);
    assert!(failure.what.contains("`europe-west4-a` has no `ct6e-standard-4t`"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_fails_says_why() {
    let fault = "[{ kind: operation-error, at: pool/tpu, line: 'Quota CPUS exceeded, quota exceeded.' }]";
    let skies = Skies::with(WORLD, fault).await;
    let failure = apply(&*resize(3, ""), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Quota, "{failure}");
    assert!(failure.what.contains("(set node pool size) failed: Quota CPUS exceeded"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_is_not_there_is_said() {
    let skies = Skies::with(&crate::gke_cloud::cluster_in("europe-west4-a"), "[]").await;
    let failure = apply(&*resize(3, ""), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::NotFound);
    assert_eq!(failure.what, "the cluster `c` has no node pool `tpu`");
    let with = "{ pool: tpu, cluster: c, project: p-1, zone: europe-west4-a, nodes: 3, before: { nodes: 1 } }";
    step("gke.resize", with).undo(&skies.context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gcloud_resizes_too() {
    let Some(skies) = Skies::real(WORLD, "[]").await else { return };
    autoscale(&skies, 0, 2).await;
    let outputs = apply(&*resize(3, ", widen: true"), &skies.context()).await.unwrap().1;
    assert_eq!((&outputs["total"], skies.strange()), (&json!(3), Vec::new()));
}
