//! `runbook rehearse`: run a plan on an embedded world. The only command, besides the hidden two, that knows the fixtures.
//!
//! The same code runs as for `apply`; only the handles point elsewhere. The world is a process of its own, which outlives an
//! engine that is killed, as a cloud would.

pub(super) mod begun;
mod claim;
mod expect;
mod mortal;
mod stage;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runbook_fixtures::faults::{Fault, FaultKind};
use runbook_fixtures::scenario::Scenario;
use runbook_fixtures::stage::Info;
use runbook_steps::Clock;
use runbook_steps::tools::quote;

use super::deployment::{Deployment, HowToRun, Opened, Outcome, absolute, state_fatal};
use super::destroy::HowToDestroy;
use super::diagnose::HowToDiagnose;
use super::exit::{Exit, Fatal};
use super::verify::{HowToLook, LIMIT};
use super::{Environment, Inputs, Session, check, remedy};
use crate::plan::inputs::plain;
use crate::plan::load::Given;
use crate::plan::texts::tidy;
use crate::plan::{Plan, Step, StepId};
use crate::report::words::{list, some};
use crate::state::record::Verdict;
use crate::state::{Home, Journal, Lock, RunState, Status, journal};
use begun::Begun;
use claim::Claim;
use mortal::Death;
use stage::Stage;

/// How many times faster than real time, with the built-in stand-ins: the native gateway then takes some ten seconds.
const SPEED: f64 = 100.0;
/// The same with the real gcloud, each call of which takes more than a second of real time to start.
const SPEED_WITH_REAL_TOOLS: f64 = 12.0;

/// Run a plan on an embedded, simulated world: no cloud, no cost
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  runbook rehearse plans/native-gateway.yaml\n  \
                  runbook rehearse plans/native-gateway.yaml --scenario stockout\n  \
                  runbook rehearse plans/native-gateway.yaml --destroy  # and undo it all again\n  \
                  runbook rehearse plans/native-gateway.yaml --keep     # then use your own kubectl on it")]
pub(super) struct Rehearse {
    /// The plan, or a scenario that names its plan
    #[arg(value_name = "PLAN|SCENARIO")]
    file: PathBuf,
    /// The scenario: a file, or the middle of a name like rehearsals/PLAN.SCENARIO.yaml beside the plan
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    /// How many times faster than real time
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,
    /// Leave the world up afterwards, and say how to reach it
    #[arg(long)]
    keep: bool,
    /// Use the real gcloud instead of the built-in stand-in
    #[arg(long)]
    real_tools: bool,
    /// Continue an unfinished rehearsal as if what its scenario let go wrong had been put right
    #[arg(long)]
    lift: bool,
    /// Begin anew, even if an interrupted rehearsal could be continued
    #[arg(long)]
    fresh: bool,
    /// Judge the run by what its scenario expects, and exit 0 only if all of it came true
    #[arg(long)]
    expect: bool,
    /// Look at everything again in the world that was left up, and change nothing
    #[arg(long, conflicts_with_all = ["fresh", "expect", "lift"])]
    verify: bool,
    /// Say why something does not work in the world that was left up, and change nothing
    #[arg(long, conflicts_with_all = ["fresh", "expect", "lift", "verify"])]
    diagnose: bool,
    /// With --diagnose: also write all that was seen to an archive
    #[arg(long, value_name = "FILE", requires = "diagnose")]
    bundle: Option<PathBuf>,
    /// Undo everything again afterwards, in the same world
    #[arg(long)]
    destroy: bool,
    /// Attach to the world that is up, and do not play the scenario's kill
    #[arg(long, hide = true)]
    attach: bool,
    /// End this very process (SIGKILL) when the journal has so many records
    #[arg(long, hide = true, value_name = "N", requires = "attach")]
    die_after_record: Option<u64>,
    /// The same, but in the middle of writing the next one
    #[arg(long, hide = true, requires = "die_after_record")]
    torn: bool,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    how: HowToRun,
}

/// Slower than real time is of no use, and beyond the upper bound only starting processes takes hours of model time.
fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "a number is expected".to_owned())?;
    if (1.0..=2000.0).contains(&speed) { Ok(speed) } else { Err("from 1 (real time) to 2000".to_owned()) }
}

/// What is rehearsed.
struct Rehearsal {
    plan_file: PathBuf,
    scenario_file: Option<PathBuf>,
    scenario: Scenario,
    /// Where its state and its world are.
    root: PathBuf,
    speed: f64,
}

impl Rehearse {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let rehearsal = self.find(session)?;
        let plan = self.load(&rehearsal, session, None)?;
        let name = self.inputs.name.clone().unwrap_or_else(|| plan.name.clone());
        if self.verify || self.diagnose {
            return self.look(&rehearsal, name, session);
        }
        if let Some(note) = really_run(&plan) {
            session.ui.say(&format!("{} {note}", session.ui.paint.warn("note:")));
        }
        let stage = self.stage(&rehearsal, &plan, &name, session)?;
        if !self.attach {
            self.begun().keep(&rehearsal.root, &name);
        }
        if let (Some(kill), false) = (&rehearsal.scenario.kill, self.attach) {
            let journal = Home::new(&rehearsal.root, &name).map_err(state_fatal)?;
            stage::kill_engine(self.arguments(session), kill, &journal, stage.info(), session)?;
        }
        let plan = self.load(&rehearsal, session, home_of(stage.info()))?;
        let deployment = self.deployment(plan, name, &rehearsal, stage.info(), session);
        let destroys = self.destroy || rehearsal.scenario.destroy.is_some();
        if destroys && half_undone(&rehearsal.root, &deployment.name)? {
            return self.destroy(stage, &rehearsal, session, &deployment.name, Vec::new());
        }
        let name = deployment.name.clone();
        match self.run_offering(deployment, &rehearsal, stage.info(), session) {
            Ok(outcome) if destroys => {
                let expect = &rehearsal.scenario.expect;
                let judged = self.expect.then(|| expect::complaints(expect, &outcome, stage.info()));
                // The lock goes with the journal, for whoever undoes.
                drop(outcome);
                self.destroy(stage, &rehearsal, session, &name, judged.unwrap_or_default())
            }
            outcome => self.end(stage, &rehearsal, session, outcome),
        }
    }

    /// Runs it, and offers what puts a failure right, unless somebody only wants to see whether it ends as it says.
    fn run_offering(
        &self,
        first: Deployment,
        rehearsal: &Rehearsal,
        info: &Info,
        session: &Session,
    ) -> Result<Outcome, Fatal> {
        if self.expect || self.attach {
            return first.run_with(&self.how, session, self.opening());
        }
        let name = first.name.clone();
        remedy::run(&self.how, session, || {
            let plan = self.load(rehearsal, session, home_of(info))?;
            Ok(self.deployment(plan, name.clone(), rehearsal, info, session))
        })
    }

    /// Looks at the world that a rehearsal left.
    fn look(&self, rehearsal: &Rehearsal, name: String, session: &Session) -> Result<Exit, Fatal> {
        let Some(info) = stage::live(&rehearsal.root) else {
            let what = format!("no simulated world of `{}` is up", rehearsal.plan_file.display());
            let keep = format!("leave one up: {} --keep", self.again(session));
            return Err(Fatal::new(Exit::Usage, what).hint(keep));
        };
        let plan = self.load(rehearsal, session, home_of(&info))?;
        let deployment = self.deployment(plan, name, rehearsal, &info, session);
        if self.diagnose {
            let how = HowToDiagnose { step: None, bundle: self.bundle.clone(), output: self.how.output };
            return deployment.diagnose(&how, session);
        }
        // The programs that look take real time, however fast the model's runs.
        let limit = LIMIT.mul_f64(info.speed);
        let how = HowToLook { parallel: self.how.parallel, limit, output: self.how.output };
        deployment.verify(&how, session)
    }

    /// How the journal is opened: with a death in it, if this process is to die.
    fn opening(&self) -> impl FnOnce(Lock, Clock) -> Opened + use<> {
        let death = self.die_after_record.map(|after_record| Death { after_record, torn: self.torn });
        move |lock, clock| match death {
            None => Journal::open(lock, clock),
            Some(death) => mortal::open(death, lock, clock),
        }
    }

    fn find(&self, session: &Session) -> Result<Rehearsal, Fatal> {
        let given = self.scenario.as_deref().map(|name| scenario_file(&self.file, name));
        let is_plan = is_plan(&self.file)?;
        let (plan_file, scenario_file) = match (is_plan, given) {
            (false, _) => (None, Some(self.file.clone())),
            (true, Some(file)) => (Some(self.file.clone()), Some(file)),
            (true, None) => {
                (Some(self.file.clone()), Some(scenario_file(&self.file, "ok")).filter(|file| file.exists()))
            }
        };
        let scenario = match &scenario_file {
            None => Scenario::default(),
            Some(file) => Scenario::load(file)
                .map_err(|error| Fatal::new(Exit::Invalid, error.to_string()).hint(scenarios_of(&self.file)))?,
        };
        let own = scenario.plan.as_ref().zip(scenario_file.as_ref());
        let own = own.map(|(plan, file)| tidy(&file.parent().unwrap_or(Path::new("")).join(plan)));
        let plan_file = own.or(plan_file).ok_or_else(|| {
            Fatal::new(Exit::Usage, format!("the scenario `{}` names no plan", self.file.display()))
                .hint("add `plan: ../PLAN.yaml`, or give the plan with --scenario FILE")
        })?;
        let stem = scenario_file.as_ref().unwrap_or(&plan_file).file_stem().unwrap_or_default();
        let usual = if self.real_tools { SPEED_WITH_REAL_TOOLS } else { scenario.speed.unwrap_or(SPEED) };
        let root = session.state.join("rehearsals").join(stem);
        Ok(Rehearsal { plan_file, scenario_file, scenario, root, speed: self.speed.unwrap_or(usual) })
    }

    fn load(&self, rehearsal: &Rehearsal, session: &Session, home: Option<PathBuf>) -> Result<Plan, Fatal> {
        let mut inputs: BTreeMap<String, String> =
            rehearsal.scenario.inputs.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
        inputs.extend(self.inputs.values());
        let given =
            Given { inputs, require_inputs: true, home: home.or_else(|| session.env.home()), ..Given::default() };
        check::load_plan(session, &rehearsal.plan_file, &given)
    }

    /// The world of an interrupted rehearsal if it can be continued, or a new one.
    fn stage(&self, rehearsal: &Rehearsal, plan: &Plan, name: &str, session: &Session) -> Result<Stage, Fatal> {
        let claim = Claim::all(&rehearsal.root, name, session)?;
        let live = stage::live(&rehearsal.root);
        let partial = self.how.selection.is_partial();
        let wanted = self.attach || (!self.fresh && (partial || unfinished(&rehearsal.root, name)?));
        match live {
            Some(info) if wanted => {
                // Before the world is told anything.
                self.how.judge(plan, &last_state(&rehearsal.root, name)?)?;
                // The engine that is to be killed is a part of this rehearsal, and no later one.
                if !self.attach {
                    session.ui.say("continuing on the simulated world that the last rehearsal left\n");
                }
                if self.lift {
                    session.ui.say(&format!("{}\n", lifted(&rehearsal.scenario.faults)));
                    stage::lift(&info);
                }
                Ok(Stage::attached(info))
            }
            _ if self.lift => Err(self.nothing_to_lift(rehearsal, session)),
            live => {
                self.refuse_what_cannot_begin(rehearsal, plan, name, session)?;
                if let Some(info) = &live {
                    session.ui.say(&format!("ending the simulated world of an earlier rehearsal (pid {})\n", info.pid));
                }
                stage::clear(&rehearsal.root, live)?;
                // The old locks went with the folder; until the world is up, this one stands for the run that will follow.
                drop(claim);
                let _claim = Claim::one(&rehearsal.root, name, session)?;
                Stage::open(rehearsal, self.real_tools)
            }
        }
    }

    /// A new world has what its scenario lets go wrong before it, and nothing to put right.
    fn nothing_to_lift(&self, rehearsal: &Rehearsal, session: &Session) -> Fatal {
        let what =
            format!("there is nothing to lift: no unfinished rehearsal of `{}` is up", rehearsal.plan_file.display());
        let begin = format!("begin one: {}", self.again(session));
        let faults = match names(&rehearsal.scenario.faults) {
            None => "its scenario lets nothing go wrong".to_owned(),
            Some(names) => format!("what its scenario lets go wrong, and --lift then puts right: {names}"),
        };
        Fatal::new(Exit::Usage, what).hint(begin).hint(faults)
    }

    /// Refuses what cannot be done in a new world while all of the last rehearsal is still there.
    fn refuse_what_cannot_begin(
        &self,
        rehearsal: &Rehearsal,
        plan: &Plan,
        name: &str,
        session: &Session,
    ) -> Result<(), Fatal> {
        let Err(fatal) = self.how.judge(plan, &RunState::default()) else { return Ok(()) };
        let last = last_state(&rehearsal.root, name).unwrap_or_default();
        if self.how.judge(plan, &last).is_err() {
            return Err(fatal);
        }
        Err(fatal.hint(match (self.fresh, stage::live(&rehearsal.root)) {
            (true, Some(_)) => "without --fresh it would go on in the simulated world that is up".to_owned(),
            _ => format!(
                "what held did so in the simulated world of the last rehearsal, which has ended; --keep would have kept it: {} --keep",
                self.again(session)
            ),
        }))
    }

    fn deployment(
        &self,
        plan: Plan,
        name: String,
        rehearsal: &Rehearsal,
        info: &Info,
        session: &Session,
    ) -> Deployment {
        Deployment {
            commands: Session { state: rehearsal.root.clone(), ..session.clone() }.commands(&name),
            plan: Arc::new(plan),
            name,
            root: rehearsal.root.clone(),
            command: "rehearse",
            env: environment(&session.env, info),
            http_proxy: Some(info.proxy.clone()),
            clock: Clock::scaled(info.epoch_ms, info.speed),
            simulated: Some(info.label.clone()),
            secrets: Some(rehearsal.scenario.secrets.clone()),
            next: self.again(session),
            early: None,
        }
    }

    /// Undoes what the run made, and judges both.
    fn destroy(
        &self,
        stage: Stage,
        rehearsal: &Rehearsal,
        session: &Session,
        name: &str,
        mut complaints: Vec<String>,
    ) -> Result<Exit, Fatal> {
        let info = stage.info().clone();
        let kill = rehearsal.scenario.destroy.as_ref().and_then(|destroy| destroy.kill.as_ref());
        if let (Some(kill), false) = (kill, self.attach) {
            let home = Home::new(&rehearsal.root, name).map_err(state_fatal)?;
            stage::kill_engine(self.arguments(session), kill, &home, &info, session)?;
        }
        let plan = self.load(rehearsal, session, home_of(&info))?;
        let deployment = self.deployment(plan, name.to_owned(), rehearsal, &info, session);
        let destroyed = deployment.destroy_with(&HowToDestroy::without_asking(), session, self.opening())?;
        if self.expect {
            let env = environment(&session.env, &info);
            let expect = &rehearsal.scenario.expect.after_destroy;
            complaints.extend(expect::after_destroy(expect, &destroyed, &env, &info));
        }
        let unfinished = !self.expect && destroyed.exit != Exit::Holds;
        if self.keep || self.attach || unfinished {
            stage.keep();
        } else {
            stage.close();
        }
        Ok(if self.expect { judge(&complaints, session) } else { destroyed.exit })
    }

    /// Ends or keeps the world, and judges the run.
    fn end(
        &self,
        stage: Stage,
        rehearsal: &Rehearsal,
        session: &Session,
        outcome: Result<Outcome, Fatal>,
    ) -> Result<Exit, Fatal> {
        let info = stage.info().clone();
        let outcome = outcome?;
        let unfinished = !self.expect && (outcome.exit != Exit::Holds || has_failures(outcome.journal.state()));
        if self.keep || unfinished || self.attach {
            stage.keep();
        } else {
            stage.close();
        }
        self.say_more(rehearsal, &info, session, &outcome);
        if !self.expect {
            return Ok(outcome.exit);
        }
        Ok(judge(&expect::complaints(&rehearsal.scenario.expect, &outcome, &info), session))
    }

    fn say_more(&self, rehearsal: &Rehearsal, info: &Info, session: &Session, outcome: &Outcome) {
        let ui = session.ui;
        if self.keep {
            ui.say("the simulated world stays up for an hour; use your own tools on it:");
            ui.say(&format!("  export KUBECONFIG={}", info.kubeconfig.display()));
            ui.say(&format!("  export http_proxy={}        # for the gateway's address", info.proxy));
            ui.say(&format!("  kill {}                                  # ends it\n", info.pid));
        } else if outcome.exit != Exit::Holds && !self.expect {
            let again = format!("{}{}", self.again(session), outcome.answers);
            ui.say(&format!("the simulated world stays up for an hour; continue with: {again}"));
            // A stock-out that GKE is already busy with goes on for its half hour, whatever becomes free.
            let faults = &rehearsal.scenario.faults;
            let curable = !faults.is_empty() && faults.iter().all(|fault| fault.kind != FaultKind::Stockout);
            if outcome.exit == Exit::StepFailed && curable {
                ui.say(&format!("as if what went wrong had been put right: {again} --lift"));
            }
        }
        if outcome.exit == Exit::Holds && !self.expect {
            let plan = quote(&rehearsal.plan_file.to_string_lossy());
            ui.say(&format!("for real:  {} apply {plan}{}", session.program(), self.inputs_for_real(rehearsal)));
            ui.say(&format!(
                "look in:   {} log STEP · runbook graph {plan} · runbook rehearse … --keep",
                session.program_at(&rehearsal.root)
            ));
        }
    }

    /// What a user has to give for real: the scenario's project is a made-up one.
    fn inputs_for_real(&self, rehearsal: &Rehearsal) -> &'static str {
        if rehearsal.scenario.inputs.contains_key("project") { " --input project=YOUR_PROJECT" } else { "" }
    }

    /// What a user types to continue.
    fn again(&self, session: &Session) -> String {
        self.begun().command(&session.program(), None)
    }

    /// The words for whoever wants to go on later.
    fn begun(&self) -> Begun {
        let texts = |words: Vec<OsString>| words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Begun::new(texts(self.words(Path::to_owned)), texts(self.words(absolute)))
    }

    /// The arguments that start this rehearsal's engine again, on the world that is up: the same rehearsal, run in the same way.
    fn arguments(&self, session: &Session) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--state".into(), session.state.clone().into()];
        words.extend(self.words(Path::to_owned));
        words.extend(["--attach".into(), "--color".into(), "never".into()]);
        words.extend(self.how.words().into_iter().map(OsString::from));
        words
    }

    /// The words that say what is rehearsed, but not how far and how fast its steps run; files are named in a way of the caller's.
    fn words(&self, file: impl Fn(&Path) -> PathBuf) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["rehearse".into(), file(&self.file).into()];
        let named = |name: &String| if is_file_name(name) { file(Path::new(name)).into() } else { name.into() };
        words.extend(self.scenario.iter().flat_map(|name| ["--scenario".into(), named(name)]));
        let speed = self.speed.map(|speed| speed.to_string());
        for (flag, value) in [("--name", &self.inputs.name), ("--speed", &speed)] {
            words.extend(value.iter().flat_map(|value| [flag.into(), value.into()]));
        }
        let inputs = self.inputs.inputs.iter();
        words.extend(inputs.flat_map(|(name, value)| ["--input".into(), format!("{name}={value}").into()]));
        words.extend(self.real_tools.then(|| "--real-tools".into()));
        words.extend(self.destroy.then(|| "--destroy".into()));
        words
    }
}

/// What is put right of what a scenario lets go wrong.
fn lifted(faults: &[Fault]) -> String {
    let Some(names) = names(faults) else { return "nothing to lift: the scenario lets nothing go wrong".to_owned() };
    let late = faults.iter().any(|fault| fault.kind == FaultKind::Stockout);
    let late = if late { "; what GKE has begun without machines goes on for its half hour" } else { "" };
    format!("lifted: {names}{late}")
}

/// What goes wrong, and where; nothing where nothing does.
fn names(faults: &[Fault]) -> Option<String> {
    let names: Vec<String> = faults.iter().map(Fault::to_string).collect();
    (!names.is_empty()).then(|| list(&names))
}

/// Says what was not as the scenario expects.
fn judge(complaints: &[String], session: &Session) -> Exit {
    for complaint in complaints {
        session.ui.say(&format!("{} {complaint}", session.ui.paint.bad("not as expected:")));
    }
    if complaints.is_empty() {
        session.ui.say(&session.ui.paint.good("as the scenario expects"));
    }
    if complaints.is_empty() { Exit::Holds } else { Exit::Unexpected }
}

/// Whether a file is a plan rather than a scenario: a plan begins with its language version.
fn is_plan(file: &Path) -> Result<bool, Fatal> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Fatal::new(Exit::Invalid, format!("cannot read `{}`: {error}", file.display())))?;
    Ok(text.lines().any(|line| line.starts_with("runbook:")) || !text.lines().any(|line| line.starts_with("plan:")))
}

/// `rehearsals/PLAN.SCENARIO.yaml` beside the plan, or the file that was named.
fn scenario_file(plan: &Path, name: &str) -> PathBuf {
    if is_file_name(name) {
        return PathBuf::from(name);
    }
    let stem = plan.file_stem().unwrap_or_default().to_string_lossy();
    plan.parent().unwrap_or(Path::new("")).join("rehearsals").join(format!("{stem}.{name}.yaml"))
}

/// Whether what is given as a scenario is a file, and not the middle of a name.
fn is_file_name(name: &str) -> bool {
    name.contains('/') || name.ends_with(".yaml") || name.ends_with(".yml")
}

/// The scenarios that a plan has, in words.
fn scenarios_of(plan: &Path) -> String {
    let folder = plan.parent().unwrap_or(Path::new("")).join("rehearsals");
    let prefix = format!("{}.", plan.file_stem().unwrap_or_default().to_string_lossy());
    let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.file_name().to_str()?.strip_prefix(&prefix)?.strip_suffix(".yaml")?.to_owned()))
        .collect();
    names.sort();
    if names.is_empty() {
        format!("there are none in `{}`", folder.display())
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// What follows from the journal of the last rehearsal.
fn last_state(root: &Path, name: &str) -> Result<RunState, Fatal> {
    let home = Home::new(root, name).map_err(state_fatal)?;
    Ok(journal::read(&home).map_err(state_fatal)?.state)
}

/// Whether the last rehearsal did not come to an end that leaves nothing to do.
fn unfinished(root: &Path, name: &str) -> Result<bool, Fatal> {
    let state = last_state(root, name)?;
    Ok(state.current().is_some_and(|run| run.verdict != Some(Verdict::Holds)) || has_failures(&state))
}

/// Whether a step failed that a later run, of another part, left alone.
fn has_failures(state: &RunState) -> bool {
    state.steps().any(|(_, step)| matches!(step.status(), Status::Failed))
}

/// Whether what the last run did was to undo, and it did not come to its end.
fn half_undone(root: &Path, name: &str) -> Result<bool, Fatal> {
    let state = last_state(root, name)?;
    Ok(state.current().is_some_and(|run| run.opened.command == "destroy" && run.verdict != Some(Verdict::Holds)))
}

/// The home folder that programs of the rehearsal have.
fn home_of(info: &Info) -> Option<PathBuf> {
    info.env.get("HOME").map(PathBuf::from)
}

/// What nobody expects of a rehearsal: a plan's own programs are no part of the simulated world.
fn really_run(plan: &Plan) -> Option<String> {
    let own = |step: &&Step| step.work.as_ref().is_some_and(|work| matches!(work.kind.name, "run" | "command"));
    let steps: Vec<&StepId> = plan.steps.iter().filter(own).map(|step| &step.id).collect();
    if steps.is_empty() {
        return None;
    }
    Some(format!(
        "scripts and commands of the plan are really run, in `{}`: {}; only gcloud, kubectl, helm and what they reach are simulated\n",
        plan.dir.display(),
        some(&steps, 6)
    ))
}

/// This process's environment, pointed at the simulated world.
fn environment(env: &Environment, info: &Info) -> Environment {
    let mut all = env.0.clone();
    all.extend(info.env.iter().map(|(name, value)| (name.into(), value.into())));
    let mut path = vec![info.path_prepend.clone()];
    path.extend(env.get("PATH").into_iter().flat_map(std::env::split_paths));
    if let Ok(path) = std::env::join_paths(path) {
        all.insert("PATH".into(), path);
    }
    Environment(all)
}
