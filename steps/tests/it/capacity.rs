//! `gcloud.capacity` beside the simulated cloud: whatever happens, nothing is left.

use runbook_steps::{Class, Standing, Step};
use serde_json::{Value, json};

use crate::gke_cloud::Skies;
use crate::workshop::{apply, step};

const TPU: &str = "{ project: p-1, zones: [europe-west4-a, us-east5-a, us-east5-b], tpu: { accelerator_type: v6e-1 } }";
const GPU: &str = "{ project: p-1, zones: [europe-west4-a, us-east5-a], gpu: { type: nvidia-tesla-t4 } }";

fn probe(with: &str) -> Box<dyn Step> {
    step("gcloud.capacity", with)
}

fn standing(skies: &Skies) -> Value {
    let all = skies.cloud.everything();
    json!([all["tpus"], all["machines"]])
}

/// Returns when no machine is there any more; a deletion that nobody waited for may still be at work.
async fn nothing_is_left(skies: &Skies) {
    skies.until(|| standing(skies) == json!([[], []])).await;
    assert_eq!(skies.strange(), Vec::<Value>::new());
}

/// The zones in which a machine was asked for, in order.
fn zones_asked(skies: &Skies, what: &str) -> Vec<String> {
    let zone = |asked: &Value| {
        let path = asked["path"].as_str().unwrap().to_owned();
        path.split('/').skip_while(|part| *part != "locations" && *part != "zones").nth(1).unwrap().to_owned()
    };
    skies.asked(what).iter().map(zone).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_zone_is_asked_alone() {
    let skies = Skies::new("[]").await;
    let (changed, outputs) = apply(&*probe(TPU), &skies.context()).await.unwrap();
    assert!(changed);
    assert_eq!(Value::from(outputs), json!({ "zone": "europe-west4-a", "tried": [] }));
    assert_eq!(standing(&skies), json!([[], []]), "it is gone when the step is done");
    assert_eq!(zones_asked(&skies, "nodes.create"), ["europe-west4-a"]);
    let labels = &skies.asked("nodes.create")[0]["request"]["labels"];
    assert_eq!(labels, &json!({ "runbook-deployment": "trial" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_empty_all_others_are_asked_at_once() {
    let faults = "[{ kind: stockout, at: europe-west4-a }, { kind: stockout, at: us-east5-a }]";
    let skies = Skies::new(faults).await;
    let outputs = apply(&*probe(TPU), &skies.context()).await.unwrap().1;
    assert_eq!(outputs["zone"], "us-east5-b");
    assert!(outputs["tried"].as_array().unwrap().contains(&json!("europe-west4-a")), "{outputs:?}");
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_are_slower_are_cleaned_up_too() {
    let faults = "[{ kind: stockout, at: europe-west4-a }, { kind: late, at: 'tpu-vm/*', by: 5h, after: { requests: 1 }, times: 1 }]";
    let skies = Skies::new(faults).await;
    let outputs = apply(&*probe(TPU), &skies.context()).await.unwrap().1;
    assert!(outputs["zone"].as_str().unwrap().starts_with("us-east5-"), "{outputs:?}");
    assert_eq!(skies.asked("nodes.create").len(), 3);
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_none_is_free_every_zone_says_so() {
    let skies = Skies::new("[{ kind: stockout, at: v6e-1 }]").await;
    let failure = apply(&*probe(TPU), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Stockout);
    assert!(failure.what.starts_with("no zone has `v6e-1` now: europe-west4-a, us-east5-"), "{failure}");
    assert_eq!(
        failure.detail.lines().filter(|line| line.contains("There is no more capacity")).count(),
        3,
        "{}",
        failure.detail
    );
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_is_stopped_is_deleted() {
    let skies = Skies::new("[{ kind: hang, at: 'tpu-vm/*', times: 1 }]").await;
    let cx = skies.context();
    let probing = tokio::spawn(async move { probe(TPU).perform(&cx).await });
    skies.is_asked("nodes.create", 1).await;
    skies.shop.cancel.soft.cancel();
    assert_eq!(probing.await.unwrap().unwrap_err().class, Class::Cancelled);
    assert_eq!(skies.asked("nodes.delete").len(), 1);
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_behind_is_deleted_by_the_next_run() {
    let skies = Skies::new("[{ kind: hang, at: 'tpu-vm/*', times: 1 }]").await;
    let cx = skies.context();
    {
        let first = probe(TPU);
        tokio::select! {
            ended = first.perform(&cx) => panic!("too early: {ended:?}"),
            () = skies.is_asked("nodes.create", 1) => {}
        }
    }
    assert_ne!(standing(&skies), json!([[], []]), "nobody cleaned up");
    let next = probe(TPU);
    let Standing::InProgress(why) = next.observe(&skies.resumed()).await.unwrap() else { panic!("it was left behind") };
    assert!(why.starts_with("the probe `runbook-probe-") && why.contains("was left behind in europe-west4-a"), "{why}");
    let outputs = next.perform(&skies.resumed()).await.unwrap();
    assert_eq!((&outputs["zone"], skies.asked("nodes.delete").len()), (&json!("europe-west4-a"), 2));
    assert_eq!(next.observe(&skies.resumed()).await.unwrap(), Standing::Unknown);
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_deletes_it_by_the_name_that_was_written_down() {
    let skies = Skies::new("[]").await;
    let undo = probe(TPU).undo_with(&skies.context()).await.unwrap().unwrap();
    let name = undo["probe"].as_str().unwrap();
    let node = json!({ "acceleratorType": "v6e-1", "runtimeVersion": "v2-alpha-tpuv6e" });
    skies.send("POST", &format!("v2/projects/p-1/locations/us-east5-b/nodes?nodeId={name}"), node).await;
    let back = (runbook_steps::kind("gcloud.capacity").unwrap().read)(undo.clone()).unwrap();
    assert!(back.undo_intent()[2].contains(&format!("tpu-vm delete {name} --zone=us-east5-b")));
    back.undo(&skies.context()).await.unwrap();
    nothing_is_left(&skies).await;
    back.undo(&skies.context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_cannot_be_deleted_is_no_success() {
    let skies = Skies::with("{ missing_permissions: [tpu.nodes.delete] }", "[]").await;
    let failure = apply(&*probe(TPU), &skies.context()).await.unwrap_err();
    assert_eq!((failure.class, zones_asked(&skies, "nodes.create").len()), (Class::Permanent, 1));
    assert!(failure.what.contains("in europe-west4-a could not be deleted, and costs money"), "{failure}");
    assert!(failure.fix.unwrap().contains("gcloud compute tpus tpu-vm delete runbook-probe-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_a_gpu_is_probed_for_as_well() {
    let skies = Skies::new("[{ kind: stockout, at: europe-west4-a }]").await;
    let outputs = apply(&*probe(GPU), &skies.context()).await.unwrap().1;
    assert_eq!(Value::from(outputs), json!({ "zone": "us-east5-a", "tried": ["europe-west4-a"] }));
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_stockout_leads_to_other_zones() {
    let skies = Skies::with("{ quotas: { NVIDIA_T4_GPUS: 0 } }", "[]").await;
    let failure = apply(&*probe(GPU), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Quota, "{failure}");
    let skies = Skies::with("{ disabled_apis: [tpu.googleapis.com] }", "[]").await;
    let failure = apply(&*probe(TPU), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid, "{failure:?}");
    nothing_is_left(&skies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gcloud_probes_too() {
    let Some(skies) = Skies::real("{}", "[{ kind: stockout, at: europe-west4-a }]").await else { return };
    for with in [TPU, GPU] {
        let outputs = apply(&*probe(with), &skies.context()).await.unwrap().1;
        assert!(outputs["zone"].as_str().unwrap().starts_with("us-east5-"), "{outputs:?}");
        nothing_is_left(&skies).await;
    }
}
