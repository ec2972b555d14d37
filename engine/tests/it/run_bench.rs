//! A small world to drive plans in: kinds whose steps do what their `with` says, and a ledger of what they did.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use indexmap::IndexMap;
use jiff::Timestamp;
use runbook::event::Event;
use runbook::maps::NameMap;
use runbook::plan::model::{
    Accept, Edge, Graph, Place, Plan, Retry, Scope, Source, Step, StepId, Target, Template, Unit, Work,
};
use runbook::run::{Header, Interrupter, Interrupts, Options, Run, Summary, Watcher, drive, verdicts};
use runbook::state::lock::Holder;
use runbook::state::record::{Entry, Record};
use runbook::state::{Home, Journal, RunState, StateError};
use runbook_steps::kind::read_as;
use runbook_steps::{Class, Clock, Context, Effect, Failure, Kind, Outputs, Reach, Secret, Secrets, Standing, World};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a step does, and where it writes that down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    ledger: PathBuf,
    #[serde(default)]
    does: Does,
    #[serde(default)]
    outputs: Outputs,
    /// Printed to the log.
    #[serde(default)]
    prints: String,
    /// Fails so many times before it does the above.
    #[serde(default)]
    flaky: usize,
    /// Cannot be looked at so many times; the first look of all is that of the run that did it.
    #[serde(default)]
    unseen: usize,
    /// What is safe from a power cut: the start of this step must be in it before anything is done.
    #[serde(default)]
    synced: Option<PathBuf>,
    /// Part of the fingerprint, and nothing else.
    #[serde(default)]
    #[expect(dead_code, reason = "only there to differ")]
    mark: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Does {
    #[default]
    Succeed,
    Fail(String),
    Panic,
    /// Works until it is told to stop.
    Work,
    /// Works on until it is killed.
    Stubborn,
    /// Is told to stop, and says that it lives on.
    Undying,
}

impl Act {
    fn note(&self, what: &str) {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.ledger).expect("a ledger");
        file.write_all(format!("{what}\n").as_bytes()).expect("written");
    }

    fn count(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(&self.ledger).unwrap_or_default();
        text.lines().filter(|line| *line == what).count()
    }

    fn assert_start_is_synced(&self, step: &str) {
        let Some(path) = &self.synced else { return };
        let safe = std::fs::read_to_string(path).expect("synced once");
        assert!(safe.contains(&format!(r#""record":"started","step":"{step}""#)), "`{step}` could be lost: {safe}");
    }

    async fn act(&self, cx: &Context) -> Result<Outputs, Failure> {
        self.assert_start_is_synced(&cx.step);
        self.note(&format!("did {}", cx.step));
        cx.progress(format!("{} is at it", cx.step));
        if !self.prints.is_empty() {
            cx.note(&self.prints);
        }
        if self.count(&format!("did {}", cx.step)) <= self.flaky {
            return Err(Failure::transient("not yet"));
        }
        match &self.does {
            Does::Succeed => {}
            Does::Fail(what) => return Err(Failure::permanent(what.clone())),
            Does::Panic => panic!("out of cheese"),
            Does::Work => {
                cx.cancel.soft.cancelled().await;
                self.note(&format!("stopped {}", cx.step));
                return Err(Failure::cancelled());
            }
            Does::Undying => {
                cx.cancel.soft.cancelled().await;
                return Err(Failure::new(Class::NeedsPerson, "it lives on"));
            }
            Does::Stubborn => {
                cx.cancel.hard.cancelled().await;
                self.note(&format!("killed {}", cx.step));
                return Err(Failure::cancelled());
            }
        }
        self.note(&format!("made {}", cx.step));
        Ok(self.outputs.clone())
    }
}

impl runbook_steps::Step for Act {
    fn intent(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async move {
            self.note(&format!("saw {}", cx.step));
            match self.unseen > 0 && self.count(&format!("saw {}", cx.step)) <= self.unseen {
                true => Err(Failure::transient("cannot see")),
                false => Ok(Standing::Unknown),
            }
        }
        .boxed()
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        self.act(cx).boxed()
    }

    fn undo<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }
}

/// The same, but it can be looked at: what is in the ledger as made, holds.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Looked(Act);

impl runbook_steps::Step for Looked {
    fn intent(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async move {
            self.0.note(&format!("saw {}", cx.step));
            let made = self.0.count(&format!("made {}", cx.step)) > 0;
            Ok(if made { Standing::Holds(self.0.outputs.clone()) } else { Standing::Lacks("nothing there".to_owned()) })
        }
        .boxed()
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        self.0.act(cx).boxed()
    }

    fn undo<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }
}

/// A kind with nothing to say of itself.
pub(crate) const PLAIN: Kind = Kind {
    name: "test.blind",
    summary: "",
    docs: "",
    example: "",
    version: 1,
    effect: Effect::Changes(Reach::Other),
    observes: false,
    idempotent: false,
    outputs: &[],
    open_outputs: true,
    schema: || json!(true),
    read: read_as::<Act>,
};

/// Cannot be looked at, and must not be done twice.
pub(crate) static BLIND: Kind = PLAIN;

/// Cannot be looked at, but may be done twice.
pub(crate) static AGAIN: Kind = Kind { name: "test.again", idempotent: true, ..PLAIN };

/// Can be looked at.
pub(crate) static LOOKED: Kind = Kind { name: "test.looked", observes: true, read: read_as::<Looked>, ..PLAIN };

/// A folder with a deployment and a ledger.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) speed: f64,
}

/// What a watcher saw.
#[derive(Clone, Default)]
pub(crate) struct Seen(pub(crate) Arc<Mutex<Vec<Event>>>);

impl Seen {
    pub(crate) fn notices(&self) -> Vec<String> {
        let text = |event: &Event| if let Event::Notice(text) = event { Some(text.clone()) } else { None };
        self.0.lock().expect("whole").iter().filter_map(text).collect()
    }
}

/// When signals are sent.
#[derive(Clone, Debug)]
pub(crate) enum Trigger {
    /// So many once this step says that it is at it.
    AtWork(String, usize),
    /// One as soon as its start is in the journal.
    Announced(String),
}

impl Trigger {
    fn signals(&self, event: &Event) -> usize {
        match (self, event) {
            (Trigger::AtWork(wanted, count), Event::Progress { step, .. }) if step.as_str() == wanted => *count,
            (Trigger::Announced(wanted), Event::Recorded(entry)) => match &entry.record {
                Record::Started(started) if started.step.as_str() == wanted => 1,
                _ => 0,
            },
            _ => 0,
        }
    }
}

/// Sends signals when it is time.
struct Looker {
    seen: Seen,
    interrupter: Interrupter,
    trigger: Option<Trigger>,
}

impl Watcher for Looker {
    fn on(&mut self, event: &Event, _state: &RunState) {
        let count = self.trigger.as_ref().map_or(0, |trigger| trigger.signals(event));
        if count > 0 {
            (0..count).for_each(|_| self.interrupter.send(runbook::run::Signal::Interrupt));
            self.trigger = None;
        }
        self.seen.0.lock().expect("whole").push(event.clone());
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { dir, secrets: BTreeMap::new(), speed: 1000.0 }
    }

    pub(crate) fn home(&self) -> Home {
        Home::new(&self.dir.path().join(".runbook"), "d").expect("a name")
    }

    pub(crate) fn ledger_path(&self) -> PathBuf {
        self.dir.path().join("ledger")
    }

    /// What steps did, in order.
    pub(crate) fn ledger(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.ledger_path()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often a step did its work.
    pub(crate) fn did(&self, step: &str) -> usize {
        self.ledger().iter().filter(|line| **line == format!("did {step}")).count()
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::scaled(u64::try_from(Clock::real().now().as_millisecond()).expect("after 1970"), self.speed)
    }

    pub(crate) fn holder() -> Holder {
        let (who, host) = ("me@here".to_owned(), "here".to_owned());
        Holder { who, host, pid: std::process::id(), command: "apply".to_owned(), since: Timestamp::UNIX_EPOCH }
    }

    pub(crate) fn open(&self) -> Journal {
        let lock = self.home().lock(Self::holder()).expect("free");
        Journal::open(lock, self.clock()).expect("a journal").0
    }

    /// A step that does what `with` says, besides keeping the ledger.
    pub(crate) fn step(&self, id: &str, kind: &'static Kind, mut with: Value) -> Step {
        with["ledger"] = json!(self.ledger_path());
        bare(id, Some(Work { kind, with: Template::Plain(with) }))
    }

    pub(crate) async fn run(&self, plan: &Arc<Plan>, options: Options) -> Summary {
        self.try_run(plan, options, self.open(), None).await.0.expect("the journal can be written")
    }

    /// The same, with a number of interrupts once a step is at work.
    pub(crate) async fn interrupt(&self, plan: &Arc<Plan>, step: &str, count: usize) -> Summary {
        let trigger = Some(Trigger::AtWork(step.to_owned(), count));
        self.try_run(plan, Options::default(), self.open(), trigger).await.0.expect("the journal can be written")
    }

    pub(crate) async fn try_run(
        &self,
        plan: &Arc<Plan>,
        mut options: Options,
        journal: Journal,
        trigger: Option<Trigger>,
    ) -> (Result<Summary, StateError>, Seen) {
        let secrets = Secrets::new(self.secrets.clone());
        // As the program does it, where nothing is said of the order of syncs.
        options.lanes = if options.sync_inline { 0 } else { 2 };
        options.trust(&verdicts(plan, journal.state(), &options, &secrets.redactor()));
        let (interrupter, interrupts) = Interrupts::channel();
        let seen = Seen::default();
        let world = World {
            env: BTreeMap::new(),
            kubeconfig: self.dir.path().join("kubeconfig"),
            http_proxy: None,
            clock: self.clock(),
            simulated: None,
        };
        let header = Header { command: "apply".to_owned(), who: "me@here".to_owned(), version: "0".to_owned() };
        let run = Run {
            plan: Arc::clone(plan),
            world: Arc::new(world),
            journal,
            secrets: Arc::new(secrets),
            options,
            header,
            watcher: Box::new(Looker { seen: seen.clone(), interrupter, trigger }),
            interrupts,
        };
        (drive(run).await, seen)
    }

    /// The records of the journal, as they are in the file.
    pub(crate) fn records(&self) -> Vec<Record> {
        let text = runbook::state::journal::text(&self.home());
        let entry = |line: &str| serde_json::from_str::<Entry>(&line[9..]).expect("a record");
        text.lines().map(|line| entry(line).record).collect()
    }
}

/// A step with nothing but its work.
pub(crate) fn bare(id: &str, work: Option<Work>) -> Step {
    Step {
        id: StepId::from(id),
        name: id.to_owned(),
        finally: false,
        when: None,
        require: Vec::new(),
        work,
        check: Vec::new(),
        wait: Vec::new(),
        assert: Vec::new(),
        outputs: IndexMap::new(),
        retry: retry(1),
        timeout: None,
        deadline: None,
        expected: None,
        normal: None,
        locks: Vec::new(),
        hints: Vec::new(),
        undo: None,
        protect: false,
        read_only: false,
        idempotent: false,
        cost: None,
        stages: Vec::new(),
        on_demand: false,
        known_issue: None,
        answers: None,
        scope: Scope::default(),
        place: place(),
    }
}

pub(crate) fn place() -> Place {
    Place { source: Arc::new(Source::new("plan.yaml", "")), span: 0..0 }
}

/// So many attempts, for transient failures.
pub(crate) fn retry(attempts: u32) -> Arc<Retry> {
    let (initial, max) = (Duration::from_secs(1), Duration::from_secs(2));
    Arc::new(Retry { attempts, initial, factor: 2.0, max, only: vec![Class::Transient] })
}

/// A text with expressions.
pub(crate) fn text(text: &str) -> Template {
    Template::Text { text: text.to_owned(), place: place() }
}

/// A plan of steps, each after those that it needs.
pub(crate) fn plan(mut steps: Vec<Step>, needs: &[(&str, &str)]) -> Arc<Plan> {
    let edges: Vec<(&str, &str, Accept)> = needs.iter().map(|(need, step)| (*need, *step, Accept::Succeeded)).collect();
    let index: NameMap<StepId, usize> = steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
    let mut graph = Graph {
        needs: vec![Vec::new(); steps.len()],
        dependents: vec![Vec::new(); steps.len()],
        order: (0..steps.len()).collect(),
    };
    for (need, step, accept) in edges {
        let (need, step) = (index[need], index[step]);
        graph.needs[step].push(Edge { step: need, accept, implied: false });
        graph.dependents[need].push(step);
    }
    let names = steps.iter().map(|step| (step.id.as_str().to_owned(), Target::Step(step.id.clone()))).collect();
    let units = Arc::new(vec![Unit { names, ..Unit::default() }]);
    steps.iter_mut().for_each(|step| step.scope.units = Arc::clone(&units));
    Arc::new(Plan {
        name: "p".to_owned(),
        description: String::new(),
        file: PathBuf::from("plan.yaml"),
        dir: PathBuf::from("."),
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
