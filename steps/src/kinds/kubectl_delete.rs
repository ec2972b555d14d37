//! `kubectl.delete`: objects that must not be there.

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kubectl_apply::{gone, gone_condition};
use crate::cluster::{Cluster, Resource, Selection, Selector, name_of, namespace_of};
use crate::context::Context;
use crate::failure::Failure;
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};

/// The kind `kubectl.delete`.
pub(super) static KIND: Kind = Kind {
    name: "kubectl.delete",
    summary: "Deletes Kubernetes objects and waits until they are gone",
    docs: "\
Deletes one object, or those that a selector selects, and waits until their finalizers are done.

- **observe**: holds where none is there, also where the cluster does not know the kind.
- **perform**: deletes what is there; while it waits it says which finalizer holds it up.
- **undo**: nothing: what is deleted is gone.
- **failures**: those of the API server.
",
    example: "\
old_route:
  uses: kubectl.delete
  with: { object: configmap/old, namespace: default }
",
    version: 1,
    effect: Effect::Changes(Reach::Objects),
    observes: true,
    idempotent: true,
    outputs: &[OutputDoc { name: "deleted", about: "the names of what was deleted" }],
    open_outputs: false,
    schema: schema_of::<Delete>,
    read,
};

/// What to delete.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Delete {
    /// `kind/name`, or with `selector` only the kind.
    object: String,
    /// A label selector.
    selector: Option<String>,
    /// The namespace; without it that of the kubeconfig.
    namespace: Option<String>,
    /// Whether to wait until it is gone; true where not given.
    #[serde(default = "yes")]
    wait: bool,
}

fn yes() -> bool {
    true
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let delete: Delete = read_with(with)?;
    let wrong = |path: &str, message: String| ReadError { path: path.to_owned(), message };
    match (delete.object.split_once('/'), &delete.selector) {
        (Some((kind, name)), None) if !kind.is_empty() && !name.is_empty() => {}
        (None, Some(selector)) => drop(Selector::read(selector).map_err(|message| wrong("selector", message))?),
        _ => return Err(wrong("object", "write `kind/name`, or the kind alone with a `selector`".to_owned())),
    }
    Ok(Box::new(delete))
}

impl Delete {
    /// What is there to delete, with its kind.
    async fn found(&self, cluster: &Cluster) -> Result<Option<(Resource, Vec<Value>)>, Failure> {
        let (kind, name) =
            self.object.split_once('/').map_or((self.object.as_str(), None), |(kind, name)| (kind, Some(name)));
        let Some(resource) = cluster.resolve(kind).await? else { return Ok(None) };
        let namespace = self.namespace.as_deref().unwrap_or_else(|| cluster.default_namespace());
        let objects = match name {
            Some(name) => cluster.get(&resource, namespace, name).await?.into_iter().collect(),
            None => {
                let labels = self.selector.clone().unwrap_or_default();
                cluster.list(&resource, namespace, &Selection { labels, ..Selection::default() }).await?
            }
        };
        Ok(Some((resource, objects)))
    }

    async fn look(&self, cx: &Context) -> Result<Standing, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let found = self.found(&cluster).await?.map(|(_, objects)| objects).unwrap_or_default();
        match found.first() {
            None => Ok(Standing::Holds(outputs(&[]))),
            Some(first) => Ok(Standing::Lacks(format!("{} is there", crate::cluster::describe(first)))),
        }
    }

    async fn delete(&self, cx: &Context) -> Result<Outputs, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let Some((resource, objects)) = self.found(&cluster).await? else { return Ok(outputs(&[])) };
        for object in &objects {
            cx.note(&format!("delete {}", crate::cluster::describe(object)));
            cluster.delete(&resource, namespace_of(object), name_of(object)).await?;
        }
        if self.wait {
            let conditions: Vec<Value> =
                objects.iter().map(|it| gone_condition(&resource, namespace_of(it), name_of(it))).collect();
            gone(&conditions).wait(cx).await?;
        }
        Ok(outputs(&objects))
    }
}

fn outputs(objects: &[Value]) -> Outputs {
    Outputs::from_iter([("deleted".to_owned(), json!(objects.iter().map(name_of).collect::<Vec<_>>()))])
}

impl Step for Delete {
    fn intent(&self) -> Vec<String> {
        let namespace = self.namespace.as_ref().map(|it| format!(" -n {it}")).unwrap_or_default();
        let selector = self.selector.as_ref().map(|it| format!(" -l '{it}'")).unwrap_or_default();
        vec![format!("kubectl delete {}{selector}{namespace} --ignore-not-found --wait={}", self.object, self.wait)]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(cx.unless_cancelled(self.look(cx)))
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(self.delete(cx)))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}
