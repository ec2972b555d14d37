//! `runbook status`: where a deployment stands, also while another process runs it.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use runbook_steps::tools::quote;
use serde_json::{Value, json};

use super::check::Output;
use super::deployment::state_fatal;
use super::destroy::{self, WITHOUT_PLAN};
use super::exit::{Exit, Fatal};
use super::rehearse::begun::Begun;
use super::secrets::{self, Places};
use super::{Session, follow, resume, state_flag};
use crate::plan::error::did_you_mean;
use crate::plan::{Plan, StepId};
use crate::report::snapshot::Standing;
use crate::report::summary::answer;
use crate::report::tracker::{between, stands};
use crate::report::words::{MODEL_TIME, label, list, pad, seconds, some, span};
use crate::run::{Fate, Options, verdicts};
use crate::state::fold::{InFlight, RunState, RunSummary, Status as Step, StepState};
use crate::state::follow::Follower;
use crate::state::lock::{Holder, Note};
use crate::state::record::{Format, Opened, Record, Verdict};
use crate::state::{Home, journal};
use rows::{Row, Sight, now};

/// Show where a deployment stands
///
/// Exit code 0 wherever it stands; with --follow that of the run that is followed, or of the last one where none is under way: 4 a step
/// failed, 7 a person is needed, 129/130/143 interrupted, 1 it was killed.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  runbook status native-gateway\n  runbook status --follow && echo it holds\n  runbook status --runs"
)]
pub(super) struct Status {
    /// The deployment; where there are several, all are listed without it
    deployment: Option<String>,
    /// Look on while another process runs it, until it ends, and leave with its exit code
    #[arg(long, short, conflicts_with_all = ["runs", "output"])]
    follow: bool,
    /// List the runs that there were
    #[arg(long)]
    runs: bool,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

impl Status {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        if let Some(homes) = self.several(session)? {
            return self.overview(session, &homes);
        }
        let home = choose(session, self.deployment.as_deref())?;
        if self.follow {
            return follow::follow(session, &home);
        }
        let reading = journal::read(&home).map_err(state_fatal)?;
        note_later(session, reading.later);
        let holder = home.holder().map_err(state_fatal)?;
        let (state, held) = (&reading.state, holder.is_some());
        match (self.output, self.runs) {
            (Output::Json, false) => session.ui.data(&as_json(session, &home, state, held)),
            (Output::Json, true) => {
                let runs = json!({ "deployment": home.deployment(), "runs": runs_json(state, held) });
                session.ui.data(&pretty(&runs));
            }
            (Output::Text, true) => session.ui.page(&runs(session, &home, state, held)),
            (Output::Text, false) => {
                let held_by = |note: Note| format!("{}\nlock {}\n", held_by(&home, &note, state), note.id.0);
                let holder = holder.map(held_by);
                let text = text(session, &home, state, held);
                session.ui.page(&format!("{}{text}", holder.unwrap_or_default()));
            }
        }
        Ok(Exit::Holds)
    }
}

/// Says that a journal is of a newer minor format, if it is.
pub(super) fn note_later(session: &Session, later: Option<Format>) {
    let Some(Format { major, minor }) = later else { return };
    let what = format!("written in format {major}.{minor}, which this program does not know in full");
    session.ui.say(&format!("{} {what}; it can be looked at, not continued", session.ui.paint.warn("note:")));
}

impl Status {
    /// The deployments, where there are several and nobody said which one is meant.
    fn several(&self, session: &Session) -> Result<Option<Vec<Home>>, Fatal> {
        if self.deployment.is_some() || self.follow || self.runs {
            return Ok(None);
        }
        let mut homes = Home::list(&session.state).map_err(state_fatal)?;
        if homes.is_empty() {
            homes = rehearsals(&session.state)?;
        }
        Ok(Some(homes).filter(|homes| homes.len() > 1))
    }

    /// One line for each deployment.
    fn overview(&self, session: &Session, homes: &[Home]) -> Result<Exit, Fatal> {
        let lines = homes.iter().map(Line::of).collect::<Result<Vec<Line>, Fatal>>()?;
        match self.output {
            Output::Json => {
                let lines: Vec<Value> = lines.iter().map(Line::json).collect();
                session.ui.data(&pretty(&json!({ "deployments": lines })));
            }
            Output::Text => {
                let rehearsed = lines.iter().any(|line| line.rehearsal.is_some());
                let place = if rehearsed { "rehearsal" } else { "" };
                let heading = ["deployment", "command", "began", "ended", place].map(str::to_owned);
                session.ui.page(&table(session, heading, lines.iter().map(Line::cells)));
                let state = session.state.join("rehearsals/REHEARSAL");
                let more = if rehearsed { session.program_at(&state) } else { session.program() };
                session.ui.say(&format!("more of one: {more} status NAME"));
            }
        }
        Ok(Exit::Holds)
    }
}

/// How the last run of a deployment stands; one without a run has none.
struct Line {
    name: String,
    /// The folder of the rehearsal that it was, among those of others.
    rehearsal: Option<String>,
    command: String,
    began: Option<Timestamp>,
    ended: String,
}

impl Line {
    fn of(home: &Home) -> Result<Self, Fatal> {
        let (name, rehearsal) = (home.deployment().to_owned(), rehearsal_of(home));
        let held = home.holder().map_err(state_fatal)?.is_some();
        let none = |ended| Self {
            name: name.clone(),
            rehearsal: rehearsal.clone(),
            command: String::new(),
            began: None,
            ended,
        };
        let state = match journal::read(home) {
            Ok(reading) => reading.state,
            // One that cannot be read must not hide the others.
            Err(error) => return Ok(none(error.to_string())),
        };
        let Some(run) = state.current() else { return Ok(none("no run".to_owned())) };
        let (command, began) = (run.opened.command.clone(), Some(run.began));
        Ok(Self { command, began, ..none(ended(&state, run, held)) })
    }

    fn cells(&self) -> [String; 5] {
        let began = self.began.map(|began| began.strftime("%F %TZ").to_string()).unwrap_or_default();
        let rehearsal = self.rehearsal.clone().unwrap_or_default();
        [self.name.clone(), self.command.clone(), began, self.ended.clone(), rehearsal]
    }

    fn json(&self) -> Value {
        json!({ "deployment": self.name, "rehearsal": self.rehearsal, "command": self.command, "began": self.began,
                "summary": self.ended })
    }
}

/// Who runs a deployment now. Since when is by the machine's clock, which is not that of a rehearsal.
pub(super) fn held_by(home: &Home, note: &Note, state: &RunState) -> String {
    let Holder { who, pid, command, since, .. } = &note.holder;
    let since = since.strftime("%F %TZ");
    let clock = state.simulated().map_or("", |_| " real time");
    format!("{} is being run by {who} (`{command}`, pid {pid}) since {since}{clock}", home.deployment())
}

/// How a run ended, in a few words. `held` is whether a process has the deployment now.
pub(super) fn ended(state: &RunState, run: &RunSummary, held: bool) -> String {
    match (run.verdict, &run.signal) {
        _ if is_under_way(state, run, held) => "running".to_owned(),
        (None, _) => format!("killed after {}", run.last.strftime("%F %TZ")),
        (Some(_), Some(signal)) => format!("interrupted by {signal}"),
        (Some(Verdict::Holds), None) if run.opened.command == "destroy" => undone(&run.opened).to_owned(),
        (Some(Verdict::NeedsPerson), None) if is_last(state, run) && !asks_a_person(state) => {
            "needed a person, who has settled it since".to_owned()
        }
        (Some(verdict), None) => name(verdict).to_owned(),
    }
}

/// What became of a deployment by a `destroy` that went well.
pub(super) fn undone(opened: &Opened) -> &'static str {
    if is_partial(opened) { "undone in part" } else { "undone" }
}

/// Whether a `destroy` was asked for some of the steps only.
fn is_partial(opened: &Opened) -> bool {
    opened.selection.split(' ').any(|word| word == "--only")
}

/// How long a run took, or has been under way.
fn took(state: &RunState, run: &RunSummary, held: bool) -> Duration {
    let until = if is_under_way(state, run, held) { now(state) } else { run.last };
    between(run.began, until)
}

/// Whether a run is the one that a process has the deployment for now.
fn is_under_way(state: &RunState, run: &RunSummary, held: bool) -> bool {
    held && run.verdict.is_none() && is_last(state, run)
}

fn is_last(state: &RunState, run: &RunSummary) -> bool {
    state.current().is_some_and(|last| last.opened.run == run.opened.run)
}

/// Whether a step still waits for a person's word.
fn asks_a_person(state: &RunState) -> bool {
    state.steps().any(|(_, step)| stands(Some(step)) == Standing::NeedsPerson || is_in_doubt(step))
}

/// A verdict as a user reads it.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Holds => "holds",
        Verdict::Failed => "failed",
        Verdict::NeedsPerson => "needs a person",
        Verdict::Interrupted => "interrupted",
    }
}

/// The table of runs, under what is simulated, if anything.
fn runs(session: &Session, home: &Home, state: &RunState, held: bool) -> String {
    let heading = state.simulated().map(|_| format!("{} · {MODEL_TIME}\n\n", whose(session, home, state)));
    format!("{}{}", heading.unwrap_or_default(), table_of_runs(session, state, held))
}

/// The deployment's name, and what is simulated, if anything.
fn whose(session: &Session, home: &Home, state: &RunState) -> String {
    let what = state.simulated().map(|what| format!(" ({what})")).unwrap_or_default();
    let name = session.ui.paint.bold(home.deployment());
    format!("{name}{}{what}", label(state.simulated()))
}

fn table_of_runs(session: &Session, state: &RunState, held: bool) -> String {
    let partial = state.runs().iter().any(|run| !run.opened.selection.is_empty());
    let part = if partial { "part of the plan" } else { "" };
    let heading = ["run", "command", "began", "took", "ended", "who", part].map(str::to_owned);
    let rows = state.runs().iter().map(|run| {
        [
            run.opened.run.to_string(),
            run.opened.command.clone(),
            run.began.strftime("%F %TZ").to_string(),
            span(took(state, run, held)),
            ended(state, run, held),
            run.opened.who.clone(),
            run.opened.selection.clone(),
        ]
    });
    table(session, heading, rows)
}

/// Rows under a heading, each column as wide as it must be.
fn table<const N: usize>(session: &Session, heading: [String; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(heading).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| pad(cell, width)).collect();
        let line = cells.join("  ");
        let line = if number == 0 { session.ui.paint.dim(line.trim_end()) } else { line.trim_end().to_owned() };
        out.push_str(&format!("  {line}\n"));
    }
    out
}

/// The deployment that is meant: the named one, or the only one there is; where there is none, the rehearsal of that name, or the newest.
pub(super) fn choose(session: &Session, named: Option<&str>) -> Result<Home, Fatal> {
    let root = &session.state;
    let mut homes = Home::list(root).map_err(state_fatal)?;
    let fits = |home: &Home| named.is_none_or(|name| home.deployment() == name);
    if let Some(only) = homes.iter().position(fits).filter(|_| named.is_some() || homes.len() == 1) {
        return Ok(homes.swap_remove(only));
    }
    if homes.is_empty() || named.is_some() {
        let (fitting, others): (Vec<Home>, Vec<Home>) = rehearsals(root)?.into_iter().partition(fits);
        return if fitting.is_empty() {
            Err(nothing(session, named, &homes, &others))
        } else {
            one_of(session, named, fitting)
        };
    }
    Err(Fatal::new(Exit::Usage, "there are several deployments; name one").hint(known(&homes, &[])))
}

/// The only rehearsal, or the newest of several; those with one and the same name want to be told apart.
fn one_of(session: &Session, named: Option<&str>, mut fitting: Vec<Home>) -> Result<Home, Fatal> {
    fitting.sort_by_key(last_written);
    let folders: Vec<String> = fitting.iter().rev().filter_map(rehearsal_of).collect();
    let newest = fitting.pop().expect("there is one");
    if fitting.is_empty() {
        return Ok(newest);
    }
    let which = state_flag(newest.path().parent().unwrap_or(&session.state));
    let Some(name) = named else {
        session.ui.say(&format!(
            "{} of {} rehearsals this is the newest: {which}",
            session.ui.paint.warn("note:"),
            folders.len()
        ));
        return Ok(newest);
    };
    let what = format!("there are {} rehearsals of `{name}`: {}", folders.len(), some(&folders, 6));
    Err(Fatal::new(Exit::Usage, what).hint(format!("say which one, here the newest: {which}")))
}

/// The same where the name is given by a flag.
pub(super) fn choose_by_flag(session: &Session, named: Option<&str>) -> Result<Home, Fatal> {
    let flag = |fatal: Fatal| if named.is_none() { fatal.hint("which one: --name NAME") } else { fatal };
    let several = Home::list(&session.state).is_ok_and(|homes| homes.len() > 1);
    choose(session, named).map_err(|fatal| if several { flag(fatal) } else { fatal })
}

fn nothing(session: &Session, named: Option<&str>, homes: &[Home], rehearsed: &[Home]) -> Fatal {
    let (root, program) = (&session.state, session.program());
    match named {
        Some(name) => {
            let fatal = Fatal::new(Exit::Usage, format!("there is no deployment `{name}` in `{}`", root.display()));
            let is_file = Path::new(name).is_file();
            let file =
                is_file.then(|| format!("`{name}` is a file; a deployment has the plan's name, or that of `--name`"));
            let near = did_you_mean(name, homes.iter().chain(rehearsed).map(Home::deployment));
            file.or(near).into_iter().fold(fatal, Fatal::hint).hint(known(homes, rehearsed))
        }
        None => Fatal::new(Exit::Usage, format!("there is no deployment in `{}`", root.display()))
            .hint(format!("`{program} apply PLAN` makes one; `{program} rehearse PLAN` tries it first")),
    }
}

/// The deployments of all rehearsals, by their folders.
fn rehearsals(root: &Path) -> Result<Vec<Home>, Fatal> {
    let Ok(folders) = std::fs::read_dir(root.join("rehearsals")) else { return Ok(Vec::new()) };
    let lists: Result<Vec<_>, _> = folders.flatten().map(|folder| Home::list(&folder.path())).collect();
    let mut homes: Vec<Home> = lists.map_err(state_fatal)?.into_iter().flatten().collect();
    homes.sort_by(|one, other| one.path().cmp(other.path()));
    Ok(homes)
}

/// The folder of the rehearsal that a deployment is of, among those of others.
fn rehearsal_of(home: &Home) -> Option<String> {
    let folder = home.path().parent()?;
    let name = folder.file_name()?.to_string_lossy().into_owned();
    folder.parent()?.ends_with("rehearsals").then_some(name)
}

fn last_written(home: &Home) -> Option<std::time::SystemTime> {
    home.journal_path().metadata().and_then(|meta| meta.modified()).ok()
}

/// The deployments that there are, and those that were only rehearsed.
fn known(homes: &[Home], rehearsed: &[Home]) -> String {
    let names = |homes: &[Home]| {
        let names: BTreeSet<String> = homes.iter().map(|home| home.deployment().to_owned()).collect();
        list(&names.into_iter().collect::<Vec<_>>())
    };
    let verb = if homes.len() == 1 { "is" } else { "are" };
    match (homes.is_empty(), rehearsed.is_empty()) {
        (true, true) => "there are none yet".to_owned(),
        (true, false) => format!("there are only rehearsals, of {}", names(rehearsed)),
        (false, true) => format!("there {verb} {}", names(homes)),
        (false, false) => format!("there {verb} {}, and rehearsals of {}", names(homes), names(rehearsed)),
    }
}

/// Where every step stands, and what to type next.
pub(super) fn text(session: &Session, home: &Home, state: &RunState, held: bool) -> String {
    let Some(run) = state.current() else { return format!("{} has never run\n", home.deployment()) };
    let (mut out, rows) = standing(session, home, state, run, held);
    let next = next(session, home, state, run, held, &rows);
    out.extend(again(session, home, &rows).filter(|_| state.simulated().is_none()));
    out.extend(next.map(|next| format!("{} {next}\n", session.ui.paint.busy("next"))));
    out
}

/// Where every step stands while a process that is followed runs them.
pub(super) fn text_of_followed(session: &Session, home: &Home, state: &RunState) -> String {
    state.current().map(|run| standing(session, home, state, run, true).0).unwrap_or_default()
}

fn standing<'s>(
    session: &Session,
    home: &Home,
    state: &'s RunState,
    run: &RunSummary,
    held: bool,
) -> (String, Vec<Row<'s>>) {
    let ended = ended(state, run, held);
    let part = if run.opened.selection.is_empty() { String::new() } else { format!(" · {}", run.opened.selection) };
    let head = format!("{} · run {}{part} · {ended}", whose(session, home, state), run.opened.run);
    let clock = state.simulated().map(|_| format!(" ({MODEL_TIME}, as all here)")).unwrap_or_default();
    let plan = follow::plan_now(session, home, state);
    let (file, began) = (file_of(home, &run.opened, plan.as_ref()), run.began.strftime("%F %TZ"));
    let rows = rows(session, home, state, plan.as_ref().filter(|plan| plan.digest == run.opened.digest), held);
    (format!("{head}\nplan {file} · began {began}{clock}\n\n{}", rows::table(&rows, state, held)), rows)
}

/// How each step stands, by the journal and by the plan as it was run.
fn rows<'s>(session: &Session, home: &Home, state: &'s RunState, plan: Option<&Plan>, held: bool) -> Vec<Row<'s>> {
    let undoes = state.current().is_some_and(|run| run.opened.command == "destroy");
    let left = if undoes { left_alone(home) } else { BTreeMap::new() };
    let fates = plan.filter(|_| !held && !undoes).map(|plan| fates(session, state, plan)).unwrap_or_default();
    Sight { state, plan, held, left, fates }.rows()
}

/// What the last run has left alone, and why. Where the journal cannot be read on, whoever read it before has said so.
fn left_alone(home: &Home) -> BTreeMap<StepId, String> {
    let mut left = BTreeMap::new();
    let _ = Follower::new(home).read_on(|entry, _| match &entry.record {
        Record::Opened(_) => left.clear(),
        Record::UndoSkipped { step, why } => drop(left.insert(step.clone(), why.clone())),
        _ => {}
    });
    left
}

/// What the next run would do with each step. What is masked counts in that: nothing is said where secrets are no secrets.
fn fates(session: &Session, state: &RunState, plan: &Plan) -> BTreeMap<StepId, Fate> {
    let places = Places { given: None, env: &session.env, ui: session.ui };
    let Ok(secrets) = secrets::resolve(plan, &BTreeSet::new(), &places) else { return BTreeMap::new() };
    verdicts(plan, state, &Options::default(), &secrets.redactor()).into_iter().collect()
}

/// The plan's file, where it is now, and whether it is still what was run.
fn file_of(home: &Home, opened: &Opened, plan: Option<&Plan>) -> String {
    let Some(file) = resume::plan_file(home, opened) else { return format!("{} (gone)", opened.file) };
    let changed = plan.is_some_and(|plan| plan.digest != opened.digest);
    format!("{}{}", file.display(), if changed { " (changed since)" } else { "" })
}

/// What a user types to go on, where the last run did not come to its end, or was for a part of the plan.
fn next(
    session: &Session,
    home: &Home,
    state: &RunState,
    run: &RunSummary,
    held: bool,
    rows: &[Row],
) -> Option<String> {
    let (program, name) = (session.program(), home.deployment());
    if held {
        return Some(format!("{program} status {name} --follow"));
    }
    if is_complete(home, state, run, rows) {
        return None;
    }
    let go_on = continuing(session, home, &to_go_on_with(run));
    let doubtful = |row: &&Row| !row.is_looked_at && row.step.is_some_and(is_in_doubt);
    if let Some(row) = rows.iter().find(doubtful).filter(|_| run.opened.command != "destroy") {
        return Some(format!("{}; then {go_on}", session.commands(home.deployment()).ways_to_settle(&row.id)));
    }
    let asks = state.steps().filter(|(_, step)| stands(Some(step)) == Standing::NeedsPerson);
    let flags = asks.filter_map(|(_, step)| answer(step.failure()?)).map(|flags| format!(" --answer {flags}"));
    Some(format!("{go_on}{}", flags.collect::<String>()))
}

/// Whether nothing is left to go on with.
fn is_complete(home: &Home, state: &RunState, run: &RunSummary, rows: &[Row]) -> bool {
    run.verdict == Some(Verdict::Holds)
        && match run.opened.command.as_str() {
            "destroy" => !is_partial(&run.opened) || !is_left_over(state, &left_alone(home)),
            _ => run.opened.selection.is_empty() || rows.iter().all(|row| row.stands.holds()),
        }
}

/// What is to be gone on with: the same as before, or all of it where that came to its end.
fn to_go_on_with(run: &RunSummary) -> Opened {
    let mut opened = run.opened.clone();
    if run.verdict == Some(Verdict::Holds) {
        let without_plan = opened.selection.ends_with(WITHOUT_PLAN);
        opened.selection = if without_plan { WITHOUT_PLAN.to_owned() } else { String::new() };
    }
    opened
}

/// Whether the journal knows how to undo something that a `destroy` of a part has neither undone nor named as left alone.
fn is_left_over(state: &RunState, left: &BTreeMap<StepId, String>) -> bool {
    state.steps().any(|(id, step)| !step.recipes().is_empty() && !left.contains_key(id))
}

/// How the steps that are stale are run again.
fn again(session: &Session, home: &Home, rows: &[Row]) -> Option<String> {
    let stale = rows.iter().filter(|row| !row.stale.is_empty()).count();
    let resume = format!("{} resume {} --stale rerun", session.program(), home.deployment());
    match stale {
        0 => None,
        1 => Some(format!("1 step is stale; run it again: {resume}\n")),
        stale => Some(format!("{stale} steps are stale; run them again: {resume}\n")),
    }
}

/// Whether only a person can say what became of a step.
fn is_in_doubt(step: &StepState) -> bool {
    let blind = step.in_flight().is_some_and(InFlight::needs_a_person);
    blind || matches!(step.status(), Step::Unknown { .. })
}

/// The command that continues a deployment; one whose plan is gone wants to know where it is now.
pub(super) fn continuing(session: &Session, home: &Home, last: &Opened) -> String {
    let (program, name) = (session.program(), home.deployment());
    if last.simulated.is_some() {
        return rehearsing(session, home, last, None);
    }
    let known = resume::plan_file(home, last).is_some();
    match last.command.as_str() {
        "destroy" if known || last.selection.ends_with(WITHOUT_PLAN) => destroy::again(session, name, &last.selection),
        "destroy" => destroy::again(session, &format!("PLAN --name {name}"), &last.selection),
        _ if known => format!("{program} resume {name}"),
        _ => format!("{program} apply PLAN --name {name}"),
    }
}

/// The command that goes on with a rehearsal, as its own run says it, with a flag besides. Rehearsals have folders of their own below
/// that of the state; what is not known of how one was begun, its user knows.
pub(super) fn rehearsing(session: &Session, home: &Home, last: &Opened, flag: Option<&str>) -> String {
    let root = session.state.parent().filter(|above| above.ends_with("rehearsals")).and_then(Path::parent);
    let program = session.program_at(root.unwrap_or(&session.state));
    if let Some(begun) = Begun::of(home) {
        return begun.command(&program, flag);
    }
    let flag = flag.map(|flag| format!(" {flag}")).unwrap_or_default();
    format!("{program} rehearse {}{flag}, with what else you gave it then", quote(&last.file))
}

fn as_json(session: &Session, home: &Home, state: &RunState, held: bool) -> String {
    let plan = follow::plan_of(session, home, state);
    let steps: Vec<_> = rows(session, home, state, plan.as_ref(), held)
        .iter()
        .map(|row| {
            json!({ "step": row.id, "outcome": row.stands.word(), "attempts": row.step.map_or(0, StepState::attempts),
                    "took_seconds": row.took(state, held).map(seconds), "by": row.by(), "why": row.why, "stale": row.stale,
                    "outputs": row.step.and_then(StepState::outputs), "failure": row.step.and_then(StepState::failure) })
        })
        .collect();
    let runs = runs_json(state, held);
    pretty(&json!({ "deployment": home.deployment(), "held": held, "runs": runs, "steps": steps }))
}

fn runs_json(state: &RunState, held: bool) -> Vec<Value> {
    let run = |run: &RunSummary| {
        json!({ "run": run.opened.run, "command": run.opened.command, "began": run.began, "last": run.last,
                "took_seconds": seconds(took(state, run, held)), "verdict": run.verdict,
                "signal": run.signal, "summary": ended(state, run, held), "who": run.opened.who,
                "pid": run.opened.pid, "selection": run.opened.selection, "plan": run.opened.plan, "file": run.opened.file,
                "simulated": run.opened.simulated })
    };
    state.runs().iter().map(run).collect()
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).expect("a JSON value has a text"))
}
