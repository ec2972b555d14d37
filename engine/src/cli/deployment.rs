//! Running a plan against a world, from the lock to the summary: what `apply`, `resume` and `rehearse` have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum as _};
use runbook_steps::{Clock, Redactor, Secrets, World};
use serde_json::json;

use super::bug::bug;
use super::check::Output;
use super::exit::{Exit, Fatal, exit_of};
use super::screen::{Said, Screen};
use super::select::{Selection, Stale};
use super::unbegun::Unbegun;
use super::{Environment, Session, answers, secrets};
use crate::plan::{Plan, StepId};
use crate::report::commands::Commands;
use crate::report::events::Events;
use crate::report::summary::{self, Ended};
use crate::report::tracker::Tracker;
use crate::report::words::{label, list, seconds, some};
use crate::run::{self, Fate, Header, Interrupts, Options, Run, Summary, preflight};
use crate::state::dir::this_host;
use crate::state::journal::Cut;
use crate::state::lock::{Holder, Lock};
use crate::state::{Early, Home, Journal, RunState, StateError};

/// How a plan is run.
#[derive(Args, Clone, Debug)]
pub(super) struct HowToRun {
    /// How many steps may run at once
    #[arg(long, short = 'j', default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) parallel: u16,
    #[command(flatten)]
    pub(super) selection: Selection,
    /// What to do with steps that hold, but would now do something else
    #[arg(long, value_enum, value_name = "WHAT")]
    stale: Option<Stale>,
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
    pub(super) output: Output,
    /// Whether it goes on with what an earlier run of this command has begun
    #[arg(skip)]
    goes_on: bool,
}

impl HowToRun {
    /// The same for one step and nothing else, even if it holds.
    pub(super) fn only(&self, step: &str) -> Self {
        Self { selection: Selection::of(step), goes_on: true, ..self.clone() }
    }

    /// The same for a part of the plan.
    pub(super) fn of(&self, selection: Selection) -> Self {
        Self { selection, ..self.clone() }
    }

    /// The same, going on with what was begun: nothing is done again once more, and events are added to those that were written.
    pub(super) fn once_more(&self) -> Self {
        Self { selection: self.selection.once_more(), goes_on: true, ..self.clone() }
    }

    /// Refuses what cannot be asked of a plan in this state, before anything is touched.
    pub(super) fn judge(&self, plan: &Plan, state: &RunState) -> Result<(), Fatal> {
        self.selection.options(plan, state)?;
        answers::read(plan, &self.answer)?;
        self.events.as_deref().map_or(Ok(()), |file| open_events(file, self.goes_on).map(drop))
    }

    /// The words that ask for the same again, but for what is written: that is for whoever began.
    pub(super) fn words(&self) -> Vec<String> {
        let Self { parallel, selection, stale, fail_fast, answer, events: _, output: _, goes_on: _ } = self;
        let mut words = vec!["--parallel".to_owned(), parallel.to_string()];
        words.extend(selection.words());
        let stale = stale.and_then(|stale| stale.to_possible_value());
        words.extend(stale.into_iter().flat_map(|stale| ["--stale".to_owned(), stale.get_name().to_owned()]));
        words.extend(fail_fast.then(|| "--fail-fast".to_owned()));
        words.extend(answer.iter().flat_map(|(name, value)| ["--answer".to_owned(), format!("{name}={value}")]));
        words
    }
}

/// A plan, and the world that it is to change.
pub(super) struct Deployment {
    /// The plan.
    pub(super) plan: Arc<Plan>,
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
    /// What a user types about a step.
    pub(super) commands: Commands,
    /// What was read of its journal while the plan was read.
    pub(super) early: Option<Early>,
}

/// What becomes of each step.
type Fates = Vec<(StepId, Fate)>;

/// A journal that was opened, and the torn end that was cut off it.
pub(super) type Opened = Result<(Journal, Option<Cut>), StateError>;

/// How it went, for a caller that judges it.
pub(super) struct Outcome {
    /// The code to leave with.
    pub(super) exit: Exit,
    /// The journal after the run, its lock included.
    pub(super) journal: Journal,
    /// What the plan shows at its end.
    pub(super) outputs: serde_json::Map<String, serde_json::Value>,
    /// What was said: the summary, and the hints while steps waited.
    pub(super) text: String,
    /// The flags that give the answers once more that nobody has taken.
    pub(super) answers: String,
    /// What was run.
    plan: Arc<Plan>,
}

impl Outcome {
    /// The code to leave with, where nothing else comes: the journal is closed. What is known of very many steps is left in memory, because
    /// the end of the program gives all of it back at once, which takes longer piece by piece.
    pub(super) fn leave(self) -> Exit {
        std::mem::forget((self.plan, self.journal.into_state()));
        self.exit
    }
}

/// The part of a plan that a run is for.
struct Part {
    /// What was asked for, where that is not all of it.
    asked: Option<String>,
    /// The steps that the run is not for.
    left: BTreeSet<StepId>,
    /// The steps that are stale and stay as they are.
    kept: Vec<StepId>,
}

impl Part {
    fn of(plan: &Plan, options: &Options, kept: Vec<StepId>) -> Self {
        let partial = !options.only.is_empty() || !options.skip.is_empty();
        let left = plan.steps.iter().filter(|step| options.leaves_alone(step)).map(|step| step.id.clone());
        Self { asked: partial.then(|| options.asked.to_string()), left: left.collect(), kept }
    }
}

/// What a run needs besides its plan and its world, once nothing keeps it from beginning.
struct Settled {
    options: Options,
    secrets: Secrets,
    /// The steps that are stale and stay as they are.
    kept: Vec<StepId>,
    events: Option<Events>,
}

/// A run that has ended, and what telling of it takes.
struct Ran {
    summary: Summary,
    part: Part,
    redactor: Redactor,
    advice: Said,
    /// How long it took on the machine's clock.
    real: Duration,
}

impl Deployment {
    /// Runs the plan, or continues it, and says how it went.
    pub(super) fn run(mut self, how: &HowToRun, session: &Session) -> Result<Outcome, Fatal> {
        let early = self.early.take();
        self.run_with(how, session, |lock, clock| Journal::open_early(lock, clock, early))
    }

    /// The same with a journal that is opened in another way.
    pub(super) fn run_with(
        mut self,
        how: &HowToRun,
        session: &Session,
        opening: impl FnOnce(Lock, Clock) -> Opened,
    ) -> Result<Outcome, Fatal> {
        let unbegun = Unbegun::before(&self.home()?);
        let journal = self.open(session, opening)?;
        let world = Arc::new(self.world(journal.home()));
        let settled = self.settle(how, session, &journal, &world).inspect_err(|_| unbegun.clear(&journal))?;
        let Settled { options, secrets, kept, events } = settled;
        let part = Part::of(&self.plan, &options, kept);
        let screen = Screen::new(self.plan.clone(), self.title(), self.clock, session.ui, events);
        let screen = screen.without(part.left.clone());
        let (advice, redactor) = (screen.advice(), secrets.redactor());
        let began = Instant::now();
        let summary = self.drive(world, journal, secrets, options, screen)?;
        let ran = Ran { summary, part, redactor, advice, real: began.elapsed() };
        Ok(self.tell(ran, how, session))
    }

    /// Finds what the run needs, says what becomes of the steps, and asks where a person is to decide.
    fn settle(
        &mut self,
        how: &HowToRun,
        session: &Session,
        journal: &Journal,
        world: &World,
    ) -> Result<Settled, Fatal> {
        let mut options = self.options(how, session, journal)?;
        self.refuse_lost(journal.state())?;
        let answers = answers::read(&self.plan, &how.answer)?;
        let (secrets, fates) = self.get_ready(&options, world, session, journal)?;
        self.announce(session, journal, &options, &fates);
        Stale::or_usual(how.stale, session.ui).settle(&fates, session)?;
        let kept = self.kept(&options, &fates, journal.state(), &secrets);
        options.trust(&fates);
        answers::give(Arc::get_mut(&mut self.plan).expect("a plan is shared only once it runs"), answers);
        let events = how.events.as_deref().map(|path| open_events(path, how.goes_on)).transpose()?;
        Ok(Settled { options, secrets, kept, events })
    }

    /// What was begun under another name, or by a plan that had more steps, must not be begun once more before somebody has said how it
    /// stands.
    fn refuse_lost(&self, state: &RunState) -> Result<(), Fatal> {
        let lost = run::lost(&self.plan, state);
        let Some(first) = lost.first() else { return Ok(()) };
        let what = format!(
            "an earlier run ended in the middle of {}, which the plan no longer has, so that nothing can look at it; nothing was touched",
            some(&lost, 8)
        );
        Err(Fatal::new(Exit::NeedsPerson, what)
            .hint(self.commands.ways_to_settle(first))
            .hint("where it was renamed, its old name in the plan lets the run go on with it"))
    }

    /// The steps that would run again if the user had not said that what is stale stays.
    fn kept(&self, options: &Options, fates: &Fates, state: &RunState, secrets: &Secrets) -> Vec<StepId> {
        if !options.keep_stale {
            return Vec::new();
        }
        let rerun = Options { keep_stale: false, ..options.clone() };
        let otherwise = run::verdicts(&self.plan, state, &rerun, &secrets.redactor());
        let stale = otherwise.into_iter().filter(|(_, fate)| matches!(fate, Fate::Stale(_))).map(|(id, _)| id);
        let reused: BTreeSet<&StepId> =
            fates.iter().filter(|(_, fate)| *fate == Fate::Reuse).map(|(id, _)| id).collect();
        stale.filter(|id| reused.contains(id)).collect()
    }

    /// Runs the steps to the end.
    fn drive(
        &self,
        world: Arc<World>,
        journal: Journal,
        secrets: Secrets,
        options: Options,
        screen: Screen,
    ) -> Result<Summary, Fatal> {
        super::block_on(async {
            let run = Run {
                plan: self.plan.clone(),
                world,
                journal,
                secrets: Arc::new(secrets),
                options,
                header: header(self.command, &self.env),
                watcher: Box::new(screen),
                interrupts: Interrupts::from_system()?,
            };
            // On a worker, where the steps are: each start and end would otherwise cross threads twice.
            match tokio::spawn(run::drive(run)).await {
                Ok(result) => result.map_err(state_fatal),
                Err(error) => Err(bug(&error.into_panic())),
            }
        })
    }

    /// Says how it went.
    fn tell(self, ran: Ran, how: &HowToRun, session: &Session) -> Outcome {
        let Ran { summary, part, redactor, advice, real } = ran;
        let state = summary.journal.state();
        let until = state.current().map_or_else(|| self.clock.now(), |run| run.last);
        let snapshot = Tracker::without(part.left.clone()).snapshot(&self.plan, state, until);
        let mut outputs = self.plan.final_outputs(state.known());
        outputs.values_mut().for_each(|value| redactor.mask_value(value));
        let answers = answers::again(&how.answer, state, &redactor);
        let next = format!("{}{answers}", self.next);
        let ended = Ended {
            plan: &self.plan,
            state,
            snapshot: &snapshot,
            part: part.asked.as_deref().map(|asked| (asked, &part.left)),
            kept: &part.kept,
            outputs: &outputs,
            deployment: &self.name,
            simulated: self.simulated.as_deref(),
            speed: self.clock.speed(),
            real,
            commands: &self.commands,
            next: &next,
            paint: session.ui.paint,
            width: session.ui.columns(),
        };
        let text = summary::text(&ended);
        session.ui.say(&text);
        if how.output == Output::Json {
            session.ui.data(&as_json(&ended, &summary));
        }
        let told = advice.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
        let text = format!("{text}\n{told}");
        let exit = exit_of(summary.verdict, summary.signal);
        Outcome { exit, journal: summary.journal, outputs, text, answers, plan: self.plan }
    }

    fn title(&self) -> String {
        let label = label(self.simulated.as_deref());
        let speed = self.simulated.as_ref().map(|_| format!(" (simulated, {}× time)", self.clock.speed()));
        format!("{}{label}{}", self.name, speed.unwrap_or_default())
    }

    fn options(&self, how: &HowToRun, session: &Session, journal: &Journal) -> Result<Options, Fatal> {
        let chosen = how.selection.options(&self.plan, journal.state())?;
        let keep_stale = Stale::or_usual(how.stale, session.ui) == Stale::Keep;
        let lanes = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Options { parallel: how.parallel.into(), fail_fast: how.fail_fast, keep_stale, lanes, ..chosen })
    }

    /// Finds what the steps that will run need, programs and secrets, and what becomes of each step.
    fn get_ready(
        &self,
        options: &Options,
        world: &World,
        session: &Session,
        journal: &Journal,
    ) -> Result<(Secrets, Fates), Fatal> {
        let state = journal.state();
        let fates = run::verdicts(&self.plan, state, options, &Redactor::default());
        refuse_missing(&preflight::missing_programs(&self.plan, world, state, &fates))?;
        let needed = preflight::needed_secrets(&self.plan, state, &fates);
        let places = secrets::Places { given: self.secrets.as_ref(), env: &self.env, ui: session.ui };
        let secrets = secrets::resolve(&self.plan, &needed, &places)?;
        secrets::refuse_in_inputs(&self.plan, &secrets)?;
        // What is masked counts in fingerprints, and only now is known what that is.
        let redactor = secrets.redactor();
        let fates = if redactor.is_idle() { fates } else { run::verdicts(&self.plan, state, options, &redactor) };
        Ok((secrets, fates))
    }

    /// The deployment's folder.
    pub(super) fn home(&self) -> Result<Home, Fatal> {
        Home::new(&absolute(&self.root), &self.name).map_err(state_fatal)
    }

    /// Takes the deployment's lock and reads its journal.
    pub(super) fn open(
        &self,
        session: &Session,
        opening: impl FnOnce(Lock, Clock) -> Opened,
    ) -> Result<Journal, Fatal> {
        let home = self.home()?;
        let command = format!("{} {}", self.command, self.plan.file.display());
        let lock = home.lock(holder(&command, &self.env)).map_err(|error| held(error, session, &self.root))?;
        let (journal, cut) = opening(lock, self.clock).map_err(state_fatal)?;
        if let Some(cut) = cut {
            session.ui.say(&format!("{} {cut}", session.ui.paint.warn("note:")));
        }
        journal.ensure_simulated(self.simulated.as_deref()).map_err(state_fatal)?;
        runbook_steps::tools::sweep(journal.home().path());
        Ok(journal)
    }

    /// The outside, as this deployment's steps reach it.
    pub(super) fn world(&self, home: &Home) -> World {
        let kubeconfig = home.path().join("kubeconfig");
        let mut env: BTreeMap<OsString, OsString> = self.env.0.clone();
        // Where the plan takes a secret from a variable, only the steps that name the secret get it.
        for name in self.plan.secret_variables() {
            env.remove(std::ffi::OsStr::new(name));
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
}

/// Refuses to begin where programs are missing.
pub(super) fn refuse_missing(missing: &[preflight::Missing]) -> Result<(), Fatal> {
    if missing.is_empty() {
        return Ok(());
    }
    let mut text = format!("{} not on PATH; nothing was touched", are(missing.len()));
    for one in missing {
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

/// The file that events are written to.
pub(super) fn open_events(path: &Path, goes_on: bool) -> Result<Events, Fatal> {
    Events::open(path, goes_on)
        .map_err(|error| Fatal::new(Exit::Usage, format!("cannot write events to `{}`: {error}", path.display())))
}

fn as_json(ended: &Ended, summary: &Summary) -> String {
    let steps: Vec<_> = ended
        .snapshot
        .rows
        .iter()
        .map(|row| {
            let state = summary.journal.state().step(&row.id);
            let failure = state.and_then(|step| step.failure()).filter(|_| row.standing.has_failed());
            json!({ "step": row.id, "outcome": row.standing.word(), "reused": row.reused, "attempts": row.attempts,
                    "took_seconds": seconds(row.took), "by": row.by, "failure": failure })
        })
        .collect();
    let (asked, left) = ended.part.unzip();
    let value = json!({ "deployment": ended.deployment, "run": summary.run, "verdict": summary.verdict,
                        "simulated": ended.simulated, "selection": asked.unwrap_or_default(),
                        "left_out": left.into_iter().flatten().collect::<Vec<_>>(), "kept_stale": ended.kept, "steps": steps,
                        "took_seconds": seconds(ended.snapshot.elapsed), "outputs": ended.outputs });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
}

/// The same where another process may have the lock: how to look on.
pub(super) fn held(error: StateError, session: &Session, root: &Path) -> Fatal {
    let StateError::Held(held) = &error else { return state_fatal(error) };
    let follow = format!("follow it with: {} status {} --follow", session.program_at(root), held.deployment);
    Fatal::new(Exit::Locked, error.to_string()).hint(follow)
}

/// An error of the state, with its exit code and what to do.
#[expect(clippy::needless_pass_by_value, reason = "it is called by `map_err`, which passes values")]
pub(super) fn state_fatal(error: StateError) -> Fatal {
    match &error {
        StateError::Held(_) => Fatal::new(Exit::Locked, error.to_string()),
        StateError::BadName(_) => Fatal::new(Exit::Usage, error.to_string()),
        StateError::Illegal(_) => Fatal::new(Exit::Unexpected, error.to_string()),
        _ => Fatal::new(Exit::State, error.to_string()),
    }
}

/// A path that does not depend on where programs run.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// This process, as it holds a lock for a command, by the machine's clock also where that of a rehearsal runs faster.
pub(super) fn holder(command: &str, env: &Environment) -> Holder {
    Holder {
        who: who(env),
        host: this_host(),
        pid: std::process::id(),
        command: command.to_owned(),
        since: Clock::real().now(),
    }
}

/// What the journal says at the head of a run.
pub(super) fn header(command: &str, env: &Environment) -> Header {
    Header { command: command.to_owned(), who: who(env), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// `user@host`.
fn who(env: &Environment) -> String {
    let named = env.get("USER").or_else(|| env.get("LOGNAME")).and_then(|name| name.to_str()).map(str::to_owned);
    let user = named.unwrap_or_else(|| match rustix::process::getuid() {
        rustix::process::Uid::ROOT => "root".to_owned(),
        other => format!("uid-{}", other.as_raw()),
    });
    format!("{user}@{}", this_host())
}
