//! Connecting, discovery, conflicts and shared watches, against the embedded API.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use runbook_fixtures::kube::Status;
use runbook_steps::cluster::{Applying, Bell, Cluster, Feed, name_of};
use runbook_steps::condition::Condition;
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

/// The names of all ConfigMaps, as soon as they are these.
async fn sees(feed: &mut Feed, bell: &Bell, names: &[&str]) {
    let seen = async {
        loop {
            feed.begin();
            let found = feed.selected(None).await.expect("they may be read");
            if found.iter().map(|object| name_of(object)).eq(names.iter().copied()) {
                return;
            }
            bell.rung().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap_or_else(|_| panic!("{names:?} never came"));
}

async fn config_maps(site: &Site) -> (Feed, Bell) {
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    let resource = cluster.resolve("configmap").await.unwrap().expect("built in");
    let bell = Bell::default();
    (cluster.feed(&resource, "default", false, &bell), bell)
}

#[tokio::test]
async fn a_feed_shows_what_is_there_and_what_comes_and_goes() {
    let site = Site::new().await;
    site.create(config_map("first", "1"));
    let (mut feed, bell) = config_maps(&site).await;
    sees(&mut feed, &bell, &["first"]).await;
    site.create(config_map("second", "1"));
    sees(&mut feed, &bell, &["first", "second"]).await;
    site.kube.delete("v1", "ConfigMap", "default", "first").unwrap();
    sees(&mut feed, &bell, &["second"]).await;
}

#[tokio::test]
async fn a_feed_leaves_out_what_only_the_server_needs_unless_asked() {
    let site = Site::new().await;
    site.create(config_map("c", "1"));
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    let resource = cluster.resolve("configmap").await.unwrap().expect("built in");
    for whole in [false, true] {
        let mut feed = cluster.feed(&resource, "default", whole, &Bell::default());
        let object = feed.named("default", "c").await.unwrap().expect("there");
        assert_eq!(object.pointer("/metadata/managedFields").is_some(), whole);
    }
}

#[tokio::test]
async fn a_long_list_comes_page_by_page() {
    let site = Site::new().await;
    let pages = count(&site, "list");
    let names: Vec<String> = (0..250).map(|number| format!("c{number:03}")).collect();
    names.iter().for_each(|name| site.create(config_map(name, "1")));
    let (mut feed, bell) = config_maps(&site).await;
    sees(&mut feed, &bell, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(pages.load(Ordering::SeqCst), 3);
    let object = feed.named("default", "c249").await.unwrap().expect("there");
    assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("v1"), &json!("ConfigMap")));
}

/// How often config maps are asked for with a verb, from now on.
fn count(site: &Site, verb: &'static str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    site.kube.guard_by(move |asked| {
        counted.fetch_add(usize::from(asked.verb == verb && asked.resource == "configmaps"), Ordering::SeqCst);
        None
    });
    count
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
    let (mut feed, bell) = config_maps(&site).await;
    sees(&mut feed, &bell, &[]).await;
    first.abort();
    first.await.expect_err("aborted");
    site.create(config_map("meanwhile", "1"));
    let second = tokio::spawn(relay(TcpListener::bind(way).await.unwrap(), to));
    sees(&mut feed, &bell, &["meanwhile"]).await;
    second.abort();
}

/// Refuses that verb on ConfigMaps for as long as it says so.
fn refusing(site: &Site, verbs: &'static [&'static str]) -> Arc<AtomicBool> {
    let refuses = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&refuses);
    site.kube.guard_by(move |asked| {
        let refused = asked.resource == "configmaps" && verbs.contains(&asked.verb) && still.load(Ordering::SeqCst);
        refused.then(|| Status::forbidden("me", asked.verb, asked.resource, "", asked.namespace, asked.name))
    });
    refuses
}

#[tokio::test]
async fn where_watching_is_forbidden_it_lists_again_and_again() {
    let site = Site::new().await;
    refusing(&site, &["watch"]);
    let (mut feed, bell) = config_maps(&site).await;
    sees(&mut feed, &bell, &[]).await;
    site.create(config_map("later", "1"));
    sees(&mut feed, &bell, &["later"]).await;
}

#[tokio::test]
async fn where_listing_is_forbidden_it_reads_what_is_named_until_it_may_list() {
    let site = Site::new().await;
    let refuses = refusing(&site, &["list", "watch"]);
    let (mut feed, bell) = config_maps(&site).await;
    assert!(feed.named("default", "c").await.expect("it may be read").is_none());
    let failure = feed.selected(None).await.expect_err("that needs a list");
    assert_eq!(failure.facts.http_status, Some(403));
    feed.begin();
    feed.named("default", "c").await.expect("it may be read");
    site.create(config_map("c", "1"));
    while !feed.has_changed() {
        bell.rung().await;
    }
    assert!(feed.named("default", "c").await.expect("it may be read").is_some());
    refuses.store(false, Ordering::SeqCst);
    while feed.selected(None).await.is_err() {
        bell.rung().await;
    }
}

#[tokio::test]
async fn what_may_not_even_be_read_says_so() {
    let site = Site::new().await;
    refusing(&site, &["list", "watch", "get"]);
    let (mut feed, _) = config_maps(&site).await;
    let failure = feed.named("default", "c").await.expect_err("forbidden");
    assert_eq!(failure.cause.as_deref(), Some("the account may not get configmaps"));
}

#[tokio::test]
async fn a_watch_whose_place_is_lost_lists_anew() {
    let site = Site::new().await;
    let (lists, watches) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (listed, watched) = (Arc::clone(&lists), Arc::clone(&watches));
    site.kube.guard_by(move |asked| match (asked.resource, asked.verb) {
        ("configmaps", "list") => {
            listed.fetch_add(1, Ordering::SeqCst);
            None
        }
        // The first is refused as it would be after a long time without a connection.
        ("configmaps", "watch") if watched.fetch_add(1, Ordering::SeqCst) == 0 => {
            Some(Status::new(410, "Expired", "too old resource version: 1 (9)"))
        }
        _ => None,
    });
    let (mut feed, bell) = config_maps(&site).await;
    sees(&mut feed, &bell, &[]).await;
    while watches.load(Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    site.create(config_map("after", "1"));
    sees(&mut feed, &bell, &["after"]).await;
    assert_eq!((lists.load(Ordering::SeqCst), watches.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn all_waits_for_a_kind_share_one_watch() {
    let site = Site::new().await;
    let watches = count(&site, "watch");
    let names: Vec<String> = (0..50).map(|number| format!("c{number}")).collect();
    let waits: Vec<_> = names.iter().map(|name| wait_for(&site, name)).collect();
    for name in &names {
        site.told.hears(&format!("cm/{name}: does not exist yet")).await;
    }
    names.iter().for_each(|name| site.create(config_map(name, "1")));
    for wait in waits {
        wait.await.unwrap().expect("it is there");
    }
    assert_eq!(watches.load(Ordering::SeqCst), 1);
}

fn wait_for(site: &Site, name: &str) -> tokio::task::JoinHandle<Result<(), runbook_steps::Failure>> {
    let condition = Condition::read(&json!({ "object": format!("cm/{name}"), "for": "exists" })).expect("a condition");
    let cx = site.context();
    tokio::spawn(async move { condition.wait(&cx).await })
}

#[tokio::test]
async fn another_object_of_the_same_name_is_not_deleted() {
    let site = Site::new().await;
    let cluster = Cluster::connect(&site.context()).await.unwrap();
    let config_maps = cluster.resolve("configmaps").await.unwrap().expect("built in");
    let there = || site.kube.get("v1", "ConfigMap", "default", "a");
    site.create(config_map("a", "ours"));
    let ours = there().expect("created");
    site.kube.delete("v1", "ConfigMap", "default", "a").unwrap();
    site.create(config_map("a", "theirs"));
    assert!(!cluster.delete_object(&config_maps, &ours).await.unwrap());
    let theirs = there().expect("left alone");
    assert!(cluster.delete_object(&config_maps, &theirs).await.unwrap());
    assert!(there().is_none());
    assert!(!cluster.delete_object(&config_maps, &theirs).await.unwrap());
}
