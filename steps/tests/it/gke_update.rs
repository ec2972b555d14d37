//! `gke.update` beside the simulated cloud.

use runbook_steps::{Class, Standing, Step};
use serde_json::{Value, json};

use crate::gke_cloud::Skies;
use crate::workshop::{apply, step};

/// A cluster as two guides make it: without the Gateway API and without its controller.
const WORLD: &str =
    "{ cluster: { name: c, zone: europe-west4-a, project: p-1, gateway_api: false, http_load_balancing: false } }";
const CLUSTER: &str = "v1/projects/p-1/locations/europe-west4-a/clusters/c";

fn update(set: &str) -> Box<dyn Step> {
    step("gke.update", &format!("{{ cluster: c, project: p-1, zone: europe-west4-a, set: {set} }}"))
}

/// What the cloud was asked to change, in order.
fn asked(skies: &Skies) -> Vec<String> {
    let entries = skies.ledger.entries().into_iter();
    let fine = entries.filter(|entry| entry.detail["status"] == 200);
    let change = |what: &str, detail: &Value| match what {
        "clusters.update" => detail["request"]["update"].as_object().map(|update| update.keys().cloned().collect()),
        "clusters.setNetworkPolicy" => Some(format!("networkPolicy {}", detail["request"]["networkPolicy"]["enabled"])),
        _ => None,
    };
    fine.filter_map(|entry| change(&entry.what, &entry.detail)).collect()
}

const HARDENED: &str = "{ gateway_api: standard, network_policy: true, release_channel: rapid }";

#[tokio::test(flavor = "multi_thread")]
async fn one_change_comes_after_the_other_and_all_go_back() {
    let skies = Skies::with(WORLD, "[]").await;
    let (step, cx) = (update(HARDENED), skies.context());
    let Standing::Lacks(why) = step.observe(&cx).await.unwrap() else { panic!("it lacks much") };
    assert!(why.contains("gateway_api: the plan wants `standard`, it is `disabled`"), "{why}");
    let undo = step.undo_with(&cx).await.unwrap().unwrap();
    let outputs = step.perform(&cx).await.unwrap();
    assert_eq!(
        asked(&skies),
        ["desiredAddonsConfig", "desiredGatewayApiConfig", "desiredReleaseChannel", "networkPolicy true"]
    );
    assert_eq!(
        outputs["changes"][0], "--update-addons=HttpLoadBalancing=ENABLED,NetworkPolicy=ENABLED",
        "add-ons that nobody named are left alone"
    );
    assert_eq!(
        (&outputs["gateway_api"], &outputs["network_policy"], &outputs["release_channel"]),
        (&json!("standard"), &json!(true), &json!("rapid"))
    );
    assert!(matches!(step.observe(&cx).await.unwrap(), Standing::Holds(_)));

    let back = (runbook_steps::kind("gke.update").unwrap().read)(undo).unwrap();
    back.undo(&cx).await.unwrap();
    let cluster = skies.get(CLUSTER).await;
    assert_eq!(cluster["networkPolicy"]["enabled"], false);
    assert_eq!(cluster["networkConfig"]["gatewayApiConfig"]["channel"], "CHANNEL_DISABLED");
    assert_eq!(cluster["addonsConfig"]["httpLoadBalancing"]["disabled"], true);
    assert_eq!((&cluster["releaseChannel"]["channel"], skies.strange()), (&json!("UNSPECIFIED"), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_so_is_left_alone() {
    let skies = Skies::with(&crate::gke_cloud::cluster_in("europe-west4-a"), "[]").await;
    let (changed, outputs) =
        apply(&*update("{ gateway_api: standard, version: '1.34' }"), &skies.context()).await.unwrap();
    assert_eq!((changed, &outputs["changes"], asked(&skies).len()), (false, &json!([]), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_runs_is_waited_for_and_not_begun_again() {
    let skies = Skies::with(WORLD, "[]").await;
    let channel = json!({ "update": { "desiredGatewayApiConfig": { "channel": "CHANNEL_STANDARD" } } });
    skies.send("PUT", CLUSTER, channel).await;
    let (step, cx) = (update("{ gateway_api: standard }"), skies.context());
    let Standing::InProgress(why) = step.observe(&cx).await.unwrap() else { panic!("it is being changed") };
    assert!(why.ends_with("(update cluster)"), "{why}");
    step.perform(&cx).await.unwrap();
    assert_eq!(asked(&skies), ["desiredGatewayApiConfig", "desiredAddonsConfig"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_it_goes_on_where_it_was() {
    let skies = Skies::with(WORLD, "[]").await;
    let cx = skies.context();
    {
        let step = update(HARDENED);
        tokio::select! {
            ended = step.perform(&cx) => panic!("too early: {ended:?}"),
            () = skies.is_asked("clusters.update", 2) => {}
        }
    }
    apply(&*update(HARDENED), &skies.resumed()).await.unwrap();
    assert_eq!(asked(&skies).len(), 4, "{:?}", asked(&skies));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_gets_its_version() {
    let skies = Skies::with(WORLD, "[]").await;
    let failure = apply(&*update("{ version: '1.99' }"), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid, "{failure}");
    let body = json!({ "cluster": { "name": "old", "initialClusterVersion": "1.33", "nodePools": [] } });
    skies.send("POST", "v1/projects/p-1/locations/europe-west4-a/clusters", body).await;
    let old = "{ cluster: old, project: p-1, zone: europe-west4-a, set: { version: '1.34' } }";
    let (changed, outputs) = apply(&*step("gke.update", old), &skies.context()).await.unwrap();
    assert_eq!((changed, &outputs["version"]), (true, &json!("1.34.1-gke.3355001")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_fails_says_why() {
    let fault = "[{ kind: operation-error, at: cluster/c, line: 'Internal error, backend error.' }]";
    let skies = Skies::with(WORLD, fault).await;
    let failure = apply(&*update("{ gateway_api: standard }"), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient, "{failure}");
    assert!(failure.what.contains("--update-addons=HttpLoadBalancing=ENABLED"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_gone_needs_no_way_back() {
    let skies = Skies::new("[]").await;
    let failure = apply(&*update("{ gateway_api: standard }"), &skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::NotFound);
    let with = "{ cluster: c, project: p-1, zone: europe-west4-a, set: { gateway_api: standard }, before: { gateway_api: disabled } }";
    step("gke.update", with).undo(&skies.context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gcloud_updates_too() {
    let Some(skies) = Skies::real(WORLD, "[]").await else { return };
    let outputs = apply(&*update("{ network_policy: true }"), &skies.context()).await.unwrap().1;
    assert_eq!((&outputs["network_policy"], skies.strange()), (&json!(true), Vec::new()));
    let back = "{ cluster: c, project: p-1, zone: europe-west4-a, set: { network_policy: true }, before: { network_policy: false } }";
    step("gke.update", back).undo(&skies.context()).await.unwrap();
    assert_eq!((asked(&skies).last().unwrap().as_str(), skies.strange()), ("networkPolicy false", Vec::new()));
}
