//! A workshop beside the simulated cloud, with the built-in `gcloud` on its PATH, or this machine's own.

use std::path::Path;
use std::time::Duration;

use runbook_fixtures::faults::{Fault, Faults};
use runbook_fixtures::gcp::{Cloud, Surroundings};
use runbook_fixtures::ledger::Ledger;
use runbook_fixtures::scenario::{Durations, Initial};
use runbook_fixtures::time::ModelClock;
use runbook_steps::{Clock, Context};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::helm::tool;
use crate::workshop::Workshop;

/// Model time runs this much faster than real time in these tests.
const SPEED: f64 = 2000.0;

/// With the real program, each call of which takes more than a second, a minute of model time must be longer.
const REAL_SPEED: f64 = 200.0;

pub(crate) struct Skies {
    pub(crate) shop: Workshop,
    pub(crate) cloud: Cloud,
    pub(crate) ledger: Ledger,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    server: JoinHandle<()>,
}

impl Drop for Skies {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Skies {
    /// A cloud in which these things go wrong.
    pub(crate) async fn new(faults: &str) -> Self {
        Self::open(Initial::default(), faults, false).await
    }

    pub(crate) async fn with(initial: &str, faults: &str) -> Self {
        Self::open(serde_yaml::from_str(initial).unwrap(), faults, false).await
    }

    /// The same with the real `gcloud`; nothing where there is none.
    pub(crate) async fn real(initial: &str, faults: &str) -> Option<Self> {
        // Where a workshop's programs are looked for.
        let places = ["/usr/local/bin", "/usr/bin", "/bin"];
        if !places.iter().any(|dir| is_the_real_one(&Path::new(dir).join("gcloud"))) {
            // The one thing that a test may say: that it did not run.
            std::io::Write::write_all(&mut std::io::stderr(), b"skipped: no Google Cloud SDK on PATH\n").unwrap();
            return None;
        }
        Some(Self::open(serde_yaml::from_str(initial).unwrap(), faults, true).await)
    }

    async fn open(initial: Initial, faults: &str, real: bool) -> Self {
        let clock = ModelClock::starting_now(if real { REAL_SPEED } else { SPEED });
        let ledger = Ledger::in_memory(clock);
        let faults: Vec<Fault> = serde_yaml::from_str(faults).unwrap();
        let faults = Faults::new(faults, clock, ledger.clone());
        let cloud = Cloud::new(Surroundings {
            clock,
            durations: Durations::default(),
            faults,
            ledger: ledger.clone(),
            initial,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(cloud.clone().serve(listener));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let skies = Self { shop: workshop(clock, &url, real), cloud, ledger, url, client, server };
        skies.cloud.populate("p-1").await;
        skies
    }

    pub(crate) fn context(&self) -> Context {
        self.shop.context()
    }

    /// As after a crash in the middle of an attempt.
    pub(crate) fn resumed(&self) -> Context {
        Context { after_crash: true, ..self.context() }
    }

    /// What the cloud was asked to do, and took up: `nodePools.create`.
    pub(crate) fn asked(&self, what: &str) -> Vec<Value> {
        let fine = |detail: &Value| detail["status"] == 200;
        let entries = self.ledger.entries().into_iter();
        entries.filter(|entry| entry.what == what && fine(&entry.detail)).map(|entry| entry.detail).collect()
    }

    /// Whether the cloud was asked for something that it does not know.
    pub(crate) fn strange(&self) -> Vec<Value> {
        let entries = self.ledger.entries().into_iter();
        entries.filter(|entry| entry.detail["status"] == 501).map(|entry| entry.detail).collect()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}/{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}/{path}", self.url)).body(body.to_string());
        request.send().await.unwrap().json().await.unwrap()
    }

    /// Returns when something is so.
    pub(crate) async fn until(&self, so: impl Fn() -> bool) {
        let seen = async {
            while !so() {
                self.a_moment().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("it is never so");
    }

    /// A little model time.
    pub(crate) async fn a_moment(&self) {
        self.shop.clock.sleep(Duration::from_secs(4)).await;
    }

    /// Returns when the cloud was asked for something so many times.
    pub(crate) async fn is_asked(&self, what: &str, times: usize) {
        self.until(|| self.asked(what).len() >= times).await;
    }
}

fn workshop(clock: ModelClock, url: &str, real: bool) -> Workshop {
    let mut shop = Workshop::new();
    shop.clock = Clock::scaled(clock.epoch_unix_ms(), clock.speed());
    if !real {
        shop.program("gcloud", &format!("exec '{}' gcloud \"$@\"", tool().display()));
    }
    shop.write("home/token", "opens-nothing");
    let mut set = |name: &str, value: String| shop.env.insert(name.to_owned(), value);
    set("RUNBOOK_REHEARSAL_EPOCH", clock.epoch_unix_ms().to_string());
    set("RUNBOOK_REHEARSAL_SPEED", clock.speed().to_string());
    set("CLOUDSDK_CORE_ACCOUNT", "tester@example.com".to_owned());
    set("CLOUDSDK_CORE_PROJECT", "p-1".to_owned());
    set("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "true".to_owned());
    set("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", format!("{url}/compute/v1/"));
    for api in ["CONTAINER", "SERVICEUSAGE", "CLOUDRESOURCEMANAGER", "CLOUDQUOTAS", "TPU"] {
        set(&format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"), format!("{url}/"));
    }
    let (config, token) = (shop.path("home/gcloud"), shop.path("home/token"));
    shop.env.insert("CLOUDSDK_CONFIG".to_owned(), config.display().to_string());
    shop.env.insert("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE".to_owned(), token.display().to_string());
    shop
}

fn is_the_real_one(program: &Path) -> bool {
    // The SDK's own launcher is a script; a stand-in of ours says what it is.
    std::fs::read_to_string(program).is_ok_and(|text| text.contains("CLOUDSDK"))
}

/// A cluster `c` in `zone`, as scenarios write it.
pub(crate) fn cluster_in(zone: &str) -> String {
    json!({ "cluster": { "name": "c", "zone": zone, "project": "p-1" } }).to_string()
}
