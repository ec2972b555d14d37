//! The kind `kustomize` against the embedded API, with the stand-in for the program.

use runbook_steps::{Class, Standing};
use serde_json::json;

use crate::helm::tool;
use crate::site::{SPEED, Site};
use crate::workshop::{apply, refusal, step};

async fn site() -> Site {
    let mut site = Site::new().await;
    site.workshop.env.insert("RUNBOOK_REHEARSAL_EPOCH".to_owned(), site.epoch.to_string());
    site.workshop.env.insert("RUNBOOK_REHEARSAL_SPEED".to_owned(), SPEED.to_string());
    site.workshop.program("kustomize", &format!("exec '{}' kustomize \"$@\"", tool().display()));
    let shop = &site.workshop;
    shop.write("plan/overlay/kustomization.yaml", "resources: [inside.yaml, namespace.yaml]\n");
    shop.write("plan/overlay/namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: { name: app }\n");
    let inside = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: c, namespace: app }\ndata: { k: one }\n";
    shop.write("plan/overlay/inside.yaml", inside);
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_built_applied_compared_and_taken_back() {
    let site = site().await;
    let cx = site.context();
    let overlay = step("kustomize", "{ dir: overlay, min_version: '5.8.0' }");
    assert_eq!(overlay.observe(&cx).await.unwrap(), Standing::Lacks("namespace/app does not exist".to_owned()));
    let (changed, outputs) = apply(&*overlay, &cx).await.unwrap();
    assert_eq!((changed, &outputs["created"]), (true, &json!(2)));
    assert!(!apply(&*overlay, &cx).await.unwrap().0);
    site.kube.merge("x", "v1", "ConfigMap", "app", "c", json!({ "data": { "k": "two" } })).unwrap();
    let taken = "cannot apply configmaps `app/c`: 1 field(s) belong to other managers".to_owned();
    assert_eq!(overlay.observe(&cx).await.unwrap(), Standing::Lacks(taken));
    let with = overlay.undo_with(&cx).await.unwrap().unwrap();
    std::fs::remove_dir_all(site.workshop.plan("overlay")).unwrap();
    step("kustomize", &with.to_string()).undo(&cx).await.unwrap();
    assert_eq!(site.kube.get("v1", "Namespace", "", "app"), None, "taken back without building again");
    let left = std::fs::read_dir(site.workshop.path("state")).unwrap().flatten();
    assert!(left.into_iter().all(|it| !it.file_name().to_string_lossy().starts_with(".outputs")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_is_built_at_its_ref() {
    let site = site().await;
    let cx = site.context();
    let with = "{ url: 'https://github.com/kubernetes-sigs/gateway-api/config/crd', ref: v1.4.0 }";
    let gateway_api = step("kustomize", with);
    assert!(
        gateway_api.intent()[0]
            .starts_with("kustomize build 'https://github.com/kubernetes-sigs/gateway-api/config/crd?ref=v1.4.0' |")
    );
    apply(&*gateway_api, &cx).await.unwrap();
    assert!(
        site.kube
            .get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "gateways.gateway.networking.k8s.io")
            .is_some()
    );
    assert!(!apply(&*gateway_api, &cx).await.unwrap().0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_and_an_old_version_are_told_apart_from_mistakes() {
    let mut site = site().await;
    site.workshop.write("scenario.yaml", "name: crash\nfaults: [{ kind: kustomize-crash }]\n");
    let scenario = site.workshop.path("scenario.yaml").display().to_string();
    site.workshop.env.insert("RUNBOOK_REHEARSAL_SCENARIO".to_owned(), scenario);
    let cx = site.context();
    let failure = step("kustomize", "{ dir: overlay }").perform(&cx).await.unwrap_err();
    assert_eq!((failure.class, failure.what.as_str()), (Class::Invalid, "`kustomize build` crashed"));
    assert!(failure.cause.unwrap().contains("$patch: delete"));
    let failure = step("kustomize", "{ dir: overlay, min_version: '5.8.0' }").perform(&cx).await.unwrap_err();
    assert_eq!(failure.what, "kustomize 5.5.0 is too old (at least 5.8.0)");
    assert_eq!(step("kustomize", "{ dir: nowhere }").perform(&cx).await.unwrap_err().class, Class::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_place_of_a_definition_is_refused_and_not_waited_for() {
    let site = site().await;
    site.workshop.pipe("plan/pipes/Kustomization");
    let failure = step("kustomize", "{ dir: pipes }").perform(&site.context()).await.unwrap_err();
    let expected = "cannot build from `pipes/Kustomization`: it is a named pipe, and a step reads only files";
    assert_eq!((failure.class, failure.what.as_str()), (Class::Invalid, expected));
}

#[test]
fn a_remote_without_a_ref_is_refused() {
    assert!(refusal("kustomize", "{ url: 'https://github.com/a/b' }").starts_with("ref: without a ref"));
    assert_eq!(refusal("kustomize", "{}"), ": give either `dir` or `url`");
    assert!(refusal("kustomize", "{ dir: x, min_version: new }").starts_with("min_version"));
}
