//! `kubectl.patch`: a change of an object that somebody else made.

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{Applying, Cluster, FIELD_MANAGER, PatchStyle, Resource, text_at};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::manifest;
use crate::secret::mentions_secret;
use crate::step::{Outputs, Standing, Step};

/// The kind `kubectl.patch`.
pub(super) static KIND: Kind = Kind {
    name: "kubectl.patch",
    summary: "Patches a Kubernetes object",
    docs: "\
Changes an object that exists: by a merge patch, a JSON patch, a strategic merge patch, or by applying a part of it.

- **observe**: a server-side dry-run; holds where the patch would change nothing.
- **perform**: patches.
- **undo**: nothing: what was there before the patch is not known. A step that patches back may stand in `undo`.
- **failures**: an object that is not there is `not-found`; a patch that does not fit is `invalid`.
",
    example: "\
pull_secret:
  uses: kubectl.patch
  with:
    object: serviceaccount/default
    namespace: default
    patch: { imagePullSecrets: [ { name: registry } ] }
",
    version: 1,
    effect: Effect::Changes(Reach::Objects),
    observes: true,
    idempotent: true,
    outputs: &[OutputDoc { name: "changed", about: "whether the patch changed anything" }],
    open_outputs: false,
    schema: schema_of::<Patch>,
    read,
};

/// What to patch and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patch {
    /// `kind/name`.
    object: String,
    /// The namespace; without it that of the kubeconfig.
    namespace: Option<String>,
    /// The sort of patch: `merge` (where not given), `json`, `strategic` or `apply`.
    #[serde(default)]
    r#type: PatchStyle,
    /// The patch: a list of operations with `type: json`, a part of the object otherwise.
    patch: Value,
    /// With `type: apply`: whether to take over fields that belong to other managers.
    #[serde(default)]
    force: bool,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let patch: Patch = read_with(with)?;
    let wrong = |path: &str, message: &str| Err(ReadError { path: path.to_owned(), message: message.to_owned() });
    if !patch.object.split_once('/').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty()) {
        return wrong("object", "write `kind/name`");
    }
    if mentions_secret(&patch.patch.to_string()) {
        return wrong("patch", "a patch cannot hold a secret: use `kubectl.secret`");
    }
    match (patch.r#type, &patch.patch) {
        (PatchStyle::Json, Value::Array(_)) => Ok(Box::new(patch)),
        (PatchStyle::Json, _) => wrong("patch", "a JSON patch is a list of operations"),
        (_, Value::Object(_)) => Ok(Box::new(patch)),
        _ => wrong("patch", "this sort of patch is a part of the object: a mapping"),
    }
}

impl Patch {
    async fn target(&self, cluster: &Cluster) -> Result<Option<(Resource, Value, String)>, Failure> {
        let (kind, name) = self.object.split_once('/').unwrap_or_default();
        let Some(resource) = cluster.resolve(kind).await? else { return Ok(None) };
        let namespace = self.namespace.as_deref().unwrap_or_else(|| cluster.default_namespace()).to_owned();
        Ok(cluster.get(&resource, &namespace, name).await?.map(|live| (resource, live, namespace)))
    }

    async fn send(
        &self,
        cluster: &Cluster,
        resource: &Resource,
        namespace: &str,
        dry_run: bool,
    ) -> Result<Value, Failure> {
        let name = self.object.split_once('/').unwrap_or_default().1;
        let mut patch = self.patch.clone();
        if self.r#type == PatchStyle::Apply {
            patch["apiVersion"] = json!(resource.api_version());
            patch["kind"] = json!(resource.kind);
        }
        let how = Applying { manager: FIELD_MANAGER.to_owned(), force: self.force, dry_run };
        cluster.patch(resource, (namespace, name), self.r#type, &patch, &how).await
    }

    async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let Some((resource, live, namespace)) = self.target(&cluster).await? else {
            return Ok(Standing::Lacks(format!("{} does not exist", self.object)));
        };
        match self.send(&cluster, &resource, &namespace, true).await {
            Ok(outcome) => Ok(match manifest::first_difference(&live, &outcome) {
                None => Standing::Holds(outputs(false)),
                Some(difference) => Standing::Lacks(format!("{} differs at {difference}", self.object)),
            }),
            Err(failure) if matches!(failure.class, Class::Transient | Class::AuthExpired) => Err(failure),
            Err(failure) => Ok(Standing::Lacks(failure.what)),
        }
    }

    async fn patch(&self, cx: &Context) -> Result<Outputs, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let target = self.target(&cluster).await?;
        let (resource, live, namespace) = target.ok_or_else(|| {
            Failure::new(Class::NotFound, format!("cannot patch {}: it does not exist", self.object))
                .fix("let this step need the one that makes it, or wait for it with `for: exists`")
        })?;
        let after = self.send(&cluster, &resource, &namespace, false).await?;
        let version = "/metadata/resourceVersion";
        Ok(outputs(text_at(&live, version) != text_at(&after, version)))
    }
}

fn outputs(changed: bool) -> Outputs {
    Outputs::from_iter([("changed".to_owned(), json!(changed))])
}

impl Step for Patch {
    fn intent(&self) -> Vec<String> {
        let namespace = self.namespace.as_ref().map(|it| format!(" -n {it}")).unwrap_or_default();
        let sort = match self.r#type {
            PatchStyle::Merge => "patch --type=merge",
            PatchStyle::Json => "patch --type=json",
            PatchStyle::Strategic => "patch --type=strategic",
            PatchStyle::Apply => {
                return vec![format!("kubectl apply --server-side{namespace} -f -   # a part of {}", self.object)];
            }
        };
        vec![format!("kubectl {sort} {}{namespace} -p '{}'", self.object, self.patch)]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(cx.unless_cancelled(self.look(cx)))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(self.patch(cx)))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}
