//! A thousand steps that wait for objects of one kind, by the real program: how soon each sees its object change, how many watches it
//! takes, how much memory, and how much time while nothing happens.
//!
//! `cargo build --release && cargo run --release --example waits -- --steps 1000 --idle 30`
//!
//! This process is the cluster: the embedded API over HTTP, whose clock says when an object was changed. The program under test is
//! another process, so that its memory and time are its own. Beside it one `kubectl wait`, where there is a kubectl.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it starts the program under test, and reads the machine's clock")]

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use runbook_fixtures::kube::{Kube, serve_http};
use runbook_fixtures::time::ModelClock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

type Fallible<T> = Result<T, Box<dyn Error>>;

/// What to do.
struct Asked {
    program: PathBuf,
    steps: usize,
    idle: Duration,
    /// The mean pause between two changes.
    pause: Duration,
}

#[tokio::main]
async fn main() -> Fallible<()> {
    let asked = Asked::read()?;
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::start(folder.path(), asked.steps).await?;
    fs::write(folder.path().join("plan.yaml"), plan(asked.steps))?;
    println!("{} steps, each waiting for a Pod's condition Ready", asked.steps);
    let engine = Engine::start(&asked, folder.path())?;
    let began = SystemTime::now();
    engine.all_wait(asked.steps).await?;
    println!("all wait        after {:.2} s", began.elapsed()?.as_secs_f64());
    engine.report_idle(asked.idle).await?;
    let flips = cluster.flip_all(asked.steps, asked.pause).await?;
    let peak = engine.peak_kib()?;
    let journal = engine.end()?;
    report_reactions("reaction", &reactions(&journal, &flips)?);
    println!("peak memory     {:.1} MB", f64::from(peak) / 1024.0);
    println!("watches         {}", cluster.watches());
    kubectl_beside(&cluster, folder.path()).await
}

impl Asked {
    fn read() -> Fallible<Self> {
        let mut given: HashMap<String, String> = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value =
                words.next().ok_or("usage: waits [--runbook PATH] [--steps N] [--idle SECONDS] [--pause MS]")?;
            given.insert(word, value);
        }
        let number = |name: &str, default: u64| given.get(name).map_or(Ok(default), |text| text.parse());
        Ok(Self {
            program: given.get("--runbook").map_or_else(beside_this, |path| Ok(std::path::absolute(path)?))?,
            steps: usize::try_from(number("--steps", 1000)?)?,
            idle: Duration::from_secs(number("--idle", 30)?),
            pause: Duration::from_millis(number("--pause", 10)?),
        })
    }
}

/// `target/release/runbook`, next to `target/release/examples/waits`.
fn beside_this() -> Fallible<PathBuf> {
    let here = std::env::current_exe()?;
    let release = here.parent().and_then(Path::parent).ok_or("this program is not in a target folder")?;
    Ok(release.join("runbook"))
}

fn plan(steps: usize) -> String {
    let mut text = "runbook: 1\nname: waits\nsteps:\n".to_owned();
    for step in 0..steps {
        text += &format!("  s{step}:\n    wait: {{ object: pod/p{step}, for: condition=Ready, namespace: default }}\n");
    }
    text
}

/// The embedded cluster.
struct Cluster {
    kube: Kube,
    kubeconfig: PathBuf,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Cluster {
    async fn start(folder: &Path, pods: usize) -> Fallible<Self> {
        let kube = Kube::new(ModelClock::starting_now(1.0));
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let counts = Arc::clone(&asked);
        kube.guard_by(move |request| {
            let key = format!("{} {}", request.verb, request.resource);
            *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_insert(0) += 1;
            None
        });
        for number in 0..pods {
            kube.create(pod(&format!("p{number}"))).map_err(|status| status.message)?;
            kube.set_status("kubelet", "v1", "Pod", "default", &format!("p{number}"), unready())
                .map_err(|status| status.message)?;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let kubeconfig = write_kubeconfig(folder, &format!("http://{}", listener.local_addr()?))?;
        tokio::spawn(serve_http(kube.clone(), listener));
        Ok(Self { kube, kubeconfig, asked })
    }

    /// Makes one pod ready. Returns when it began to: the reader of the answer may be quicker than its writer.
    fn flip(&self, pod: &str) -> Fallible<Duration> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?;
        self.kube.set_status("kubelet", "v1", "Pod", "default", pod, ready()).map_err(|status| status.message)?;
        Ok(at)
    }

    /// Makes all pods ready, one after another, at random instants.
    async fn flip_all(&self, pods: usize, pause: Duration) -> Fallible<HashMap<String, Duration>> {
        let (mut dice, mut flips) = (Dice(0x9E37_79B9_7F4A_7C15), HashMap::new());
        let mut order: Vec<usize> = (0..pods).collect();
        for last in (1..pods).rev() {
            order.swap(last, usize::try_from(dice.roll() % (last as u64 + 1))?);
        }
        for number in order {
            sleep(pause.mul_f64(dice.exponential())).await;
            flips.insert(format!("s{number}"), self.flip(&format!("p{number}"))?);
        }
        Ok(flips)
    }

    fn watches(&self) -> String {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told: Vec<String> = asked.iter().map(|(what, times)| format!("{what} ×{times}")).collect();
        told.sort();
        told.join(", ")
    }
}

/// A small generator (xorshift) with a fixed seed, so that runs are alike.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From an exponential distribution with mean 1: pauses between independent events.
    fn exponential(&mut self) -> f64 {
        let uniform = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln()
    }
}

/// A pod about as large as those of a real cluster: some 4 KB without its managers.
fn pod(name: &str) -> Value {
    let env: Vec<Value> =
        (0..20).map(|n| json!({ "name": format!("SETTING_{n}"), "value": format!("value {n} of {name}") })).collect();
    let mounts: Vec<Value> = (0..4)
        .map(|n| json!({ "name": format!("volume-{n}"), "mountPath": format!("/mnt/{n}"), "readOnly": true }))
        .collect();
    let volumes: Vec<Value> = (0..4)
        .map(|n| json!({ "name": format!("volume-{n}"), "configMap": { "name": format!("config-{n}") } }))
        .collect();
    let container = |number: usize| {
        json!({
            "name": format!("container-{number}"), "image": "registry.example.com/team/application:v1.2.3",
            "args": ["--listen=0.0.0.0:8080", "--log-level=info"], "env": env, "volumeMounts": mounts,
            "resources": { "requests": { "cpu": "500m", "memory": "512Mi" }, "limits": { "memory": "1Gi" } },
            "readinessProbe": { "httpGet": { "path": "/healthz", "port": 8080 }, "periodSeconds": 10 }
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default",
            "labels": { "app.kubernetes.io/name": "application", "app.kubernetes.io/instance": name, "pod-template-hash": "5d4f8c7b9" },
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}" }
        },
        "spec": { "containers": [container(0), container(1)], "volumes": volumes }
    })
}

fn conditions(ready: &str) -> Value {
    let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z", "lastProbeTime": null });
    json!([
        condition("PodScheduled", "True"),
        condition("Initialized", "True"),
        condition("ContainersReady", ready),
        condition("Ready", ready)
    ])
}

fn unready() -> Value {
    json!({ "phase": "Pending", "conditions": conditions("False") })
}

fn ready() -> Value {
    json!({ "phase": "Running", "conditions": conditions("True") })
}

fn write_kubeconfig(folder: &Path, server: &str) -> Fallible<PathBuf> {
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{ "name": "it", "cluster": { "server": server } }],
        "users": [{ "name": "it", "user": {} }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it", "namespace": "default" } }],
    });
    // Where a step with `gke.credentials` would have put it.
    let home = folder.join("state/waits");
    fs::create_dir_all(&home)?;
    fs::write(home.join("kubeconfig"), kubeconfig.to_string())?;
    Ok(home.join("kubeconfig"))
}

/// The program under test.
struct Engine {
    process: Child,
    folder: PathBuf,
}

impl Engine {
    fn start(asked: &Asked, folder: &Path) -> Fallible<Self> {
        let mut command = Command::new(&asked.program);
        command.current_dir(folder).args(["--color", "never", "--state", "state", "apply", "plan.yaml", "--parallel"]);
        command.arg(asked.steps.to_string()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.stderr(fs::File::create(folder.join("stderr"))?).spawn()?;
        Ok(Self { process, folder: folder.to_owned() })
    }

    fn journal(&self) -> Fallible<String> {
        Ok(fs::read_to_string(self.folder.join("state/waits/journal.jsonl")).unwrap_or_default())
    }

    /// Returns when all steps have started, and some time more, for their first looks.
    async fn all_wait(&self, steps: usize) -> Fallible<()> {
        for _ in 0..600 {
            if self.journal()?.matches("\"record\":\"started\"").count() == steps {
                sleep(Duration::from_secs(2)).await;
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("the steps have not started:\n{}", fs::read_to_string(self.folder.join("stderr"))?).into())
    }

    fn proc(&self, file: &str) -> Fallible<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{file}", self.process.id()))?)
    }

    fn peak_kib(&self) -> Fallible<u32> {
        peak_kib(&self.proc("status")?)
    }

    /// Processor time so far, in ticks of 10 ms.
    fn ticks(&self) -> Fallible<u64> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no process")?.1.split_whitespace().collect();
        Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
    }

    async fn report_idle(&self, idle: Duration) -> Fallible<()> {
        if idle.is_zero() {
            return Ok(());
        }
        self.settled().await?;
        let before = self.ticks()?;
        sleep(idle).await;
        let used = self.ticks()? - before;
        println!(
            "idle            {} ms of processor time in {} s, {:.1} MB",
            used * 10,
            idle.as_secs(),
            f64::from(self.peak_kib()?) / 1024.0
        );
        Ok(())
    }

    /// Until it has done what there was to do at the start.
    async fn settled(&self) -> Fallible<()> {
        let mut before = None;
        while before != Some(self.ticks()?) {
            before = Some(self.ticks()?);
            sleep(Duration::from_secs(3)).await;
        }
        Ok(())
    }

    /// Waits for its end; what it wrote down.
    fn end(mut self) -> Fallible<String> {
        let status = self.process.wait()?;
        let said = fs::read_to_string(self.folder.join("stderr"))?;
        let tail = said.get(said.len().saturating_sub(2000)..).unwrap_or_default();
        if status.success() { self.journal() } else { Err(format!("the program ended with {status}:\n{tail}").into()) }
    }
}

fn peak_kib(status: &str) -> Fallible<u32> {
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// How long after its object's change each step succeeded, by the journal.
fn reactions(journal: &str, flips: &HashMap<String, Duration>) -> Fallible<Vec<Duration>> {
    let mut found = Vec::new();
    for line in journal.lines().filter(|line| line.contains("\"record\":\"succeeded\"")) {
        let record: Value = serde_json::from_str(line.split_once(' ').ok_or("a line without a sum")?.1)?;
        let time: jiff::Timestamp = record["time"].as_str().ok_or("no time")?.parse()?;
        let at = Duration::try_from(time.as_duration())?;
        let flip = flips.get(record["step"].as_str().unwrap_or_default()).ok_or("a step that nobody changed")?;
        found.push(at.saturating_sub(*flip));
    }
    if found.len() != flips.len() {
        return Err(format!("{} of {} steps succeeded", found.len(), flips.len()).into());
    }
    found.sort();
    Ok(found)
}

fn report_reactions(what: &str, sorted: &[Duration]) {
    let at = |part: usize| sorted[(sorted.len() * part).div_ceil(100).saturating_sub(1)].as_secs_f64() * 1000.0;
    println!("{what:<15} p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms, of {}", at(50), at(99), at(100), sorted.len());
}

/// What one `kubectl wait` takes, ten times.
async fn kubectl_beside(cluster: &Cluster, folder: &Path) -> Fallible<()> {
    let (mut reactions, mut peak) = (Vec::new(), 0);
    for number in 0..10 {
        let name = format!("k{number}");
        cluster.kube.create(pod(&name)).map_err(|status| status.message)?;
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&cluster.kubeconfig).args(["wait", "--for=condition=Ready", "--timeout=60s"]);
        let started =
            command.arg(format!("pod/{name}")).env("HOME", folder).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut process) = started.spawn() else {
            println!("kubectl         not installed");
            return Ok(());
        };
        sleep(Duration::from_secs(1)).await;
        peak = peak.max(peak_kib(&fs::read_to_string(format!("/proc/{}/status", process.id()))?)?);
        let flipped = cluster.flip(&name)?;
        let status = tokio::task::spawn_blocking(move || process.wait()).await??;
        let ended = SystemTime::now().duration_since(UNIX_EPOCH)?;
        if !status.success() {
            return Err(format!("kubectl ended with {status}").into());
        }
        reactions.push(ended.saturating_sub(flipped));
    }
    reactions.sort();
    report_reactions("kubectl wait", &reactions);
    println!("                {:.1} MB each", f64::from(peak) / 1024.0);
    Ok(())
}
