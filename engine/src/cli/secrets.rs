//! Where a plan's secrets come from: the environment, files, or a person. They are held in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use runbook_steps::{Secret, Secrets};

use super::Environment;
use super::exit::{Exit, Fatal};
use super::ui::Ui;
use crate::plan::Plan;
use crate::plan::model::{SecretSource, SecretSpec};

/// Where to look for secrets.
pub(super) struct Places<'a> {
    /// Values that are used in place of all sources: what a rehearsal has instead of real ones.
    pub(super) given: Option<&'a BTreeMap<String, String>>,
    /// The environment of the run.
    pub(super) env: &'a Environment,
    /// Whom to ask.
    pub(super) ui: Ui,
}

/// Finds every secret that is needed and those others that can be had without asking, or says which are missing and where each
/// was looked for.
pub(super) fn resolve(plan: &Plan, needed: &BTreeSet<String>, places: &Places) -> Result<Secrets, Fatal> {
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, spec) in &plan.secrets {
        let wanted = needed.contains(name);
        let value = match places.given {
            Some(given) => given.get(name).cloned(),
            None => {
                spec.from.iter().filter(|source| wanted || !asks(source)).find_map(|source| look(source, plan, places))
            }
        };
        match value {
            Some(value) => drop(found.insert(name.clone(), Secret::new(value))),
            None if wanted && spec.required => missing.push(describe(name, spec)),
            None => {}
        }
    }
    if missing.is_empty() { Ok(Secrets::new(found)) } else { Err(refuse(&missing, places.given.is_some())) }
}

fn asks(source: &SecretSource) -> bool {
    matches!(source, SecretSource::Prompt(_))
}

fn look(source: &SecretSource, plan: &Plan, places: &Places) -> Option<String> {
    match source {
        SecretSource::Env(name) => places.env.get(name).and_then(|value| value.to_str()).map(ToOwned::to_owned),
        SecretSource::File(path) => {
            let text = std::fs::read_to_string(expand(path, &plan.dir, places.env)).ok()?;
            Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty())
        }
        SecretSource::Prompt(question) => places.ui.ask_secret(question),
    }
}

/// A path of the plan's: `~/` is the home folder, what is relative starts at the plan's folder.
fn expand(path: &Path, dir: &Path, env: &Environment) -> PathBuf {
    match (path.strip_prefix("~"), env.home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => dir.join(path),
    }
}

fn describe(name: &str, spec: &SecretSpec) -> String {
    let sources: Vec<String> = spec
        .from
        .iter()
        .map(|source| match source {
            SecretSource::Env(name) => format!("the variable {name}"),
            SecretSource::File(path) => format!("the file {}", path.display()),
            SecretSource::Prompt(_) => "a prompt on a terminal".to_owned(),
        })
        .collect();
    let about = if spec.description.is_empty() { String::new() } else { format!(" ({})", spec.description) };
    format!("  `{name}`{about}: looked for {}", crate::report::words::list(&sources))
}

fn refuse(missing: &[String], rehearsal: bool) -> Fatal {
    let what = crate::report::words::count(missing.len(), "secret");
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let fatal = Fatal::new(Exit::NeedsPerson, format!("{what} {verb} missing\n{}", missing.join("\n")));
    if rehearsal {
        fatal.hint("name made-up values under `secrets:` in the scenario; a rehearsal never uses real ones")
    } else {
        fatal.hint("give each in one of these places; a secret is never stored")
    }
}
