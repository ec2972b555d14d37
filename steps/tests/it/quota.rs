//! `gcloud.quota` beside the simulated cloud.

use runbook_steps::Class;
use serde_json::{Value, json};

use crate::gke_cloud::Skies;
use crate::workshop::step;

const NEEDS: &str = "{ project: p-1, needs: [
  { metric: CPUS, region: europe-west4, amount: 8 }, { metric: NETWORKS, amount: 1 },
  { metric: TPUS_PER_TPU_FAMILY, family: CT6E, region: europe-west4, amount: 12 } ] }";

const POOL: &str = "{ cluster: { name: c, zone: europe-west4-a, project: p-1,
  pools: { tpu: { machine_type: ct6e-standard-4t, nodes: 2 } } } }";

#[tokio::test]
async fn room_is_told() {
    let skies = Skies::with(POOL, "[]").await;
    let outputs = step("gcloud.quota", NEEDS).perform(&skies.context()).await.unwrap();
    let left = |index: usize| (outputs["quotas"][index]["usage"].clone(), outputs["quotas"][index]["left"].clone());
    assert_eq!((left(0), left(1)), ((json!(8.0), json!(592.0)), (json!(1.0), json!(29.0))));
    // Two hosts of four chips each are there, which only the machines tell.
    assert_eq!((left(2), skies.strange()), ((json!(8.0), json!(56.0)), Vec::<Value>::new()));
}

#[tokio::test]
async fn every_shortage_is_told_at_once_with_the_way_out() {
    let world = POOL.replace("} } }", "} } }, quotas: { CPUS: 10, NETWORKS: 1, CT6E_CHIPS: 16 }");
    let skies = Skies::with(&world, "[]").await;
    let failure = step("gcloud.quota", NEEDS).perform(&skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Quota);
    assert_eq!(
        failure.what,
        "3 quotas are too small: `CPUS` in europe-west4, `NETWORKS` in the project, `TPUS_PER_TPU_FAMILY` of CT6E in europe-west4"
    );
    for line in [
        "`CPUS` in europe-west4 (vCPUs): 8 needed, 2 left (limit 10, 8 used)",
        "--quota-id=NETWORKS-per-project --preferred-value=2",
        "`TPUS_PER_TPU_FAMILY` of CT6E in europe-west4 (TPU chips): 12 needed, 8 left (limit 16, 8 used)",
        "--preferred-value=20 --dimensions=region=europe-west4,tpu_family=CT6E",
    ] {
        assert!(failure.detail.contains(line), "{line}: {}", failure.detail);
    }
    assert!(failure.fix.unwrap().contains("iam-admin/quotas?project=p-1"));
}

#[tokio::test]
async fn an_expired_login_is_not_taken_for_a_quota() {
    let faults = "[{ kind: api-401, at: gcp, path: '*aggregated/instances' }]";
    let skies = Skies::with(POOL, faults).await;
    let failure = step("gcloud.quota", NEEDS).perform(&skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::AuthExpired);
}

#[tokio::test]
async fn a_metric_that_nobody_has_is_wrong() {
    let skies = Skies::new("[]").await;
    let with = "{ project: p-1, needs: [{ metric: NVIDIA_T4_GPU, region: europe-west4, amount: 1 }] }";
    let failure = step("gcloud.quota", with).perform(&skies.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.what.ends_with("did you mean `NVIDIA_T4_GPUS`?"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_gcloud_reads_the_quotas_too() {
    let world = POOL.replace("} } }", "} } }, quotas: { CT6E_CHIPS: 16 }");
    let Some(skies) = Skies::real(&world, "[]").await else { return };
    let failure = step("gcloud.quota", NEEDS).perform(&skies.context()).await.unwrap_err();
    assert_eq!(
        failure.what,
        "the quota is too small: `TPUS_PER_TPU_FAMILY` of CT6E in europe-west4 (TPU chips): 12 needed, 8 left (limit 16, 8 used)"
    );
    assert_eq!(skies.strange(), Vec::<Value>::new());
}
