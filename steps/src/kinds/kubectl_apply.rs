//! `kubectl.apply`: objects from manifests, applied on the server's side in the order that they need.

use std::path::PathBuf;

use futures::future::{BoxFuture, join_all};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::vanished::within_cluster;
use crate::cluster::{Applying, Cluster, FIELD_MANAGER, Resource, describe, kind_of, name_of, namespace_of, text_at};
use crate::condition::Condition;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::manifest::{self, Pinned, Source};
use crate::step::{Outputs, Standing, Step};

/// The kind `kubectl.apply`.
pub(super) static KIND: Kind = Kind {
    name: "kubectl.apply",
    summary: "Applies Kubernetes objects from files, folders or the plan itself",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::ObjectsAndMore),
    observes: true,
    idempotent: true,
    outputs: OUTPUTS,
    open_outputs: false,
    schema: schema_of::<With>,
    read,
};

/// What applying gives to later steps.
pub(super) const OUTPUTS: &[OutputDoc] = &[
    OutputDoc { name: "objects", about: "what was applied: a list of `api_version`, `kind`, `namespace`, `name`" },
    OutputDoc { name: "created", about: "how many of them were not there before" },
    OutputDoc { name: "changed", about: "how many were there and are different now" },
];

const DOCS: &str = "\
Server-side apply with strict field validation; no `kubectl` is needed. Namespaces first, then definitions (and waits until they
are established), then the rest, webhook configurations last.

- **observe**: a server-side dry-run; holds where it would change nothing, else says what.
- **perform**: applies. What was not there before is marked with the annotation `runbook.dev/deployment`.
- **undo**: deletes what carries this deployment's mark, in the opposite order, and waits until it is gone. What was there before
  is left as it is. A cluster that has been deleted took everything with it.
- **failures**: a field of another manager is `conflict`, with a table and the way out (`force: true`); a webhook that cannot be
  asked is `webhook-not-ready`; a kind that the cluster does not know yet is `transient`; a misspelt field is `invalid`.

With `values`, texts in files may hold `${{ values.x }}`, evaluated inside the parsed document.
";

const EXAMPLE: &str = "\
gateway:
  uses: kubectl.apply
  with:
    objects:
      - apiVersion: v1
        kind: ConfigMap
        metadata: { name: settings, namespace: default }
        data: { colour: green }
";

/// What to apply and how.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct With {
    /// A manifest, relative to the plan.
    file: Option<PathBuf>,
    /// Manifests.
    #[serde(default)]
    files: Vec<PathBuf>,
    /// A folder of manifests.
    folder: Option<PathBuf>,
    /// Folders of manifests.
    #[serde(default)]
    folders: Vec<PathBuf>,
    /// Objects, written into the plan.
    #[serde(default)]
    objects: Vec<Map<String, Value>>,
    /// A manifest on the web, pinned by its digest.
    remote: Option<Pinned>,
    /// The namespace of objects that name none; without it that of the kubeconfig.
    namespace: Option<String>,
    /// What `${{ values.x }}` means in the texts of files. Without it, files are taken as they are.
    values: Option<Map<String, Value>>,
    /// Whether to take over fields that belong to other managers.
    #[serde(default)]
    force: bool,
    /// Who owns the applied fields; `runbook` where not given.
    #[serde(default = "manager")]
    field_manager: String,
}

fn manager() -> String {
    FIELD_MANAGER.to_owned()
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let with: With = read_with(with)?;
    let source = Source {
        files: with.file.into_iter().chain(with.files).collect(),
        folders: with.folder.into_iter().chain(with.folders).collect(),
        urls: with.remote.into_iter().collect(),
        objects: with.objects.into_iter().map(Value::Object).collect(),
        values: with.values,
    };
    if source.files.is_empty() && source.folders.is_empty() && source.urls.is_empty() && source.objects.is_empty() {
        let message = "nothing to apply: give `file`, `files`, `folder`, `folders`, `objects` or `remote`".to_owned();
        return Err(ReadError { path: String::new(), message });
    }
    Ok(Box::new(Apply { source, namespace: with.namespace, force: with.force, manager: with.field_manager }))
}

/// Objects, and how they are applied.
#[derive(Debug)]
pub(super) struct Apply {
    source: Source,
    namespace: Option<String>,
    force: bool,
    manager: String,
}

/// How many objects are looked at side by side.
const TOGETHER: usize = 8;

impl Apply {
    /// Objects that another kind has made.
    pub(super) fn of(objects: Vec<Value>, namespace: Option<String>, force: bool) -> Self {
        Self { source: Source { objects, ..Source::default() }, namespace, force, manager: manager() }
    }

    /// The objects that another kind has made.
    pub(super) fn all(&self) -> &[Value] {
        &self.source.objects
    }

    fn how(&self, dry_run: bool) -> Applying {
        Applying { manager: self.manager.clone(), force: self.force, dry_run }
    }

    async fn objects(&self, cx: &Context) -> Result<Vec<Value>, Failure> {
        let mut objects = self.source.load(cx).await?;
        manifest::sort(&mut objects);
        Ok(objects)
    }

    /// An object with its namespace and its kind; `None` where the cluster does not know the kind.
    async fn place(&self, object: &Value, cluster: &Cluster) -> Result<Option<(Resource, Value)>, Failure> {
        let Some(resource) = cluster.resolve_object(object).await? else { return Ok(None) };
        let mut object = object.clone();
        let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
        match (resource.namespaced, metadata) {
            (true, Some(metadata)) => {
                let default = self.namespace.as_deref().unwrap_or_else(|| cluster.default_namespace());
                metadata.entry("namespace").or_insert_with(|| json!(default));
            }
            (false, Some(metadata)) => drop(metadata.remove("namespace")),
            (_, None) => {}
        }
        Ok(Some((resource, object)))
    }

    /// Whether applying would change anything.
    pub(super) async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let objects = self.objects(cx).await?;
        let cluster = Cluster::connect(cx).await?;
        let mut placed = Vec::new();
        for together in objects.chunks(TOGETHER) {
            let looks: Vec<_> = together.iter().map(|object| self.lacks(object, &cluster, cx)).collect();
            for look in join_all(looks).await {
                match look? {
                    Look::AsWanted(object) => placed.push(object),
                    Look::Lacks(why) => return Ok(Standing::Lacks(why)),
                }
            }
        }
        Ok(Standing::Holds(outputs(&placed, 0, 0)))
    }

    /// Whether applying the object would change anything.
    async fn lacks(&self, object: &Value, cluster: &Cluster, cx: &Context) -> Result<Look, Failure> {
        let name = describe(object);
        let Some((resource, object)) = self.place(object, cluster).await? else {
            return Ok(Look::Lacks(format!("{name}: the cluster does not know {} yet", kind_and_version(object))));
        };
        let Some(live) = cluster.get(&resource, namespace_of(&object), name_of(&object)).await? else {
            return Ok(Look::Lacks(format!("{name} does not exist")));
        };
        if !text_at(&live, "/metadata/deletionTimestamp").is_empty() {
            return Ok(Look::Lacks(format!("{name} is being deleted")));
        }
        let revealed = manifest::reveal(&object, cx)?;
        match cluster.apply(&resource, &revealed, &self.how(true)).await {
            Ok(outcome) => Ok(match manifest::first_difference(&live, &outcome) {
                None => Look::AsWanted(object),
                Some(difference) => Look::Lacks(format!("{name} differs at {difference}")),
            }),
            // Applying in earnest meets the same; there it is a failure with all that belongs to one.
            Err(failure) if matches!(failure.class, Class::Transient | Class::AuthExpired) => Err(failure),
            Err(failure) => Ok(Look::Lacks(failure.what)),
        }
    }

    /// Applies all objects in order.
    pub(super) async fn apply_all(&self, cx: &Context) -> Result<Outputs, Failure> {
        let objects = self.objects(cx).await?;
        let cluster = Cluster::connect(cx).await?;
        let (mut applied, mut created, mut changed) = (Vec::new(), 0, 0);
        let mut definitions = Vec::new();
        for (index, object) in objects.iter().enumerate() {
            let is_definition = kind_of(object) == "CustomResourceDefinition";
            if !is_definition && !definitions.is_empty() {
                established(&std::mem::take(&mut definitions), &cluster, cx).await?;
            }
            cx.progress(format!("{} ({} of {})", describe(object), index + 1, objects.len()));
            let (object, effect) = self.apply_one(object, &cluster, cx).await?;
            cx.note(&format!("{} {}", describe(&object), effect.word()));
            created += usize::from(effect == Outcome::Created);
            changed += usize::from(effect == Outcome::Changed);
            if is_definition {
                definitions.push(name_of(&object).to_owned());
            }
            applied.push(object);
        }
        established(&definitions, &cluster, cx).await?;
        Ok(outputs(&applied, created, changed))
    }

    async fn apply_one(&self, object: &Value, cluster: &Cluster, cx: &Context) -> Result<(Value, Outcome), Failure> {
        let placed = self.place(object, cluster).await?;
        let (resource, mut object) = placed.ok_or_else(|| unknown_kind(object))?;
        let live = cluster.get(&resource, namespace_of(&object), name_of(&object)).await?;
        // What somebody else made stays theirs.
        if live.as_ref().is_none_or(|live| manifest::is_ours(live, cx)) {
            manifest::mark(&mut object, cx);
        }
        let revealed = manifest::reveal(&object, cx)?;
        let after = cluster.apply(&resource, &revealed, &self.how(false)).await?;
        let version = |object: &Value| text_at(object, "/metadata/resourceVersion").to_owned();
        let effect = match live {
            None => Outcome::Created,
            Some(live) if version(&live) == version(&after) => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
        };
        Ok((object, effect))
    }

    /// What takes the objects away again, wherever they came from: their names.
    pub(super) fn names_only(&self, objects: &[Value]) -> Value {
        let stub = |object: &Value| {
            let mut metadata = json!({ "name": name_of(object) });
            if !namespace_of(object).is_empty() {
                metadata["namespace"] = json!(namespace_of(object));
            }
            json!({ "apiVersion": crate::cluster::api_version(object), "kind": kind_of(object), "metadata": metadata })
        };
        let mut with = json!({ "objects": objects.iter().map(stub).collect::<Vec<_>>() });
        if let Some(namespace) = &self.namespace {
            with["namespace"] = json!(namespace);
        }
        with
    }

    /// Deletes those that this deployment made.
    pub(super) async fn take_back(&self, cx: &Context) -> Result<(), Failure> {
        let objects = self.objects(cx).await?;
        let cluster = Cluster::connect(cx).await?;
        // Those of one rank go together; the next only when they are gone, for their controllers must outlive them.
        for group in objects.chunk_by(|one, other| manifest::rank(one) == manifest::rank(other)).rev() {
            let mut going = Vec::new();
            for object in group.iter().rev() {
                going.extend(self.delete_ours(object, &cluster, cx).await?);
            }
            gone(&going).wait(cx).await?;
        }
        Ok(())
    }

    /// Deletes an object if this deployment made it; gives back what to wait for.
    async fn delete_ours(&self, object: &Value, cluster: &Cluster, cx: &Context) -> Result<Option<Value>, Failure> {
        let Some((resource, object)) = self.place(object, cluster).await? else { return Ok(None) };
        let live = cluster.get(&resource, namespace_of(&object), name_of(&object)).await?;
        match live {
            Some(live) if manifest::is_ours(&live, cx) => {
                cx.note(&format!("delete {}", describe(&object)));
                let deleted = cluster.delete_object(&resource, &live).await?;
                Ok(deleted.then(|| gone_condition(&resource, namespace_of(&object), name_of(&object))))
            }
            Some(_) => {
                cx.note(&format!("leave {}: it was there before", describe(&object)));
                Ok(None)
            }
            None => Ok(None),
        }
    }
}

enum Look {
    AsWanted(Value),
    Lacks(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Created,
    Changed,
    Unchanged,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
        }
    }
}

fn kind_and_version(object: &Value) -> String {
    format!("kind {} of {}", kind_of(object), crate::cluster::api_version(object))
}

/// Transient, because most often the definition was created a moment ago and the server needs another.
fn unknown_kind(object: &Value) -> Failure {
    Failure::transient(format!("cannot apply {}: no matches for {}", describe(object), kind_and_version(object)))
        .cause("the cluster has no such kind: its CRD is missing, or was created a moment ago")
        .fix("apply the CRD in an earlier step, and wait for it: `{object: crd/NAME, for: condition=Established}`")
}

/// Waits until the server accepts objects of these definitions.
async fn established(definitions: &[String], cluster: &Cluster, cx: &Context) -> Result<(), Failure> {
    if definitions.is_empty() {
        return Ok(());
    }
    let one = |name: &String| json!({ "object": format!("customresourcedefinition.apiextensions.k8s.io/{name}"), "for": "ready" });
    all(&definitions.iter().map(one).collect::<Vec<_>>()).wait(cx).await?;
    cluster.rediscover().await
}

/// A condition made here, not by a plan's author.
fn all(conditions: &[Value]) -> Condition {
    let read =
        conditions.iter().map(|it| Condition::read(it).expect("written in this file in the language's own form"));
    Condition::all(read.collect())
}

/// That an object is gone, in the condition language.
pub(super) fn gone_condition(resource: &Resource, namespace: &str, name: &str) -> Value {
    let mut condition = json!({ "object": format!("{}/{name}", resource.qualified()), "for": "deleted" });
    if resource.namespaced && !namespace.is_empty() {
        condition["namespace"] = json!(namespace);
    }
    condition
}

/// That objects are gone.
pub(super) fn gone(conditions: &[Value]) -> Condition {
    all(conditions)
}

fn outputs(objects: &[Value], created: usize, changed: usize) -> Outputs {
    let one = |object: &Value| {
        json!({
            "api_version": crate::cluster::api_version(object), "kind": kind_of(object),
            "namespace": namespace_of(object), "name": name_of(object)
        })
    };
    let listed: Vec<Value> = objects.iter().map(one).collect();
    Outputs::from_iter([
        ("objects".to_owned(), json!(listed)),
        ("created".to_owned(), json!(created)),
        ("changed".to_owned(), json!(changed)),
    ])
}

impl Step for Apply {
    fn intent(&self) -> Vec<String> {
        let namespace = self.namespace.as_ref().map(|it| format!(" -n {it}")).unwrap_or_default();
        let force = if self.force { " --force-conflicts" } else { "" };
        let head = format!("kubectl apply --server-side --field-manager={}{force}{namespace}", self.manager);
        let paths = self.source.files.iter().chain(&self.source.folders).map(|path| path.display().to_string());
        let sources = paths.chain(self.source.urls.iter().map(|it| it.url.clone()));
        let mut commands: Vec<String> = sources.map(|source| format!("{head} -f {source}")).collect();
        commands.extend(self.source.objects.iter().map(|object| format!("{head} -f -   # {}", describe(object))));
        commands
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(cx.unless_cancelled(self.look(cx)))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(self.apply_all(cx)))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(cx.unless_cancelled(within_cluster(cx, self.take_back(cx))))
    }

    fn undo_intent(&self) -> Vec<String> {
        let namespace = self.namespace.as_ref().map(|it| format!(" -n {it}")).unwrap_or_default();
        let paths = self.source.files.iter().chain(&self.source.folders).map(|path| path.display().to_string());
        let sources = paths.chain(self.source.urls.iter().map(|it| it.url.clone()));
        let from_sources = sources.map(|source| format!("kubectl delete{namespace} -f {source}"));
        let delete = |object: &Value| {
            let own = Some(namespace_of(object)).filter(|name| !name.is_empty()).map(|name| format!(" -n {name}"));
            let namespace = own.unwrap_or_else(|| namespace.clone());
            format!("kubectl delete {} {}{namespace}", kind_of(object).to_lowercase(), name_of(object))
        };
        from_sources.chain(self.source.objects.iter().rev().map(delete)).collect()
    }

    fn undo_with<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(async { Ok(Some(self.names_only(&self.objects(cx).await?))) })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.source.files.iter().chain(&self.source.folders).cloned().collect()
    }
}
