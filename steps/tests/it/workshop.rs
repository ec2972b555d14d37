//! A place for steps to work in: folders of their own, programs on a PATH of their own, and ears for all that they say.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use runbook_steps::context::{Child, Log, Observer, Progress, Stream};
use runbook_steps::secret::{Secret, Secrets};
use runbook_steps::{Cancel, Clock, Context, Failure, Outputs, Standing, Step, World};
use serde_json::Value;

/// Remembers what a step said and started.
#[derive(Default)]
pub(crate) struct Ears {
    pub(crate) log: Mutex<Vec<(Stream, Vec<u8>)>>,
    pub(crate) progress: Mutex<Vec<String>>,
    pub(crate) children: Mutex<Vec<Child>>,
    pub(crate) heard: tokio::sync::Notify,
}

impl Log for Ears {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        self.log.lock().unwrap().push((stream, bytes.to_vec()));
        self.heard.notify_waiters();
    }
}

impl Observer for Ears {
    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress.text);
    }

    fn spawned(&self, child: Child) {
        self.children.lock().unwrap().push(child);
    }
}

impl Ears {
    pub(crate) fn logged(&self, stream: Stream) -> String {
        let log = self.log.lock().unwrap();
        let bytes: Vec<u8> =
            log.iter().filter(|(from, _)| *from == stream).flat_map(|(_, bytes)| bytes.clone()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns when the log holds a text.
    pub(crate) async fn hears(&self, stream: Stream, text: &str) {
        loop {
            let heard = self.heard.notified();
            tokio::pin!(heard);
            heard.as_mut().enable();
            if self.logged(stream).contains(text) {
                return;
            }
            heard.await;
        }
    }
}

pub(crate) struct Workshop {
    pub(crate) root: tempfile::TempDir,
    pub(crate) ears: Arc<Ears>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) secrets: Secrets,
    pub(crate) cancel: Cancel,
    pub(crate) clock: Clock,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for dir in ["bin", "plan", "state", "home"] {
            std::fs::create_dir(root.path().join(dir)).unwrap();
        }
        let env = BTreeMap::from([
            ("PATH".to_owned(), format!("{}:/usr/local/bin:/usr/bin:/bin", root.path().join("bin").display())),
            ("HOME".to_owned(), root.path().join("home").display().to_string()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        let clock = Clock::scaled(0, 1.0);
        Self { root, ears: Arc::default(), env, secrets: Secrets::default(), cancel: Cancel::default(), clock }
    }

    pub(crate) fn secret(mut self, name: &str, value: &str) -> Self {
        self.secrets = Secrets::new(BTreeMap::from([(name.to_owned(), Secret::new(value))]));
        self
    }

    pub(crate) fn with_run(mut self, mark: &str) -> Self {
        self.env.insert(runbook_steps::tools::RUN.to_owned(), mark.to_owned());
        self
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    pub(crate) fn plan(&self, relative: &str) -> PathBuf {
        self.path("plan").join(relative)
    }

    pub(crate) fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Something that whoever opens it to read waits at for ever.
    pub(crate) fn pipe(&self, relative: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap_or_default()
    }

    /// Puts a shell script on the PATH.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn context(&self) -> Context {
        let world = World {
            env: self.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            kubeconfig: self.path("state/kubeconfig"),
            http_proxy: None,
            clock: self.clock,
            simulated: None,
        };
        Context {
            world: Arc::new(world),
            cancel: self.cancel.clone(),
            log: self.ears.clone(),
            observer: self.ears.clone(),
            redactor: Arc::new(self.secrets.redactor()),
            secrets: Arc::new(self.secrets.clone()),
            step: "the_step".into(),
            attempt: 1,
            deployment: "trial".into(),
            plan_dir: self.path("plan").into(),
            state_dir: self.path("state").into(),
            after_crash: false,
        }
    }
}

/// A step of a kind, from its `with` in YAML.
pub(crate) fn step(kind: &str, with: &str) -> Box<dyn Step> {
    let value: Value = serde_yaml::from_str(with).unwrap();
    (runbook_steps::kind(kind).expect("a kind").read)(value).expect("a good `with`")
}

/// Why a kind does not read a `with`.
pub(crate) fn refusal(kind: &str, with: &str) -> String {
    let value: Value = serde_yaml::from_str(with).unwrap();
    let error = (runbook_steps::kind(kind).expect("a kind").read)(value).expect_err("a bad `with`");
    format!("{}: {}", error.path, error.message)
}

/// Looks, and does it where it is not done: what the engine makes of a step.
pub(crate) async fn apply(step: &dyn Step, cx: &Context) -> Result<(bool, Outputs), Failure> {
    match step.observe(cx).await? {
        Standing::Holds(outputs) => Ok((false, outputs)),
        _ => Ok((true, step.perform(cx).await?)),
    }
}
