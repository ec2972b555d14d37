//! How hints and stages are written: in a step, and in a file of their own.
//!
//! Reports every wrong key and value with its place. Does not know which hint fits what: that is `hints::best`.

use std::sync::Arc;

use regex::Regex;
use runbook_steps::Class;
use runbook_steps::jsonpath::JsonPath;
use serde_json::Value;

use super::error::{Problem, did_you_mean, quoted_list};
use super::expr;
use super::file::{Fields, Reader};
use super::inputs::{plain, read_pattern};
use super::model::{Expression, Source};
use super::scan;
use super::sight::caret;
use super::template::{self, Before, Reach};
use super::tree::{self, Data, Entry, Node};
use crate::hints::best::ranked;
use crate::hints::trigger::Trigger;
use crate::hints::{Hint, HintMatch, ObjectMatch, Origin, Pattern};

/// The keys of a hint.
const HINT_KEYS: [&str; 9] = ["id", "match", "when", "cause", "fix", "docs", "class", "remedy", "trigger"];

/// The keys of a match.
const MATCH_KEYS: [&str; 8] = ["error", "stdout", "log", "event", "condition", "http", "object", "class"];

/// The names that `when` of a hint can use.
pub(crate) const NAMES: [&str; 16] = [
    "error",
    "class",
    "stdout",
    "stderr",
    "exit_code",
    "log",
    "events",
    "conditions",
    "http",
    "object",
    "objects",
    "other",
    "step",
    "inputs",
    "elapsed",
    "waiting",
];

/// Whether an expression over what was seen holds. What has no value does not.
pub(crate) fn holds(text: &str, names: &Value) -> bool {
    let found = scan::mentions(text);
    expr::eval(text, &found, &expr::from_json(names)).is_ok_and(|value| value.is_true())
}

/// How much an expression asks for: the different things that it looks at.
pub(crate) fn weight(text: &str) -> usize {
    let mut names: Vec<String> = scan::mentions(text).references.iter().map(scan::Reference::text).collect();
    names.sort();
    names.dedup();
    names.len().max(1)
}

/// Reads a file of hints.
pub(crate) fn read_file(source: &Arc<Source>, origin: Origin, problems: &mut Vec<Problem>) -> Vec<Hint> {
    let Some(root) = tree::parse(source, problems) else { return Vec::new() };
    let mut reader = Reader { source, problems };
    let Some(fields) = reader.fields(&root, "a file of hints", &["runbook_hints", "about", "kind", "hints"]) else {
        return Vec::new();
    };
    version(&root, &fields, &mut reader);
    let kind = fields.get("kind").and_then(|node| reader.text(node, "`kind`")).map(str::to_owned);
    let items = fields.get("hints").and_then(|node| reader.list(node, "`hints`")).unwrap_or(&[]);
    let origin = if kind.is_some() && origin == Origin::Shipped { Origin::Kind } else { origin };
    let mut reader = HintReader { source, problems, origin, before: None };
    let hints: Vec<Hint> = items.iter().filter_map(|item| reader.hint(item)).collect();
    hints.into_iter().map(|hint| Hint { kind: kind.clone(), ..hint }).collect()
}

fn version(root: &Node, fields: &Fields<'_>, reader: &mut Reader<'_>) {
    let one = |node: &Node| matches!(&node.data, Data::Number(number) if number.as_u64() == Some(1));
    if !fields.get("runbook_hints").is_some_and(one) {
        let span = root.span.start..root.span.start;
        let help = "write `runbook_hints: 1` as the first line";
        reader.problem_with_help("hints::version", &span, "a file of hints says its version", "", help);
    }
}

/// Reads hints, each on its own.
pub(crate) struct HintReader<'r> {
    pub(crate) source: &'r Arc<Source>,
    pub(crate) problems: &'r mut Vec<Problem>,
    pub(crate) origin: Origin,
    /// What `${{ }}` in its texts can name; nothing in a file of hints.
    pub(crate) before: Option<Before<'r>>,
}

impl HintReader<'_> {
    fn reader(&mut self) -> Reader<'_> {
        Reader { source: self.source, problems: self.problems }
    }

    /// Whether they came with the program: the tests have checked them, and no run does so again.
    fn is_checked(&self) -> bool {
        self.origin < Origin::Folder
    }

    /// Reads one hint.
    pub(crate) fn hint(&mut self, node: &Node) -> Option<Hint> {
        let fields = self.reader().fields(node, "a hint", &HINT_KEYS)?;
        let Some(subject) = fields.get("match").or_else(|| fields.get("when")) else {
            let help = "add `match:` with what it applies to, such as `error: 'a pattern'`";
            self.reader().problem_with_help("plan::hint", &node.span, "a hint matches nothing", "", help);
            return None;
        };
        self.has_all(&fields, subject);
        let matches = match fields.get("match") {
            Some(node) => self.matching(node)?,
            None => HintMatch::default(),
        };
        let hint = Hint {
            id: self.text(&fields, "id"),
            origin: self.origin,
            kind: None,
            matches,
            when: fields.get("when").and_then(|node| self.when(node)),
            cause: self.text(&fields, "cause")?,
            fix: self.text(&fields, "fix")?,
            docs: self.text(&fields, "docs"),
            class: fields.get("class").and_then(|node| class(node, &mut self.reader())),
            remedy: self.text(&fields, "remedy"),
            triggers: fields
                .get("trigger")
                .filter(|_| !self.is_checked())
                .map(|node| self.triggers(node))
                .unwrap_or_default(),
        };
        self.recognises_its_trigger(&hint, node);
        Some(hint)
    }

    fn has_all(&mut self, fields: &Fields<'_>, subject: &Node) {
        let needed: &[&str] = if self.origin == Origin::Step { &["cause", "fix"] } else { &["cause", "fix", "id"] };
        for key in needed.iter().filter(|key| fields.get(key).is_none()) {
            self.reader().problem("plan::hint", &subject.span, format!("a hint has no `{key}`"), "this one");
        }
    }

    /// Reads what a hint or a stage applies to.
    pub(crate) fn matching(&mut self, node: &Node) -> Option<HintMatch> {
        let fields = self.reader().fields(node, "`match`", &MATCH_KEYS)?;
        let mut matches = HintMatch {
            error: self.pattern(&fields, "error"),
            stdout: self.pattern(&fields, "stdout"),
            log: self.pattern(&fields, "log"),
            event: self.pattern(&fields, "event"),
            class: fields.get("class").and_then(|node| class(node, &mut self.reader())),
            object: fields.get("object").and_then(|node| self.object(node)),
            ..HintMatch::default()
        };
        if let Some(condition) = fields.get("condition") {
            self.condition(condition, &mut matches);
        }
        if let Some(http) = fields.get("http")
            && let Some(fields) = self.reader().fields(http, "`http`", &["status", "body"])
        {
            matches.http_status = fields.get("status").and_then(|node| self.status(node));
            matches.http_body = self.pattern(&fields, "body");
        }
        if node.entries().is_some_and(<[Entry]>::is_empty) {
            self.reader().problem("plan::hint", &node.span, "`match` matches nothing", "add what it applies to");
        }
        Some(matches)
    }

    fn condition(&mut self, node: &Node, matches: &mut HintMatch) {
        let keys = ["type", "status", "reason", "message"];
        let Some(fields) = self.reader().fields(node, "`condition`", &keys) else { return };
        matches.condition_type = self.pattern(&fields, "type");
        matches.condition_status = self.pattern(&fields, "status");
        matches.condition_reason = self.pattern(&fields, "reason");
        matches.condition_message = self.pattern(&fields, "message");
    }

    fn object(&mut self, node: &Node) -> Option<ObjectMatch> {
        let fields = self.reader().fields(node, "`object`", &["kind", "path", "matches", "absent"])?;
        let path = fields.get("path").and_then(|node| self.path(node));
        let object = ObjectMatch {
            kind: self.pattern(&fields, "kind"),
            path,
            matches: self.pattern(&fields, "matches"),
            absent: fields.get("absent").and_then(|node| self.reader().flag(node, "`absent`")).unwrap_or(false),
        };
        if object.path.is_none() && (object.absent || object.matches.is_some()) {
            let remark = "add `path: '{.spec.field}'`";
            self.reader().problem("plan::hint", &node.span, "`object` says nothing of where to look", remark);
        }
        Some(object)
    }

    fn path(&mut self, node: &Node) -> Option<String> {
        let text = self.reader().text(node, "`path`")?.to_owned();
        match JsonPath::read(&text) {
            Ok(_) => Some(text),
            Err(why) => {
                self.reader().problem("plan::hint", &node.span, why, "");
                None
            }
        }
    }

    fn pattern(&mut self, fields: &Fields<'_>, key: &str) -> Option<Pattern> {
        let node = fields.get(key)?;
        if self.is_checked() {
            return node.text().map(Pattern::new);
        }
        read_pattern(node, &mut self.reader()).map(|pattern: Regex| Pattern::new(pattern.as_str()))
    }

    fn status(&mut self, node: &Node) -> Option<u16> {
        let number = self.reader().number(node, "`status`")?;
        if (100.0..600.0).contains(&number) && number.fract() == 0.0 {
            return Some(number as u16);
        }
        self.reader().problem("plan::hint", &node.span, "`status` is not an HTTP status", "from 100 to 599");
        None
    }

    /// Checks an expression over what was seen.
    fn when(&mut self, node: &Node) -> Option<Expression> {
        let text = self.reader().text(node, "`when`")?.to_owned();
        let place = self.reader().place(&node.span);
        if self.is_checked() {
            return Some(Expression { text, place });
        }
        let found = match expr::check(&text) {
            Ok(found) => found,
            Err(faults) => {
                let problem = |fault: expr::Fault| {
                    let problem = Problem::at("expr::syntax", &place, fault.message, "");
                    fault.help.into_iter().fold(problem, Problem::help)
                };
                self.problems.extend(faults.into_iter().map(problem));
                return None;
            }
        };
        for reference in found.references.iter().filter(|reference| !NAMES.contains(&reference.path[0].as_str())) {
            let name = &reference.path[0];
            let at = caret(&place, &text, reference.span());
            let remark = did_you_mean(name, NAMES).unwrap_or_default();
            let message = format!("`{name}` is nothing that a hint sees");
            let help = format!("a hint sees {}", quoted_list(NAMES));
            self.problems.push(Problem::at("expr::name", &at, message, remark).help(help));
        }
        Some(Expression { text, place })
    }

    fn triggers(&mut self, node: &Node) -> Vec<Trigger> {
        let items = if node.entries().is_some() { std::slice::from_ref(node) } else { node.items().unwrap_or(&[]) };
        let mut triggers = Vec::new();
        for item in items {
            match Trigger::read(&item.to_value()) {
                Ok(trigger) => triggers.push(trigger),
                Err(why) => self.reader().problem("plan::hint", &item.span, format!("`trigger`: {why}"), ""),
            }
        }
        triggers
    }

    /// A hint that does not recognise what it was written for is a mistake.
    fn recognises_its_trigger(&mut self, hint: &Hint, node: &Node) {
        for trigger in &hint.triggers {
            let facts = trigger.facts();
            if ranked([hint], trigger.seen(&facts)).is_empty() {
                let message = "a hint does not recognise its own `trigger`";
                self.reader().problem("plan::hint", &node.span, message, "this one");
            }
        }
    }

    /// A text that is known before anything runs.
    fn text(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let node = fields.get(key)?;
        let text = self.reader().text(node, &format!("`{key}`"))?.to_owned();
        match self.before {
            None => Some(text),
            Some(before) => match fixed_value(node, &format!("`{key}`"), before, &mut self.reader())? {
                Value::Null => Some(text),
                value => Some(plain(&value)),
            },
        }
    }
}

/// What expressions of a plan may begin with.
const ROOTS: [&str; 5] = ["inputs", "vars", "each", "secrets", "steps"];

/// A value that is known before anything runs; null where inputs are not given yet.
pub(crate) fn fixed_value(node: &Node, what: &str, before: Before<'_>, reader: &mut Reader<'_>) -> Option<Value> {
    let template = template::from_node(node, reader.source);
    match before.reach_of_template(&template) {
        Reach::Inputs => Some(Value::Null),
        Reach::Now => match before.with_known(|sight| sight.template(&template)) {
            Ok(value) => Some(value),
            Err(error) => {
                let place = error.place.unwrap_or_else(|| reader.place(&node.span));
                reader.problems.push(Problem::at("expr::value", &place, error.message, ""));
                None
            }
        },
        // A name that there is not is told where names are judged.
        Reach::Steps
            if !template::references(&template).iter().any(|reference| ROOTS.contains(&&*reference.path[0])) =>
        {
            Some(Value::Null)
        }
        Reach::Steps => {
            let message = format!("{what} cannot depend on what other steps give");
            let help = "it is needed before anything runs: use inputs and vars only";
            reader.problem_with_help("expr::too-late", &node.span, message, "", help);
            None
        }
    }
}

/// A class of failures by its name.
pub(crate) fn class(node: &Node, reader: &mut Reader<'_>) -> Option<Class> {
    let text = reader.text(node, "a class")?.to_owned();
    let found = Class::ALL.into_iter().find(|class| class.name() == text);
    if found.is_none() {
        let names = || Class::ALL.into_iter().map(Class::name);
        let remark = did_you_mean(&text, names()).unwrap_or_else(|| "not a class".into());
        let help = format!("the classes are {}", quoted_list(names()));
        let message = format!("unknown class of failure `{text}`");
        reader.problem_with_help("plan::class", &node.span, message, remark, help);
    }
    found
}
