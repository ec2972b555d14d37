//! Random plans, and how people edit them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use runbook::maps::NameMap;
use runbook::plan::model::{
    Accept, Edge, Expression, Graph, KnownIssue, Place, Plan, Retry, Scope, Source, Step, StepId, Target, Template,
    Undo, Unit, Work,
};
use runbook_steps::{Class, Effect, Kind};
use serde_json::json;

use super::kinds::{AGAIN, BLIND, CLOUD, LOOKED, READS, UNDOES};
use super::random::Random;
use super::world::Terms;

/// What a step may be.
static KINDS: [&Kind; 6] = [&BLIND, &AGAIN, &LOOKED, &LOOKED, &CLOUD, &READS];

/// A plan that is still being written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    steps: Vec<Line>,
    /// So many steps were ever written; names are not used twice.
    written: usize,
}

/// One step of it.
#[derive(Clone, Debug)]
struct Line {
    id: String,
    kind: &'static Kind,
    mark: u64,
    takes: Duration,
    spawns: bool,
    dark: bool,
    needs: Vec<(String, Accept)>,
    /// Whose outputs it uses; those it needs to succeed.
    uses: Vec<String>,
    locks: Vec<String>,
    timeout: Option<Duration>,
    deadline: Option<Duration>,
    retry: Retry,
    known_issue: bool,
    when: Option<String>,
    finally: bool,
    idempotent: bool,
    read_only: bool,
    /// The plan says how it is taken back, where its kind does not know.
    undo: bool,
}

impl Draft {
    /// With at most so many steps, and two in `finally`.
    pub(crate) fn new(random: &mut Random, most: u64) -> Self {
        let mut draft = Self { steps: Vec::new(), written: 0 };
        (0..random.within(1, most)).for_each(|_| draft.add(random, false));
        (0..random.below(3)).for_each(|_| draft.add(random, true));
        draft
    }

    fn add(&mut self, random: &mut Random, finally: bool) {
        self.written += 1;
        let earlier: Vec<&Line> = self.steps.iter().filter(|step| finally || !step.finally).collect();
        let mut needs: Vec<(String, Accept)> = Vec::new();
        let mut uses = Vec::new();
        for _ in 0..random.below(4).min(earlier.len() as u64) {
            let need = earlier[earlier.len() - 1 - random.index(earlier.len().min(5))];
            if needs.iter().any(|(other, _)| *other == need.id) {
                continue;
            }
            let accept = if random.percent(15) { Accept::Finished } else { Accept::Succeeded };
            if accept == Accept::Succeeded && need.gives() && random.percent(30) {
                uses.push(need.id.clone());
            }
            needs.push((need.id.clone(), accept));
        }
        let line = Line {
            id: format!("s{}", self.written),
            kind: KINDS[random.index(KINDS.len())],
            mark: 1,
            takes: Duration::from_millis(random.within(1, 20_000)),
            spawns: random.percent(40),
            dark: random.percent(15),
            locks: (0..3).filter(|_| random.percent(12)).map(|lock| format!("lock{lock}")).collect(),
            timeout: random.percent(50).then(|| Duration::from_secs(random.within(5, 60))),
            deadline: random.percent(15).then(|| Duration::from_secs(random.within(20, 120))),
            retry: retry(random),
            known_issue: random.percent(5),
            when: when(random, &uses),
            finally,
            idempotent: random.percent(8),
            read_only: random.percent(4),
            undo: random.percent(70),
            needs,
            uses,
        };
        let at = if finally { self.steps.len() } else { earlier_than_finally(&self.steps) };
        self.steps.insert(at, line);
    }

    /// Changes something, as people do between runs.
    pub(crate) fn edit(&mut self, random: &mut Random) -> String {
        let at = random.index(self.steps.len());
        let id = self.steps[at].id.clone();
        let is_needed = self.steps.iter().any(|step| step.needs.iter().any(|(need, _)| *need == id));
        match random.below(10) {
            0 => {
                self.add(random, false);
                format!("adds s{}", self.written)
            }
            1 if !is_needed && self.steps.len() > 1 => {
                self.steps.remove(at);
                format!("takes {id} out")
            }
            2 => {
                self.steps[at].retry = retry(random);
                format!("tries {id} otherwise")
            }
            _ => {
                self.steps[at].mark += 1;
                format!("wants {id} with mark {}", self.steps[at].mark)
            }
        }
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        let mut steps: Vec<Step> = self.steps.iter().map(Line::step).collect();
        let index: NameMap<StepId, usize> = steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
        let graph = self.graph(&index);
        let names = steps.iter().map(|step| (step.id.as_str().to_owned(), Target::Step(step.id.clone()))).collect();
        let units = Arc::new(vec![Unit { names, ..Unit::default() }]);
        steps.iter_mut().for_each(|step| step.scope.units = Arc::clone(&units));
        Arc::new(Plan {
            name: "simulated".to_owned(),
            description: String::new(),
            file: PathBuf::from("/plan.yaml"),
            dir: PathBuf::from("/"),
            digest: "0".to_owned(),
            hints: Vec::new(),
            inputs: serde_json::Map::new(),
            secrets: IndexMap::new(),
            steps,
            graph,
            outputs: IndexMap::new(),
            units,
            index,
        })
    }

    fn graph(&self, index: &NameMap<StepId, usize>) -> Graph {
        let count = self.steps.len();
        let mut graph =
            Graph { needs: vec![Vec::new(); count], dependents: vec![Vec::new(); count], order: (0..count).collect() };
        for (at, line) in self.steps.iter().enumerate() {
            for (need, accept) in &line.needs {
                let need = index[&StepId::from(need.as_str())];
                graph.needs[at].push(Edge { step: need, accept: *accept, implied: false });
                graph.dependents[need].push(at);
            }
        }
        graph
    }

    /// What the rules need to know of the steps.
    pub(crate) fn terms(&self) -> BTreeMap<String, Terms> {
        self.steps.iter().map(|line| (line.id.clone(), line.terms())).collect()
    }

    /// The mark that a step makes, if it makes something that must be there in the end.
    pub(crate) fn lasting_mark(&self, id: &str) -> Option<u64> {
        let line = self.steps.iter().find(|line| line.id == id)?;
        (line.changes() && !line.known_issue).then_some(line.mark)
    }

    pub(crate) fn ids(&self) -> Vec<StepId> {
        self.steps.iter().map(|line| StepId::from(line.id.as_str())).collect()
    }
}

fn earlier_than_finally(steps: &[Line]) -> usize {
    steps.iter().position(|step| step.finally).unwrap_or(steps.len())
}

fn retry(random: &mut Random) -> Retry {
    let mut only: Vec<Class> = Class::ALL.into_iter().filter(|class| class.retried_by_default()).collect();
    if random.percent(30) {
        only.push(Class::Timeout);
    }
    let (initial, max) = (Duration::from_millis(random.within(1, 5000)), Duration::from_secs(20));
    Retry { attempts: u32::try_from(random.within(1, 4)).expect("small"), initial, factor: 2.0, max, only }
}

fn when(random: &mut Random, uses: &[String]) -> Option<String> {
    match random.below(20) {
        0 => Some("false".to_owned()),
        1 => Some("true".to_owned()),
        2 => uses.first().map(|used| format!("steps.{used}.outputs.id != ''")),
        _ => None,
    }
}

fn place() -> Place {
    Place { source: Arc::new(Source::new("plan.yaml", "")), span: 0..0 }
}

impl Line {
    fn changes(&self) -> bool {
        self.kind.effect != Effect::Reads
    }

    /// Whether others can count on its outputs.
    fn gives(&self) -> bool {
        self.when.is_none() && !self.known_issue
    }

    fn terms(&self) -> Terms {
        let can_look = self.kind.observes && !(self.dark && self.kind.name == LOOKED.name);
        let repeatable = !self.changes() || self.read_only || self.idempotent || self.kind.idempotent;
        Terms {
            recoverable: repeatable || can_look,
            can_look,
            finally: self.finally,
            may_hang: self.timeout.is_some() || self.deadline.is_some(),
            locks: self.locks.clone(),
            needs: self.needs.iter().map(|(need, _)| need.clone()).collect(),
            can_undo: self.changes() && !self.read_only && (self.kind.observes || self.undo),
        }
    }

    /// What takes back what it makes.
    fn undo(&self) -> Option<Undo> {
        let fields = ["mark", "takes_ms", "spawns"];
        let Template::Map(with) = self.with() else { return None };
        let with = with.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect();
        let work = Work { kind: &UNDOES, with: Template::Map(with) };
        (self.undo && !self.kind.observes).then(|| Undo { work: Some(work), ..Undo::default() })
    }

    fn with(&self) -> Template {
        let used = |id: &String| Template::Text { text: format!("${{{{ steps.{id}.outputs.id }}}}"), place: place() };
        let takes = u64::try_from(self.takes.as_millis()).expect("small");
        Template::Map(vec![
            ("mark".to_owned(), Template::Plain(json!(self.mark))),
            ("takes_ms".to_owned(), Template::Plain(json!(takes))),
            ("spawns".to_owned(), Template::Plain(json!(self.spawns))),
            ("dark".to_owned(), Template::Plain(json!(self.dark))),
            ("uses".to_owned(), Template::List(self.uses.iter().map(used).collect())),
        ])
    }

    fn step(&self) -> Step {
        Step {
            id: StepId::from(self.id.as_str()),
            name: self.id.clone(),
            finally: self.finally,
            when: self.when.as_ref().map(|text| Expression { text: text.clone(), place: place() }),
            require: Vec::new(),
            work: Some(Work { kind: self.kind, with: self.with() }),
            check: Vec::new(),
            wait: Vec::new(),
            assert: Vec::new(),
            outputs: IndexMap::new(),
            retry: self.retry.clone().into(),
            timeout: self.timeout,
            deadline: self.deadline,
            expected: None,
            normal: None,
            locks: self.locks.iter().map(|lock| Template::Plain(json!(lock))).collect(),
            hints: Vec::new(),
            undo: self.undo().map(Into::into),
            protect: false,
            read_only: self.read_only,
            idempotent: self.idempotent,
            cost: None,
            stages: Vec::new(),
            on_demand: false,
            known_issue: self.known_issue.then(|| KnownIssue { reason: "simulated".to_owned() }),
            answers: None,
            scope: Scope::default(),
            place: place(),
        }
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.steps {
            write!(f, "\n    {}: {} mark {} {:?}", line.id, line.kind.name, line.mark, line.takes)?;
            let needs =
                |accept| line.needs.iter().filter(move |(_, found)| *found == accept).map(|(id, _)| id.as_str());
            for (word, ids) in [
                ("needs", needs(Accept::Succeeded).collect::<Vec<_>>()),
                ("after", needs(Accept::Finished).collect()),
                ("uses", line.uses.iter().map(String::as_str).collect()),
                ("locks", line.locks.iter().map(String::as_str).collect()),
            ] {
                if !ids.is_empty() {
                    write!(f, ", {word} {}", ids.join(" "))?;
                }
            }
            for (word, span) in [("timeout", line.timeout), ("deadline", line.deadline)] {
                span.map_or(Ok(()), |span| write!(f, ", {word} {span:?}"))?;
            }
            write!(f, ", {} attempts", line.retry.attempts)?;
            for (word, is) in [
                ("finally", line.finally),
                ("spawns", line.spawns),
                ("dark", line.dark),
                ("known issue", line.known_issue),
                ("idempotent", line.idempotent),
                ("read only", line.read_only),
                ("undo", line.undo),
            ] {
                write!(f, "{}", if is { format!(", {word}") } else { String::new() })?;
            }
            line.when.as_ref().map_or(Ok(()), |when| write!(f, ", when {when}"))?;
        }
        Ok(())
    }
}
