//! The kinds that change a cluster, against the embedded API.

use std::time::Duration;

use runbook_steps::failure::Class;
use runbook_steps::{Context, Standing, Step};
use serde_json::{Value, json};

use crate::site::{Site, config_map, gadget, gadgets};
use crate::workshop::{apply, refusal, step};

fn inline(objects: &[Value]) -> Box<dyn Step> {
    step("kubectl.apply", &json!({ "objects": objects }).to_string())
}

async fn lacks(step: &dyn Step, cx: &Context) -> String {
    match step.observe(cx).await.unwrap() {
        Standing::Lacks(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn objects_are_applied_in_the_order_they_need_and_once() {
    let site = Site::new().await;
    site.kube.establish_definitions_after(Duration::from_secs(2));
    let cx = site.context();
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "new" } });
    let mut inside = config_map("c", "1");
    inside["metadata"]["namespace"] = json!("new");
    let all = inline(&[gadget("g"), inside, gadgets(), namespace]);
    let (performed, outputs) = apply(&*all, &cx).await.unwrap();
    assert!(performed);
    assert_eq!((&outputs["created"], &outputs["changed"]), (&json!(4), &json!(0)));
    let kinds: Vec<&str> =
        outputs["objects"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "CustomResourceDefinition", "ConfigMap", "Gadget"]);
    let again = all.observe(&cx).await.unwrap();
    assert!(matches!(again, Standing::Holds(_)), "{again:?}");
}

#[tokio::test]
async fn a_look_says_what_differs() {
    let site = Site::new().await;
    let cx = site.context();
    let wanted = inline(&[config_map("c", "new")]);
    assert_eq!(lacks(&*wanted, &cx).await, "configmap/c does not exist");
    wanted.perform(&cx).await.unwrap();
    let other = inline(&[config_map("c", "newer")]);
    assert_eq!(lacks(&*other, &cx).await, "configmap/c differs at .data.k: \"new\" → \"newer\"");
    let outputs = other.perform(&cx).await.unwrap();
    assert_eq!((&outputs["created"], &outputs["changed"]), (&json!(0), &json!(1)));
    let unknown = inline(&[gadget("g")]);
    assert!(lacks(&*unknown, &cx).await.contains("does not know kind Gadget of example.com/v1 yet"));
    assert_eq!(unknown.perform(&cx).await.expect_err("no such kind").class, Class::Transient);
}

#[tokio::test]
async fn undo_takes_back_what_was_made_and_leaves_what_was_there() {
    let site = Site::new().await;
    let cx = site.context();
    site.kube.apply("runbook", config_map("theirs", "1")).unwrap();
    let both = inline(&[config_map("theirs", "2"), config_map("ours", "1")]);
    both.perform(&cx).await.unwrap();
    both.undo(&cx).await.unwrap();
    let names: Vec<Value> =
        site.kube.list("v1", "ConfigMap", "default", "").into_iter().map(|it| it["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["theirs"]);
    both.undo(&cx).await.expect("what is gone is no failure");
}

#[tokio::test]
async fn names_are_all_that_undo_needs_later() {
    let site = Site::new().await;
    let cx = site.context();
    std::fs::write(site.workshop.plan("c.yaml"), config_map("ours", "1").to_string()).unwrap();
    let from_file = step("kubectl.apply", "{ file: c.yaml }");
    let with = from_file.undo_with(&cx).await.unwrap().expect("less than the whole");
    let stub =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "ours", "namespace": "default" } });
    assert_eq!(with, json!({ "objects": [stub] }));
    from_file.perform(&cx).await.unwrap();
    std::fs::write(site.workshop.plan("c.yaml"), config_map("another", "1").to_string()).unwrap();
    let later = step("kubectl.apply", &with.to_string());
    assert_eq!(later.undo_intent(), ["kubectl delete configmap ours -n default"]);
    later.undo(&cx).await.unwrap();
    assert_eq!(site.kube.get("v1", "ConfigMap", "default", "ours"), None);
}

#[tokio::test]
async fn fields_of_others_are_a_conflict_unless_forced() {
    let site = Site::new().await;
    let cx = site.context();
    site.kube.apply("kubectl", config_map("c", "theirs")).unwrap();
    let failure = inline(&[config_map("c", "ours")]).perform(&cx).await.expect_err("taken");
    assert_eq!(failure.class, Class::Conflict);
    assert!(failure.detail.contains("kubectl"));
    let forced = step("kubectl.apply", &json!({ "objects": [config_map("c", "ours")], "force": true }).to_string());
    forced.perform(&cx).await.expect("taken over");
}

#[tokio::test]
async fn a_misspelt_field_is_invalid() {
    let site = Site::new().await;
    let mut object = config_map("c", "1");
    object["dta"] = json!({});
    let failure = inline(&[object]).perform(&site.context()).await.expect_err("no such field");
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.what.contains("dta"), "{}", failure.what);
}

#[tokio::test]
async fn files_and_folders_are_read_and_rendered() {
    let site = Site::new().await;
    let cx = site.context();
    let text =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '${{ values.name }}'}\ndata: {k: 'x ${{ values.name }}'}\n";
    site.workshop.write("plan/folder/a.yaml", text);
    site.workshop.write("plan/folder/notes.txt", "not a manifest");
    let folder = step("kubectl.apply", "{folder: folder, namespace: kube-public, values: {name: n}}");
    folder.perform(&cx).await.unwrap();
    let made = site.kube.get("v1", "ConfigMap", "kube-public", "n").expect("applied");
    assert_eq!(made["data"]["k"], "x n");
    let missing = step("kubectl.apply", "{file: nowhere.yaml}").perform(&cx).await.expect_err("no file");
    assert_eq!(missing.class, Class::NotFound);
}

#[tokio::test]
async fn what_is_no_file_is_refused_by_name_and_not_waited_for() {
    let site = Site::new().await;
    site.workshop.pipe("plan/folder/p.yaml");
    for (kind, with) in [
        ("kubectl.apply", "{folder: folder}"),
        ("kubectl.secret", "{name: s, files: {k: folder/p.yaml}}"),
        ("http.probe", "{url: 'https://127.0.0.1:1', ca_bundle: folder/p.yaml}"),
    ] {
        let failure = step(kind, with).perform(&site.context()).await.expect_err(kind);
        let end = "/plan/folder/p.yaml`: it is a named pipe, and a step reads only files";
        assert!(failure.what.ends_with(end), "{kind}: {}", failure.what);
    }
}

#[tokio::test]
async fn a_secret_may_only_stand_in_the_data_of_a_secret() {
    let mut site = Site::new().await;
    site.workshop.secrets =
        runbook_steps::Secrets::new([("t".to_owned(), runbook_steps::Secret::new("hunter22"))].into());
    let cx = site.context();
    let failure = inline(&[config_map("c", "«secret:t»")]).perform(&cx).await.expect_err("refused");
    assert_eq!(failure.class, Class::Invalid);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "k": "«secret:t»" } });
    let secret = inline(&[secret]);
    assert!(apply(&*secret, &cx).await.unwrap().0);
    assert_eq!(site.kube.get("v1", "Secret", "default", "s").expect("applied")["data"]["k"], "aHVudGVyMjI=");
    assert!(!apply(&*secret, &cx).await.unwrap().0, "a second look finds it as wanted");
}

#[tokio::test]
async fn a_secret_is_made_compared_and_taken_back() {
    let mut site = Site::new().await;
    site.workshop.secrets =
        runbook_steps::Secrets::new([("t".to_owned(), runbook_steps::Secret::new("hunter22"))].into());
    let cx = site.context();
    let made = step("kubectl.secret", "{name: s, namespace: n, data: {TOKEN: '«secret:t»'}, create_namespace: true}");
    assert_eq!(lacks(&*made, &cx).await, "secret/s does not exist");
    let (_, outputs) = apply(&*made, &cx).await.unwrap();
    assert_eq!(outputs["keys"], json!(["TOKEN"]));
    assert!(!apply(&*made, &cx).await.unwrap().0);
    let other = step("kubectl.secret", "{name: s, namespace: n, data: {TOKEN: other}}");
    assert_eq!(lacks(&*other, &cx).await, "secret/s has another value for `TOKEN`");
    let with = made.undo_with(&cx).await.unwrap().expect("less than the whole").to_string();
    assert!(!with.contains("secret:") && !with.contains("TOKEN"), "{with}");
    step("kubectl.secret", &with).undo(&cx).await.unwrap();
    assert_eq!(site.kube.get("v1", "Namespace", "", "n"), None);
}

#[tokio::test]
async fn a_login_is_checked_and_a_copy_takes_type_and_data_only() {
    let site = Site::new().await;
    let cx = site.context();
    site.workshop.write("plan/auth.json", r#"{"auths": {"registry.redhat.io": {"auth": "eDp5"}}}"#);
    let login = |registry: &str| {
        step("kubectl.secret", &format!("{{name: pull, docker_auth: {{file: auth.json, registry: {registry}}}}}"))
    };
    let failure = login("quay.io").perform(&cx).await.expect_err("another registry");
    assert_eq!(failure.class, Class::Invalid);
    login("registry.redhat.io").perform(&cx).await.unwrap();
    site.kube.merge("x", "v1", "Secret", "default", "pull", json!({ "metadata": { "labels": { "a": "b" } } })).unwrap();
    let copy = step("kubectl.secret", "{name: pull, namespace: kube-public, copy: {name: pull, namespace: default}}");
    copy.perform(&cx).await.unwrap();
    let made = site.kube.get("v1", "Secret", "kube-public", "pull").expect("copied");
    assert_eq!(made["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(made["metadata"].get("labels"), None);
    assert!(!apply(&*copy, &cx).await.unwrap().0);
}

#[tokio::test]
async fn a_patch_is_sent_once() {
    let site = Site::new().await;
    let cx = site.context();
    site.create(config_map("c", "1"));
    for with in [
        "{object: configmap/c, patch: {data: {k: '2'}}}",
        "{object: cm/c, type: json, patch: [{op: replace, path: /data/k, value: '3'}]}",
        "{object: cm/c, type: strategic, patch: {data: {k: '4'}}}",
    ] {
        let patch = step("kubectl.patch", with);
        let (performed, outputs) = apply(&*patch, &cx).await.unwrap();
        assert!(performed && outputs["changed"] == true, "{with}");
        assert!(!apply(&*patch, &cx).await.unwrap().0, "{with}");
    }
    let missing = step("kubectl.patch", "{object: cm/none, patch: {}}");
    assert_eq!(missing.perform(&cx).await.expect_err("nothing there").class, Class::NotFound);
    assert!(
        refusal("kubectl.patch", "{object: cm/c, type: json, patch: {}}").starts_with("patch: a JSON patch is a list")
    );
}

#[tokio::test]
async fn what_is_deleted_is_waited_for() {
    let site = Site::new().await;
    let cx = site.context();
    site.create(config_map("c", "1"));
    let delete = step("kubectl.delete", "{object: configmap/c}");
    assert_eq!(apply(&*delete, &cx).await.unwrap().1["deleted"], json!(["c"]));
    assert!(!apply(&*delete, &cx).await.unwrap().0);
    assert!(
        !apply(&*step("kubectl.delete", "{object: gadget/g}"), &cx).await.unwrap().0,
        "no such kind, no such object"
    );
    assert!(refusal("kubectl.delete", "{object: configmap}").starts_with("object: write `kind/name`"));
}

#[tokio::test]
async fn the_kind_wait_looks_and_waits() {
    let site = Site::new().await;
    let wait = step("wait", "{for: [{object: configmap/c, for: exists}]}");
    assert_eq!(lacks(&*wait, &site.context()).await, "configmap/c: does not exist yet");
    let cx = site.context();
    let waiting = tokio::spawn(async move { wait.perform(&cx).await });
    site.told.hears("does not exist yet").await;
    site.create(config_map("c", "1"));
    waiting.await.unwrap().expect("it came");
    assert_eq!(
        refusal("wait", "{for: [{object: configmap/c, for: redy}]}").split(" is ").next(),
        Some("for[0].for: `redy`")
    );
}
