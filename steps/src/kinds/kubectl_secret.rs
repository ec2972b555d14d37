//! `kubectl.secret`: a Secret from the run's secrets, from files, from a docker login, or copied from elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::kubectl_apply::{gone, gone_condition};
use super::vanished::within_cluster;
use crate::cluster::{Applying, Cluster, FIELD_MANAGER, Resource, text_at};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::manifest;
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};

/// The kind `kubectl.secret`.
pub(super) static KIND: Kind = Kind {
    name: "kubectl.secret",
    summary: "Makes a Kubernetes Secret without showing its values",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Objects),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "name", about: "the name of the Secret" },
        OutputDoc { name: "namespace", about: "its namespace" },
        OutputDoc { name: "keys", about: "the keys of its data" },
    ],
    open_outputs: false,
    schema: schema_of::<Secret>,
    read,
};

const DOCS: &str = "\
Makes a Secret in one namespace. The values come from `data` (texts that may hold `${{ secrets.NAME }}`), from `files`, from
`docker_auth` (a registry login as podman, docker and Red Hat write it, also wrapped in a Secret), or from `copy`, which takes type
and data of another Secret and nothing else.

- **observe**: compares type and data without showing either; holds where they are the same.
- **perform**: applies it on the server's side.
- **undo**: deletes it if this deployment made it, and its namespace if this step made that.
- **failures**: a login file without `auths` for the registry is `invalid`; a Secret of another type is `invalid`, for types cannot
  be changed; fields of another manager are `conflict`.
";

const EXAMPLE: &str = "\
hf_token:
  uses: kubectl.secret
  with:
    name: hf-token
    namespace: default
    data: { HF_TOKEN: \"${{ secrets.hf_token }}\" }
";

const DOCKER: &str = "kubernetes.io/dockerconfigjson";
const DOCKER_KEY: &str = ".dockerconfigjson";

/// A Secret and where its values come from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Secret {
    /// Its name.
    name: String,
    /// Its namespace; without it that of the kubeconfig.
    namespace: Option<String>,
    /// Its type; without it `Opaque`, that of the copied one, or that of a docker login.
    r#type: Option<String>,
    /// Texts by key; they may hold secrets of the run.
    #[serde(default, alias = "from")]
    data: BTreeMap<String, Scalar>,
    /// Files by key, relative to the plan.
    #[serde(default)]
    files: BTreeMap<String, PathBuf>,
    /// A login to a registry.
    docker_auth: Option<DockerAuth>,
    /// Another Secret whose type and data to take.
    copy: Option<Copied>,
    /// Whether to make the namespace where it is not there.
    #[serde(default)]
    create_namespace: bool,
    /// Whether to take over fields that belong to other managers.
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DockerAuth {
    /// The file, relative to the plan: a login as docker or podman keep it, or a Secret that holds one.
    file: Option<PathBuf>,
    /// The login itself, as `${{ secrets.NAME }}`.
    content: Option<String>,
    /// A registry that the login must be for, such as `registry.redhat.io`.
    registry: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Copied {
    /// The name of the other Secret.
    name: String,
    /// Its namespace.
    namespace: String,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let secret: Secret = read_with(with)?;
    let wrong = |path: &str, message: &str| Err(ReadError { path: path.to_owned(), message: message.to_owned() });
    let plain = !secret.data.is_empty() || !secret.files.is_empty();
    let sources = [plain, secret.docker_auth.is_some(), secret.copy.is_some()];
    match sources.into_iter().filter(|given| *given).count() {
        0 => return wrong("", "where do its values come from: `data`, `files`, `docker_auth` or `copy`?"),
        1 => {}
        _ => return wrong("", "give only one source: `data` with `files`, `docker_auth`, or `copy`"),
    }
    if secret.docker_auth.as_ref().is_some_and(|it| it.file.is_some() == it.content.is_some()) {
        return wrong("docker_auth", "give either `file` or `content`");
    }
    Ok(Box::new(secret))
}

/// What the Secret must be: its type, and its data in base64 by key.
struct Wanted {
    sort: String,
    data: BTreeMap<String, String>,
}

impl Secret {
    async fn wanted(&self, cluster: &Cluster, cx: &Context) -> Result<Wanted, Failure> {
        let (default, data) = match (&self.docker_auth, &self.copy) {
            (Some(auth), _) => {
                (DOCKER.to_owned(), BTreeMap::from([(DOCKER_KEY.to_owned(), docker_data(auth, cx).await?)]))
            }
            (None, Some(copied)) => copied_data(copied, cluster).await?,
            (None, None) => ("Opaque".to_owned(), self.plain_data(cx).await?),
        };
        Ok(Wanted { sort: self.r#type.clone().unwrap_or(default), data })
    }

    async fn plain_data(&self, cx: &Context) -> Result<BTreeMap<String, String>, Failure> {
        let mut data = BTreeMap::new();
        for (key, text) in &self.data {
            let secret = cx.secrets.reveal(&text.0).map_err(|why| Failure::new(Class::NeedsPerson, why))?;
            data.insert(key.clone(), STANDARD.encode(secret.expose()));
        }
        for (key, path) in &self.files {
            data.insert(key.clone(), STANDARD.encode(read_file(&cx.plan_path(path)).await?));
        }
        Ok(data)
    }

    fn namespace<'s>(&'s self, cluster: &'s Cluster) -> &'s str {
        self.namespace.as_deref().unwrap_or_else(|| cluster.default_namespace())
    }

    async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let resource = builtin(&cluster, "secrets").await?;
        let Some(live) = cluster.get(&resource, self.namespace(&cluster), &self.name).await? else {
            return Ok(Standing::Lacks(format!("secret/{} does not exist", self.name)));
        };
        let wanted = match self.wanted(&cluster, cx).await {
            Ok(wanted) => wanted,
            Err(failure) if failure.class == Class::NotFound => return Ok(Standing::Lacks(failure.what)),
            Err(failure) => return Err(failure),
        };
        let wrong = |key: &&String| {
            live.pointer("/data").and_then(|it| it.get(key.as_str())).and_then(Value::as_str)
                != Some(&wanted.data[*key])
        };
        if text_at(&live, "/type") != wanted.sort {
            return Ok(Standing::Lacks(format!("secret/{} is of type {}", self.name, text_at(&live, "/type"))));
        }
        Ok(match wanted.data.keys().find(wrong) {
            Some(key) => Standing::Lacks(format!("secret/{} has another value for `{key}`", self.name)),
            None => Standing::Holds(self.outputs(&cluster, &wanted)),
        })
    }

    async fn apply(&self, cx: &Context) -> Result<Outputs, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let resource = builtin(&cluster, "secrets").await?;
        let wanted = self.wanted(&cluster, cx).await?;
        let namespace = self.namespace(&cluster).to_owned();
        if self.create_namespace {
            ensure_namespace(&namespace, &cluster, cx).await?;
        }
        let live = cluster.get(&resource, &namespace, &self.name).await?;
        if let Some(live) = live.as_ref().filter(|live| text_at(live, "/type") != wanted.sort) {
            return Err(self.of_another_type(text_at(live, "/type"), &wanted.sort));
        }
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": wanted.sort, "data": wanted.data,
            "metadata": { "name": self.name, "namespace": namespace }
        });
        if live.as_ref().is_none_or(|live| manifest::is_ours(live, cx)) {
            manifest::mark(&mut object, cx);
        }
        cluster.apply(&resource, &object, &how(self.force)).await?;
        Ok(self.outputs(&cluster, &wanted))
    }

    fn of_another_type(&self, found: &str, wanted: &str) -> Failure {
        Failure::invalid(format!("secret/{} is of type `{found}`, not `{wanted}`", self.name))
            .cause("the type of a Secret cannot be changed")
            .fix("delete it, or give this one another name")
    }

    fn outputs(&self, cluster: &Cluster, wanted: &Wanted) -> Outputs {
        Outputs::from_iter([
            ("name".to_owned(), json!(self.name)),
            ("namespace".to_owned(), json!(self.namespace(cluster))),
            ("keys".to_owned(), json!(wanted.data.keys().collect::<Vec<_>>())),
        ])
    }

    /// Its names alone: to take it away, neither its values matter nor where they come from.
    fn without_values(&self) -> Value {
        let with = json!({
            "name": self.name, "namespace": self.namespace, "create_namespace": self.create_namespace, "data": { "any": "" },
        });
        without_nulls(with)
    }

    async fn take_back(&self, cx: &Context) -> Result<(), Failure> {
        let cluster = Cluster::connect(cx).await?;
        let namespace = self.namespace(&cluster).to_owned();
        let mut going = Vec::new();
        let secrets = builtin(&cluster, "secrets").await?;
        let live = cluster.get(&secrets, &namespace, &self.name).await?;
        if let Some(live) = live.filter(|live| manifest::is_ours(live, cx))
            && cluster.delete_object(&secrets, &live).await?
        {
            going.push(gone_condition(&secrets, &namespace, &self.name));
        }
        let namespaces = builtin(&cluster, "namespaces").await?;
        let home = cluster.get(&namespaces, "", &namespace).await?;
        let home = home.filter(|home| self.create_namespace && manifest::is_of_this_step(home, cx));
        if let Some(home) = home
            && cluster.delete_object(&namespaces, &home).await?
        {
            going.push(gone_condition(&namespaces, "", &namespace));
        }
        if going.is_empty() { Ok(()) } else { gone(&going).wait(cx).await }
    }
}

fn how(force: bool) -> Applying {
    Applying { manager: FIELD_MANAGER.to_owned(), force, dry_run: false }
}

fn without_nulls(mut with: Value) -> Value {
    if let Some(map) = with.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    with
}

async fn builtin(cluster: &Cluster, plural: &str) -> Result<Resource, Failure> {
    let found = cluster.resolve(plural).await?;
    found.ok_or_else(|| {
        Failure::permanent(format!("the server at `{}` has no {plural}: it is no Kubernetes API", cluster.url()))
    })
}

/// Makes the namespace where there is none; one that is there is left as it is.
async fn ensure_namespace(name: &str, cluster: &Cluster, cx: &Context) -> Result<(), Failure> {
    let resource = builtin(cluster, "namespaces").await?;
    if cluster.get(&resource, "", name).await?.is_some() {
        return Ok(());
    }
    let mut object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    manifest::mark(&mut object, cx);
    cluster.apply(&resource, &object, &how(false)).await.map(|_| ())
}

async fn copied_data(copied: &Copied, cluster: &Cluster) -> Result<(String, BTreeMap<String, String>), Failure> {
    let resource = builtin(cluster, "secrets").await?;
    let found = cluster.get(&resource, &copied.namespace, &copied.name).await?;
    let found = found.ok_or_else(|| {
        Failure::new(Class::NotFound, format!("there is no secret `{}/{}` to copy", copied.namespace, copied.name))
    })?;
    let data = found.get("data").and_then(Value::as_object).into_iter().flatten();
    let texts = data.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Ok((text_at(&found, "/type").to_owned(), texts.collect()))
}

async fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    crate::files::read_aside(path).await.map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let class = if missing { Class::NotFound } else { Class::Permanent };
        Failure::new(class, format!("cannot read `{}`: {error}", path.display()))
    })
}

/// The login, checked, in base64.
async fn docker_data(auth: &DockerAuth, cx: &Context) -> Result<String, Failure> {
    let (text, origin) = match (&auth.file, &auth.content) {
        (Some(file), _) => {
            let path = cx.plan_path(file);
            (String::from_utf8_lossy(&read_file(&path).await?).into_owned(), format!("`{}`", path.display()))
        }
        (None, content) => {
            let content = content.clone().unwrap_or_default();
            let secret = cx.secrets.reveal(&content).map_err(|why| Failure::new(Class::NeedsPerson, why))?;
            (secret.expose().to_owned(), "the given login".to_owned())
        }
    };
    let login = login_in(&text).ok_or_else(|| no_login(&origin, "it has no `auths`"))?;
    check_registry(&login, auth.registry.as_deref()).map_err(|why| no_login(&origin, &why))?;
    Ok(STANDARD.encode(Value::Object(login).to_string()))
}

/// The login in a text: JSON with `auths`, or a Secret that holds such JSON, as Red Hat's downloads do.
pub(super) fn login_in(text: &str) -> Option<Map<String, Value>> {
    let node: Value = serde_yaml::from_str(text).ok()?;
    if let Value::Object(map) = &node
        && map.get("auths").is_some_and(Value::is_object)
    {
        return Some(map.clone());
    }
    let wrapped = node.get("data")?.get(DOCKER_KEY)?.as_str()?;
    let inside = STANDARD.decode(wrapped.trim()).ok()?;
    let login: Map<String, Value> = serde_json::from_slice(&inside).ok()?;
    login.get("auths").is_some_and(Value::is_object).then_some(login)
}

fn check_registry(login: &Map<String, Value>, registry: Option<&str>) -> Result<(), String> {
    let auths = login.get("auths").and_then(Value::as_object);
    let hosts: Vec<&str> = auths.into_iter().flatten().map(|(host, _)| host.as_str()).collect();
    match registry {
        None if hosts.is_empty() => Err("its `auths` are empty".to_owned()),
        Some(registry) if !hosts.iter().any(|host| host_of(host) == registry) => Err(format!(
            "it logs in to {}, not to {registry}",
            if hosts.is_empty() { "nothing".to_owned() } else { hosts.join(", ") }
        )),
        _ => Ok(()),
    }
}

/// The registry's name in a key such as `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    bare.split('/').next().unwrap_or(bare)
}

fn no_login(origin: &str, why: &str) -> Failure {
    Failure::invalid(format!("{origin} is no registry login that would do: {why}"))
        .fix("log in with `podman login REGISTRY`, or download the pull secret anew; docker's credential helpers keep none in the file")
}

impl Step for Secret {
    /// A new login must make the step stale; what is in the files is part of the fingerprint as a digest only.
    fn files(&self) -> Vec<PathBuf> {
        let login = self.docker_auth.iter().filter_map(|auth| auth.file.clone());
        self.files.values().cloned().chain(login).collect()
    }

    fn intent(&self) -> Vec<String> {
        let namespace = self.namespace.as_ref().map(|it| format!(" -n {it}")).unwrap_or_default();
        let name = &self.name;
        if let Some(copied) = &self.copy {
            let from = format!("kubectl get secret {} -n {} -o yaml", copied.name, copied.namespace);
            return vec![format!("{from} | …type and data only… | kubectl apply{namespace} -f -   # as {name}")];
        }
        if let Some(auth) = &self.docker_auth {
            let file = auth.file.as_ref().map_or("…".to_owned(), |it| it.display().to_string());
            return vec![format!(
                "kubectl create secret docker-registry {name}{namespace} --from-file={DOCKER_KEY}={file}"
            )];
        }
        let texts = self.data.keys().map(|key| format!(" --from-literal={key}=…"));
        let files = self.files.iter().map(|(key, path)| format!(" --from-file={key}={}", path.display()));
        vec![format!("kubectl create secret generic {name}{namespace}{}", texts.chain(files).collect::<String>())]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(cx.unless_cancelled(self.look(cx)))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(self.apply(cx)))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(cx.unless_cancelled(within_cluster(cx, self.take_back(cx))))
    }

    fn undo_intent(&self) -> Vec<String> {
        let namespace = self.namespace.as_ref().map(|it| format!(" -n {it}")).unwrap_or_default();
        vec![format!("kubectl delete secret {}{namespace}", self.name)]
    }

    fn undo_with<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(async { Ok(Some(self.without_values())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_found_bare_or_wrapped() {
        let bare = r#"{"auths": {"registry.redhat.io": {"auth": "eA=="}}}"#;
        let wrapped = format!("kind: Secret\ndata:\n  .dockerconfigjson: {}\n", STANDARD.encode(bare));
        assert_eq!(login_in(bare), login_in(&wrapped));
        assert!(login_in(bare).is_some());
        assert_eq!(login_in(r#"{"credHelpers": {}}"#), None);
    }

    #[test]
    fn a_login_must_be_for_the_registry() {
        let login = login_in(r#"{"auths": {"https://quay.io/v2/": {}}}"#).expect("a login");
        assert_eq!(check_registry(&login, Some("quay.io")), Ok(()));
        let why = check_registry(&login, Some("registry.redhat.io")).expect_err("another registry");
        assert_eq!(why, "it logs in to https://quay.io/v2/, not to registry.redhat.io");
        let empty = login_in(r#"{"auths": {}}"#).expect("a login");
        assert!(check_registry(&empty, None).is_err());
    }
}
