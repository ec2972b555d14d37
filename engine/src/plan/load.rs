//! Loading a plan: files in, a checked plan or everything that is wrong with it out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use runbook_steps::Kind;
pub(crate) use runbook_steps::files::odd_thing;
use sha2::{Digest, Sha256};

use super::bind::{Binder, Frame, Pending};
use super::build::{Builder, Built, Defaults};
use super::check::Checker;
use super::error::{Problem, Problems, Severity};
use super::file::{File, Reader};
use super::files::{LookForOdd, Odd};
use super::model::{Plan, SecretSource, SecretSpec, Unit};
use super::texts::Texts;
use super::tree::{LARGEST, Node};
use crate::hints;

/// Work on so many steps is worth threads.
pub(crate) const MANY: usize = 4096;

/// What the command line says about the inputs.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Values by name, as typed: lists and maps in YAML.
    pub inputs: BTreeMap<String, String>,
    /// Those of them that nobody gave now: the plan need not have them any more.
    pub remembered: BTreeSet<String>,
    /// Whether inputs without a value are a problem. If not, what depends on them is not evaluated.
    pub require_inputs: bool,
    /// What `~/` means at the start of an input of type `path`.
    pub home: Option<PathBuf>,
}

/// A plan that has no errors.
#[derive(Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// What is odd about it, but does not stop it.
    pub warnings: Vec<Problem>,
}

/// So much of a plan is looked at for its name.
const HEAD: u64 = 4096;

/// The name that a plan seems to have, by its first lines. A guess, for what may be begun before the plan is read: YAML has more ways to
/// write a name than this knows.
pub fn likely_name(file: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(file).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let named = head.lines().find_map(|line| line.strip_prefix("name:"));
    Some(named.map_or_else(|| stem(file), |name| name.trim().trim_matches(['"', '\'']).to_owned()))
}

/// Loads a plan with the kinds of this program.
pub fn load(file: &Path, given: &Given) -> Result<Loaded, Problems> {
    load_with(file, given, runbook_steps::KINDS)
}

/// Loads a plan with a set of kinds.
pub fn load_with(file: &Path, given: &Given, kinds: &'static [&'static Kind]) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let texts = Texts::read(file, read_text, &mut problems).map_err(|problem| Problems::one(file, problem))?;
    let plan = assemble(file, &texts, given, kinds, &mut problems);
    if plan.as_ref().is_some_and(|plan| plan.steps.len() >= MANY) {
        // Taking a large tree apart takes a while, and nobody has to wait for it.
        std::thread::spawn(move || drop(texts));
    }
    tidy(&mut problems);
    match plan {
        Some(plan) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            Ok(Loaded { plan, warnings: problems })
        }
        _ => Err(Problems { list: problems, file: file.to_owned() }),
    }
}

fn assemble(
    file: &Path,
    texts: &Texts,
    given: &Given,
    kinds: &'static [&'static Kind],
    problems: &mut Vec<Problem>,
) -> Option<Plan> {
    let mut binder = Binder::new(texts, given, problems);
    binder.top();
    let Binder { files, units, frames, mut pending, .. } = binder;
    // Those of `finally` come last; within each, the order of the file.
    pending.sort_by_key(|pending| pending.step.finally);
    let units = Arc::new(units);
    let dir = folder_of(file);
    let odd = |files: &[PathBuf]| Odd::among(files, &dir, odd_thing);
    let built = build(texts, (&files, &frames), (&pending, &units), &odd, kinds, problems);
    let secrets = secrets(texts, &files, problems);
    let hints = hints::folder::beside(&dir, problems);
    let index = built.iter().enumerate().map(|(index, built)| (built.step.id.clone(), index)).collect();
    let graph = Checker::new(texts, &files, &frames, &units, (&built, &index), &secrets, problems).check();
    let top = files.first()?.as_ref()?;
    let steps = built.into_iter().map(|built| built.step).collect();
    Some(Plan {
        name: top.name.map_or_else(|| stem(file), str::to_owned),
        description: top.description.unwrap_or_default().to_owned(),
        file: file.to_owned(),
        dir,
        digest: digest(texts),
        inputs: units[0].inputs.clone(),
        secrets,
        index,
        steps,
        graph: graph?,
        outputs: units[0].outputs.clone(),
        hints,
        units,
    })
}

fn folder_of(file: &Path) -> PathBuf {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    dir.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(|| "plan".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn build(
    texts: &Texts,
    (files, frames): (&[Option<File<'_>>], &[Frame<'_>]),
    (pending, units): (&[Pending<'_>], &Arc<Vec<Unit>>),
    odd: LookForOdd<'_>,
    kinds: &'static [&'static Kind],
    problems: &mut Vec<Problem>,
) -> Vec<Built> {
    // Each step has its place from the start, because a list of this size that grows is copied over and over.
    let mut built: Vec<Option<Built>> = pending.iter().map(|_| None).collect();
    let some = |pending: &[Pending<'_>], built: &mut [Option<Built>], problems: &mut Vec<Problem>| {
        let mut schemas = HashMap::new();
        let mut defaults: HashMap<usize, Defaults> = HashMap::new();
        for (step, built) in pending.iter().zip(built) {
            let text = frames[step.unit].text;
            let source = &texts.list[text].source;
            let mut builder = Builder { source, units, odd, kinds, schemas: &mut schemas, problems, unit: step.unit };
            let defaults = defaults.entry(step.unit).or_insert_with(|| {
                let fields = files[text].as_ref().and_then(|file| file.defaults.as_ref());
                builder.defaults(fields)
            });
            *built = Some(builder.step(step, defaults));
        }
    };
    if pending.len() < MANY {
        some(pending, &mut built, problems);
    } else {
        // What both halves report, such as problems of `defaults`, is made one by `tidy`.
        let (first, rest) = pending.split_at(pending.len() / 2);
        let (built, more) = built.split_at_mut(first.len());
        let mut found = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| some(rest, more, &mut found));
            some(first, built, problems);
        });
        problems.extend(found);
    }
    built.into_iter().map(|built| built.expect("both halves are built")).collect()
}

/// The secrets of all files; what an outer file says of one wins.
fn secrets(texts: &Texts, files: &[Option<File<'_>>], problems: &mut Vec<Problem>) -> IndexMap<String, SecretSpec> {
    let mut secrets = IndexMap::new();
    for (text, file) in texts.list.iter().zip(files) {
        for (entry, fields) in file.iter().flat_map(|file| &file.secrets) {
            let mut reader = Reader { source: &text.source, problems };
            let from = match fields.get("from") {
                Some(node) if node.items().is_none_or(|items| !items.is_empty()) => secret_sources(node, &mut reader),
                _ => {
                    let message = format!("secret `{}` does not say where it comes from", entry.key);
                    reader.problem_with_help("secret::from", &entry.key_span, message, "", SOURCES);
                    Vec::new()
                }
            };
            let spec = SecretSpec {
                description: fields
                    .get("description")
                    .and_then(|node| reader.text(node, "`description`"))
                    .unwrap_or_default()
                    .to_owned(),
                from,
                required: fields.get("required").and_then(|node| reader.flag(node, "`required`")).unwrap_or(true),
                place: reader.place(&entry.key_span),
            };
            secrets.entry(entry.key.clone()).or_insert(spec);
        }
    }
    secrets
}

fn secret_sources(node: &Node, reader: &mut Reader<'_>) -> Vec<SecretSource> {
    let items =
        if node.entries().is_some() { std::slice::from_ref(node) } else { reader.list(node, "`from`").unwrap_or(&[]) };
    items.iter().filter_map(|item| secret_source(item, reader)).collect()
}

/// How a secret says where it comes from.
const SOURCES: &str = "add `from: [{ env: NAME }, { prompt: What to ask }]`";

fn secret_source(node: &Node, reader: &mut Reader<'_>) -> Option<SecretSource> {
    let keys = ["env", "file", "prompt"];
    let fields = reader.fields(node, "a source of a secret", &keys)?;
    if keys.iter().all(|key| fields.entry(key).is_none()) && fields.all_in(&keys) {
        reader.problem_with_help("secret::from", &node.span, "a source of a secret is empty", "", SOURCES);
    }
    if let Some(node) = fields.get("env") {
        return Some(SecretSource::Env(reader.text(node, "`env`")?.to_owned()));
    }
    if let Some(node) = fields.get("file") {
        return Some(SecretSource::File(PathBuf::from(reader.text(node, "`file`")?)));
    }
    let prompt = fields.get("prompt")?;
    Some(SecretSource::Prompt(reader.text(prompt, "`prompt`")?.to_owned()))
}

fn read_text(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| reason(&error))?;
    if size.is_dir() {
        return Err("it is a folder".to_owned());
    }
    if size.len() > 4 * LARGEST as u64 {
        return Err(format!("it has {} MiB; a plan may have 10 MiB", size.len() / 1_048_576));
    }
    let bytes = fs::read(path).map_err(|error| reason(&error))?;
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn digest(texts: &Texts) -> String {
    let mut hasher = Sha256::new();
    for text in &texts.list {
        hasher.update((text.source.text.len() as u64).to_le_bytes());
        hasher.update(text.source.text.as_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each problem once, in the order of the file; those without a place first. Warnings that an error explains are left out.
fn tidy(problems: &mut Vec<Problem>) {
    let start = |problem: &Problem| problem.labels.first().map(|label| label.span.start);
    // What cannot be read or named has no value either.
    let causes: Vec<Problem> = problems.iter().filter(|problem| explains(problem)).cloned().collect();
    problems.retain(|problem| !is_of_a_value(problem) || !causes.iter().any(|cause| is_explained(problem, cause)));
    let errors: HashSet<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).map(start).collect();
    problems.retain(|problem| {
        let explained = problem.code == "plan::unused" && !errors.is_empty() || errors.contains(&start(problem));
        problem.severity == Severity::Error || !explained
    });
    let key = |problem: &Problem| {
        let name = problem.source.as_ref().map(|source| source.name.clone());
        (name, problem.labels.first().map(|label| label.span.start), problem.code, problem.message.clone())
    };
    let order: HashMap<String, usize> =
        problems.iter().filter_map(|problem| problem.source.as_ref()).fold(HashMap::new(), |mut order, source| {
            let next = order.len();
            order.entry(source.name.clone()).or_insert(next);
            order
        });
    let mut seen = HashSet::new();
    problems.retain(|problem| seen.insert(key(problem)));
    problems.sort_by_key(|problem| {
        let file = problem.source.as_ref().map(|source| order[&source.name]);
        (file, problem.labels.first().map(|label| label.span.start))
    });
}

fn explains(problem: &Problem) -> bool {
    matches!(problem.code, "expr::syntax" | "expr::name")
}

fn file_of(problem: &Problem) -> Option<&str> {
    problem.source.as_ref().map(|source| source.name.as_str())
}

fn is_of_a_value(problem: &Problem) -> bool {
    matches!(problem.code, "expr::value" | "kind::with")
}

/// Whether a problem of a value comes of what is wrong with the expression at the same place.
fn is_explained(problem: &Problem, error: &Problem) -> bool {
    let (Some(value), Some(cause)) = (problem.labels.first(), error.labels.first()) else { return false };
    let within = value.span.start <= cause.span.end && cause.span.start <= value.span.end;
    within && file_of(problem) == file_of(error)
}

/// The plan of a text that has no errors, in a folder that is gone again: for tests that look at no files.
#[cfg(test)]
pub(crate) fn of_text(text: &str) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plan.yaml");
    std::fs::write(&file, text).expect("written");
    load(&file, &Given::default()).expect("a good plan").plan
}
