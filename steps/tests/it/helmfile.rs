//! The kind `helmfile` against the embedded API, with the stand-ins for helmfile and helm.

use std::collections::BTreeMap;

use runbook_steps::secret::{Secret, marker};
use runbook_steps::{Class, Context, Secrets, Standing, Step};
use serde_json::{Value, json};

use crate::helm::tool;
use crate::site::{SPEED, Site};
use crate::workshop::{apply, refusal, step};

const NAMESPACE: &str = "openshift-lws-operator";
const DEPLOYMENT: &str = "openshift-lws-operator";

/// A site with the state file of the operators, and a login for their registry.
async fn site() -> Site {
    let mut site = Site::new().await;
    for program in ["helm", "helmfile"] {
        site.workshop.program(program, &format!("exec '{}' {program} \"$@\"", tool().display()));
    }
    let scenario = site.workshop.path("scenario.yaml").display().to_string();
    site.workshop.write("scenario.yaml", "name: quick\ndurations: { helmfile_presync: 100ms }\n");
    site.workshop.env.extend(BTreeMap::from([
        ("RUNBOOK_REHEARSAL_EPOCH".to_owned(), site.epoch.to_string()),
        ("RUNBOOK_REHEARSAL_SPEED".to_owned(), SPEED.to_string()),
        ("RUNBOOK_REHEARSAL_SCENARIO".to_owned(), scenario),
    ]));
    site.workshop.write("plan/infra/helmfile.yaml.gotmpl", "releases: []\n");
    site.workshop.write("home/.config/containers/auth.json", r#"{"auths":{"registry.redhat.io":{"auth":"eDp5"}}}"#);
    // The hook after the release makes an object of a kind that is the operator's.
    site.create(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "leaderworkersetoperators.operator.openshift.io" },
        "spec": {
            "group": "operator.openshift.io", "scope": "Cluster",
            "names": { "kind": "LeaderWorkerSetOperator", "plural": "leaderworkersetoperators", "singular": "leaderworkersetoperator" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
        },
    }));
    site
}

fn operators(more: &str) -> Box<dyn Step> {
    step("helmfile", &format!("{{ file: infra/helmfile.yaml.gotmpl, selectors: [name=lws-operator]{more} }}"))
}

/// Does it, while the operator comes up as soon as it is there.
async fn done(step: &dyn Step, site: &Site, cx: &Context) -> (bool, Value) {
    let mut changes = site.kube.subscribe();
    let operator = async {
        loop {
            let change = changes.recv().await.unwrap();
            if change.object["kind"] == "Deployment" && change.object["status"]["availableReplicas"].is_null() {
                let generation = change.object["metadata"]["generation"].clone();
                let status = json!({ "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
                    "availableReplicas": 1, "conditions": [{ "type": "Available", "status": "True" }] });
                site.kube.set_status("test", "apps/v1", "Deployment", NAMESPACE, DEPLOYMENT, status).unwrap();
            }
        }
    };
    tokio::select! {
        applied = apply(step, cx) => applied.map(|(changed, outputs)| (changed, Value::from(outputs))).unwrap(),
        () = operator => unreachable!("it watches for ever"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_compared_applied_and_destroyed() {
    let site = site().await;
    let cx = site.context();
    let lacks = format!("{NAMESPACE}, {DEPLOYMENT}, Deployment (apps) has been added");
    assert_eq!(operators("").observe(&cx).await.unwrap(), Standing::Lacks(lacks));
    let recipe = operators("").undo_with(&cx).await.unwrap().unwrap();
    assert_eq!(recipe["keep"], json!([]));
    let (changed, outputs) = done(&*operators(""), &site, &cx).await;
    let release = json!({ "name": "lws-operator", "namespace": NAMESPACE, "revision": 1, "status": "deployed", "chart": "lws-operator-chart-1.0.0" });
    assert_eq!((changed, &outputs["releases"]), (true, &json!([release])));
    assert!(!done(&*operators(""), &site, &cx).await.0);
    assert!(site.workshop.path("state/helmfile").exists() || !site.workshop.path("home/.cache").exists());

    let later = operators("").undo_with(&cx).await.unwrap().unwrap();
    assert_eq!(later["keep"], json!(["lws-operator"]));
    step("helmfile", &later.to_string()).undo(&cx).await.unwrap();
    assert!(site.kube.get("apps/v1", "Deployment", NAMESPACE, DEPLOYMENT).is_some(), "what was there before stays");
    step("helmfile", &recipe.to_string()).undo(&cx).await.unwrap();
    assert_eq!(site.kube.get("apps/v1", "Deployment", NAMESPACE, DEPLOYMENT), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn state_values_are_in_a_file_that_is_gone_when_it_ends() {
    let mut site = site().await;
    site.workshop.secrets = Secrets::new([("t".to_owned(), Secret::new("hunter22"))].into());
    let cx = site.context();
    let with = format!(", state_values: {{ size: 2, token: '{}' }}", marker("t"));
    let chosen = operators(&with);
    assert!(chosen.intent()[0].contains("--state-values-file=…"), "{:?}", chosen.intent());
    assert!(done(&*chosen, &site, &cx).await.0 && !done(&*chosen, &site, &cx).await.0);
    assert!(matches!(operators(", state_values: { size: 3 }").observe(&cx).await.unwrap(), Standing::Lacks(_)));
    let recipe = chosen.undo_with(&cx).await.unwrap().unwrap().to_string();
    assert!(!recipe.contains("hunter22"), "{recipe}");
    let left = std::fs::read_dir(site.workshop.path("state")).unwrap().flatten();
    assert!(left.into_iter().all(|it| !it.file_name().to_string_lossy().starts_with(".outputs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_helm_left_is_put_right_first() {
    let site = site().await;
    let cx = site.context();
    done(&*operators(""), &site, &cx).await;
    let name = "sh.helm.release.v1.lws-operator.v1";
    let secret = site.kube.get("v1", "Secret", NAMESPACE, name).unwrap();
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let body = STANDARD.decode(STANDARD.decode(secret["data"]["release"].as_str().unwrap()).unwrap()).unwrap();
    let pending = String::from_utf8(body).unwrap().replace("\"deployed\"", "\"pending-install\"");
    let data = json!({ "data": { "release": STANDARD.encode(STANDARD.encode(pending)) } });
    site.kube.merge("test", "v1", "Secret", NAMESPACE, name, data).unwrap();
    let again = Context { after_crash: true, ..cx };
    assert!(matches!(operators("").observe(&again).await.unwrap(), Standing::Lacks(_)));
    assert_eq!(done(&*operators(""), &site, &again).await.1["releases"][0]["status"], "deployed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_with_what_to_do() {
    let site = site().await;
    let cx = site.context();
    let failure =
        step("helmfile", "{ file: infra/helmfile.yaml.gotmpl, selectors: [name=x] }").perform(&cx).await.unwrap_err();
    assert_eq!((failure.class, failure.fix.unwrap().contains("selectors")), (Class::Invalid, true));
    std::fs::remove_file(site.workshop.path("home/.config/containers/auth.json")).unwrap();
    let failure = operators("").observe(&cx).await.unwrap_err();
    assert!(failure.fix.unwrap().contains("--authfile ~/.config/containers/auth.json"));
    site.workshop.program("helm", "printf 'NAME\\tVERSION\\nsecrets\\t4.6\\n'");
    let failure = operators("").observe(&cx).await.unwrap_err();
    assert_eq!(failure.what, "the helm plugin `diff` is missing");
    assert!(failure.fix.unwrap().contains("helm plugin install"));
    assert!(refusal("helmfile", "{ file: f, selectors: [web] }").starts_with("selectors: a selector is"));
}
