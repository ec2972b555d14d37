//! `runbook resume`: continue a deployment with the plan and inputs of its last run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use clap::Args;
use runbook_steps::tools::quote;

use super::deployment::{Deployment, HowToRun, Outcome, absolute, state_fatal};
use super::exit::{Exit, Fatal};
use super::select::Selection;
use super::{Inputs, Session, apply, check, destroy, remedy, status};
use crate::plan::Plan;
use crate::plan::inputs::plain;
use crate::plan::load::Given;
use crate::run::masked::is_masked;
use crate::state::fold::RunSummary;
use crate::state::record::{Opened, Verdict};
use crate::state::{Early, Home, journal};

/// Continue a deployment with the plan and inputs of its last run
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook resume native-gateway")]
pub(super) struct Resume {
    /// The deployment; may be left out if there is only one
    deployment: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    how: HowToRun,
}

impl Resume {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let named = self.deployment.as_deref().or(self.inputs.name.as_deref());
        let home = status::choose(session, named)?;
        let early = Early::read(&home);
        let last = early.as_ref().and_then(Early::last_run).cloned().map_or_else(|| last_run(&home), Ok)?;
        let early = Cell::new(early);
        if last.opened.simulated.is_some() {
            let why = format!("the last run of `{}` was a rehearsal, and `resume` is for real", home.deployment());
            let again = status::rehearsing(session, &home, &last.opened, None);
            return Err(Fatal::new(Exit::Usage, why).hint(format!("continue it with: {again}")));
        }
        destroy::refuse_half_undone(&home, &last, session)?;
        let how = self.going_on(&last, session);
        remedy::run(&how, session, || {
            let plan = plan_of_last_run(session, &home, &last.opened, self.inputs.values())?;
            let name = home.deployment().to_owned();
            Ok(Deployment { early: early.take(), ..apply::for_real(plan, name, "resume", session) })
        })
        .map(Outcome::leave)
    }
}

impl Resume {
    /// As it was asked for, or for the same part of the plan as a last run that was for a part and did not come to its end.
    fn going_on(&self, last: &RunSummary, session: &Session) -> HowToRun {
        let part = Selection::going_on(&last.opened).filter(|_| last.verdict != Some(Verdict::Holds));
        let Some(selection) = part.filter(|_| self.how.selection.is_all()) else { return self.how.clone() };
        let (part, program, plan) = (&last.opened.selection, session.program(), quote(&last.opened.file));
        session.ui.say(&format!("goes on with what the last run was for, `{part}`; all of it: {program} apply {plan}"));
        self.how.of(selection)
    }
}

/// The newest run of a deployment.
pub(super) fn last_run(home: &Home) -> Result<RunSummary, Fatal> {
    let reading = journal::read(home).map_err(state_fatal)?;
    let never = || Fatal::new(Exit::Usage, format!("`{}` has never run", home.deployment()));
    reading.state.current().cloned().ok_or_else(never)
}

/// The plan of a run as it is now, with the inputs of that run and others over them.
pub(super) fn plan_of_last_run(
    session: &Session,
    home: &Home,
    opened: &Opened,
    over: BTreeMap<String, String>,
) -> Result<Plan, Fatal> {
    let Some(file) = plan_file(home, opened) else {
        let what = format!("the plan `{}`, which `{}` was run with, is gone", opened.file, home.deployment());
        let again = format!(
            "put it back, or name it where it is now: {} apply PLAN --name {}",
            session.program(),
            home.deployment()
        );
        return Err(Fatal::new(Exit::Invalid, what).hint(again).hint("`status` and `log` still show what was done"));
    };
    if file != Path::new(&opened.file) {
        session.ui.say(&format!("the folder has moved: the plan is now `{}`", file.display()));
    }
    let given = given(Some(opened), over, session)?;
    check::load_plan(session, &file, &given)
}

/// The inputs of a run, if there was one, and others over them. One that held a secret was not kept, and what is left of it is no input.
pub(super) fn given(
    opened: Option<&Opened>,
    over: BTreeMap<String, String>,
    session: &Session,
) -> Result<Given, Fatal> {
    let mut inputs = opened.map(inputs_of).unwrap_or_default();
    let remembered = inputs.keys().filter(|name| !over.contains_key(*name)).cloned().collect();
    inputs.extend(over);
    if let Some((name, _)) = inputs.iter().find(|(_, value)| is_masked(value)) {
        let what = format!("the input `{name}` of the last run is not known any more: it held a secret");
        return Err(Fatal::new(Exit::Usage, what).hint(format!("give it again: --input {name}=VALUE")));
    }
    Ok(Given { inputs, remembered, require_inputs: true, home: session.env.home() })
}

/// The inputs of a run, as a user would give them.
pub(super) fn inputs_of(opened: &Opened) -> BTreeMap<String, String> {
    opened.inputs.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

/// Where the plan of a run is now: where it was, or, if the folder with plan and state has moved, at the same place in that.
pub(super) fn plan_file(home: &Home, opened: &Opened) -> Option<PathBuf> {
    let there = PathBuf::from(&opened.file);
    if there.is_file() {
        return Some(there);
    }
    moved(&there, Path::new(&opened.home), &absolute(home.path())).filter(|file| file.is_file())
}

/// A file that had the same place relative to a folder that has moved. Both were absolute.
fn moved(file: &Path, folder: &Path, now: &Path) -> Option<PathBuf> {
    let common =
        Some(folder).filter(|folder| folder.is_absolute())?.ancestors().find(|ancestor| file.starts_with(ancestor))?;
    let up = folder.strip_prefix(common).ok()?.components().filter(|part| matches!(part, Component::Normal(_))).count();
    let base = now.ancestors().nth(up)?;
    Some(base.join(file.strip_prefix(common).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_found_at_its_place_in_a_folder_that_moved() {
        let find = |file: &str, folder: &str, now: &str| moved(Path::new(file), Path::new(folder), Path::new(now));
        let found = find("/a/proj/plans/p.yaml", "/a/proj/.runbook/p", "/b/new/.runbook/p");
        assert_eq!(found, Some(PathBuf::from("/b/new/plans/p.yaml")));
        assert_eq!(find("/a/p.yaml", "", "/b/.runbook/p"), None, "an old journal does not say where it was");
    }
}
