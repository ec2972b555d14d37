//! A kind of step: what a plan's `uses` names.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::gcloud::GkeCluster;
use crate::step::Step;

/// Whether steps of a kind change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Only looks; its outcome is `ok`, never `changed`.
    Reads,
    /// Changes the world.
    Changes(Reach),
}

/// How far reaches what steps of a kind change. Who knows it knows what goes when a cluster is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The cluster that `with` names in `name`. Taking it back deletes the cluster with all that is in it.
    Cluster,
    /// The node pool that `with` names in `name`, in the cluster that it names in `cluster`.
    NodePool,
    /// Something else that is a part of the cluster that `with` names in `cluster`.
    PartOfCluster,
    /// The deployment's kubeconfig, which then leads to the cluster that `with` names in `cluster`.
    Kubeconfig,
    /// Objects in the cluster that the kubeconfig leads to, and nothing besides.
    Objects,
    /// Such objects, for some of which the cloud makes things beside the cluster: load balancers, disks.
    ObjectsAndMore,
    /// Whatever the plan's author has a program or a person do.
    Anything,
    /// Something that has nothing to do with a cluster.
    Other,
}

impl Reach {
    /// The cluster of Google's that a step's `with` names, where steps of this reach name one.
    pub fn cluster(self, with: &Value) -> Option<GkeCluster> {
        match self {
            Self::Cluster => GkeCluster::named(with, "name"),
            Self::NodePool | Self::PartOfCluster | Self::Kubeconfig => GkeCluster::named(with, "cluster"),
            Self::Objects | Self::ObjectsAndMore | Self::Anything | Self::Other => None,
        }
    }
}

impl Kind {
    /// How far reaches what its steps change; nothing for one that only looks.
    pub fn reach(&self) -> Option<Reach> {
        match self.effect {
            Effect::Reads => None,
            Effect::Changes(reach) => Some(reach),
        }
    }
}

/// One output that steps of a kind give.
#[derive(Clone, Copy, Debug)]
pub struct OutputDoc {
    /// The name, as in `steps.ID.outputs.NAME`.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
}

/// How a `with` becomes a step. The error says what is wrong and where in the value.
pub type Read = fn(Value) -> Result<Box<dyn Step>, ReadError>;

/// A `with` that its kind cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The path in the value, such as `addons[2].name`; empty for the value as a whole.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl ReadError {
    /// Several problems as one: at the place of the first, the others told with theirs.
    pub(crate) fn all(problems: Vec<Self>) -> Result<(), Self> {
        let mut problems = problems.into_iter();
        let Some(mut first) = problems.next() else { return Ok(()) };
        for other in problems {
            first.message.push_str(&format!("; and `{}`: {}", other.path, other.message));
        }
        Err(first)
    }
}

/// A family of steps.
#[derive(Debug)]
pub struct Kind {
    /// The name in `uses`, such as `gke.cluster`.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// What it does, in Markdown: observe, perform, undo, failures.
    pub docs: &'static str,
    /// A step that uses it, in YAML, as it would stand below `steps:`.
    pub example: &'static str,
    /// Raised when the same `with` comes to mean something else; part of the fingerprint.
    pub version: u32,
    /// Whether it changes anything.
    pub effect: Effect,
    /// Whether `observe` can answer anything but `Unknown`.
    pub observes: bool,
    /// Whether doing it twice is as good as once even where it cannot be observed.
    pub idempotent: bool,
    /// What it gives to later steps. Empty where the plan decides (`run`, `command`, `manual`).
    pub outputs: &'static [OutputDoc],
    /// Whether a step may have outputs beyond `outputs`, known only when it runs.
    pub open_outputs: bool,
    /// The JSON Schema of `with`.
    pub schema: fn() -> Value,
    /// Reads a rendered `with`.
    pub read: Read,
}

/// Reads a value into a step's type, with the path of what is wrong.
pub fn read_as<T: Step + DeserializeOwned + 'static>(value: Value) -> Result<Box<dyn Step>, ReadError> {
    Ok(Box::new(read_with::<T>(value)?))
}

/// The same, for a kind that checks more than types before it makes a step of it.
pub fn read_with<T: DeserializeOwned>(value: Value) -> Result<T, ReadError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        ReadError { path, message: error.into_inner().to_string() }
    })
}

/// The JSON Schema of a type, without the `$schema` line: it is embedded in the plan's schema.
pub fn schema_of<T: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
    }
    schema
}
