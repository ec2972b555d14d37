//! What a step does: which kind, and its `with`, checked against what the kind accepts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use runbook_steps::kind::ReadError;
use runbook_steps::{Condition, Kind, Lookup};
use serde_json::Value;

use super::error::{Problem, did_you_mean};
use super::file::{Fields, Reader};
use super::files::{LookForOdd, Odd};
use super::model::{Source, Template, Work};
use super::schema_check::SchemaCheck;
use super::template::{self, Before};
use super::tree::{Data, Entry, Node};
use super::with_rules;

/// The ways to say what is done.
const WAYS: [&str; 4] = ["uses", "run", "command", "manual"];

/// Reads work.
pub(crate) struct Worker<'w> {
    pub(crate) source: &'w Arc<Source>,
    pub(crate) before: Before<'w>,
    /// Looks for what is no file among the files of a step.
    pub(crate) odd: LookForOdd<'w>,
    pub(crate) kinds: &'static [&'static Kind],
    pub(crate) schemas: &'w mut HashMap<&'static str, Arc<Value>>,
    pub(crate) problems: &'w mut Vec<Problem>,
}

impl Worker<'_> {
    fn reader(&mut self) -> Reader<'_> {
        Reader { source: self.source, problems: self.problems }
    }

    /// The work that some fields describe, if they describe one.
    pub(crate) fn work(&mut self, fields: &Fields<'_>, what: &str) -> Option<Work> {
        let given: Vec<&Entry> = WAYS.iter().filter_map(|way| fields.entry(way)).collect();
        if let [first, second, ..] = given.as_slice() {
            let place = self.reader().place(&second.key_span);
            let message = format!("{what} does one thing, but has both `{}` and `{}`", first.key, second.key);
            let problem = Problem::at("plan::two-works", &place, message, "the second");
            self.problems.push(problem.and(first.key_span.clone(), "the first").help("make two steps of it"));
            return None;
        }
        let Some(way) = given.first() else {
            self.without_work(fields, what);
            return None;
        };
        let kind = self.kind(way)?;
        if way.key != "uses"
            && let Some(with) = fields.entry("with")
        {
            let help = format!("`with` goes with `uses`; `{}` takes `env` and `dir` beside it", way.key);
            self.reader().problem_with_help(
                "plan::with",
                &with.key_span,
                format!("`with` beside `{}`", way.key),
                "",
                help,
            );
        }
        let with = self.with(way, kind, fields)?;
        let template = template::from_node(&with, self.source);
        with_rules::check(kind, &with, &mut self.reader());
        self.check(kind, (&with, &template), &way.value.span);
        Some(Work { kind, with: template })
    }

    fn without_work(&mut self, fields: &Fields<'_>, what: &str) {
        for key in ["with", "env", "dir"] {
            if let Some(entry) = fields.entry(key) {
                let help = "add `uses:` with a kind; `runbook kinds` lists them";
                self.reader().problem_with_help(
                    "plan::with",
                    &entry.key_span,
                    format!("{what} has `{key}`, but nothing that takes it"),
                    "",
                    help,
                );
            }
        }
    }

    fn kind(&mut self, way: &Entry) -> Option<&'static Kind> {
        let (name, span) = match way.key.as_str() {
            "uses" => (self.reader().text(&way.value, "`uses`")?.to_owned(), &way.value.span),
            shorthand => (shorthand.to_owned(), &way.key_span),
        };
        let found = self.kinds.iter().copied().find(|kind| kind.name == name);
        if found.is_none() {
            let remark = did_you_mean(&name, self.kinds.iter().map(|kind| kind.name))
                .unwrap_or_else(|| "no kind has this name".into());
            let message = format!("unknown kind of step `{name}`");
            self.reader().problem_with_help(
                "plan::unknown-kind",
                span,
                message,
                remark,
                "`runbook kinds` lists what there is",
            );
        }
        found
    }

    /// The `with`, with what stands beside it put in.
    fn with<'n>(&mut self, way: &'n Entry, kind: &'static Kind, fields: &Fields<'n>) -> Option<Cow<'n, Node>> {
        let mut entries = Vec::new();
        match way.key.as_str() {
            "run" => entries.push(self.script(&way.value)?),
            "command" => entries.push(self.argv(&way.value)?),
            "manual" if way.value.text().is_some() => entries.push(named("ask", &way.value, &way.key_span)),
            "manual" => entries.extend(self.reader().map(&way.value, "`manual`")?.iter().cloned()),
            _ => {}
        }
        let with = fields.get("with").filter(|_| way.key == "uses");
        let beside: Vec<&Entry> = ["env", "dir"].iter().filter_map(|key| fields.entry(key)).collect();
        if let (Some(node), true) = (with, beside.is_empty()) {
            self.reader().map(node, "`with`")?;
            return Some(Cow::Borrowed(node));
        }
        if let Some(node) = with {
            entries.extend(self.reader().map(node, "`with`")?.iter().cloned());
        }
        for entry in beside {
            self.beside(entry, kind, &mut entries);
        }
        let span = with.map_or(way.value.span.clone(), |node| node.span.clone());
        Some(Cow::Owned(Node { span, data: Data::Map(entries.into()) }))
    }

    fn beside(&mut self, entry: &Entry, kind: &'static Kind, entries: &mut Vec<Entry>) {
        let schema = self.schema(kind);
        if schema["properties"].get(&entry.key).is_none() {
            let message = format!("the kind `{}` takes no `{}`", kind.name, entry.key);
            self.reader().problem("plan::with", &entry.key_span, message, "not here");
        } else if let Some(other) = entries.iter().find(|other| other.key == entry.key) {
            let place = self.reader().place(&entry.key_span);
            let problem = Problem::at("plan::with", &place, format!("`{}` is given twice", entry.key), "beside `with`");
            self.problems.push(problem.and(other.key_span.clone(), "in `with`"));
        } else {
            entries.push(entry.clone());
        }
    }

    fn script(&mut self, node: &Node) -> Option<Entry> {
        let text = self.reader().text(node, "`run`")?.to_owned();
        if text.trim().is_empty() {
            self.reader().problem("plan::script", &node.span, "a script without a command", "nothing would be done");
        }
        Some(named("script", node, &node.span))
    }

    fn argv(&mut self, node: &Node) -> Option<Entry> {
        if let Some(text) = node.text() {
            let words: Vec<&str> = text.split_whitespace().collect();
            let help = format!("write `command: [{}]`, or `run:` for a shell script", words.join(", "));
            self.reader().problem_with_help(
                "plan::command",
                &node.span,
                "`command` is a list: a program and its arguments",
                "this is text",
                help,
            );
            return None;
        }
        self.reader().list(node, "`command`")?;
        Some(named("argv", node, &node.span))
    }

    fn schema(&mut self, kind: &'static Kind) -> Arc<Value> {
        self.schemas.entry(kind.name).or_insert_with(|| Arc::new((kind.schema)())).clone()
    }

    /// Checks a `with` by the kind's schema, and where all of it is known by the kind itself.
    fn check(&mut self, kind: &'static Kind, with: (&Node, &Template), uses: &Range<usize>) {
        let schema = self.schema(kind);
        let read = |value| (kind.read)(value).map(|step| step.files());
        let files = self.check_value(with, &schema, uses, &format!("`{}`", kind.name), read);
        if let Some(odd) = files.and_then(|files| (self.odd)(&files)) {
            self.warn(&odd, with.0, uses);
        }
    }

    /// What a step cannot read now may be a file when it runs, and nothing else needs it.
    fn warn(&mut self, odd: &Odd, with: &Node, uses: &Range<usize>) {
        let span = span_of(with, &odd.file).filter(|span| !span.is_empty()).unwrap_or(uses);
        let place = self.reader().place(span);
        self.problems.push(Problem::at("plan::file", &place, odd.message(), "").help(odd.fix()).warning());
    }

    /// Checks one condition of `check` or `wait`.
    pub(crate) fn condition(&mut self, node: &Node, template: &Template) {
        let schema = self.schemas.entry("(condition)").or_insert_with(|| Arc::new(Condition::schema())).clone();
        self.check_value((node, template), &schema, &node.span, "a condition", |value| Condition::read(&value));
    }

    /// Checks a look-up of `outputs`.
    pub(crate) fn lookup(&mut self, node: &Node, template: &Template) {
        let schema = self.schemas.entry("(lookup)").or_insert_with(|| Arc::new(Lookup::schema())).clone();
        self.check_value((node, template), &schema, &node.span, "a look-up", |value| Lookup::read(&value));
    }

    /// What was read, if all of it is known and right.
    fn check_value<T>(
        &mut self,
        (node, template): (&Node, &Template),
        schema: &Value,
        fallback: &Range<usize>,
        what: &str,
        read: impl FnOnce(Value) -> Result<T, ReadError>,
    ) -> Option<T> {
        let mut check =
            SchemaCheck { source: self.source, root: schema, before: self.before, what, fallback, found: Vec::new() };
        check.node(node, schema, "");
        let found = check.found;
        if !found.is_empty() {
            self.problems.extend(found);
            return None;
        }
        let value = self.before.value(template)?.ok()?;
        let error = match read(value) {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let at = at_path(node, &error.path);
        let span = if at.span.is_empty() { fallback.clone() } else { at.span.clone() };
        let whole = if error.path.is_empty() { what.to_owned() } else { format!("`{}` of {what}", error.path) };
        self.reader().problem("kind::with", &span, format!("{whole}: {}", error.message), "");
        None
    }
}

/// Where a file is named, if it is named as it is.
fn span_of<'n>(node: &'n Node, file: &Path) -> Option<&'n Range<usize>> {
    match &node.data {
        Data::Text(text) => (Path::new(&**text) == file).then_some(&node.span),
        Data::List(items) => items.iter().find_map(|item| span_of(item, file)),
        Data::Map(entries) => entries.iter().find_map(|entry| span_of(&entry.value, file)),
        _ => None,
    }
}

fn named(key: &str, node: &Node, span: &Range<usize>) -> Entry {
    Entry { key: key.to_owned(), key_span: span.clone(), value: node.clone() }
}

/// The node at a path such as `addons[2].name`, or the deepest one on the way.
pub(crate) fn at_path<'n>(node: &'n Node, path: &str) -> &'n Node {
    let mut at = node;
    for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
        let next = match (&at.data, part.parse::<usize>()) {
            (Data::List(items), Ok(index)) => items.get(index),
            _ => at.get(part),
        };
        let Some(next) = next else { break };
        at = next;
    }
    at
}
