//! Handles to the outside: a plain struct, not a trait with a fake behind it.
//!
//! A rehearsal points the same handles somewhere else: programs by PATH and environment, Kubernetes by kubeconfig, HTTP by proxy,
//! time by a scaled clock. The code that runs is the same.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::clock::Clock;

/// The outside, as the steps of one run reach it.
#[derive(Clone, Debug)]
pub struct World {
    /// The whole environment that programs get, PATH and KUBECONFIG included; nothing is inherited besides.
    pub env: BTreeMap<OsString, OsString>,
    /// The kubeconfig of this deployment. `gke.credentials` writes it; it may not exist yet.
    pub kubeconfig: PathBuf,
    /// The proxy for HTTP probes, if any, such as `http://127.0.0.1:8080`.
    pub http_proxy: Option<String>,
    /// Time.
    pub clock: Clock,
    /// What a user must be told where results come from, such as `simulated cloud`; `None` for the real world.
    pub simulated: Option<String>,
}

impl World {
    /// A variable of the environment that programs get.
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.env.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The user's home.
    pub fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }

    /// Whether a program is known to be missing before anything runs. A path is not: it may lead to what an earlier step makes.
    pub fn lacks_program(&self, name: &str) -> bool {
        !name.contains('/') && self.find_program(name).is_none()
    }

    /// Where a program is, by this world's PATH. A name with a slash is looked for as it stands.
    pub fn find_program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| is_program(path));
        }
        let path = self.var("PATH")?;
        std::env::split_paths(path).map(|dir| dir.join(name)).find(|candidate| is_program(candidate))
    }
}

/// Whether a path is one of a program.
pub(crate) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
