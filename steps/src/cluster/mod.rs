//! A Kubernetes cluster, as the steps of one run reach it.
//!
//! Owns the connection (one client per kubeconfig, shared by all steps), what the server knows ([`Resource`]), requests on single
//! objects, server-side apply, and the shared watches. Objects are plain JSON values: most of what plans touch has no Rust type.
//! It does not know what makes an object ready, nor does it retry: a failed request becomes a classed [`Failure`], and the
//! engine decides.

mod config;
mod discovery;
mod failures;
mod follow;
mod forward;
mod kept;
mod object;
mod page;
mod requests;
mod selector;
mod shelf;
mod trim;
mod watches;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, Once, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::clock::Clock;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::secret::Redactor;

pub use discovery::Resource;
pub(crate) use forward::Said;
pub(crate) use kept::kind_and_name;
pub use object::name_of;
pub(crate) use object::{annotation, api_version, describe, kind_of, label_of, namespace_of, text_at, uid_of};
pub use requests::{Applying, Selection};
pub(crate) use requests::{LogPart, PatchStyle};
pub use selector::Selector;
pub(crate) use trim::{needs_whole, strip};
pub use watches::{Bell, Feed};

/// The field manager that owns what this program applies.
pub(crate) const FIELD_MANAGER: &str = "runbook";

/// A connection to the deployment's cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    redactor: Arc<Redactor>,
    clock: Clock,
}

/// What all steps share about one kubeconfig.
struct Shared {
    client: kube::Client,
    url: String,
    namespace: String,
    known: discovery::Known,
    watches: watches::Hub,
    key: Key,
}

/// Which connection it is: the file and the digest of its content.
type Key = (PathBuf, [u8; 32]);

/// One that is made once, however many steps want it at the same moment: each credential plugin is a program.
type Slot = Arc<OnceCell<Arc<Shared>>>;

static CONNECTIONS: LazyLock<Mutex<HashMap<Key, Slot>>> = LazyLock::new(Mutex::default);

impl Cluster {
    /// Connects by the deployment's kubeconfig, or takes the connection that another step has made by the same file.
    pub async fn connect(cx: &Context) -> Result<Self, Failure> {
        let path = cx.world.kubeconfig.clone();
        // Read in place: a small file, and a thread for each of a thousand steps that start at once would cost more.
        let content = std::fs::read(&path).map_err(|error| no_kubeconfig(&path, &error))?;
        let key = (path, Sha256::digest(&content).into());
        let slot = Arc::clone(connections().entry(key.clone()).or_default());
        // Boxed, so that not every step that waits is as large as one that connects.
        let shared = Box::pin(slot.get_or_try_init(|| open(cx, key))).await?;
        Ok(Self { shared: Arc::clone(shared), redactor: Arc::clone(&cx.redactor), clock: cx.clock() })
    }

    /// The API server's address.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The namespace of the kubeconfig's context, or `default`.
    pub(crate) fn default_namespace(&self) -> &str {
        &self.shared.namespace
    }

    /// A failed request as a failure: `doing` says what was tried, such as ``get deployments.apps `a/b` ``.
    fn failure(&self, error: &kube::Error, doing: &str) -> Failure {
        let mut failure = failures::classify(error, doing, self.url());
        if failure.class == Class::AuthExpired {
            self.forget();
        }
        failure.what = self.redactor.mask(&failure.what).into_owned();
        failure.detail = self.redactor.mask(&failure.detail).into_owned();
        failure.facts.http_body = self.redactor.mask(&failure.facts.http_body).into_owned();
        failure
    }

    /// Lets the next step connect anew: these credentials are no longer good.
    fn forget(&self) {
        connections().remove(&self.shared.key);
    }
}

/// Forgets all connections. They live only as long as the runtime that they were made in; the next one needs its own.
pub fn disconnect() {
    connections().clear();
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.shared.url)
    }
}

fn connections() -> std::sync::MutexGuard<'static, HashMap<Key, Slot>> {
    CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open(cx: &Context, key: Key) -> Result<Arc<Shared>, Failure> {
    install_crypto();
    let config = config::load(&cx.world, &key.0).await?;
    let (url, namespace) = (config.cluster_url.to_string(), config.default_namespace.clone());
    // Building a client runs the credential plugin, which blocks.
    let client = tokio::task::spawn_blocking(move || kube::Client::try_from(config))
        .await
        .map_err(|error| Failure::permanent(format!("cannot prepare a client for the cluster: {error}")))?
        .map_err(|error| failures::classify(&error, "log in to the cluster", &url))?;
    let (known, watches) = (discovery::Known::default(), watches::Hub::default());
    Ok(Arc::new(Shared { client, url, namespace, known, watches, key }))
}

/// Chooses the cryptography of TLS, once for the process.
pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails only where the program has chosen one before, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
    });
}

fn no_kubeconfig(path: &std::path::Path, error: &std::io::Error) -> Failure {
    let shown = path.display();
    if error.kind() == std::io::ErrorKind::NotFound {
        return Failure::new(Class::NotFound, format!("no kubeconfig at `{shown}`"))
            .cause("this deployment has not fetched the credentials of its cluster yet")
            .fix("run the step with `gke.credentials` first; steps that use the cluster must need it");
    }
    Failure::permanent(format!("cannot read the kubeconfig `{shown}`: {error}")).fix("make the file readable")
}
