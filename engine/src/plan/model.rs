//! A checked plan, bound to its inputs: what everything after the checks works on.
//!
//! Owns the shapes; does not know YAML, time or the journal. A `Plan` that exists has no problems left that could be found without
//! running it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use runbook_steps::{Class, Kind, Outputs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::hints::{Hint, HintMatch};
use crate::maps::NameMap;

/// Whether a deployment may have this name: its folder has it, too.
pub fn names_deployment(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// A step's name in the whole plan: `cluster`, `kserve.install` from an include, `secret[hf_token]` from a `foreach`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(Arc<str>);

impl StepId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a file name: nothing but letters, digits, `.`, `_`, `-`; distinct names stay distinct.
    pub fn file_name(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => out.push(char::from(byte)),
                other => out.push_str(&format!("%{other:02x}")),
            }
        }
        out
    }
}

impl From<&str> for StepId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Borrow<str> for StepId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that places point into: a plan file.
#[derive(Debug)]
pub struct Source {
    /// How the file is named to the user.
    pub name: String,
    /// What it holds.
    pub text: String,
}

impl Source {
    /// A text with a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte offset, both from 1; the column counts characters.
    pub fn line_and_column(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

/// A stretch of a source, for carets.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Byte offsets.
    pub span: Range<usize>,
}

impl Place {
    /// `file:line:column`, both from 1; the column counts characters.
    pub fn location(&self) -> String {
        let (line, column) = self.source.line_and_column(self.span.start);
        format!("{}:{line}:{column}", self.source.name)
    }
}

/// A checked plan.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// The file that it was read from, as given.
    pub file: PathBuf,
    /// The folder that relative paths start from.
    pub dir: PathBuf,
    /// SHA-256 over the plan and all that it includes, in hex.
    pub digest: String,
    /// The inputs with their values; a `check` without values has `Unknown` ones missing here.
    pub inputs: Map<String, Value>,
    /// The secrets that it names and where each may come from.
    pub secrets: IndexMap<String, SecretSpec>,
    /// Every step, those of `finally` last, in the order of the file.
    pub steps: Vec<Step>,
    /// Who needs whom; indices into `steps`.
    pub graph: Graph,
    /// What the plan shows at its end: name → template, evaluated over all outputs.
    pub outputs: IndexMap<String, Template>,
    /// The hints in `hints/` beside it.
    pub hints: Vec<Hint>,
    /// The files that it is made of; the first is the plan itself.
    pub units: Arc<Vec<Unit>>,
    /// Where each step is in `steps`.
    pub index: NameMap<StepId, usize>,
}

/// A secret's declaration.
#[derive(Clone, Debug)]
pub struct SecretSpec {
    /// What it is, for a prompt.
    pub description: String,
    /// Where to look, in order.
    pub from: Vec<SecretSource>,
    /// Whether the plan can do without.
    pub required: bool,
    /// Where it is declared.
    pub place: Place,
}

/// One place where a secret may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; `~/` is the home folder.
    File(PathBuf),
    /// Asked for on a terminal, with this text.
    Prompt(String),
}

/// The edges of a plan.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// For each step, whom it needs.
    pub needs: Vec<Vec<Edge>>,
    /// For each step, who needs it.
    pub dependents: Vec<Vec<usize>>,
    /// Every step after all that it needs.
    pub order: Vec<usize>,
}

/// One need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The step that must come first.
    pub step: usize,
    /// What must have become of it.
    pub accept: Accept,
    /// Whether it comes from a reference to its outputs rather than from `needs`.
    pub implied: bool,
}

/// What a need accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// ok, changed or skipped.
    Succeeded,
    /// Any end at all, a failure too.
    Finished,
}

/// A bare expression, checked to parse and to name only what exists.
#[derive(Clone, Debug)]
pub struct Expression {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// A YAML value in which strings may hold `${{ }}`.
#[derive(Clone, Debug)]
pub enum Template {
    /// A value without expressions.
    Plain(Value),
    /// A string with at least one `${{ }}`. If it is nothing but one expression, its value keeps its type.
    Text {
        /// The string.
        text: String,
        /// Where it stands.
        place: Place,
    },
    /// A list.
    List(Vec<Template>),
    /// A map, in the order of the file.
    Map(Vec<(String, Template)>),
}

impl Template {
    /// Itself with its expressions as they stand.
    pub fn as_written(&self) -> Value {
        match self {
            Self::Plain(value) => value.clone(),
            Self::Text { text, .. } => Value::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::as_written).collect(),
            Self::Map(fields) => fields.iter().map(|(key, item)| (key.clone(), item.as_written())).collect(),
        }
    }
}

/// `retry`.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries in all, at least 1.
    pub attempts: u32,
    /// The first pause.
    pub initial: Duration,
    /// What each pause is multiplied by.
    pub factor: f64,
    /// The longest pause.
    pub max: Duration,
    /// Which classes are tried again.
    pub only: Vec<Class>,
}

/// `require`: false means failed, with a message.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// Must be true.
    pub assert: Expression,
    /// What to say if it is not.
    pub message: Template,
    /// What to do about it.
    pub fix: Option<Template>,
}

/// What is done.
#[derive(Clone, Debug)]
pub struct Work {
    /// The kind; `run:`, `command:` and `manual:` are the kinds of those names.
    pub kind: &'static Kind,
    /// Its `with`.
    pub with: Template,
}

/// How long a step usually takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// At least.
    pub low: Duration,
    /// At most; beyond it is slower than usual.
    pub high: Duration,
}

impl Expected {
    /// The figure for estimates: the geometric mean, because what takes `1m..45m` takes a few minutes far more often than thirty.
    pub fn typical(&self) -> Duration {
        let mean = (self.low.as_secs_f64() * self.high.as_secs_f64()).sqrt();
        Duration::from_secs_f64(if mean < 1.0 { mean } else { mean.round() })
    }
}

/// One output of a step.
#[derive(Clone, Debug)]
pub enum OutputRule {
    /// Read off the world: `{object, namespace, path}`, still to be rendered.
    Lookup(Template),
    /// Computed from the step's own outputs.
    Value(Template),
}

/// `known_issue`: expected to fail.
#[derive(Clone, Debug)]
pub struct KnownIssue {
    /// Why.
    pub reason: String,
}

/// `undo`.
#[derive(Clone, Debug, Default)]
pub struct Undo {
    /// What to ask before.
    pub confirm: Option<String>,
    /// A script or command in place of the kind's own undo.
    pub work: Option<Work>,
    /// `undo: false`: what the step made is left where it is.
    pub keep: bool,
}

/// `cost`, in US dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// For as long as what the step made exists.
    pub per_hour: f64,
}

/// A part of a long step that can be told from the rest.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What it is called to people.
    pub name: String,
    /// What shows that it has begun.
    pub matches: HintMatch,
    /// How long it usually takes.
    pub expected: Option<Expected>,
    /// What to say while nothing seems to happen in it.
    pub normal: Option<String>,
}

/// One step of a checked plan. What is large and few steps have stands in a box: a plan may have very many steps.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// What it is called to people; the id where the plan gives none.
    pub name: String,
    /// Whether it stands in `finally`: runs at the end whatever happened.
    pub finally: bool,
    /// Skipped unless true.
    pub when: Option<Expression>,
    /// Fails unless true.
    pub require: Vec<Requirement>,
    /// What is done; a step may also only wait.
    pub work: Option<Work>,
    /// True already → nothing is done.
    pub check: Vec<Template>,
    /// Waited for after the work.
    pub wait: Vec<Template>,
    /// Judged once at the end, over `outputs` and `response`.
    pub assert: Vec<Expression>,
    /// What it gives to others, besides what its kind gives.
    pub outputs: IndexMap<String, OutputRule>,
    /// How often and when it is tried again.
    pub retry: Arc<Retry>,
    /// Bounds one attempt.
    pub timeout: Option<Duration>,
    /// Bounds all attempts and the pauses between.
    pub deadline: Option<Duration>,
    /// How long it usually takes.
    pub expected: Option<Expected>,
    /// What to say while nothing seems to happen.
    pub normal: Option<String>,
    /// Names of locks; taken together.
    pub locks: Vec<Template>,
    /// What is known to go wrong.
    pub hints: Vec<Hint>,
    /// The parts that it goes through, in order.
    pub stages: Vec<Stage>,
    /// Not part of a run unless it is asked for by name: a remedy.
    pub on_demand: bool,
    /// How it is taken back.
    pub undo: Option<Box<Undo>>,
    /// Never taken back without a word more.
    pub protect: bool,
    /// Changes nothing, so its outcome is `ok`.
    pub read_only: bool,
    /// A repeat is safe.
    pub idempotent: bool,
    /// What it costs while it stands.
    pub cost: Option<Cost>,
    /// Expected to fail.
    pub known_issue: Option<KnownIssue>,
    /// What a person answered to a `manual` step, from outside the plan; no part of what the step is.
    pub answers: Option<Box<Map<String, Value>>>,
    /// The names that its expressions see.
    pub scope: Scope,
    /// The step's key in the file.
    pub place: Place,
}

/// What a step's expressions can name: the names of its file, and `each`.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The files that the plan is made of, shared by all steps.
    pub units: Arc<Vec<Unit>>,
    /// Which of them the step stands in.
    pub unit: usize,
    /// `each`, within a `foreach`.
    pub each: Arc<Map<String, Value>>,
}

/// One use of a plan file: the plan itself, or one `include` of it, with the names that its expressions see.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// How the including plan calls it, with its dot: `kserve.`; empty at the top.
    pub prefix: String,
    /// The unit that includes it; none at the top.
    pub parent: Option<usize>,
    /// `inputs`, bound.
    pub inputs: Map<String, Value>,
    /// `vars`, evaluated.
    pub vars: Map<String, Value>,
    /// Inputs that depend on outputs of steps: name → template in the including unit.
    pub late_inputs: BTreeMap<String, Template>,
    /// Vars that depend on those: name → template in this unit.
    pub late_vars: BTreeMap<String, Template>,
    /// What `steps.NAME` means.
    pub names: NameMap<String, Target>,
    /// What it exports, or at the top shows at the end: name → template in this unit.
    pub outputs: IndexMap<String, Template>,
}

impl Unit {
    /// The names of its steps and includes, sorted, for suggestions that are the same every time.
    pub(crate) fn sorted_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

/// What a name of a step stands for.
#[derive(Clone, Debug)]
pub enum Target {
    /// One step.
    Step(StepId),
    /// The steps of a `foreach`, by item.
    Items(Vec<(String, StepId)>),
    /// An included plan: an index into the units.
    Include(usize),
}

/// The outputs of the steps that have ended well.
pub type Known = NameMap<StepId, Outputs>;

/// What a step counts for whose plan does not say how long it takes.
const UNSAID: Duration = Duration::from_secs(5);

impl Step {
    /// How long it usually takes, for estimates and for what starts first; nothing where it usually does not run.
    pub fn typical(&self) -> Duration {
        if self.on_demand {
            return Duration::ZERO;
        }
        self.expected.map_or(UNSAID, |expected| expected.typical())
    }
}
