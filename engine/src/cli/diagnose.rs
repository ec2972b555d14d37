//! `runbook diagnose`: look around, change nothing, and say what is known of what is seen. Takes no lock.

mod bundle;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use runbook_steps::survey::{Sighting, Survey};
use runbook_steps::{Cancel, Class, Facts, Secrets};

use super::check::Output;
use super::deployment::{Deployment, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Inputs, Session, apply, resume, secrets, status};
use crate::hints::findings::{Finding, Look, findings, unexplained};
use crate::hints::{self, Hint};
use crate::plan::{Plan, StepId};
use crate::report::commands::Commands;
use crate::run::survey::{Surroundings, step_that_waits};
use crate::run::{Interrupts, select};
use crate::state::fold::Made;
use crate::state::{Home, RunState, journal};
use told::Told;

/// Look around, change nothing, and say why something does not work
///
/// Reads the journal, the logs, the cluster and the cloud as far as they can be reached, and holds what it sees against the hints
/// of the plan and those that come with the program. Works after a run, and while one is under way.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  runbook diagnose\n  runbook diagnose gateway\n  runbook diagnose --bundle support.tar.gz"
)]
pub(super) struct Diagnose {
    #[command(flatten)]
    how: HowToDiagnose,
    #[command(flatten)]
    inputs: Inputs,
}

/// What to diagnose, and how to tell.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct HowToDiagnose {
    /// The step that is of interest; by default those that failed or run
    #[arg(value_name = "STEP")]
    pub(super) step: Option<String>,
    /// Also write all that was seen to an archive (tar.gz, for your eyes only), without secret values
    #[arg(long, value_name = "FILE")]
    pub(super) bundle: Option<PathBuf>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub(super) output: Output,
}

impl Diagnose {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let home = status::choose(session, self.inputs.name.as_deref())?;
        let last = resume::last_run(&home)?;
        if last.opened.simulated.is_some() {
            let why = format!("`{}` is a rehearsal, and `diagnose` is for real", home.deployment());
            let hint = status::rehearsing(session, &home, &last.opened, Some("--diagnose"));
            return Err(Fatal::new(Exit::Usage, why).hint(hint));
        }
        let plan = resume::plan_of_last_run(session, &home, &last.opened, self.inputs.values())?;
        let name = home.deployment().to_owned();
        apply::for_real(plan, name, "diagnose", session).diagnose(&self.how, session)
    }
}

/// Of a step's log, so many lines are looked at.
const LOG_LINES: usize = 80;

/// And so many bytes at most: there is no end to how long a log can be.
const LOG_END: u64 = 1 << 20;

impl Deployment {
    /// Looks around and says what is known of what is seen.
    pub(super) fn diagnose(self, how: &HowToDiagnose, session: &Session) -> Result<Exit, Fatal> {
        let home = self.home()?;
        let state = journal::read(&home).map_err(state_fatal)?.state;
        let concern = concern(&self.plan, &state, how.step.as_deref())?;
        let places = secrets::Places { given: self.secrets.as_ref(), env: &self.env, ui: session.ui };
        let secrets = Arc::new(secrets::resolve(&self.plan, &BTreeSet::new(), &places)?);
        let world = Arc::new(self.world(&home));
        let survey = look(&Surroundings {
            plan: &self.plan,
            known: state.known(),
            world: Arc::clone(&world),
            secrets: Arc::clone(&secrets),
            home: &home,
            cancel: Cancel::default(),
        })?;
        let looks = self.looks(&state, &home, &survey, &secrets);
        let found = explain(&self.plan, &looks, &concern, how.step.is_some());
        let told = Told {
            name: &self.name,
            next: &self.next,
            plan: &self.plan,
            concern: &concern,
            rest: &unexplained(&looks, &found),
            found: &found,
            unseen: &survey.unseen,
            kubeconfig: &world.kubeconfig,
        };
        if let Some(file) = &how.bundle {
            bundle::write(file, &home, &survey, &told.json(), &secrets.redactor())?;
            let what = format!("written: {} (no secret values; look into it before you give it away)", file.display());
            session.ui.say(&what);
        }
        match how.output {
            Output::Json => session.ui.data(&told.json()),
            Output::Text => session.ui.page(&told.text(session)),
        }
        Ok(Exit::Holds)
    }

    /// All that was seen, with the steps that it concerns: failures and logs from the journal, and what the world shows.
    fn looks(&self, state: &RunState, home: &Home, survey: &Survey, secrets: &Secrets) -> Vec<Look> {
        let (plan, commands) = (&self.plan, &self.commands);
        let mut looks: Vec<Look> = steps(plan, state).filter_map(|id| failure(plan, state, commands, id)).collect();
        looks.extend(steps(plan, state).filter_map(|id| log(plan, state, home, commands, id, secrets)));
        looks.extend(survey.sightings.iter().map(|sighting| of_world(plan, state, sighting)));
        looks
    }
}

/// What the hints say of what was seen; of the steps of interest only, if one was named.
fn explain<'a>(plan: &'a Plan, looks: &'a [Look], concern: &[StepId], named: bool) -> Vec<Finding<'a>> {
    let mut found = findings(looks, &every_hint(plan), concern);
    if named {
        found.retain(|finding| finding.look.step.as_ref().is_none_or(|step| concern.contains(step)));
    }
    found
}

fn every_hint(plan: &Plan) -> Vec<&Hint> {
    let of_steps = plan.steps.iter().flat_map(|step| &step.hints);
    let kinds = plan.steps.iter().filter_map(|step| step.work.as_ref()).map(|work| work.kind.name);
    let kinds: BTreeSet<&str> = kinds.collect();
    let of_kinds =
        kinds.into_iter().flat_map(|kind| hints::beside(plan, Some(kind)).filter(|hint| hint.kind.is_some()));
    of_steps.chain(hints::beside(plan, None)).chain(of_kinds).collect()
}

/// The steps that somebody wants to know about: the one that was named, or those that did not end well or have not ended.
fn concern(plan: &Plan, state: &RunState, named: Option<&str>) -> Result<Vec<StepId>, Fatal> {
    if let Some(name) = named {
        let steps: Vec<&StepId> = steps(plan, state).collect();
        let meant = select::meant(&plan.name, &steps, name).map_err(super::select::refused)?;
        return Ok(meant.into_iter().cloned().collect());
    }
    Ok(steps(plan, state).filter(|id| state.status(id).wants_a_look()).cloned().collect())
}

/// The steps of the plan, and those that are gone from it and have left something.
fn steps<'a>(plan: &'a Plan, state: &'a RunState) -> impl Iterator<Item = &'a StepId> {
    let gone = state.steps().filter(|(id, step)| plan.step(id.as_str()).is_none() && step.made() != Made::Nothing);
    plan.steps.iter().map(|step| &step.id).chain(gone.map(|(id, _)| id))
}

fn look(surroundings: &Surroundings<'_>) -> Result<Survey, Fatal> {
    super::block_on(async {
        let mut interrupts = Interrupts::from_system()?;
        tokio::select! {
            survey = surroundings.survey() => Ok(survey),
            signal = interrupts.next() => Err(Fatal::interrupted(signal)),
        }
    })
}

fn kind_of(plan: &Plan, id: &StepId) -> &'static str {
    plan.step(id.as_str()).and_then(|index| plan.steps[index].work.as_ref()).map_or("", |work| work.kind.name)
}

/// Why a step failed, by the journal.
fn failure(plan: &Plan, state: &RunState, commands: &Commands, id: &StepId) -> Option<Look> {
    let failure = state.step(id)?.failure()?;
    let sighting = Sighting {
        command: commands.status(),
        subject: format!("step {id}"),
        text: format!("{}\n{}", failure.what, failure.detail).trim_end().to_owned(),
        facts: (*failure.facts).clone(),
        ..Sighting::default()
    };
    Some(Look { sighting, class: Some(failure.class), step: Some(id.clone()), kind: kind_of(plan, id), failed: true })
}

/// What a step that has not ended well printed last.
fn log(
    plan: &Plan,
    state: &RunState,
    home: &Home,
    commands: &Commands,
    id: &StepId,
    secrets: &Secrets,
) -> Option<Look> {
    if !state.status(id).wants_a_look() {
        return None;
    }
    let file = home.latest_log(id).ok()??;
    let text = end_of(&file.path, LOG_END).ok()?;
    // How it ended is told by the journal.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("failed: ")).collect();
    let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
    let facts = Facts { stderr: secrets.redactor().mask(&tail).into_owned(), ..Facts::default() };
    let sighting =
        Sighting { command: commands.log(id), subject: format!("log of {id}"), facts, ..Sighting::default() };
    Some(Look { sighting, class: None, step: Some(id.clone()), kind: kind_of(plan, id), failed: false })
}

/// The end of a text, of so many bytes at most; whole lines of it, if there are any.
fn end_of(path: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let before = file.seek(SeekFrom::End(0))?.saturating_sub(most);
    file.seek(SeekFrom::Start(before))?;
    let mut end = Vec::new();
    file.take(most).read_to_end(&mut end)?;
    let begun = end.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let whole = if before > 0 && begun < end.len() { &end[begun..] } else { &end };
    Ok(String::from_utf8_lossy(whole).into_owned())
}

fn of_world(plan: &Plan, state: &RunState, sighting: &Sighting) -> Look {
    let named = sighting.facts.other.get("class").and_then(|class| class.as_str());
    let class = named.and_then(|name| Class::ALL.into_iter().find(|class| class.name() == name));
    let step = step_that_waits(plan, state.known(), &sighting.subject);
    let kind = step.as_ref().map_or("", |step| kind_of(plan, step));
    Look { sighting: sighting.clone(), class, step, kind, failed: false }
}

/// What a bundle says of versions.
fn versions(survey: &Survey) -> BTreeMap<&'static str, String> {
    let own = env!("CARGO_PKG_VERSION").to_owned();
    BTreeMap::from([("runbook", own), ("seen", survey.versions.join("; "))])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn of_a_long_log_only_the_end_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("long.log");
        let mut file = File::create(&path).expect("made");
        // Holes: nobody could hold all of it.
        file.set_len(1 << 40).expect("grown");
        file.seek(SeekFrom::End(0)).expect("at the end");
        file.write_all(b"cut off\none\ntwo\n").expect("written");
        assert_eq!(end_of(&path, 12).expect("read"), "one\ntwo\n");
        assert_eq!(end_of(&path, 3).expect("read"), "wo\n");
        assert_eq!(end_of(&path, LOG_END).expect("read"), "one\ntwo\n");
    }

    #[test]
    fn a_short_log_is_read_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("short.log");
        std::fs::write(&path, "one\ntwo").expect("written");
        assert_eq!(end_of(&path, LOG_END).expect("read"), "one\ntwo");
        assert_eq!(end_of(&path, 7).expect("read"), "one\ntwo");
        assert_eq!(end_of(&path, 4).expect("read"), "two");
    }
}
