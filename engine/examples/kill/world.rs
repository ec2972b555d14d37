//! The world that steps leave their marks in, and what can be seen of it from outside: the ledger, the processes,
//! and a Kubernetes API that shows each effect as a ConfigMap, for plan-level checks.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

/// One line of the ledger.
pub(crate) struct Mark {
    pub(crate) what: String,
    pub(crate) step: String,
    pub(crate) attempt: String,
}

/// All that was written into a world's ledger.
pub(crate) fn ledger(world: &Path) -> Vec<Mark> {
    let text = std::fs::read_to_string(world.join("ledger")).unwrap_or_default();
    let mark = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some(Mark { what: words.next()?, step: words.next()?, attempt: words.next()? })
    };
    text.lines().filter_map(mark).collect()
}

/// Whether a step has had its effect.
pub(crate) fn has_effect(world: &Path, step: &str) -> bool {
    world.join("effects").join(step).is_dir()
}

/// The living processes that a deployment's steps have started, as `pid program`.
pub(crate) fn processes(deployment: &str) -> Vec<String> {
    let wanted = format!("RUNBOOK_DEPLOYMENT={deployment}");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of = |file: &str, id: u32| std::fs::read(format!("/proc/{id}/{file}")).unwrap_or_default();
    let ours = ids.filter(|id| of("environ", *id).split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()));
    ours.map(|id| format!("{id} {}", String::from_utf8_lossy(&of("cmdline", id)).replace('\0', " "))).collect()
}

/// A Kubernetes API, as much of it as a `check` needs: the ConfigMap `STEP` in the namespace `DEPLOYMENT` exists while
/// `ROOT/DEPLOYMENT/effects/STEP` does. It looks at the folder itself, so that it cannot be behind.
pub(crate) struct Api {
    address: String,
}

impl Api {
    pub(crate) fn serve(root: PathBuf) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = format!("http://{}", listener.local_addr()?);
        let root = Arc::new(root);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let root = Arc::clone(&root);
                std::thread::spawn(move || answer_all(&stream, &root));
            }
        });
        Ok(Self { address })
    }

    /// The file that leads an engine to it.
    pub(crate) fn kubeconfig(&self) -> String {
        let cluster = json!([{ "name": "w", "cluster": { "server": self.address } }]);
        let context = json!([{ "name": "w", "context": { "cluster": "w", "user": "w" } }]);
        json!({ "apiVersion": "v1", "kind": "Config", "current-context": "w", "clusters": cluster, "contexts": context,
                "users": [{ "name": "w", "user": {} }] })
        .to_string()
    }
}

/// Answers the requests of one connection until its other end is gone.
fn answer_all(stream: &TcpStream, root: &Path) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(request) = lines.next() {
        // The headers do not matter; none of the requests has a body.
        while lines.next().is_some_and(|header| !header.is_empty()) {}
        let (code, body) = answer(request.split(' ').nth(1).unwrap_or_default(), root);
        let length = body.len();
        let text =
            format!("HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        let mut stream = stream;
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(path: &str, root: &Path) -> (&'static str, String) {
    let kind = json!({ "name": "configmaps", "singularName": "configmap", "kind": "ConfigMap", "namespaced": true });
    let found = match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
        ["api"] => Some(json!({ "kind": "APIVersions", "versions": ["v1"] })),
        ["apis"] => Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] })),
        ["api", "v1"] => Some(json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [kind] })),
        ["api", "v1", "namespaces", deployment, "configmaps", step] if has_effect(&root.join(deployment), step) => {
            Some(json!({ "kind": "ConfigMap", "apiVersion": "v1",
                         "metadata": { "name": step, "namespace": deployment, "uid": step } }))
        }
        _ => None,
    };
    let missing = || {
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                "message": format!("{path} not found") })
    };
    let code = if found.is_some() { "200 OK" } else { "404 Not Found" };
    (code, found.unwrap_or_else(missing).to_string())
}
