//! Running a plan against a world, from the lock to the summary: what `apply`, `resume` and `rehearse` have in common.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use runbook_steps::{Clock, World};
use serde_json::json;

use super::check::Output;
use super::exit::{Exit, Fatal};
use super::screen::Screen;
use super::{Environment, Session, secrets};
use crate::plan::Plan;
use crate::report::events::Events;
use crate::report::snapshot::Standing;
use crate::report::summary::{self, Ended};
use crate::report::tracker::Tracker;
use crate::report::words::{count, list};
use crate::run::{self, Fate, Header, Interrupts, Options, Run, Summary, preflight};
use crate::state::lock::Holder;
use crate::state::record::Verdict;
use crate::state::{Home, Journal, StateError};

/// How a plan is run.
#[derive(Args, Clone, Debug)]
pub(super) struct HowToRun {
    /// How many steps may run at once
    #[arg(long, short = 'j', default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Start nothing new after a failure
    #[arg(long)]
    fail_fast: bool,
    /// Answer a `manual` step
    #[arg(long, value_name = "STEP.NAME=VALUE", value_parser = super::name_and_value)]
    answer: Vec<(String, String)>,
    /// Also write every event to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How to print the result
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// A plan, and the world that it is to change.
pub(super) struct Deployment {
    /// The plan.
    pub(super) plan: Plan,
    /// The deployment's name.
    pub(super) name: String,
    /// Where deployments are kept.
    pub(super) root: PathBuf,
    /// The command, for the journal and the title.
    pub(super) command: &'static str,
    /// The environment that programs get, PATH first of all.
    pub(super) env: Environment,
    /// The proxy for probes.
    pub(super) http_proxy: Option<String>,
    /// Time.
    pub(super) clock: Clock,
    /// What is simulated, if anything.
    pub(super) simulated: Option<String>,
    /// Secrets in place of the plan's sources.
    pub(super) secrets: Option<BTreeMap<String, String>>,
    /// What a user types to continue.
    pub(super) next: String,
    /// How a user shows a step's log.
    pub(super) log_command: String,
}

/// How it went, for a caller that judges it.
pub(super) struct Outcome {
    /// The code to leave with.
    pub(super) exit: Exit,
    /// The journal after the run, its lock included.
    pub(super) journal: Journal,
    /// What the plan shows at its end.
    pub(super) outputs: serde_json::Map<String, serde_json::Value>,
    /// What was said.
    pub(super) text: String,
}

impl Deployment {
    /// Runs the plan, or continues it, and says how it went.
    pub(super) fn run(self, how: &HowToRun, session: &Session) -> Result<Outcome, Fatal> {
        let journal = self.open(session)?;
        let world = Arc::new(self.world(journal.home()));
        refuse_missing_programs(&self.plan, &world, &journal)?;
        let secrets = Arc::new(self.secrets(&journal, session)?);
        self.announce(session, &journal);
        let mut plan = self.plan;
        give_answers(&mut plan, &how.answer)?;
        let plan = Arc::new(plan);
        let events = how.events.as_deref().map(open_events).transpose()?;
        let title = title(&self.name, self.simulated.as_deref(), self.clock);
        let screen = Screen::new(plan.clone(), title, self.clock, session.ui, events);
        let began = Instant::now();
        let runtime = super::runtime()?;
        let summary = runtime.block_on(async {
            let run = Run {
                plan: plan.clone(),
                world,
                journal,
                secrets: secrets.clone(),
                options: Options { parallel: how.parallel.into(), fail_fast: how.fail_fast, ..Options::default() },
                header: Header {
                    command: self.command.to_owned(),
                    who: who(&self.env),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                },
                watcher: Box::new(screen),
                interrupts: Interrupts::from_system()?,
            };
            run::drive(run).await.map_err(state_fatal)
        })?;
        let real = began.elapsed();
        // What a cancelled step left in a blocking thread must not keep the program from ending.
        runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        let state = summary.journal.state();
        let snapshot =
            Tracker::default().snapshot(&plan, state, state.current().map_or_else(|| self.clock.now(), |run| run.last));
        let mut outputs = plan.final_outputs(state.known());
        let redactor = secrets.redactor();
        outputs.values_mut().for_each(|value| redactor.mask_value(value));
        let ended = Ended {
            plan: &plan,
            state,
            snapshot: &snapshot,
            outputs: &outputs,
            deployment: &self.name,
            simulated: self.simulated.as_deref(),
            speed: self.clock.speed(),
            real,
            log_command: &self.log_command,
            next: &self.next,
            paint: session.ui.paint,
            width: if session.ui.live { session.ui.width } else { usize::MAX },
        };
        let text = summary::text(&ended);
        session.ui.say(&text);
        if how.output == Output::Json {
            session.ui.data(&as_json(&self.name, &summary, &snapshot, &outputs));
        }
        Ok(Outcome { exit: exit_of(&summary), journal: summary.journal, outputs, text })
    }

    fn secrets(&self, journal: &Journal, session: &Session) -> Result<runbook_steps::Secrets, Fatal> {
        let needed = preflight::needed_secrets(&self.plan, journal.state());
        let places = secrets::Places { given: self.secrets.as_ref(), env: &self.env, ui: session.ui };
        secrets::resolve(&self.plan, &needed, &places)
    }

    fn open(&self, session: &Session) -> Result<Journal, Fatal> {
        let home = Home::new(&absolute(&self.root), &self.name).map_err(state_fatal)?;
        let command = format!("{} {}", self.command, self.plan.file.display());
        let lock = home.lock(holder(&command, &self.env, self.clock)).map_err(state_fatal)?;
        let (journal, cut) = Journal::open(lock, self.clock).map_err(state_fatal)?;
        if let Some(cut) = cut {
            let what =
                format!("the journal ended in a torn line ({}); it was cut off, and nothing else is lost", cut.why);
            session.ui.say(&format!("{} {what}", session.ui.paint.warn("note:")));
        }
        journal.ensure_simulated(self.simulated.as_deref()).map_err(state_fatal)?;
        runbook_steps::tools::sweep(journal.home().path());
        Ok(journal)
    }

    fn world(&self, home: &Home) -> World {
        let kubeconfig = home.path().join("kubeconfig");
        let mut env: BTreeMap<OsString, OsString> = self.env.0.clone();
        // Where the plan takes a secret from a variable, only the steps that name the secret get it.
        for spec in self.plan.secrets.values() {
            for source in &spec.from {
                if let crate::plan::model::SecretSource::Env(name) = source {
                    env.remove(std::ffi::OsStr::new(name));
                }
            }
        }
        env.insert("KUBECONFIG".into(), kubeconfig.clone().into_os_string());
        World {
            env,
            kubeconfig,
            http_proxy: self.http_proxy.clone(),
            clock: self.clock,
            simulated: self.simulated.clone(),
        }
    }

    /// Says what is reused, looked at, stale and new, if this continues an earlier run.
    fn announce(&self, session: &Session, journal: &Journal) {
        let state = journal.state();
        let Some(last) = state.current() else { return };
        let ui = session.ui;
        let how = match (last.verdict, &last.signal) {
            (None, _) => "it ended without a word: killed, or the machine went down".to_owned(),
            (Some(_), Some(signal)) => format!("interrupted by {signal}"),
            (Some(Verdict::Holds), None) => "everything held".to_owned(),
            (Some(_), None) => "a step failed".to_owned(),
        };
        let head = format!("{} · continuing after run {} ({how})", self.name, last.opened.run);
        ui.say(&format!("{}\n", ui.paint.bold(&head)));
        for line in fates(&run::verdicts(&self.plan, state, state.known())) {
            ui.say(&line);
        }
        ui.say("");
    }
}

/// The lines that say what becomes of the steps.
pub(super) fn fates(verdicts: &[(crate::plan::StepId, Fate)]) -> Vec<String> {
    let having = |wanted: fn(&Fate) -> bool| {
        verdicts.iter().filter(|(_, fate)| wanted(fate)).map(|(id, _)| id.clone()).collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    let reuse = having(|fate| *fate == Fate::Reuse);
    if !reuse.is_empty() {
        lines.push(format!("  reuse   {}", count(reuse.len(), "step")));
    }
    for (id, fate) in verdicts {
        match fate {
            Fate::InFlight => {
                lines.push(format!("  look    {id} was in flight: it is looked at before anything is done"));
            }
            Fate::Stale(why) => lines.push(format!("  stale   {id}: {}", why.join("; "))),
            Fate::Again(how) => lines.push(format!("  again   {id} ({how} last time)")),
            _ => {}
        }
    }
    for (word, ids) in [("new ", having(|fate| *fate == Fate::New)), ("gone", having(|fate| *fate == Fate::Gone))] {
        if !ids.is_empty() {
            lines.push(format!("  {word}    {}", list(&ids)));
        }
    }
    lines
}

/// Puts the answers of the command line where their steps find them.
fn give_answers(plan: &mut Plan, answers: &[(String, String)]) -> Result<(), Fatal> {
    for (name, value) in answers {
        let (step, question) = name.rsplit_once('.').unwrap_or((name, ""));
        let index = plan.step(step).filter(|&index| {
            let work = plan.steps[index].work.as_ref();
            !question.is_empty() && work.is_some_and(|work| work.kind.name == "manual")
        });
        let Some(index) = index else {
            let what = format!("`--answer {name}=…` answers nothing: write STEP.NAME, where STEP is a `manual` step");
            return Err(Fatal::new(Exit::Usage, what));
        };
        plan.steps[index].answers.insert(question.to_owned(), value.clone().into());
    }
    Ok(())
}

fn refuse_missing_programs(plan: &Plan, world: &World, journal: &Journal) -> Result<(), Fatal> {
    let missing = preflight::missing_programs(plan, world, journal.state());
    if missing.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} not on PATH; nothing was touched", are(missing.len()));
    for one in &missing {
        let hint = runbook_steps::tools::install_hint(&one.program);
        text.push_str(&format!("\n  `{}`, needed by {}: {hint}", one.program, list(&one.steps)));
    }
    Err(Fatal::new(Exit::Invalid, text))
}

fn are(number: usize) -> String {
    if number == 1 {
        "a program that this plan needs is".to_owned()
    } else {
        format!("{number} programs that this plan needs are")
    }
}

fn title(name: &str, simulated: Option<&str>, clock: Clock) -> String {
    match simulated {
        Some(_) => format!("{name} · rehearsal (simulated, {}× time)", clock.speed()),
        None => name.to_owned(),
    }
}

fn open_events(path: &Path) -> Result<Events, Fatal> {
    Events::create(path)
        .map_err(|error| Fatal::new(Exit::Usage, format!("cannot write events to `{}`: {error}", path.display())))
}

fn exit_of(summary: &Summary) -> Exit {
    match (summary.verdict, summary.signal) {
        (Verdict::Holds, _) => Exit::Holds,
        (Verdict::Failed, _) => Exit::StepFailed,
        (Verdict::NeedsPerson, _) => Exit::NeedsPerson,
        (Verdict::Interrupted, Some(run::Signal::Terminate)) => Exit::Terminated,
        (Verdict::Interrupted, _) => Exit::Interrupted,
    }
}

fn as_json(
    name: &str,
    summary: &Summary,
    snapshot: &crate::report::snapshot::Snapshot,
    outputs: &serde_json::Map<String, serde_json::Value>,
) -> String {
    let steps: Vec<_> = snapshot
        .rows
        .iter()
        .map(|row| {
            let state = summary.journal.state().step(&row.id);
            let failure = state.and_then(|step| step.failure()).filter(|_| row.standing == Standing::Failed);
            json!({ "step": row.id, "outcome": row.standing.word(), "reused": row.reused, "attempts": row.attempts,
                    "took_seconds": row.took.as_secs_f64(), "failure": failure })
        })
        .collect();
    let value = json!({ "deployment": name, "run": summary.run, "verdict": summary.verdict, "steps": steps,
                        "elapsed_seconds": snapshot.elapsed.as_secs_f64(), "outputs": outputs });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
}

/// An error of the state, with its exit code and what to do.
#[expect(clippy::needless_pass_by_value, reason = "it is called by `map_err`, which passes values")]
pub(super) fn state_fatal(error: StateError) -> Fatal {
    match &error {
        StateError::Held(held) => {
            let name = held.deployment.clone();
            Fatal::new(Exit::Locked, error.to_string())
                .hint(format!("see where it stands with `runbook status {name}`"))
        }
        StateError::BadName(_) => Fatal::new(Exit::Usage, error.to_string()),
        StateError::Illegal(_) => Fatal::new(Exit::Unexpected, error.to_string()),
        _ => Fatal::new(Exit::State, error.to_string()),
    }
}

/// A path that does not depend on where programs run.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// This process, as it holds a lock for a command.
pub(super) fn holder(command: &str, env: &Environment, clock: Clock) -> Holder {
    Holder { who: who(env), host: host(), pid: std::process::id(), command: command.to_owned(), since: clock.now() }
}

fn who(env: &Environment) -> String {
    let user = env.get("USER").or_else(|| env.get("LOGNAME")).and_then(|name| name.to_str()).unwrap_or("somebody");
    format!("{user}@{}", host())
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
