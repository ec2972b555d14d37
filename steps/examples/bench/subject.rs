//! `http.bench` as a step of a plan runs.

use std::path::Path;
use std::sync::Arc;

use runbook_steps::context::{Child, Log, Observer, Progress, Stream};
use runbook_steps::{Cancel, Clock, Context, Failure, Redactor, Secrets, World};
use serde_json::{Value, json};

struct Deaf;

impl Log for Deaf {
    fn write(&self, _: Stream, _: &[u8]) {}
}

impl Observer for Deaf {
    fn progress(&self, _: Progress) {}

    fn spawned(&self, _: Child) {}
}

fn context(folder: &Path) -> Context {
    let world = World {
        env: std::collections::BTreeMap::new(),
        kubeconfig: folder.join("kubeconfig"),
        http_proxy: None,
        clock: Clock::real(),
        simulated: None,
    };
    Context {
        world: Arc::new(world),
        cancel: Cancel::default(),
        log: Arc::new(Deaf),
        observer: Arc::new(Deaf),
        secrets: Arc::new(Secrets::default()),
        redactor: Arc::new(Redactor::default()),
        step: "bench".into(),
        attempt: 1,
        deployment: "bench".into(),
        plan_dir: folder.into(),
        state_dir: folder.into(),
        after_crash: false,
    }
}

/// Runs one scenario named `it`; its figures.
pub(super) async fn bench(url: &str, row: &Value, more: &Value) -> Result<Value, Failure> {
    let mut with = json!({ "url": url, "scenarios": [row] });
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let step = (runbook_steps::kind("http.bench").unwrap().read)(with).expect("a good `with`");
    let folder = tempfile::tempdir().unwrap();
    let outputs = step.perform(&context(folder.path())).await?;
    Ok(outputs["bench"]["it"].clone())
}
