//! Before anything runs: what is missing on this machine, all at once.
//!
//! Steps whose `with` depends on outputs that are not known yet are read with their expressions left as text; what cannot be read like
//! that is found when the step runs. The files that steps use are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use runbook_steps::World;
use runbook_steps::secret::markers;
use serde_json::Value;

use super::prepare::{Prepared, only_reads, word};
use super::resume::Fate;
use crate::plan::model::{Known, OutputRule, Step};
use crate::plan::{Plan, StepId};
use crate::state::RunState;

/// A program that steps need and that is not on PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub program: String,
    /// The steps that need it.
    pub steps: Vec<StepId>,
}

/// Every program that a step which will run needs and that the world's PATH lacks, by name. `fates` say what will run.
pub fn missing_programs(plan: &Plan, world: &World, state: &RunState, fates: &[(StepId, Fate)]) -> Vec<Missing> {
    let mut users: BTreeMap<String, Vec<StepId>> = BTreeMap::new();
    for step in to_run(plan, fates) {
        for program in programs(step, state.known()) {
            users.entry(program).or_default().push(step.id.clone());
        }
    }
    let missing = users.into_iter().filter(|(program, _)| world.lacks_program(program));
    missing.map(|(program, steps)| Missing { program, steps }).collect()
}

/// The names of the secrets that steps which will run mention.
pub fn needed_secrets(plan: &Plan, state: &RunState, fates: &[(StepId, Fate)]) -> BTreeSet<String> {
    secrets_of(plan, to_run(plan, fates), state, |_| true)
}

/// The same of steps that are only looked at: what they would do counts only where looking does a part of it.
pub(crate) fn secrets_to_look<'p>(
    plan: &Plan,
    steps: impl IntoIterator<Item = &'p Step>,
    state: &RunState,
) -> BTreeSet<String> {
    secrets_of(plan, steps, state, starts_programs_to_look)
}

/// Whether looking at a step may start programs: those of kinds that observe, and those of steps that only read.
pub(crate) fn starts_programs_to_look(step: &Step) -> bool {
    step.work.as_ref().is_some_and(|work| work.kind.observes) || only_reads(step)
}

/// The names of the secrets that steps mention in their conditions, and of some in what they do.
fn secrets_of<'p>(
    plan: &Plan,
    steps: impl IntoIterator<Item = &'p Step>,
    state: &RunState,
    does: impl Fn(&Step) -> bool,
) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if plan.secrets.is_empty() {
        return names;
    }
    for step in steps {
        match word(step, state.known()) {
            Prepared::Unwanted(_) => {}
            Prepared::Ready(worded) => {
                let rendered = &worded.rendered;
                let work = does(step).then_some(&rendered.with);
                let values = work.into_iter().chain(&rendered.check).chain(&rendered.wait);
                values.for_each(|value| marked(value, &mut names));
            }
            Prepared::Refused(_) => named(step, &mut names),
        }
    }
    names.retain(|name| plan.secrets.contains_key(name));
    names
}

fn to_run<'p>(plan: &'p Plan, fates: &[(StepId, Fate)]) -> impl Iterator<Item = &'p Step> {
    let awake = fates.iter().filter(|(_, fate)| !fate.rests());
    awake.filter_map(|(id, _)| plan.step(id.as_str())).map(|index| &plan.steps[index])
}

fn programs(step: &Step, known: &Known) -> Vec<String> {
    let Some(work) = &step.work else { return Vec::new() };
    let read = match word(step, known) {
        Prepared::Ready(worded) => worded.work,
        Prepared::Unwanted(_) => None,
        Prepared::Refused(_) => (work.kind.read)(work.with.as_written()).ok(),
    };
    let programs = read.map(|step| step.programs()).unwrap_or_default();
    programs.into_iter().filter(|program| !program.contains("${{")).collect()
}

/// The secrets whose markers a value holds.
pub(crate) fn marked(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => names.extend(markers(text).map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| marked(item, names)),
        Value::Object(map) => map.values().for_each(|item| marked(item, names)),
        _ => {}
    }
}

/// The secrets that a step which cannot be evaluated yet may use: those that its expressions name, and those in its plan's vars.
fn named(step: &Step, names: &mut BTreeSet<String>) {
    let outputs = step.outputs.values().map(|rule| match rule {
        OutputRule::Lookup(template) | OutputRule::Value(template) => template,
    });
    let with = step.work.iter().map(|work| &work.with);
    for template in with.chain(&step.check).chain(&step.wait).chain(outputs) {
        let value = template.as_written();
        marked(&value, names);
        mentioned(&value.to_string(), names);
    }
    for unit in step.scope.units.iter() {
        unit.vars.values().for_each(|value| marked(value, names));
    }
}

fn mentioned(text: &str, names: &mut BTreeSet<String>) {
    for rest in text.split("secrets.").skip(1) {
        let end = rest.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(rest.len());
        names.insert(rest[..end].to_owned());
    }
}

#[cfg(test)]
mod tests {
    use runbook_steps::{Clock, Redactor};

    use super::*;
    use crate::plan::{Given, load};
    use crate::run::{Options, verdicts};

    /// A step that names a pipe cannot be made ready, so whoever finds its words has not looked at the pipe.
    #[test]
    fn programs_are_found_without_a_look_at_the_files_of_steps() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("plan.yaml");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), fifo, mode, 0).expect("made");
        let step = "{ command: ['${{ vars.shell }}', pipe] }";
        let text = format!("runbook: 1\nname: p\nvars: {{ shell: sh }}\nsteps:\n  a: {step}\n");
        std::fs::write(&file, text).expect("written");
        let plan = load::load(&file, &Given::default()).expect("a good plan").plan;
        let world = World {
            env: BTreeMap::from([("PATH".into(), dir.path().into())]),
            kubeconfig: dir.path().join("kubeconfig"),
            http_proxy: None,
            clock: Clock::real(),
            simulated: None,
        };
        let state = RunState::default();
        let fates = verdicts(&plan, &state, &Options::default(), &Redactor::default());
        let missing = missing_programs(&plan, &world, &state, &fates);
        assert_eq!(missing, [Missing { program: "sh".to_owned(), steps: vec![StepId::from("a")] }]);
    }

    #[test]
    fn secrets_are_found_by_marker_and_by_name() {
        let mut names = BTreeSet::new();
        marked(&serde_json::json!({ "env": { "A": "x«secret:one»y«secret:two»" } }), &mut names);
        mentioned("Bearer ${{ secrets.three }} ${{secrets.four|trim}}", &mut names);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["four", "one", "three", "two"]);
    }
}
