//! Connecting, discovery, conflicts and shared watches, against the embedded API.

use runbook_steps::cluster::{Applying, Cluster, name_of};
use runbook_steps::failure::Class;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::site::{Site, config_map, gadgets};
use crate::workshop::Workshop;

#[tokio::test]
async fn without_a_kubeconfig_the_missing_step_is_named() {
    let failure = Cluster::connect(&Workshop::new().context()).await.expect_err("no file");
    assert_eq!(failure.class, Class::NotFound);
    assert!(failure.what.starts_with("no kubeconfig at `"), "{}", failure.what);
    assert!(failure.fix.expect("a fix").contains("gke.credentials"));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_transient() {
    let mut site = Site::new().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    site.address = free.to_string();
    site.write_kubeconfig(&json!({}));
    let cluster = Cluster::connect(&site.context()).await.expect("a client");
    let failure = cluster.resolve("pod").await.expect_err("nobody there");
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.what.contains("does not answer"), "{}", failure.what);
}

#[tokio::test]
async fn wrong_credentials_are_expired_ones() {
    let site = Site::new().await;
    site.kube.require_token("right".to_owned());
    site.write_kubeconfig(&json!({ "token": "wrong" }));
    let cluster = Cluster::connect(&site.context()).await.expect("a client");
    let failure = cluster.resolve("pod").await.expect_err("not let in");
    assert_eq!(failure.class, Class::AuthExpired);
    assert!(failure.fix.expect("a fix").contains("gke.credentials"));
}

fn exec(program: &str) -> serde_json::Value {
    json!({ "exec": { "apiVersion": "client.authentication.k8s.io/v1beta1", "command": program, "provideClusterInfo": true } })
}

#[tokio::test]
async fn a_credential_plugin_runs_with_the_worlds_programs_and_environment() {
    let mut site = Site::new().await;
    site.kube.require_token("from-the-world".to_owned());
    site.write_kubeconfig(&exec("gke-gcloud-auth-plugin"));
    site.workshop.env.insert("TOKEN".to_owned(), "from-the-world".to_owned());
    let credential =
        r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1beta1","status":{"token":"%s"}}"#;
    site.workshop.program("gke-gcloud-auth-plugin", &format!("printf '{credential}' \"$TOKEN\""));
    let cluster = Cluster::connect(&site.context()).await.expect("a login");
    assert!(cluster.resolve("pod").await.expect("let in").is_some());
}

#[tokio::test]
async fn a_missing_credential_plugin_is_named_with_how_to_install_it() {
    let mut site = Site::new().await;
    site.write_kubeconfig(&exec("gke-gcloud-auth-plugin"));
    site.workshop.env.insert("PATH".to_owned(), site.workshop.path("bin").display().to_string());
    let failure = Cluster::connect(&site.context()).await.expect_err("no plugin");
    assert_eq!(failure.what, "credential plugin `gke-gcloud-auth-plugin` is not on PATH");
    assert!(failure.fix.expect("a fix").contains("gcloud components install"));
}

#[tokio::test]
async fn a_kind_that_comes_later_is_found_by_asking_again() {
    let site = Site::new().await;
    site.kube.establish_definitions_after(std::time::Duration::ZERO);
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    assert_eq!(cluster.resolve("gadget").await.unwrap(), None);
    site.create(gadgets());
    let found = cluster.resolve("gd").await.unwrap().expect("known by now");
    assert_eq!((found.qualified().as_str(), found.has_status), ("gadgets.example.com", true));
}

#[tokio::test]
async fn fields_of_another_manager_are_a_conflict_with_the_way_out() {
    let site = Site::new().await;
    site.kube.apply("kubectl", config_map("c", "theirs")).unwrap();
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    let resource = cluster.resolve("configmap").await.unwrap().expect("built in");
    let how = |force| Applying { manager: "runbook".to_owned(), force, dry_run: false };
    let failure = cluster.apply(&resource, &config_map("c", "ours"), &how(false)).await.expect_err("taken");
    assert_eq!(failure.class, Class::Conflict);
    assert!(failure.detail.contains("kubectl") && failure.detail.contains(".data.k"), "{}", failure.detail);
    let after = cluster.apply(&resource, &config_map("c", "ours"), &how(true)).await.expect("taken over");
    assert_eq!(after["data"]["k"], "ours");
}

#[tokio::test]
async fn a_feed_shows_what_is_there_and_what_comes_and_goes() {
    let site = Site::new().await;
    site.create(config_map("first", "1"));
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    let resource = cluster.resolve("configmap").await.unwrap().expect("built in");
    let mut feed = cluster.feed(&resource, "default");
    let names = |snapshot: &runbook_steps::cluster::Snapshot| -> Vec<String> {
        snapshot.objects.values().map(|object| name_of(object).to_owned()).collect()
    };
    assert_eq!(names(&feed.listed().await.unwrap()), ["first"]);
    site.create(config_map("second", "1"));
    feed.changed().await;
    assert_eq!(names(&feed.latest()), ["first", "second"]);
    site.kube.delete("v1", "ConfigMap", "default", "first").unwrap();
    feed.changed().await;
    assert_eq!(names(&feed.latest()), ["second"]);
}

/// Passes connections on; ends them all when it is aborted.
async fn relay(listener: TcpListener, to: String) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((mut here, _)) = listener.accept().await {
        let mut there = TcpStream::connect(&to).await.unwrap();
        connections.spawn(async move { tokio::io::copy_bidirectional(&mut here, &mut there).await });
    }
}

#[tokio::test]
async fn a_feed_outlives_a_lost_connection_and_misses_nothing() {
    let mut site = Site::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (way, to) = (listener.local_addr().unwrap(), std::mem::take(&mut site.address));
    let first = tokio::spawn(relay(listener, to.clone()));
    site.address = way.to_string();
    site.write_kubeconfig(&json!({}));
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    let resource = cluster.resolve("configmap").await.unwrap().expect("built in");
    let mut feed = cluster.feed(&resource, "default");
    feed.listed().await.unwrap();
    first.abort();
    first.await.expect_err("aborted");
    site.create(config_map("meanwhile", "1"));
    let second = tokio::spawn(relay(TcpListener::bind(way).await.unwrap(), to));
    while feed.latest().objects.is_empty() {
        feed.changed().await;
    }
    assert_eq!(feed.latest().objects.len(), 1);
    second.abort();
}
