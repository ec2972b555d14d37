//! What the plans apply, against the real CRDs: every object must be accepted with strict field validation.
//!
//! The CRDs are test data of other projects and stand beside this repository, not in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook::plan::load::{self, Given};
use runbook::plan::model::Known;
use runbook_fixtures::kube::{Kube, serve_http};
use runbook_fixtures::time::ModelClock;
use runbook_steps::{
    Cancel, Child, Class, Clock, Context, Log, Observer, Progress, Redactor, Secrets, Stream, World, kind,
};
use serde_json::{Value, json};

use crate::sandbox::repository;

struct Quiet;

impl Log for Quiet {
    fn write(&self, _: Stream, _: &[u8]) {}
}

impl Observer for Quiet {
    fn progress(&self, _: Progress) {}
    fn spawned(&self, _: Child) {}
}

fn context(dir: &Path, plan_dir: &Path, clock: Clock) -> Context {
    let kubeconfig = dir.join("kubeconfig");
    Context {
        world: Arc::new(World { env: BTreeMap::new(), kubeconfig, http_proxy: None, clock, simulated: None }),
        cancel: Cancel::default(),
        log: Arc::new(Quiet),
        observer: Arc::new(Quiet),
        secrets: Arc::new(Secrets::default()),
        redactor: Arc::new(Redactor::default()),
        step: "test".into(),
        attempt: 1,
        deployment: "test".into(),
        plan_dir: plan_dir.into(),
        state_dir: dir.into(),
        after_crash: false,
    }
}

/// Starts an API server that knows the real CRDs, and writes a kubeconfig for it.
async fn cluster(dir: &Path, crds: &[PathBuf], clock: ModelClock) -> Kube {
    let kube = Kube::new(clock);
    for path in crds {
        let text = std::fs::read_to_string(path).expect("a CRD");
        let object: Value = serde_yaml::from_str(&text).expect("YAML");
        kube.create(object).unwrap_or_else(|status| panic!("{}: {}", path.display(), status.message));
    }
    for namespace in ["opendatahub", "llm-d-inference-scheduling"] {
        kube.create(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }))
            .expect("a namespace");
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(serve_http(kube.clone(), listener));
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": server } }],
        "users": [{ "name": "it", "user": {} }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
    });
    std::fs::write(dir.join("kubeconfig"), config.to_string()).expect("a kubeconfig");
    kube
}

/// Kinds that only GKE defines; no public CRD of theirs is among the test data.
const ONLY_ON_GKE: &[&str] = &["health_check"];

#[tokio::test]
async fn the_real_crds_accept_what_the_plans_apply() {
    let folder = repository().join("../shared/crds");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: the real CRDs are not beside this checkout");
        return;
    };
    let crds: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    let dir = tempfile::tempdir().expect("a folder");
    let clock = ModelClock::starting_now(100.0);
    let _kube = cluster(dir.path(), &crds, clock).await;

    let file = repository().join("plans/native-gateway.yaml");
    let inputs = BTreeMap::from([("project".to_owned(), "my-project".to_owned())]);
    let given = Given { inputs, require_inputs: true, ..Given::default() };
    let plan = load::load(&file, &given).expect("a plan that checks").plan;
    let cx = context(dir.path(), &plan.dir, Clock::scaled(clock.epoch_unix_ms(), 100.0));
    let mut applied = Vec::new();
    for step in &plan.steps {
        let Some(work) = step.work.as_ref().filter(|work| work.kind.name == "kubectl.apply") else { continue };
        if ONLY_ON_GKE.contains(&step.id.as_str()) || step.id.as_str() == "lws_crd" {
            continue;
        }
        let with = step.render(&Known::default()).expect("renders without outputs").with;
        let made = (kind(work.kind.name).expect("a kind").read)(with).expect("reads");
        retried(|| made.perform(&cx))
            .await
            .unwrap_or_else(|failure| panic!("{}: {}\n{}", step.id, failure.what, failure.detail));
        applied.push(step.id.as_str().to_owned());
    }
    assert_eq!(applied, ["namespaces", "gateway", "model"]);
}

/// A CRD takes a moment to be established, as on a real server.
async fn retried<'a, T>(
    work: impl Fn() -> futures::future::BoxFuture<'a, Result<T, runbook_steps::Failure>>,
) -> Result<T, runbook_steps::Failure> {
    let clock = Clock::scaled(0, 1.0);
    for _ in 0..100 {
        match work().await {
            Err(failure) if failure.class == Class::Transient => {
                clock.sleep(std::time::Duration::from_millis(20)).await;
            }
            end => return end,
        }
    }
    work().await
}
