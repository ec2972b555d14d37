//! A value read off the world: `{object, namespace, path}`.

use serde_json::{Value, json};

use super::read::{below, error, known_keys, target, text};
use super::{Target, Which};
use crate::cluster::Cluster;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::jsonpath::JsonPath;
use crate::kind::ReadError;

/// A value to read off the world: `{object, namespace, path}`.
#[derive(Clone, Debug)]
pub struct Lookup {
    target: Target,
    path: JsonPath,
}

impl Lookup {
    /// Reads a rendered look-up.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        let map = value
            .as_object()
            .ok_or_else(|| error("", "a look-up is a mapping: `{object: kind/name, path: '{.x}'}`"))?;
        known_keys(map, "", &["object", "selector", "namespace", "path"])?;
        let written = text(map, "path", "")?.ok_or_else(|| error("", "a look-up needs a `path`"))?;
        let path = JsonPath::read(&written).map_err(|message| error(&below("", "path"), message))?;
        Ok(Self { target: target(map, "")?, path })
    }

    /// The JSON Schema of a look-up.
    pub fn schema() -> Value {
        let text = |about: &str| json!({ "type": "string", "description": about });
        json!({
            "description": "A value to read off an object of the cluster.",
            "type": "object", "required": ["object", "path"], "additionalProperties": false,
            "properties": {
                "object": text("`kind/name`, or with `selector` only the kind."),
                "selector": text("A label selector; the path is read off the first selected object, by name."),
                "namespace": text("The namespace; without it that of the kubeconfig."),
                "path": text("A JSONPath in kubectl's dialect: `{.status.addresses[0].value}`.")
            }
        })
    }

    /// The value, or a `not-found` failure that names the path.
    pub async fn fetch(&self, cx: &Context) -> Result<Value, Failure> {
        // Boxed for the same reason as a wait.
        cx.unless_cancelled(Box::pin(self.read_off(cx))).await
    }

    async fn read_off(&self, cx: &Context) -> Result<Value, Failure> {
        let cluster = Cluster::connect(cx).await?;
        let target = &self.target;
        let missing = |what: String| Failure::new(Class::NotFound, what);
        let resource = cluster
            .resolve(&target.kind)
            .await?
            .ok_or_else(|| missing(format!("the cluster does not know the kind `{}`", target.kind)))?;
        let namespace = if target.namespace.is_empty() { cluster.default_namespace() } else { &target.namespace };
        let object = match &target.which {
            Which::Named(name) => cluster.get(&resource, namespace, name).await?,
            Which::Selected(selector) => {
                let selection = crate::cluster::Selection { labels: selector.text().to_owned(), ..Default::default() };
                cluster.list(&resource, namespace, &selection).await?.into_iter().next()
            }
        };
        let object = object.ok_or_else(|| missing(format!("there is no `{target}`")))?;
        self.path.value(&object).ok_or_else(|| {
            missing(format!("`{}` of `{target}` leads to nothing", self.path))
                .fix("wait for it in the step that makes it: `wait: [{object: …, path: …}]`")
        })
    }
}

impl std::fmt::Display for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.path, self.target)
    }
}
