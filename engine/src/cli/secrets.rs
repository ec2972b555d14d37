//! Where a plan's secrets come from: the environment, files, or a person. They are held in memory only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runbook_steps::{Secret, Secrets};
use serde_json::Value;

use super::Environment;
use super::exit::{Exit, Fatal};
use super::ui::Ui;
use crate::plan::Plan;
use crate::plan::model::{Place, SecretSource, SecretSpec, Source};
use crate::report::words::{count, list};
use crate::state::RunState;

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
        let mut looked_at = Vec::new();
        let value = match places.given {
            Some(given) => given.get(name).cloned(),
            None => find(plan, spec, wanted, places, &mut looked_at)?,
        };
        match value {
            Some(value) => drop(found.insert(name.clone(), Secret::new(value))),
            None if wanted && spec.required => missing.push(describe(name, spec, &looked_at)),
            None => {}
        }
    }
    if !missing.is_empty() {
        return Err(refuse(&missing, places.given.is_some()));
    }
    let secrets = Secrets::new(found);
    let short: Vec<&str> = secrets.too_short().collect();
    if short.is_empty() { Ok(secrets) } else { Err(refuse_short(&short)) }
}

/// What is that short stands in half of all texts, so that it could not be kept out of them.
fn refuse_short(names: &[&str]) -> Fatal {
    let what =
        format!("too short for a secret: {}; a value of fewer than four characters cannot be masked", list(names));
    Fatal::new(Exit::NeedsPerson, what).hint("look whether it was cut off, or is no secret")
}

/// A plan that also has the secrets of earlier runs which it declares no more, or which are all unknown because it is gone: what they
/// were taken from must not reach a program that takes things back, nor be shown. What is too short for a secret was none.
pub(super) fn knowing_former(mut plan: Plan, state: &RunState, env: &Environment) -> Plan {
    let declared: BTreeSet<String> = plan.secret_variables().map(str::to_owned).collect();
    let former = state.runs().iter().flat_map(|run| &run.opened.secret_env).filter(|name| !declared.contains(*name));
    for name in former.filter(|name| is_long(name, env)) {
        let place = Place { source: Arc::new(Source::new(plan.file.display().to_string(), "")), span: 0..0 };
        let (description, from) = (String::new(), vec![SecretSource::Env(name.clone())]);
        // No declared secret can have such a name.
        plan.secrets.insert(format!("${name}"), SecretSpec { description, from, required: false, place });
    }
    plan
}

/// What the environment has of the secrets of a deployment's runs.
pub(super) fn of_runs(state: &RunState, env: &Environment) -> Secrets {
    let names = state.runs().iter().flat_map(|run| &run.opened.secret_env);
    let found = |name: &String| Some((name.clone(), Secret::new(env.get(name)?.to_str()?)));
    Secrets::new(names.filter_map(found).collect())
}

fn is_long(variable: &str, env: &Environment) -> bool {
    let value = env.get(variable).and_then(|value| value.to_str()).map(Secret::new);
    value.is_some_and(|value| Secrets::new(BTreeMap::from([(String::new(), value)])).too_short().next().is_none())
}

/// Inputs are written down, so that a run can be continued: one that holds a secret could only be kept masked, and that is another input.
pub(super) fn refuse_in_inputs(plan: &Plan, secrets: &Secrets) -> Result<(), Fatal> {
    let redactor = secrets.redactor();
    let holds = |value: &Value| {
        let mut masked = value.clone();
        redactor.mask_value(&mut masked);
        masked != *value
    };
    let held: Vec<String> =
        plan.inputs.iter().filter(|(_, value)| holds(value)).map(|(name, _)| format!("`{name}`")).collect();
    if held.is_empty() {
        return Ok(());
    }
    let noun = if held.len() == 1 { "input" } else { "inputs" };
    let what = format!("the value of a secret is in the {noun} {}, and inputs are stored", list(&held));
    Err(Fatal::new(Exit::Invalid, what)
        .hint("give another value; or, if what it shares with the secret is none, do not declare that as a secret"))
}

fn asks(source: &SecretSource) -> bool {
    matches!(source, SecretSource::Prompt(_))
}

/// Looks in one source after the other; a person is asked only for what is wanted.
fn find(
    plan: &Plan,
    spec: &SecretSpec,
    wanted: bool,
    places: &Places,
    looked_at: &mut Vec<String>,
) -> Result<Option<String>, Fatal> {
    for source in spec.from.iter().filter(|source| wanted || !asks(source)) {
        match look(source, plan, places)? {
            Ok(value) => return Ok(Some(value)),
            Err(place) => looked_at.push(place),
        }
    }
    Ok(None)
}

/// The secret, or the place where it is not, and why it cannot be had from there.
fn look(source: &SecretSource, plan: &Plan, places: &Places) -> Result<Result<String, String>, Fatal> {
    Ok(match source {
        SecretSource::Env(name) => match places.env.get(name).map(|value| value.to_str()) {
            Some(Some(value)) => Ok(value.to_owned()),
            Some(None) => Err(format!("the variable {name} (it is not UTF-8)")),
            None => Err(format!("the variable {name}")),
        },
        SecretSource::File(path) => {
            read(&expand(path, &plan.dir, places.env)).map_err(|why| format!("the file {}{why}", path.display()))
        }
        SecretSource::Prompt(question) => {
            places.ui.ask_secret(question)?.ok_or_else(|| "a prompt on a terminal".to_owned())
        }
    })
}

/// What is in a file, or why nothing is; that it is not there needs no words.
fn read(file: &Path) -> Result<String, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => match text.trim_end_matches(['\r', '\n']) {
            "" => Err(" (it is empty)".to_owned()),
            text => Ok(text.to_owned()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(String::new()),
        Err(error) => Err(format!(" (it cannot be read: {error})")),
    }
}

/// A path of the plan's: `~/` is the home folder, what is relative starts at the plan's folder.
fn expand(path: &Path, dir: &Path, env: &Environment) -> PathBuf {
    match (path.strip_prefix("~"), env.home()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => dir.join(path),
    }
}

/// In a rehearsal nobody looks anywhere.
fn describe(name: &str, spec: &SecretSpec, looked_at: &[String]) -> String {
    let about = if spec.description.is_empty() { String::new() } else { format!(" ({})", spec.description) };
    let places = if looked_at.is_empty() { String::new() } else { format!(": looked for {}", list(looked_at)) };
    format!("  `{name}`{about}{places}")
}

fn refuse(missing: &[String], rehearsal: bool) -> Fatal {
    let what = count(missing.len(), "secret");
    let verb = if missing.len() == 1 { "is" } else { "are" };
    let fatal = Fatal::new(Exit::NeedsPerson, format!("{what} {verb} missing\n{}", missing.join("\n")));
    if rehearsal {
        fatal.hint("name made-up values under `secrets:` in the scenario; a rehearsal never uses real ones")
    } else {
        fatal.hint("give each in one of these places; a secret is never stored")
    }
}
