//! The condition language of `check` and `wait`, and the look-ups of `outputs`.
//!
//! Owns what a condition means and how to wait for it by watches; does not know plans: it is handed rendered values. Whether one
//! object is as wanted is decided by pure functions (`leaf`), why it is not by others (`reason`); `wait` and `sight` only drive.

mod custom;
#[cfg(test)]
mod docs_tests;
mod endpoints;
mod event;
mod explain;
mod leaf;
mod log;
mod lookup;
mod read;
mod reason;
mod schema;
mod show;
mod sight;
mod verdict;
mod wait;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, Selector, needs_whole};
use crate::context::Context;
use crate::failure::Failure;
use crate::jsonpath::JsonPath;
use crate::kind::ReadError;

use custom::Custom;
use endpoints::Endpoints;
use event::Happened;
use log::Logged;
pub use lookup::Lookup;
pub(crate) use reason::condition_facts;
use verdict::State;

/// Something that can be true of the world.
#[derive(Clone, Debug)]
pub struct Condition(Form);

#[derive(Clone, Debug)]
enum Form {
    Object(Box<Wanted>),
    Webhook(String),
    Endpoints(Box<Endpoints>),
    Log(Box<Logged>),
    Event(Box<Happened>),
    Any(Vec<Condition>),
    All(Vec<Condition>),
}

/// Objects, and what they must be like.
#[derive(Clone, Debug)]
struct Wanted {
    target: Target,
    test: Test,
    amount: Amount,
    /// The gateways that are expected to accept it, `name` or `namespace/name`.
    parents: Vec<String>,
    /// How long it usually takes at most.
    expected: Option<Duration>,
}

/// Which object or objects are meant.
#[derive(Clone, Debug)]
struct Target {
    /// The kind, as a plan's author writes it.
    kind: String,
    which: Which,
    /// Empty: that of the kubeconfig.
    namespace: String,
}

#[derive(Clone, Debug)]
enum Which {
    Named(String),
    Selected(Selector),
}

#[derive(Clone, Debug)]
enum Test {
    Exists,
    Deleted,
    Ready,
    Condition {
        kind: String,
        status: String,
    },
    Path {
        path: JsonPath,
        value: Expected,
    },
    /// By expressions of the plan.
    Custom(Arc<Custom>),
    /// How long ago it was created.
    Age {
        over: Option<Duration>,
        under: Option<Duration>,
    },
}

#[derive(Clone, Debug)]
enum Expected {
    Present,
    Absent,
    Equals(String),
    NotEquals(String),
}

/// How many of the selected objects must be as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    /// All of them, and at least one.
    All,
    /// So many, no more and no fewer.
    Count(usize),
    /// So many or more.
    Min(usize),
}

/// How a condition stands now.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not, and this is the deepest known reason.
    Not(String),
}

impl Condition {
    /// Reads a rendered condition.
    pub fn read(value: &Value) -> Result<Self, ReadError> {
        read::condition(value, "")
    }

    /// All of these.
    pub fn all(conditions: Vec<Condition>) -> Self {
        Self(Form::All(conditions))
    }

    /// Whether it tests what watches leave out of objects.
    fn needs_whole_objects(&self) -> bool {
        match &self.0 {
            Form::Object(wanted) => match &wanted.test {
                Test::Path { path, .. } => needs_whole(&path.to_string()),
                Test::Custom(custom) => custom.texts().any(needs_whole),
                _ => false,
            },
            Form::Webhook(_) | Form::Endpoints(_) | Form::Log(_) | Form::Event(_) => false,
            Form::Any(several) | Form::All(several) => several.iter().any(Self::needs_whole_objects),
        }
    }

    /// The JSON Schema of a condition.
    pub fn schema() -> Value {
        schema::condition()
    }

    /// Looks once. What cannot heal is `Not` here too: a `check` that does not hold is no failure.
    pub async fn look(&self, cx: &Context) -> Result<Verdict, Failure> {
        let look = async {
            let cluster = Cluster::connect(cx).await?;
            let finding = wait::once(self, cx, &cluster).await?;
            Ok(match finding.state {
                State::Holds => Verdict::Holds,
                State::Not | State::Hopeless(_) => Verdict::Not(finding.text),
            })
        };
        cx.unless_cancelled(Box::pin(look)).await
    }

    /// Waits until it holds, saying through `cx.observer` why it does not. Has no timeout of its own; ends early with a failure
    /// on what cannot heal.
    pub async fn wait(&self, cx: &Context) -> Result<(), Failure> {
        // Boxed, because whoever is handed a future holds it twice: where it came in, and where it is awaited.
        cx.unless_cancelled(Box::pin(wait::until(self, cx))).await
    }
}
