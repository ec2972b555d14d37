//! The condition language of `check` and `wait`, and the look-ups of `outputs`.
//!
//! Owns what a condition means and how to wait for it by watches; does not know plans: it is handed rendered values. Whether one
//! object is as wanted is decided by pure functions (`leaf`), why it is not by others (`reason`); `wait` and `sight` only drive.

mod leaf;
mod lookup;
mod read;
mod reason;
mod sight;
mod verdict;
mod wait;
mod webhook;

use serde_json::Value;

use crate::cluster::{Cluster, Selector, needs_whole};
use crate::context::Context;
use crate::failure::Failure;
use crate::jsonpath::JsonPath;
use crate::kind::ReadError;

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
    Any(Vec<Condition>),
    All(Vec<Condition>),
}

/// Objects, and what they must be like.
#[derive(Clone, Debug)]
struct Wanted {
    target: Target,
    test: Test,
    amount: Amount,
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
    Condition { kind: String, status: String },
    Path { path: JsonPath, value: Expected },
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
            Form::Object(wanted) => {
                matches!(&wanted.test, Test::Path { path, .. } if needs_whole(&path.to_string()))
            }
            Form::Webhook(_) => false,
            Form::Any(several) | Form::All(several) => several.iter().any(Self::needs_whole_objects),
        }
    }

    /// The JSON Schema of a condition.
    pub fn schema() -> Value {
        read::schema()
    }

    /// Looks once. What cannot heal is `Not` here too: a `check` that does not hold is no failure.
    pub async fn look(&self, cx: &Context) -> Result<Verdict, Failure> {
        cx.unless_cancelled(async {
            let cluster = Cluster::connect(cx).await?;
            let finding = wait::once(self, cx, &cluster).await?;
            Ok(match finding.state {
                State::Holds => Verdict::Holds,
                State::Not | State::Hopeless(_) => Verdict::Not(finding.text),
            })
        })
        .await
    }

    /// Waits until it holds, saying through `cx.observer` why it does not. Has no timeout of its own; ends early with a failure
    /// on what cannot heal.
    pub async fn wait(&self, cx: &Context) -> Result<(), Failure> {
        cx.unless_cancelled(wait::until(self, cx)).await
    }
}

/// The condition as a person would say it, for intents and messages.
impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Form::Object(wanted) => write!(f, "{wanted}"),
            Form::Webhook(name) => write!(f, "webhook {name} answers"),
            Form::Any(any) => write_joined(f, any, " or "),
            Form::All(all) => write_joined(f, all, " and "),
        }
    }
}

fn write_joined(f: &mut std::fmt::Formatter<'_>, all: &[Condition], word: &str) -> std::fmt::Result {
    let told: Vec<String> = all.iter().map(ToString::to_string).collect();
    f.write_str(&told.join(word))
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.which {
            Which::Named(name) => write!(f, "{}/{name}", self.kind)?,
            Which::Selected(selector) if selector.text().is_empty() => write!(f, "{}", self.kind)?,
            Which::Selected(selector) => write!(f, "{} -l {}", self.kind, selector.text())?,
        }
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " -n {}", self.namespace) }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.target)?;
        match &self.test {
            Test::Exists => f.write_str("exists"),
            Test::Deleted => f.write_str("is deleted"),
            Test::Ready => f.write_str("is ready"),
            Test::Condition { kind, status } => write!(f, "has {kind}={status}"),
            Test::Path { path, value } => match value {
                Expected::Present => write!(f, "has {path}"),
                Expected::Absent => write!(f, "has no {path}"),
                Expected::Equals(text) => write!(f, "has {path} = {text}"),
                Expected::NotEquals(text) => write!(f, "has {path} other than {text}"),
            },
        }?;
        match self.amount {
            Amount::All => Ok(()),
            Amount::Count(count) => write!(f, " (exactly {count})"),
            Amount::Min(min) => write!(f, " (at least {min})"),
        }
    }
}
