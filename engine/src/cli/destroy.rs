//! `runbook destroy`: undo what the journal says a deployment made, in reverse order.
//!
//! Shows first what it will do and what it leaves alone, and asks. Can be killed and started again at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use runbook_steps::tools::{self, Orphan, quote};
use runbook_steps::{Clock, Failure, World};
use serde_json::json;

use super::check::Output;
use super::deployment::{self, Deployment, Opened, state_fatal};
use super::exit::{Exit, Fatal, exit_of};
use super::ui::Ui;
use super::unbegun::Unbegun;
use super::{Inputs, Session, apply, check, resume, secrets, status};
use crate::event::Event;
use crate::plan::load::Given;
use crate::plan::model::Graph;
use crate::plan::{Plan, StepId};
use crate::report::events::Events;
use crate::report::lines;
use crate::report::undo::{self as words, Ended};
use crate::report::words::label;
use crate::run::drive::Wants;
use crate::run::undo::drive::Summary;
use crate::run::undo::{self, Choice, UndoPlan, Undoing};
use crate::run::{Interrupts, Watcher, orphans, preflight, select};
use crate::state::fold::RunSummary;
use crate::state::record::{Record, Verdict};
use crate::state::{Home, Journal, Lock, RunState, Status, Sync, journal};

/// Undo what a deployment made, in reverse order
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  runbook destroy native-gateway\n  \
                  runbook destroy plans/native-gateway.yaml --dry-run\n  \
                  runbook destroy native-gateway --only gateway --yes")]
pub(super) struct Destroy {
    /// The plan or the deployment; may be left out if there is only one deployment
    #[arg(value_name = "PLAN|DEPLOYMENT")]
    target: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    how: HowToDestroy,
}

/// How a deployment is undone.
#[derive(Args, Clone, Debug)]
pub(super) struct HowToDestroy {
    /// Undo by what the journal holds alone, where the plan's file is gone
    #[arg(long)]
    without_plan: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Only show what would be undone and what would be left alone
    #[arg(long)]
    dry_run: bool,
    /// Undo only these steps, and those that need them
    #[arg(long, value_name = "STEP", num_args = 1..)]
    only: Vec<String>,
    /// Undo these steps although the plan protects them
    #[arg(long, value_name = "STEP", num_args = 1..)]
    include_protected: Vec<String>,
    /// Count these steps as undone: you have taken them back yourself
    #[arg(long, value_name = "STEP", num_args = 1..)]
    forget: Vec<String>,
    /// How many steps may be undone at once
    #[arg(long, short = 'j', default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Also write every event to a file, as JSON lines
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How to print the result
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl HowToDestroy {
    /// All of it, without a question.
    pub(super) fn without_asking() -> Self {
        Self {
            without_plan: false,
            yes: true,
            dry_run: false,
            only: Vec::new(),
            include_protected: Vec::new(),
            forget: Vec::new(),
            parallel: 32,
            events: None,
            output: Output::default(),
        }
    }
}

/// How it went, for a caller that judges it.
pub(super) struct Destroyed {
    /// The code to leave with.
    pub(super) exit: Exit,
    /// The state afterwards.
    pub(super) state: RunState,
    /// What was said.
    pub(super) text: String,
}

impl Destroy {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let (home, plan) = self.find(session)?;
        let name = home.deployment().to_owned();
        let next = again(session, &name, &self.how.selection());
        let deployment = Deployment { next, ..apply::for_real(plan, name, "destroy", session) };
        deployment.destroy(&self.how, session).map(|destroyed| destroyed.exit)
    }

    /// The deployment and its plan, with the inputs of its last run.
    fn find(&self, session: &Session) -> Result<(Home, Plan), Fatal> {
        let file = self.target.as_deref().map(Path::new).filter(|path| path.is_file());
        let home = match file {
            Some(file) => self.home_of_plan(file, session)?,
            None => status::choose(session, self.target.as_deref().or(self.inputs.name.as_deref()))?,
        };
        let state = journal::read(&home).map_err(state_fatal)?.state;
        let last = state.current().map(|run| &run.opened);
        if last.is_some_and(|last| last.simulated.is_some()) {
            let why = format!("the last run of `{}` was a rehearsal, and `destroy` is for real", home.deployment());
            let again =
                last.map(|last| status::rehearsing(session, &home, last, Some("--destroy"))).unwrap_or_default();
            let hint = format!("undo it in its world: {again}");
            return Err(Fatal::new(Exit::Usage, why).hint(hint));
        }
        let known = || last.map(|last| resume::plan_file(&home, last).unwrap_or_else(|| PathBuf::from(&last.file)));
        let file = file.map(Path::to_owned).or_else(known);
        let file = file.ok_or_else(|| Fatal::new(Exit::Usage, format!("`{}` has never run", home.deployment())))?;
        let over = self.inputs.values();
        let plan = match self.how.without_plan {
            true => empty_plan(&file, &state),
            false => self.load(&file, &resume::given(last, over, session)?, &home, session)?,
        };
        Ok((home, secrets::knowing_former(plan, &state, &session.env)))
    }

    fn home_of_plan(&self, file: &Path, session: &Session) -> Result<Home, Fatal> {
        let given = Given { inputs: self.inputs.values(), home: session.env.home(), ..Given::default() };
        let name = match &self.inputs.name {
            Some(name) => name.clone(),
            None => check::load_plan(session, file, &given)?.name,
        };
        Home::new(&session.state, &name).map_err(state_fatal)
    }

    fn load(&self, file: &Path, given: &Given, home: &Home, session: &Session) -> Result<Plan, Fatal> {
        if file.exists() {
            return check::load_plan(session, file, given);
        }
        let (name, without_plan) = (home.deployment(), HowToDestroy { without_plan: true, ..self.how.clone() });
        let what = format!("the plan `{}`, which `{name}` was run with, is gone; nothing was touched", file.display());
        let elsewhere = again(session, &format!("PLAN --name {name}"), &self.how.selection());
        let without = again(session, name, &without_plan.selection());
        Err(Fatal::new(Exit::Invalid, what)
            .hint(format!("put it back, or name it where it is now: {elsewhere}"))
            .hint(format!("by what the journal holds alone: {without}")))
    }
}

/// Refuses to go on making what a run was to undo, and has undone in part: that would be neither what it was for nor what was before.
pub(super) fn refuse_half_undone(home: &Home, last: &RunSummary, session: &Session) -> Result<(), Fatal> {
    if last.opened.command != "destroy" || last.verdict == Some(Verdict::Holds) {
        return Ok(());
    }
    let name = home.deployment();
    let anew = match resume::plan_file(home, &last.opened) {
        Some(file) => quote(&file.to_string_lossy()),
        None => format!("PLAN --name {name}"),
    };
    let what = format!("the last run of `{name}` was to undo it, and did not come to its end; nothing was touched");
    Err(Fatal::new(Exit::Usage, what)
        .hint(format!("go on undoing it: {}", status::continuing(session, home, &last.opened)))
        .hint(format!("make again what is gone: {} apply {anew}", session.program())))
}

/// The command that destroys the same of a deployment again, or goes on with it.
pub(super) fn again(session: &Session, what: &str, selection: &str) -> String {
    format!("{} destroy {what} {selection}", session.program()).trim_end().to_owned()
}

/// What is told apart in the words that a destroy was asked with.
pub(super) const WITHOUT_PLAN: &str = "--without-plan";

/// A plan without steps, in place of one whose file is gone: everything in the journal is then gone from it.
fn empty_plan(file: &Path, state: &RunState) -> Plan {
    let last = state.current().map(|run| &run.opened);
    Plan {
        name: last.map(|last| last.plan.clone()).unwrap_or_default(),
        description: String::new(),
        file: file.to_owned(),
        dir: file.parent().unwrap_or(Path::new(".")).to_owned(),
        digest: last.map(|last| last.digest.clone()).unwrap_or_default(),
        inputs: last.map(|last| last.inputs.clone()).unwrap_or_default(),
        secrets: indexmap::IndexMap::new(),
        steps: Vec::new(),
        graph: Graph::default(),
        outputs: indexmap::IndexMap::new(),
        hints: Vec::new(),
        units: Arc::default(),
        index: Default::default(),
    }
}

/// What was decided before anything was undone, and is told of afterwards.
struct About {
    wanted: Vec<StepId>,
    left: Vec<(StepId, undo::Left)>,
    before: Vec<StepId>,
}

impl About {
    fn of(undo: &UndoPlan) -> Self {
        let wanted = undo.in_order().map(|item| item.step.clone()).collect();
        Self { wanted, left: undo.left.clone(), before: undo.before.clone() }
    }
}

/// Undoes steps to the end.
fn take_back(undoing: impl FnOnce(Interrupts) -> Undoing) -> Result<Summary, Fatal> {
    // In a rehearsal, the run before this one had a runtime of its own.
    runbook_steps::cluster::disconnect();
    super::block_on(async { undo::drive(undoing(Interrupts::from_system()?)).await.map_err(state_fatal) })
}

/// A run that took everything back and was killed before it could say so has come to its end.
fn end_last(journal: &mut Journal, undo: &UndoPlan) -> Result<(), Fatal> {
    let is_open = |run: &RunSummary| run.opened.command == "destroy" && run.verdict.is_none();
    if undo.not_chosen > 0 || !journal.state().current().is_some_and(is_open) {
        return Ok(());
    }
    journal.append(Record::Closed { verdict: Verdict::Holds }, Sync::Now).map(drop).map_err(state_fatal)
}

impl Deployment {
    /// Shows what it will undo, asks, undoes it, and says how it went.
    pub(super) fn destroy(self, how: &HowToDestroy, session: &Session) -> Result<Destroyed, Fatal> {
        self.destroy_with(how, session, Journal::open)
    }

    /// The same with a journal that is opened in another way.
    pub(super) fn destroy_with(
        self,
        how: &HowToDestroy,
        session: &Session,
        opening: impl FnOnce(Lock, Clock) -> Opened,
    ) -> Result<Destroyed, Fatal> {
        if how.dry_run {
            return self.dry_run(how, session);
        }
        let unbegun = Unbegun::before(&self.home()?);
        let mut journal = self.open(session, opening)?;
        let undo = undo::plan(&self.plan, journal.state(), &how.choice(&self.plan, journal.state())?);
        let preview = format!("{}\n{}", self.headline(session.ui), words::preview(&undo, session.ui.paint));
        session.ui.say(&preview);
        if undo.items.is_empty() {
            unbegun.clear(&journal);
            self.end_orphans(&journal, session.ui)?;
            end_last(&mut journal, &undo)?;
            return Ok(self.nothing(&undo, how, journal.state().clone(), session));
        }
        let world = Arc::new(self.world(journal.home()));
        refuse_missing_programs(&undo, &world)?;
        confirm(&self.name, &self.next, how, session)?;
        let places = secrets::Places { given: self.secrets.as_ref(), env: &self.env, ui: session.ui };
        let secrets = secrets::resolve(&self.plan, &needed_secrets(&undo), &places)?;
        secrets::refuse_in_inputs(&self.plan, &secrets)?;
        let about = About::of(&undo);
        let events = how.events.as_deref().map(|path| deployment::open_events(path, false)).transpose()?;
        let talk = Talk { plan: self.plan.clone(), ui: session.ui, events };
        let began = Instant::now();
        let summary = take_back(|interrupts| Undoing {
            plan: self.plan.clone(),
            undo,
            selection: how.selection(),
            world,
            journal,
            secrets: Arc::new(secrets),
            parallel: how.parallel.into(),
            seed: 0,
            sync_inline: false,
            header: deployment::header("destroy", &self.env),
            watcher: Box::new(talk),
            interrupts,
        })?;
        Ok(self.tell_undone(&summary, &about, began.elapsed(), how, session))
    }

    /// Says how it went.
    fn tell_undone(
        &self,
        summary: &Summary,
        about: &About,
        real: Duration,
        how: &HowToDestroy,
        session: &Session,
    ) -> Destroyed {
        let About { wanted, left, before } = about;
        let state = summary.journal.state();
        let text = words::summary(&Ended {
            plan: &self.plan,
            state,
            wanted,
            blocked: &summary.blocked,
            left,
            before,
            deployment: &self.name,
            simulated: self.simulated.as_deref(),
            real,
            commands: &self.commands,
            next: &self.next,
            paint: session.ui.paint,
        });
        session.ui.say(&text);
        if how.output == Output::Json {
            let steps: Vec<_> = wanted.iter().map(|id| outcome(id, summary, state)).collect();
            session.ui.data(&as_json(&self.name, Some(summary.run), &steps, left, before));
        }
        Destroyed { exit: exit_of(summary.verdict, summary.signal), state: state.clone(), text }
    }

    fn headline(&self, ui: Ui) -> String {
        ui.paint.bold(&format!("{}{} · destroy", self.name, label(self.simulated.as_deref())))
    }

    /// Ends what earlier runs and looks have left at work: it would go on making things, though nothing is to be undone.
    fn end_orphans(&self, journal: &Journal, ui: Ui) -> Result<(), Fatal> {
        let marks = orphans::marks(journal.state());
        let (left, looked) = super::block_on(async {
            let left = if marks.is_empty() { Vec::new() } else { tools::end_marked(&marks, self.clock).await };
            Ok((left, orphans::end_looks(journal.home(), self.clock).await))
        })?;
        let (gone, alive): (Vec<_>, Vec<_>) = left.into_iter().partition(|orphan| orphan.gone);
        gone.iter().for_each(|orphan| ui.say(&orphans::had_left(orphan, orphan.fate())));
        looked.iter().for_each(|words| ui.say(words));
        if alive.is_empty() { Ok(()) } else { Err(still_at_it(&alive)) }
    }

    /// Says what earlier runs have left at work. As long as somebody has the lock, what is at work is not left.
    fn tell_orphans(&self, home: &Home, state: &RunState, ui: Ui) -> Result<(), Fatal> {
        let marks = orphans::marks(state);
        if marks.is_empty() || home.holder().map_err(state_fatal)?.is_some() {
            return Ok(());
        }
        let fate = "it still runs, and would be ended";
        tools::marked(&marks).iter().for_each(|orphan| ui.say(&orphans::had_left(orphan, fate)));
        Ok(())
    }

    /// Looks without taking the lock, and prints to standard output.
    fn dry_run(&self, how: &HowToDestroy, session: &Session) -> Result<Destroyed, Fatal> {
        let home = Home::new(&self.root, &self.name).map_err(state_fatal)?;
        let state = journal::read(&home).map_err(state_fatal)?.state;
        self.tell_orphans(&home, &state, session.ui)?;
        let undo = undo::plan(&self.plan, &state, &how.choice(&self.plan, &state)?);
        let nothing = if undo.items.is_empty() { "nothing to undo\n" } else { "" };
        let text = format!("{}\n{}{nothing}", self.headline(session.ui), words::preview(&undo, session.ui.paint));
        match how.output {
            Output::Text => session.ui.page(&text),
            Output::Json => session.ui.data(&as_json(&self.name, None, &planned(&undo), &undo.left, &undo.before)),
        }
        Ok(Destroyed { exit: Exit::Holds, state, text })
    }

    fn nothing(&self, undo: &UndoPlan, how: &HowToDestroy, state: RunState, session: &Session) -> Destroyed {
        let text = format!("{}: nothing to undo", self.name);
        session.ui.say(&text);
        if how.output == Output::Json {
            session.ui.data(&as_json(&self.name, None, &[], &undo.left, &undo.before));
        }
        Destroyed { exit: Exit::Holds, state, text }
    }
}

impl HowToDestroy {
    /// What was asked for where that is not all of it, as it would be typed.
    fn selection(&self) -> String {
        let flags =
            [("--only", &self.only), ("--include-protected", &self.include_protected), ("--forget", &self.forget)];
        let given = flags.into_iter().filter(|(_, steps)| !steps.is_empty());
        let words =
            given.flat_map(|(flag, steps)| std::iter::once(flag.to_owned()).chain(steps.iter().map(|id| quote(id))));
        words.chain(self.without_plan.then(|| WITHOUT_PLAN.to_owned())).collect::<Vec<_>>().join(" ")
    }

    /// The choice, of steps that the plan has, or had when the deployment was made.
    fn choice(&self, plan: &Plan, state: &RunState) -> Result<Choice, Fatal> {
        let made = state.steps().map(|(id, _)| id).filter(|id| !plan.index.contains_key(*id));
        let steps: Vec<&StepId> = plan.steps.iter().map(|step| &step.id).chain(made).collect();
        let ids = |names: &[String]| -> Result<BTreeSet<StepId>, Fatal> {
            let mut found = BTreeSet::new();
            for name in names {
                let meant = select::meant(&plan.name, &steps, name);
                found.extend(meant.map_err(super::select::refused)?.into_iter().cloned());
            }
            Ok(found)
        };
        Ok(Choice {
            only: ids(&self.only)?,
            include_protected: ids(&self.include_protected)?,
            forget: ids(&self.forget)?,
        })
    }
}

/// What goes on making things is not undone.
fn still_at_it(alive: &[Orphan]) -> Fatal {
    let what = alive.iter().map(|orphan| orphans::had_left(orphan, orphan.fate())).collect::<Vec<_>>().join("\n");
    let failure = tools::beside(Failure::permanent(what), alive.iter().map(Orphan::child).collect());
    let message = [failure.what, failure.cause.unwrap_or_default()].join("\n");
    failure.fix.into_iter().fold(Fatal::new(Exit::NeedsPerson, message), Fatal::hint)
}

/// Asks for the deployment's name, so that nobody destroys the wrong one by habit.
fn confirm(name: &str, next: &str, how: &HowToDestroy, session: &Session) -> Result<(), Fatal> {
    if how.yes {
        return Ok(());
    }
    let refuse = |why: &str| Fatal::new(Exit::NeedsPerson, format!("{why}; nothing was touched"));
    if !session.ui.asks {
        return Err(refuse("nobody is there to confirm this").hint(format!("if it is what you want: {next} --yes")));
    }
    match session.ui.ask(&format!("type `{name}` to undo this"))? {
        Some(answer) if answer.trim() == name => Ok(()),
        _ => Err(refuse("not confirmed")),
    }
}

fn refuse_missing_programs(undo: &UndoPlan, world: &World) -> Result<(), Fatal> {
    let mut users: BTreeMap<String, Vec<StepId>> = BTreeMap::new();
    for item in undo.in_order() {
        for program in item.deeds.iter().flat_map(|deed| deed.work.programs()) {
            users.entry(program).or_default().push(item.step.clone());
        }
    }
    let missing = users.into_iter().filter(|(program, _)| world.lacks_program(program));
    deployment::refuse_missing(
        &missing.map(|(program, steps)| preflight::Missing { program, steps }).collect::<Vec<_>>(),
    )
}

fn needed_secrets(undo: &UndoPlan) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let deeds = undo.items.values().flat_map(|item| &item.deeds);
    deeds.for_each(|deed| preflight::marked(&deed.with, &mut names));
    names
}

fn planned(undo: &UndoPlan) -> Vec<serde_json::Value> {
    let one = |item: &undo::Item| {
        let does: Vec<String> = item.does().iter().map(|does| format!("{}{}", does.command, does.remark())).collect();
        json!({ "step": item.step, "does": does, "doubtful": item.doubtful, "confirm": item.confirm, "gone": item.gone })
    };
    undo.in_order().map(one).collect()
}

fn outcome(id: &StepId, summary: &Summary, state: &RunState) -> serde_json::Value {
    let blocked = summary.blocked.iter().find(|(blocked, _)| blocked == id).map(|(_, roots)| roots);
    let word = match state.status(id) {
        Status::Undone => "undone",
        Status::UndoFailed { .. } => "failed",
        Status::Cancelled | Status::Undoing { .. } => "cancelled",
        _ if blocked.is_some() => "blocked",
        _ => "waiting",
    };
    let failure = state.step(id).and_then(|step| step.failure()).filter(|_| word == "failed");
    json!({ "step": id, "outcome": word, "by": blocked, "failure": failure })
}

fn as_json(
    name: &str,
    run: Option<u32>,
    steps: &[serde_json::Value],
    left: &[(StepId, undo::Left)],
    before: &[StepId],
) -> String {
    let goes = left.iter().filter_map(|(id, why)| Some(json!({ "step": id, "cluster": why.goes_with()? })));
    let goes: Vec<_> = goes.collect();
    let left = left.iter().filter(|(_, why)| why.goes_with().is_none());
    let left: Vec<_> = left.map(|(id, why)| json!({ "step": id, "why": [why.to_string()] })).collect();
    let value = json!({ "deployment": name, "run": run, "steps": steps, "goes_with": goes, "left_alone": left,
                        "there_before": before });
    format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
}

/// Says line by line what happens.
struct Talk {
    plan: Arc<Plan>,
    ui: Ui,
    events: Option<Events>,
}

impl Watcher for Talk {
    fn wants(&self) -> Wants {
        Wants { ticks: false, output: self.events.is_some() }
    }

    fn on(&mut self, event: &Event, state: &RunState) {
        if let Some(events) = &mut self.events {
            events.write(event);
        }
        if let Some(line) = lines::line(Some(&self.plan), event, state, self.ui.paint) {
            self.ui.say(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_ended_is_no_deployment_of_which_nothing_is_left() {
        let orphan = |step: &str, pid: u32| {
            let (step, program) = (step.to_owned(), "sh".to_owned());
            Orphan { pid, started: 1, step, program, gone: false }
        };
        let fatal = still_at_it(&[orphan("x", 7), orphan("y", 11)]);
        assert_eq!(fatal.exit, Exit::NeedsPerson);
        let both = "`x` had left `sh` (pid 7) running; it cannot be ended\n\
                    `y` had left `sh` (pid 11) running; it cannot be ended";
        assert!(fatal.message.starts_with(both), "{}", fatal.message);
        assert!(fatal.hints.iter().any(|fix| fix.contains("-p 7,11`")), "{:?}", fatal.hints);
    }
}
