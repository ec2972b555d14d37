//! The Google Cloud kinds against a `gcloud` that answers by script.

use runbook_steps::context::Stream;
use runbook_steps::{Class, Clock, Standing};
use serde_json::{Value, json};

use crate::workshop::{Workshop, apply, step};

const SCRIPT: &str = r#"
echo "$*" >> "$ANSWERS/calls"
key="$2.$3"
count=$(($(cat "$ANSWERS/$key.count" 2>/dev/null || echo 0) + 1))
echo "$count" > "$ANSWERS/$key.count"
file="$ANSWERS/$key.$count"
[ -f "$file" ] || file="$ANSWERS/$key.last"
[ -f "$file" ] || { echo "unexpected: gcloud $*" >&2; exit 99; }
code=$(head -n 1 "$file")
[ "$code" = 0 ] || exec 1>&2
tail -n +2 "$file"
exit "$code"
"#;

/// A workshop whose gcloud gives these answers, by `GROUP.COMMAND`, the last one of each again and again.
fn cloud(answers: &[(&str, Vec<Answer>)]) -> Workshop {
    let mut shop = Workshop::new();
    shop.clock = Clock::scaled(0, 2000.0);
    shop.program("gcloud", SCRIPT);
    shop.env.insert("ANSWERS".to_owned(), shop.path("home").display().to_string());
    for (key, answers) in answers {
        for (index, answer) in answers.iter().enumerate() {
            let name = if index + 1 == answers.len() { "last".to_owned() } else { (index + 1).to_string() };
            shop.write(&format!("home/{key}.{name}"), &format!("{}\n{}\n", answer.0, answer.1));
        }
    }
    shop
}

#[derive(Clone)]
struct Answer(i32, String);

fn says(value: &Value) -> Answer {
    Answer(0, value.to_string())
}

fn refuses(message: &str) -> Answer {
    Answer(1, format!("ERROR: (gcloud) ResponseError: {message}"))
}

fn missing() -> Answer {
    refuses("code=404, message=Not found: projects/p-1/zones/europe-west4-a/clusters/llm-d.")
}

/// The commands that were called, without their flags.
fn calls(shop: &Workshop) -> Vec<String> {
    let calls = shop.read("home/calls");
    calls
        .lines()
        .map(|line| line.split(' ').take_while(|word| !word.starts_with("--")).skip(1).collect::<Vec<_>>().join(" "))
        .collect()
}

const CLUSTER: &str = "{ name: llm-d, project: p-1, zone: europe-west4-a, version: '1.34', gateway_api: standard }";

fn cluster(status: &str) -> Value {
    json!({
        "name": "llm-d", "status": status, "endpoint": "10.0.0.1", "currentMasterVersion": "1.34.1-gke.1",
        "networkConfig": { "gatewayApiConfig": { "channel": "CHANNEL_STANDARD" } },
        "resourceLabels": { "runbook-deployment": "trial" },
    })
}

#[tokio::test]
async fn a_cluster_is_made_and_waited_for() {
    let shop = cloud(&[
        ("clusters.describe", vec![missing(), missing(), says(&cluster("PROVISIONING")), says(&cluster("RUNNING"))]),
        ("clusters.create", vec![says(&cluster("PROVISIONING"))]),
    ]);
    let (changed, outputs) = apply(&*step("gke.cluster", CLUSTER), &shop.context()).await.unwrap();
    assert!(changed);
    assert_eq!(
        Value::from(outputs),
        json!({
            "name": "llm-d", "endpoint": "10.0.0.1", "version": "1.34.1-gke.1", "location": "europe-west4-a", "zone": "europe-west4-a",
            "region": "europe-west4",
        })
    );
    assert_eq!(calls(&shop).iter().filter(|call| *call == "clusters create llm-d").count(), 1);
    assert!(shop.read("home/calls").contains("--async --format=json --project=p-1 --quiet"));
}

#[tokio::test]
async fn a_cluster_that_fits_is_adopted_with_one_call() {
    let shop = cloud(&[("clusters.describe", vec![says(&cluster("RUNNING"))])]);
    assert!(!apply(&*step("gke.cluster", CLUSTER), &shop.context()).await.unwrap().0);
    assert_eq!(calls(&shop), ["clusters describe llm-d"]);
}

#[tokio::test]
async fn a_cluster_that_does_not_fit_is_left_alone() {
    let mut found = cluster("RUNNING");
    found["networkConfig"] = json!({});
    let shop = cloud(&[("clusters.describe", vec![says(&found)])]);
    let failure = apply(&*step("gke.cluster", CLUSTER), &shop.context()).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.detail.as_str()),
        (Class::Invalid, "gateway_api: the plan wants `standard`, it is `disabled`")
    );
}

#[tokio::test]
async fn a_cluster_in_the_making_is_waited_for_and_not_made_again() {
    let operation = |name: &str, cluster: &str, time: &str| json!({ "name": name, "targetLink": format!("https://x/v1/projects/p-1/zones/z/clusters/{cluster}"), "startTime": time, "status": "RUNNING" });
    let operations = json!([
        operation("operation-1-aa", "llm-d", "1"),
        operation("operation-2-bb", "llm-d", "2"),
        operation("operation-3-cc", "other", "3")
    ]);
    let shop = cloud(&[
        (
            "clusters.describe",
            vec![says(&cluster("PROVISIONING")), says(&cluster("PROVISIONING")), says(&cluster("RUNNING"))],
        ),
        ("operations.list", vec![says(&operations)]),
    ]);
    let (step, cx) = (step("gke.cluster", CLUSTER), shop.context());
    assert_eq!(
        step.observe(&cx).await.unwrap(),
        Standing::InProgress("the cluster `llm-d` is being made by operation-2-bb".to_owned())
    );
    step.perform(&cx).await.unwrap();
    assert!(!calls(&shop).iter().any(|call| call.contains("create")));
}

#[tokio::test]
async fn a_failed_cluster_tells_why() {
    let operations = json!([{
        "name": "operation-1-aa", "targetLink": "https://x/clusters/llm-d", "error": { "message": "Quota 'CPUS' exceeded." },
    }]);
    let shop =
        cloud(&[("clusters.describe", vec![says(&cluster("ERROR"))]), ("operations.list", vec![says(&operations)])]);
    let failure = apply(&*step("gke.cluster", CLUSTER), &shop.context()).await.unwrap_err();
    assert_eq!(
        (failure.class, failure.what.as_str()),
        (Class::Quota, "the cluster `llm-d` is ERROR: Quota 'CPUS' exceeded.")
    );
    assert!(
        failure.fix.unwrap().contains("gcloud container clusters delete llm-d --zone=europe-west4-a --project=p-1")
    );
}

#[tokio::test]
async fn a_hiccup_while_waiting_is_no_failure() {
    let hiccup = refuses("code=503, message=The service is currently unavailable.");
    let shop = cloud(&[
        ("clusters.describe", vec![missing(), hiccup.clone(), hiccup, says(&cluster("RUNNING"))]),
        ("clusters.create", vec![says(&cluster("PROVISIONING"))]),
    ]);
    step("gke.cluster", CLUSTER).perform(&shop.context()).await.unwrap();
}

#[tokio::test]
async fn an_outage_while_waiting_is_a_transient_failure() {
    let outage = refuses("code=503, message=The service is currently unavailable.");
    let shop = cloud(&[
        ("clusters.describe", vec![missing(), outage]),
        ("clusters.create", vec![says(&cluster("PROVISIONING"))]),
    ]);
    let failure = step("gke.cluster", CLUSTER).perform(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Transient);
}

#[tokio::test]
async fn an_expired_login_says_what_to_do() {
    let expired = refuses("code=401, message=Request had invalid authentication credentials.");
    let shop = cloud(&[("clusters.describe", vec![expired])]);
    let failure = step("gke.cluster", CLUSTER).observe(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::AuthExpired);
    assert!(failure.fix.unwrap().contains("gcloud auth login"));
}

#[tokio::test]
async fn a_cluster_of_ours_is_deleted() {
    let shop = cloud(&[
        ("clusters.describe", vec![says(&cluster("RUNNING")), says(&cluster("STOPPING")), missing()]),
        ("clusters.delete", vec![says(&json!([]))]),
    ]);
    step("gke.cluster", CLUSTER).undo(&shop.context()).await.unwrap();
    assert_eq!(calls(&shop)[1], "clusters delete llm-d");
}

#[tokio::test]
async fn a_cluster_of_others_is_not_deleted() {
    let mut found = cluster("RUNNING");
    found["resourceLabels"] = json!({ "runbook-deployment": "other" });
    let shop = cloud(&[("clusters.describe", vec![says(&found)])]);
    step("gke.cluster", CLUSTER).undo(&shop.context()).await.unwrap();
    assert_eq!(calls(&shop), ["clusters describe llm-d"]);
    assert!(shop.ears.logged(Stream::Note).contains("left alone"));
}

#[tokio::test]
async fn waiting_ends_when_told_to_stop() {
    let mut shop = cloud(&[
        ("clusters.describe", vec![says(&cluster("PROVISIONING"))]),
        ("operations.list", vec![says(&json!([]))]),
    ]);
    shop.clock = Clock::scaled(0, 1.0);
    let cx = shop.context();
    let waiting = tokio::spawn(async move { step("gke.cluster", CLUSTER).perform(&cx).await });
    shop.ears.hears(Stream::Out, "PROVISIONING").await;
    shop.cancel.soft.cancel();
    assert_eq!(waiting.await.unwrap().unwrap_err().class, Class::Cancelled);
}

const POOL: &str =
    "{ name: tpu, cluster: llm-d, project: p-1, zone: europe-west4-a, machine_type: ct6e-standard-4t, nodes: 1 }";

fn pool(status: &str) -> Value {
    json!({
        "name": "tpu", "status": status, "version": "1.34.1-gke.1",
        "config": { "machineType": "ct6e-standard-4t", "resourceLabels": { "runbook-deployment": "trial" } },
        "instanceGroupUrls": ["https://x/compute/v1/projects/p-1/zones/europe-west4-a/instanceGroupManagers/gke-tpu-grp"],
    })
}

#[tokio::test]
async fn a_pool_waits_for_its_turn() {
    let busy = refuses(
        "code=400, message=Operation operation-7-ab is currently creating cluster llm-d. Please wait and try again.",
    );
    let shop = cloud(&[
        ("node-pools.describe", vec![missing(), says(&pool("PROVISIONING")), says(&pool("RUNNING"))]),
        ("node-pools.create", vec![busy, says(&json!({ "name": "operation-8-cd" }))]),
        ("operations.describe", vec![says(&json!({ "status": "RUNNING" })), says(&json!({ "status": "DONE" }))]),
        ("instance-groups.managed", vec![says(&json!([]))]),
    ]);
    let outputs = step("gke.node_pool", POOL).perform(&shop.context()).await.unwrap();
    assert_eq!(outputs["machine_type"], "ct6e-standard-4t");
    assert!(calls(&shop).contains(&"operations describe operation-7-ab".to_owned()));
}

#[tokio::test]
async fn a_stockout_is_told_early() {
    let error =
        json!([{ "error": { "code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "no chips" }, "timestamp": "1" }]);
    let shop = cloud(&[
        ("node-pools.describe", vec![missing(), says(&pool("PROVISIONING"))]),
        ("node-pools.create", vec![says(&json!({ "name": "operation-8-cd" }))]),
        ("instance-groups.managed", vec![says(&json!([])), says(&error)]),
    ]);
    let failure = step("gke.node_pool", POOL).perform(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Stockout);
    assert_eq!(failure.what, "`europe-west4-a` has no `ct6e-standard-4t` for the node pool `tpu` now");
    assert_eq!(failure.facts.other["zone"], "europe-west4-a");
}

#[tokio::test]
async fn a_pool_that_failed_is_made_anew() {
    let mut failed = pool("ERROR");
    failed["statusMessage"] =
        "Google Compute Engine does not have enough resources available to fulfill request".into();
    let shop = cloud(&[
        ("node-pools.describe", vec![says(&failed), says(&failed), missing(), says(&pool("RUNNING"))]),
        ("node-pools.delete", vec![says(&json!([]))]),
        ("node-pools.create", vec![says(&json!({ "name": "operation-8-cd" }))]),
    ]);
    assert!(apply(&*step("gke.node_pool", POOL), &shop.context()).await.unwrap().0);
    assert_eq!(
        calls(&shop)[2..],
        ["node-pools delete tpu", "node-pools describe tpu", "node-pools create tpu", "node-pools describe tpu"]
    );
}

#[tokio::test]
async fn a_quota_is_no_matter_of_patience() {
    let refused =
        refuses("code=403, message=Insufficient quota to satisfy the request: Quota 'TPUS_PER_TPU_FAMILY' exceeded.");
    let shop = cloud(&[("node-pools.describe", vec![missing()]), ("node-pools.create", vec![refused])]);
    let failure = step("gke.node_pool", POOL).perform(&shop.context()).await.unwrap_err();
    assert_eq!(failure.class, Class::Quota);
    assert!(failure.fix.unwrap().contains("quotas"));
}

const CREDENTIALS: &str = "{ cluster: llm-d, project: p-1, zone: europe-west4-a }";
const WRITES: &str = r#"
case "$*" in
*get-credentials*)
  name=gke_p-1_europe-west4-a_llm-d
  printf 'current-context: %s\ncontexts:\n- {name: %s, context: {cluster: %s, user: %s}}\nclusters:\n- {name: %s, cluster: {server: https://10.0.0.1}}\n' \
    $name $name $name $name $name > "$KUBECONFIG" ;;
*) echo '{"endpoint": "'$ENDPOINT'"}' ;;
esac
"#;

#[tokio::test]
async fn credentials_are_private_and_follow_the_cluster() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut shop = Workshop::new();
    shop.program("gcloud", WRITES);
    shop.env.insert("ENDPOINT".to_owned(), "10.0.0.1".to_owned());
    let step = step("gke.credentials", CREDENTIALS);
    let (changed, outputs) = apply(&*step, &shop.context()).await.unwrap();
    assert!(changed);
    let file = shop.path("state/kubeconfig");
    assert_eq!(Value::from(outputs), json!({ "kubeconfig": file, "context": "gke_p-1_europe-west4-a_llm-d" }));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!apply(&*step, &shop.context()).await.unwrap().0);
    shop.env.insert("ENDPOINT".to_owned(), "10.0.0.2".to_owned());
    let moved = Standing::Lacks("the cluster is at https://10.0.0.2 now, not at https://10.0.0.1".to_owned());
    assert_eq!(step.observe(&shop.context()).await.unwrap(), moved);
    step.undo(&shop.context()).await.unwrap();
    assert!(!file.exists());
    step.undo(&shop.context()).await.unwrap();
}

const SUBNET: &str = "{ project: p-1, format: json, args: [compute, networks, create, n, --x], exists: { args: [compute, routers, describe, n] }, \
                      undo: { args: [compute, addresses, delete, n] } }";

#[tokio::test]
async fn what_exists_is_not_made_again() {
    let shop = cloud(&[("routers.describe", vec![says(&json!({ "name": "n" }))])]);
    let (changed, outputs) = apply(&*step("gcloud", SUBNET), &shop.context()).await.unwrap();
    assert_eq!((changed, &outputs["json"]["name"]), (false, &json!("n")));
    assert_eq!(shop.read("home/calls"), "compute routers describe n --format=json --project=p-1 --quiet\n");
}

#[tokio::test]
async fn what_is_made_gives_the_outputs_of_the_lookup() {
    let gone = refuses("The resource 'projects/p-1/n' was not found");
    let shop = cloud(&[
        ("routers.describe", vec![gone, says(&json!({ "name": "n" }))]),
        ("networks.create", vec![says(&json!([{ "name": "n" }]))]),
    ]);
    let (changed, outputs) = apply(&*step("gcloud", SUBNET), &shop.context()).await.unwrap();
    assert_eq!((changed, &outputs["json"]["name"]), (true, &json!("n")));
}

#[tokio::test]
async fn undoing_what_is_gone_is_fine() {
    let gone = refuses("The resource 'projects/p-1/n' was not found");
    let shop = cloud(&[("addresses.delete", vec![gone])]);
    step("gcloud", SUBNET).undo(&shop.context()).await.unwrap();
}

#[tokio::test]
async fn what_is_still_in_use_can_be_undone_later() {
    let used = "The subnetwork resource 'projects/p-1/n' is already being used by 'projects/p-1/forwardingRules/f'";
    let shop = cloud(&[("addresses.delete", vec![refuses(used)])]);
    let failure = step("gcloud", SUBNET).undo(&shop.context()).await.expect_err("in use");
    assert_eq!(failure.class, Class::Conflict);
}

/// A kubeconfig of gcloud's making, for a server that nobody is at.
const NOBODY_THERE: &str = "{ kind: Config, apiVersion: v1, current-context: gke_p-1_europe-west4-a_llm-d,
  clusters: [{ name: c, cluster: { server: 'http://127.0.0.1:9' } }], users: [{ name: u, user: {} }],
  contexts: [{ name: gke_p-1_europe-west4-a_llm-d, context: { cluster: c, user: u } }] }";

#[tokio::test]
async fn what_was_in_a_cluster_that_is_gone_is_gone() {
    let with = "{ objects: [{ apiVersion: v1, kind: ConfigMap, metadata: { name: c } }] }";
    for (answer, fine) in [(missing(), true), (says(&cluster("RUNNING")), false)] {
        let shop = cloud(&[("clusters.describe", vec![answer])]);
        let cx = shop.context();
        std::fs::write(&cx.world.kubeconfig, NOBODY_THERE).unwrap();
        for (kind, with) in [("kubectl.apply", with), ("kubectl.secret", "{ name: s, data: { k: v } }")] {
            assert_eq!(step(kind, with).undo(&cx).await.is_ok(), fine, "{kind}");
        }
    }
}

#[tokio::test]
async fn without_a_lookup_nothing_is_known() {
    let shop = cloud(&[]);
    let standing = step("gcloud", "{ args: [services, enable, x] }").observe(&shop.context()).await.unwrap();
    assert_eq!((standing, calls(&shop).len()), (Standing::Unknown, 0));
}

#[test]
fn every_kind_is_documented_and_has_an_example() {
    for kind in runbook_steps::KINDS {
        assert!(!kind.summary.is_empty() && !kind.docs.is_empty(), "{}", kind.name);
        let changes = kind.effect != runbook_steps::Effect::Reads;
        assert!(!changes || kind.docs.contains("**observe**") && kind.docs.contains("**undo**"), "{}", kind.name);
        let example: Value =
            serde_yaml::from_str(kind.example).unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        assert_eq!(example.as_object().unwrap().len(), 1, "{}", kind.name);
        assert!((kind.schema)().is_object(), "{}", kind.name);
    }
}
