//! A small world in which things are made and taken back: files in a folder, and a ledger of what was done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use runbook::event::Event;
use runbook::plan::model::{Plan, Step, Template, Work};
use runbook::run::undo::{self, Choice, UndoPlan, Undoing};
use runbook::run::{Header, Interrupter, Interrupts, Options, Signal, Watcher};
use runbook::state::record::Verdict;
use runbook::state::{Journal, RunState, StateError};
use runbook_steps::kind::read_as;
use runbook_steps::{Context, Failure, Kind, Outputs, Secrets, Standing, World};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::run_bench::{Bench, PLAIN, bare};

/// A thing in a folder: a file whose text is the name of who made it. What it does is in the ledger beside.
#[derive(Debug, Deserialize)]
struct Thing {
    folder: PathBuf,
    name: String,
    /// Fails at undoing as often.
    #[serde(default)]
    stuck: usize,
    /// Undoing it works until it is told to stop.
    #[serde(default)]
    endless: bool,
    /// Making it fails after it is made.
    #[serde(default)]
    half: bool,
}

impl Thing {
    fn file(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn note(&self, what: &str) {
        use std::io::Write as _;
        let path = self.folder.with_extension("ledger");
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("a ledger");
        file.write_all(format!("{what} {}\n", self.name).as_bytes()).expect("written");
    }

    fn count(&self, what: &str) -> usize {
        let text = std::fs::read_to_string(self.folder.with_extension("ledger")).unwrap_or_default();
        text.lines().filter(|line| *line == format!("{what} {}", self.name)).count()
    }

    async fn take_away(&self, cx: &Context) -> Result<(), Failure> {
        self.note("undo");
        cx.progress("at it");
        if self.endless {
            cx.cancel.soft.cancelled().await;
            return Err(Failure::cancelled());
        }
        if self.count("undo") <= self.stuck {
            return Err(Failure::transient("still in use"));
        }
        let ours = std::fs::read_to_string(self.file()).is_ok_and(|owner| owner == *cx.deployment);
        if ours {
            std::fs::remove_file(self.file()).expect("it was there");
            self.note("removed");
        }
        Ok(())
    }
}

impl runbook_steps::Step for Thing {
    fn intent(&self) -> Vec<String> {
        vec![format!("touch {}", self.name)]
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async {
            let there = self.file().exists();
            Ok(if there { Standing::Holds(Outputs::new()) } else { Standing::Lacks("no such thing".to_owned()) })
        }
        .boxed()
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        async {
            std::fs::create_dir_all(&self.folder).expect("a folder");
            std::fs::write(self.file(), &*cx.deployment).expect("written");
            self.note("made");
            if self.half { Err(Failure::permanent("came only so far")) } else { Ok(Outputs::new()) }
        }
        .boxed()
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        self.take_away(cx).boxed()
    }

    fn undo_intent(&self) -> Vec<String> {
        vec![format!("rm {}", self.name)]
    }
}

pub(crate) static THING: Kind =
    Kind { name: "test.thing", observes: true, idempotent: true, read: read_as::<Thing>, ..PLAIN };

/// A bench with a folder of things.
pub(crate) struct Place {
    pub(crate) bench: Bench,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { bench: Bench::new() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.bench.ledger_path().with_file_name("things")
    }

    pub(crate) fn thing(&self, id: &str, more: &Value) -> Step {
        let mut with = json!({ "folder": self.folder(), "name": id });
        with.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        bare(id, Some(Work { kind: &THING, with: Template::Plain(with) }))
    }

    /// What is in the folder.
    pub(crate) fn things(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder()).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn ledger(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder().with_extension("ledger")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(crate) fn put(&self, name: &str, owner: &str) {
        std::fs::create_dir_all(self.folder()).expect("a folder");
        std::fs::write(self.folder().join(name), owner).expect("written");
    }

    pub(crate) fn state(&self) -> RunState {
        runbook::state::journal::read(&self.bench.home()).expect("a journal").state
    }

    pub(crate) fn look(&self, plan: &Plan, choice: &Choice) -> UndoPlan {
        undo::plan(plan, &self.state(), choice)
    }

    pub(crate) async fn apply(&self, plan: &Arc<Plan>) -> Verdict {
        self.bench.run(plan, Options::default()).await.verdict
    }

    pub(crate) async fn destroy(&self, plan: &Arc<Plan>, choice: &Choice) -> Verdict {
        self.destroy_with(plan, choice, None).await.verdict
    }

    pub(crate) async fn destroy_with(
        &self,
        plan: &Arc<Plan>,
        choice: &Choice,
        signals: Option<(&str, usize)>,
    ) -> undo::drive::Summary {
        let trigger = signals.map(|(step, count)| (step.to_owned(), count));
        let watch = |interrupter| Box::new(Signaller { interrupter, trigger }) as Box<dyn Watcher>;
        self.try_destroy(plan, choice, self.bench.open(), watch).await.expect("the journal can be written")
    }

    pub(crate) async fn try_destroy(
        &self,
        plan: &Arc<Plan>,
        choice: &Choice,
        journal: Journal,
        watch: impl FnOnce(Interrupter) -> Box<dyn Watcher>,
    ) -> Result<undo::drive::Summary, StateError> {
        let (interrupter, interrupts) = Interrupts::channel();
        let world = World {
            env: BTreeMap::new(),
            kubeconfig: self.folder().with_file_name("kubeconfig"),
            http_proxy: None,
            clock: self.bench.clock(),
            simulated: None,
        };
        let undoing = Undoing {
            selection: String::new(),
            undo: undo::plan(plan, journal.state(), choice),
            plan: Arc::clone(plan),
            world: Arc::new(world),
            journal,
            secrets: Arc::new(Secrets::default()),
            parallel: 4,
            seed: 0,
            sync_inline: false,
            header: Header { command: "destroy".to_owned(), who: "me@here".to_owned(), version: "0".to_owned() },
            watcher: watch(interrupter),
            interrupts,
        };
        undo::drive(undoing).await
    }
}

/// Sends signals once a step says that it is at it.
struct Signaller {
    interrupter: Interrupter,
    trigger: Option<(String, usize)>,
}

impl Watcher for Signaller {
    fn on(&mut self, event: &Event, _: &RunState) {
        if let (Event::Progress { step, .. }, Some((trigger, count))) = (event, &self.trigger)
            && step.as_str() == trigger
        {
            (0..*count).for_each(|_| self.interrupter.send(Signal::Interrupt));
            self.trigger = None;
        }
    }
}
