//! `gke.credentials`: a kubeconfig for a GKE cluster, private to the deployment.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Gcloud, Location, Placed};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};
use crate::tools::absolute;

/// The kind `gke.credentials`.
pub(super) static KIND: Kind = Kind {
    name: "gke.credentials",
    summary: "Writes a kubeconfig of the deployment's own for a GKE cluster",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Kubeconfig),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "kubeconfig", about: "the file" },
        OutputDoc { name: "context", about: "the name of the cluster's context in it" },
    ],
    open_outputs: false,
    schema: schema_of::<Credentials>,
    read,
};

const DOCS: &str = "\
Runs `gcloud container clusters get-credentials` with a `KUBECONFIG` in the deployment's own folder. Your `~/.kube/config` is
neither read nor written.

- **observe**: holds where the file has the cluster's context, as the current one, with the endpoint that the cluster has now.
- **perform**: writes the file, readable by you alone.
- **undo**: takes the cluster's entries out of the file, and the file away when nothing is left in it.
- **failures**: `not-found` where there is no such cluster; `auth-expired`.

The file holds no password: programs that use it need `gke-gcloud-auth-plugin`.
";

const EXAMPLE: &str = "\
credentials:
  uses: gke.credentials
  with:
    cluster: \"${{ steps.cluster.outputs.name }}\"
    project: \"${{ inputs.project }}\"
    zone: \"${{ steps.cluster.outputs.zone }}\"
";

/// Which cluster's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The cluster's name.
    cluster: String,
    /// Its project.
    project: String,
    /// Its zone.
    zone: Option<String>,
    /// Its region.
    region: Option<String>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    Ok(Box::new(placed(with)?))
}

fn placed(with: Value) -> Result<Placed<Credentials>, ReadError> {
    let credentials: Credentials = read_with(with)?;
    let location = Location::read(credentials.zone.as_deref(), credentials.region.as_deref())?;
    Ok(Placed::new(credentials, location))
}

impl Placed<Credentials> {
    fn args(&self, what: &str) -> Vec<String> {
        ["container", "clusters", what, &self.cluster, &self.location().flag()].map(str::to_owned).into()
    }

    /// As gcloud calls it, and the cluster and user entries too.
    fn context(&self) -> String {
        format!("gke_{}_{}_{}", self.project, self.location().name(), self.cluster)
    }

    fn outputs(&self, cx: &Context) -> Outputs {
        let outputs = json!({ "kubeconfig": absolute(&cx.world.kubeconfig), "context": self.context() });
        outputs.as_object().cloned().unwrap_or_default()
    }

    async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let path = &cx.world.kubeconfig;
        let Some(config) = load(path)? else {
            return Ok(Standing::Lacks(format!("there is no `{}`", path.display())));
        };
        let Some(server) = server_of(&config, &self.context()) else {
            return Ok(Standing::Lacks(format!(
                "`{}` has not the context `{}` as its current one",
                path.display(),
                self.context()
            )));
        };
        let Some(found) = Gcloud::new(cx, Some(&self.project)).find(self.args("describe")).await? else {
            return Ok(Standing::Lacks(format!("there is no cluster `{}`", self.cluster)));
        };
        let endpoint = format!("https://{}", found["endpoint"].as_str().unwrap_or_default());
        if server.trim_end_matches('/') == endpoint {
            return Ok(Standing::Holds(self.outputs(cx)));
        }
        Ok(Standing::Lacks(format!("the cluster is at {endpoint} now, not at {server}")))
    }

    async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        let path = &cx.world.kubeconfig;
        let cannot = |error: std::io::Error| unusable(path, &error);
        if let Some(parent) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(cannot)?;
        }
        let gcloud = Gcloud::new(cx, Some(&self.project));
        gcloud.run(gcloud.program(&self.args("get-credentials"))).await?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(cannot)?;
        let written = load(path)?.is_some_and(|config| server_of(&config, &self.context()).is_some());
        if !written {
            return Err(Failure::permanent(format!(
                "gcloud has not written the context `{}` to `{}`",
                self.context(),
                path.display()
            )));
        }
        Ok(self.outputs(cx))
    }

    fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        let path = &cx.world.kubeconfig;
        let Some(mut config) = load(path)? else { return Ok(()) };
        forget(&mut config, &self.context());
        let cannot = |error: std::io::Error| unusable(path, &error);
        if config["contexts"].as_array().is_none_or(Vec::is_empty) {
            return std::fs::remove_file(path).map_err(cannot);
        }
        let text = serde_yaml::to_string(&config).map_err(|error| unusable(path, &std::io::Error::other(error)))?;
        write_private(path, &text).map_err(cannot)
    }
}

/// Whole or not at all, and readable by its owner alone.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn load(path: &Path) -> Result<Option<Value>, Failure> {
    match crate::files::read_text(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => serde_yaml::from_str(&text).map(Some).map_err(|error| {
            Failure::invalid(format!("`{}` is not a kubeconfig: {error}", path.display()))
                .fix("delete it; it is made again")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Class::Permanent, format!("cannot use `{}`: {error}", path.display()))
}

/// The server of a context, if that is the current one.
fn server_of(config: &Value, context: &str) -> Option<String> {
    let named = |list: &str, name: &str| config[list].as_array()?.iter().find(|entry| entry["name"] == name).cloned();
    if config["current-context"] != context {
        return None;
    }
    let cluster = named("contexts", context)?["context"]["cluster"].as_str()?.to_owned();
    named("clusters", &cluster)?["cluster"]["server"].as_str().map(str::to_owned)
}

fn forget(config: &mut Value, context: &str) {
    for list in ["contexts", "clusters", "users"] {
        if let Some(entries) = config[list].as_array_mut() {
            entries.retain(|entry| entry["name"] != context);
        }
    }
    if config["current-context"] == context {
        config["current-context"] = config["contexts"][0]["name"].as_str().unwrap_or_default().into();
    }
}

impl Step for Placed<Credentials> {
    fn intent(&self) -> Vec<String> {
        vec![format!("gcloud {} --project={}", super::gke_cluster::line(&self.args("get-credentials")), self.project)]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(self.look(cx))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.make(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { self.unmake(cx) })
    }

    fn undo_intent(&self) -> Vec<String> {
        vec![format!("kubectl config delete-context {}   # in the deployment's own kubeconfig", self.context())]
    }

    fn programs(&self) -> Vec<String> {
        ["gcloud", "gke-gcloud-auth-plugin"].map(str::to_owned).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(contexts: &[&str]) -> Value {
        let entry = |name: &&str| json!({ "name": name, "context": { "cluster": name, "user": name } });
        let cluster = |name: &&str| json!({ "name": name, "cluster": { "server": format!("https://{name}") } });
        json!({
            "current-context": contexts[0],
            "contexts": contexts.iter().map(entry).collect::<Vec<_>>(),
            "clusters": contexts.iter().map(cluster).collect::<Vec<_>>(),
            "users": contexts.iter().map(|name| json!({ "name": name, "user": {} })).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn only_the_current_context_counts() {
        assert_eq!(server_of(&config(&["a", "b"]), "a").as_deref(), Some("https://a"));
        assert_eq!(server_of(&config(&["a", "b"]), "b"), None);
    }

    #[test]
    fn forgetting_leaves_the_others() {
        let mut config = config(&["a", "b"]);
        forget(&mut config, "a");
        assert_eq!(server_of(&config, "b").as_deref(), Some("https://b"));
        assert!(!config.to_string().contains("\"a\""));
    }

    #[test]
    fn the_context_is_called_as_gcloud_calls_it() {
        let with = json!({ "cluster": "llm-d", "project": "p-1", "zone": "europe-west4-a" });
        let credentials = placed(with).unwrap();
        assert_eq!(credentials.context(), "gke_p-1_europe-west4-a_llm-d");
        assert_eq!(
            credentials.intent(),
            ["gcloud container clusters get-credentials llm-d --zone=europe-west4-a --project=p-1"]
        );
    }
}
