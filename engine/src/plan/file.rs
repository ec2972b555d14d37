//! The shape of a plan file, read off the tree: which keys there are and what sort of value each has.
//!
//! Reports every unknown key and every value of the wrong sort, with its place, and goes on. Does not know what refers to what.

use std::ops::Range;
use std::sync::Arc;

use runbook_steps::KINDS;

use super::error::{Problem, did_you_mean, quoted_list};
use super::inputs;
use super::model::{Place, Source, names_deployment};
use super::tree::{Data, Entry, Node};

/// The keys of a plan.
pub(crate) const PLAN_KEYS: &[&str] = &[
    "runbook",
    "name",
    "description",
    "inputs",
    "secrets",
    "vars",
    "defaults",
    "include",
    "steps",
    "finally",
    "outputs",
];

/// The keys of a step.
pub(crate) const STEP_KEYS: &[&str] = &[
    "name",
    "needs",
    "when",
    "require",
    "uses",
    "with",
    "run",
    "command",
    "manual",
    "env",
    "dir",
    "check",
    "wait",
    "assert",
    "outputs",
    "retry",
    "timeout",
    "deadline",
    "expected",
    "normal",
    "locks",
    "hints",
    "stages",
    "on_demand",
    "undo",
    "protect",
    "foreach",
    "read_only",
    "idempotent",
    "cost",
    "known_issue",
];

/// What other tools call the same thing.
const ELSEWHERE: &[(&str, &str)] = &[
    ("if", "when"),
    ("depends_on", "needs"),
    ("dependsOn", "needs"),
    ("depends", "needs"),
    ("requires", "needs"),
    ("after", "needs"),
    ("script", "run"),
    ("shell", "run"),
    ("cmd", "command"),
    ("kind", "uses"),
    ("type", "uses"),
    ("args", "with"),
    ("environment", "env"),
    ("working_directory", "dir"),
    ("working-directory", "dir"),
    ("cwd", "dir"),
    ("retries", "retry"),
    ("loop", "foreach"),
    ("matrix", "foreach"),
    ("with_items", "foreach"),
    ("variables", "vars"),
    ("params", "inputs"),
    ("parameters", "inputs"),
    ("jobs", "steps"),
    ("tasks", "steps"),
    ("version", "runbook"),
    ("until", "wait"),
    ("wait_for", "wait"),
    ("asserts", "assert"),
    ("title", "name"),
    ("about", "description"),
];

/// What a key that is not known was probably meant for, and what to do where that is not plain.
fn remark_on(key: &str, what: &str, known: &[&str]) -> (String, Option<String>) {
    if let Some((_, ours)) = ELSEWHERE.iter().find(|(other, ours)| *other == key && known.contains(ours)) {
        return (format!("this is called `{ours}` here"), None);
    }
    if known.contains(&"uses") && KINDS.iter().any(|kind| kind.name == key) {
        let help = format!("write `uses: {key}`, and what it is given under `with`");
        return ("this is a kind of step, not a key".to_owned(), Some(help));
    }
    match did_you_mean(key, known.iter().copied()) {
        Some(near) => (near, None),
        None => {
            (format!("not a key of {what}"), Some(format!("{what} may have {}", quoted_list(known.iter().copied()))))
        }
    }
}

/// What to write in place of a value of the wrong sort, where that is plain.
fn instead(what: &str, node: &Node) -> Option<String> {
    let help = match (what, &node.data) {
        ("`run`", Data::List(_)) => "a program and its arguments are a `command`; `run` is the text of a script",
        ("`check`", _) => "it holds conditions, such as `{ object: deployment/web, for: ready }`",
        ("`wait`", _) => "it holds conditions, such as `{ object: deployment/web, for: ready }`; `timeout` bounds it",
        ("`require`" | "a requirement", Data::Text(_) | Data::Bool(_)) => {
            "write `{ assert: …, message: … }`: who reads that it does not hold needs to know why"
        }
        ("`assert`", _) => "it holds expressions, such as `exit_code == 0`",
        ("`foreach`", _) => "write `foreach: { NAME: LIST }`; the item is then `each.NAME`",
        ("a plan", _) => "a plan begins with `runbook: 1`; `runbook schema` prints what may follow",
        _ => return None,
    };
    Some(help.to_owned())
}

/// Where problems of one file go.
pub(crate) struct Reader<'p> {
    pub(crate) source: &'p Arc<Source>,
    pub(crate) problems: &'p mut Vec<Problem>,
}

/// The entries of a map whose keys are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'t> {
    entries: &'t [Entry],
}

impl<'t> Fields<'t> {
    /// The value of a key; nothing is as good as not there.
    pub(crate) fn get(&self, key: &str) -> Option<&'t Node> {
        self.entry(key).map(|entry| &entry.value).filter(|node| !matches!(node.data, Data::Null))
    }

    /// All its entries.
    pub(crate) fn entries(&self) -> &'t [Entry] {
        self.entries
    }

    /// Whether every key is one of these.
    pub(crate) fn all_in(&self, known: &[&str]) -> bool {
        self.entries.iter().all(|entry| known.contains(&entry.key.as_str()))
    }

    /// The entry of a key.
    pub(crate) fn entry(&self, key: &str) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Reader<'_> {
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        Place { source: self.source.clone(), span: span.clone() }
    }

    pub(crate) fn problem(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
        remark: impl Into<String>,
    ) {
        let place = self.place(span);
        self.problems.push(Problem::at(code, &place, message, remark));
    }

    pub(crate) fn problem_with_help(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        message: impl Into<String>,
        remark: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.place(span);
        self.problems.push(Problem::at(code, &place, message, remark).help(help));
    }

    fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) {
        let (message, remark) = (format!("{what} must be {wanted}"), format!("this is {}", node.what()));
        match instead(what, node) {
            Some(help) => self.problem_with_help("plan::type", &node.span, message, remark, help),
            None => self.problem("plan::type", &node.span, message, remark),
        }
    }

    /// A map with known keys. `what` names it: `the step`, `` `retry` ``.
    pub(crate) fn fields<'t>(&mut self, node: &'t Node, what: &str, known: &[&str]) -> Option<Fields<'t>> {
        let entries = self.map(node, what)?;
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            self.unknown_key(entry, what, known);
        }
        Some(Fields { entries })
    }

    fn unknown_key(&mut self, entry: &Entry, what: &str, known: &[&str]) {
        let (remark, help) = remark_on(&entry.key, what, known);
        let (place, message) = (self.place(&entry.key_span), format!("unknown key `{}`", entry.key));
        let problem = Problem::at("plan::unknown-key", &place, message, remark);
        let problem = help.into_iter().fold(problem, Problem::help);
        self.problems.push(problem);
    }

    /// A map with any keys.
    pub(crate) fn map<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t [Entry]> {
        match &node.data {
            Data::Map(entries) => Some(entries),
            Data::Null => Some(&[]),
            _ => {
                self.wrong_type(node, what, "a map");
                None
            }
        }
    }

    /// A list.
    pub(crate) fn list<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t [Node]> {
        match &node.data {
            Data::List(items) => Some(items),
            Data::Null => Some(&[]),
            _ => {
                self.wrong_type(node, what, "a list");
                None
            }
        }
    }

    /// A text. What only looks like a number is suggested in quotes.
    pub(crate) fn text<'t>(&mut self, node: &'t Node, what: &str) -> Option<&'t str> {
        match &node.data {
            Data::Text(text) => return Some(text),
            Data::Number(_) | Data::Bool(_) => {
                let written = self.source.text.get(node.span.clone()).unwrap_or_default().to_owned();
                let message = format!("{what} must be text");
                self.problem_with_help(
                    "plan::type",
                    &node.span,
                    message,
                    format!("this is {}", node.what()),
                    format!("put it in quotes: `'{written}'`"),
                );
            }
            _ => self.wrong_type(node, what, "text"),
        }
        None
    }

    /// True or false.
    pub(crate) fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.data {
            Data::Bool(flag) => return Some(*flag),
            Data::Text(text) => {
                let help = match text.to_lowercase().as_str() {
                    "yes" | "on" | "y" => "write `true`",
                    "no" | "off" | "n" => "write `false`",
                    _ => "write `true` or `false`",
                };
                let message = format!("{what} must be true or false");
                self.problem_with_help("plan::type", &node.span, message, "this is text", help);
            }
            _ => self.wrong_type(node, what, "true or false"),
        }
        None
    }

    /// A number.
    pub(crate) fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        if let Data::Number(number) = &node.data {
            return number.as_f64();
        }
        self.wrong_type(node, what, "a number");
        None
    }

    /// A name that expressions can use.
    pub(crate) fn name(&mut self, entry: &Entry, what: &str) -> bool {
        let mut letters = entry.key.chars();
        let first = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        let good = first && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !good {
            let better = suggested_name(&entry.key);
            let message = format!("`{}` cannot name {what}", entry.key);
            let remark = "letters, digits and `_`, not starting with a digit";
            self.problem_with_help(
                "plan::name",
                &entry.key_span,
                message,
                remark,
                format!("expressions could not refer to it; write `{better}`"),
            );
        }
        good
    }
}

fn suggested_name(name: &str) -> String {
    let mut better: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' })
        .collect();
    if !better.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        better.insert(0, '_');
    }
    better
}

/// A plan's name, which deployments have where they are given no other.
fn plan_name<'t>(node: &'t Node, reader: &mut Reader<'_>) -> Option<&'t str> {
    let name = reader.text(node, "`name`")?;
    if !names_deployment(name) {
        let message = format!("`{name}` cannot name a deployment");
        let remark = "up to 64 letters, digits, `-`, `_` and `.`, starting with a letter or a digit";
        reader.problem_with_help("plan::name", &node.span, message, remark, "say more about it in `description`");
    }
    Some(name)
}

/// A plan file, by its parts.
#[derive(Debug, Default)]
pub(crate) struct File<'t> {
    pub(crate) name: Option<&'t str>,
    pub(crate) description: Option<&'t str>,
    pub(crate) inputs: Vec<(&'t Entry, Fields<'t>)>,
    pub(crate) secrets: Vec<(&'t Entry, Fields<'t>)>,
    pub(crate) vars: &'t [Entry],
    pub(crate) defaults: Option<Fields<'t>>,
    pub(crate) includes: Vec<(&'t Entry, Fields<'t>)>,
    pub(crate) steps: Vec<StepFile<'t>>,
    pub(crate) outputs: &'t [Entry],
    /// What is declared so that nobody can read it, which was reported: references to it are not wrong besides.
    pub(crate) unread: Vec<&'t str>,
}

/// A step, by its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepFile<'t> {
    pub(crate) entry: &'t Entry,
    pub(crate) fields: Fields<'t>,
    pub(crate) finally: bool,
}

const INPUT_KEYS: &[&str] =
    &["type", "default", "required", "pattern", "min", "max", "values", "description", "example"];
const SECRET_KEYS: &[&str] = &["from", "description", "required"];
const INCLUDE_KEYS: &[&str] = &["plan", "with", "needs"];

/// Reads a file. Whatever is wrong with its shape goes to the reader; what is right comes back.
pub(crate) fn read<'t>(root: &'t Node, reader: &mut Reader<'_>) -> Option<File<'t>> {
    if matches!(root.data, Data::Null) {
        reader.problems.push(empty(reader.source));
        return None;
    }
    let fields = reader.fields(root, "a plan", PLAN_KEYS)?;
    version(root, &fields, reader);
    let mut file = File {
        name: fields.get("name").and_then(|node| plan_name(node, reader)),
        description: fields.get("description").and_then(|node| reader.text(node, "`description`")),
        inputs: declarations(&fields, "inputs", "an input", INPUT_KEYS, reader),
        secrets: declarations(&fields, "secrets", "a secret", SECRET_KEYS, reader),
        vars: named(&fields, "vars", "a var", reader),
        defaults: fields.get("defaults").and_then(|node| reader.fields(node, "`defaults`", &["timeout", "retry"])),
        includes: declarations(&fields, "include", "an include", INCLUDE_KEYS, reader),
        steps: Vec::new(),
        outputs: named(&fields, "outputs", "an output", reader),
        unread: unread(&fields),
    };
    for (key, finally) in [("steps", false), ("finally", true)] {
        let steps = declarations(&fields, key, "a step", STEP_KEYS, reader);
        file.steps.extend(steps.into_iter().map(|(entry, fields)| StepFile { entry, fields, finally }));
    }
    same_names(&file, reader);
    if file.steps.is_empty() && file.includes.is_empty() && fields.entry("steps").is_none() {
        let span = root.span.start..root.span.start;
        reader.problem_with_help(
            "plan::no-steps",
            &span,
            "the plan has no steps",
            "",
            "add `steps:`, a map from names to what is done",
        );
    }
    Some(file)
}

/// The names of what should be maps and is something else.
fn unread<'t>(fields: &Fields<'t>) -> Vec<&'t str> {
    let maps = ["inputs", "secrets", "include", "steps", "finally"].iter().filter_map(|key| fields.get(key)?.entries());
    let other = maps.flatten().filter(|entry| !matches!(entry.value.data, Data::Map(_) | Data::Null));
    other.map(|entry| entry.key.as_str()).collect()
}

fn empty(source: &Arc<Source>) -> Problem {
    Problem::bare("plan::empty", format!("`{}` is empty", source.name))
        .help("a plan begins with `runbook: 1`; `runbook schema` prints what may follow")
}

fn version(root: &Node, fields: &Fields<'_>, reader: &mut Reader<'_>) {
    let help = "write `runbook: 1`, the version of the plan language, as the first line";
    match fields.entry("runbook") {
        None => {
            let span = root.span.start..root.span.start;
            reader.problem_with_help(
                "plan::version",
                &span,
                "the plan does not say which language version it is in",
                "",
                help,
            );
        }
        Some(entry) => {
            let one = matches!(&entry.value.data, Data::Number(number) if number.as_u64() == Some(1));
            if !one {
                let message = "this runbook speaks version 1 of the plan language only";
                let remark = if entry.value.text() == Some("1") { "this is text" } else { "not 1" };
                reader.problem_with_help("plan::version", &entry.value.span, message, remark, help);
            }
        }
    }
}

/// A map of named maps.
fn declarations<'t>(
    fields: &Fields<'t>,
    key: &str,
    what: &str,
    known: &[&str],
    reader: &mut Reader<'_>,
) -> Vec<(&'t Entry, Fields<'t>)> {
    let entries = named(fields, key, what, reader);
    let told = |entry: &Entry, reader: &mut Reader<'_>| match help_for(entry, what) {
        Some(help) if entry.value.entries().is_none() => {
            let (message, remark) = (format!("{what} must be a map"), format!("this is {}", entry.value.what()));
            reader.problem_with_help("plan::type", &entry.value.span, message, remark, help);
            true
        }
        _ => false,
    };
    let wanted = entries.iter().filter_map(|entry| {
        if told(entry, reader) { None } else { Some((entry, reader.fields(&entry.value, what, known)?)) }
    });
    wanted.collect()
}

/// What to write in place of something that is no map.
fn help_for(entry: &Entry, what: &str) -> Option<String> {
    let (key, written) = (&entry.key, inputs::plain(&entry.value.to_value()));
    match (what, &entry.value.data) {
        ("a step", Data::Text(_) | Data::List(_)) if STEP_KEYS.contains(&key.as_str()) => {
            Some(format!("`{key}` is a key of a step: let it stand further in, below the step's name"))
        }
        ("a step", Data::Text(_)) => Some(format!("write `{key}: {{ run: {written} }}`")),
        ("an input", Data::Text(_)) => Some(format!("write `{key}: {{ type: string, default: {written} }}`")),
        ("an input", Data::Number(_)) => Some(format!("write `{key}: {{ type: int, default: {written} }}`")),
        ("an input", Data::Bool(_)) => Some(format!("write `{key}: {{ type: bool, default: {written} }}`")),
        ("a secret", Data::Text(_)) => Some(format!("write `{key}: {{ from: [{{ env: {written} }}] }}`")),
        ("an include", Data::Text(_)) => Some(format!("write `{key}: {{ plan: {written} }}`")),
        _ => None,
    }
}

fn named<'t>(fields: &Fields<'t>, key: &str, what: &str, reader: &mut Reader<'_>) -> &'t [Entry] {
    let Some(node) = fields.get(key) else { return &[] };
    if let (Some(items), "steps" | "finally") = (node.items(), key) {
        let span = items.first().map_or(node.span.clone(), |item| item.span.clone());
        let help = "write `name: {…}` in place of `- name: …`; order has no meaning, `needs` has";
        reader.problem_with_help(
            "plan::type",
            &span,
            format!("`{key}` is a map from names to steps"),
            "this is a list",
            help,
        );
        return &[];
    }
    let entries = reader.map(node, &format!("`{key}`")).unwrap_or(&[]);
    for entry in entries {
        reader.name(entry, what);
    }
    entries
}

/// Steps, those of `finally` and includes share one set of names.
fn same_names(file: &File<'_>, reader: &mut Reader<'_>) {
    let mut seen: std::collections::HashMap<&str, &Range<usize>> = std::collections::HashMap::new();
    let names = file.includes.iter().map(|(entry, _)| *entry).chain(file.steps.iter().map(|step| step.entry));
    for entry in names {
        if let Some(first) = seen.insert(&entry.key, &entry.key_span) {
            if first == &entry.key_span
                || reader.problems.iter().any(|problem| is_duplicate_at(problem, &entry.key_span))
            {
                continue;
            }
            let place = reader.place(&entry.key_span);
            let problem = Problem::at(
                "plan::duplicate-step",
                &place,
                format!("two steps are called `{}`", entry.key),
                "again here",
            );
            reader.problems.push(
                problem.and(first.clone(), "first here").help("`steps`, `finally` and `include` share their names"),
            );
        }
    }
}

fn is_duplicate_at(problem: &Problem, span: &Range<usize>) -> bool {
    problem.code == "yaml::duplicate-key" && problem.labels[0].span == *span
}
