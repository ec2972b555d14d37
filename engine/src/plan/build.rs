//! From a step of a file to a step of a plan: every key read into its type, static parts evaluated.
//!
//! Owns what each key of a step means; does not know what refers to what (`check`) nor what a kind accepts (`schema_check`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use runbook_steps::{Class, Kind};
use serde_json::{Map, Value};

use super::bind::Pending;
use super::duration;
use super::error::{Problem, did_you_mean};
use super::file::{Fields, Reader, STEP_KEYS, StepFile};
use super::files::LookForOdd;
use super::hints::{HintReader, class, fixed_value};
use super::model::{
    Accept, Cost, Expected, Expression, KnownIssue, OutputRule, Place, Requirement, Retry, Scope, Source, Stage, Step,
    Template, Undo, Unit,
};
use super::template::{self, Before};
use super::tree::{Data, Entry, Node};
use super::work::Worker;
use crate::hints::{Hint, Origin};

/// A need as written.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub(crate) name: String,
    pub(crate) accept: Accept,
    pub(crate) span: Range<usize>,
}

/// A step with what it needs, still by name.
pub(crate) struct Built {
    pub(crate) step: Step,
    pub(crate) needs: Vec<Need>,
    /// The names of its items, within a `foreach`.
    pub(crate) each: Vec<String>,
}

/// What a plan says for all its steps.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub(crate) timeout: Option<Duration>,
    pub(crate) retry: Arc<Retry>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            initial: Duration::from_secs(2),
            factor: 2.0,
            max: Duration::from_secs(60),
            only: Class::ALL.into_iter().filter(|class| class.retried_by_default()).collect(),
        }
    }
}

/// Builds the steps of one unit.
pub(crate) struct Builder<'b> {
    pub(crate) source: &'b Arc<Source>,
    pub(crate) units: &'b Arc<Vec<Unit>>,
    /// Looks for what is no file among the files of a step.
    pub(crate) odd: LookForOdd<'b>,
    pub(crate) kinds: &'static [&'static Kind],
    pub(crate) schemas: &'b mut HashMap<&'static str, Arc<Value>>,
    pub(crate) problems: &'b mut Vec<Problem>,
    pub(crate) unit: usize,
}

impl Builder<'_> {
    fn reader(&mut self) -> Reader<'_> {
        Reader { source: self.source, problems: self.problems }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        Place { source: self.source.clone(), span: span.clone() }
    }

    /// What the plan's `defaults` say.
    pub(crate) fn defaults(&mut self, fields: Option<&Fields<'_>>) -> Defaults {
        let none = Map::new();
        let Some(fields) = fields else { return Defaults { timeout: None, retry: Arc::default() } };
        Defaults {
            timeout: fields.get("timeout").and_then(|node| self.duration(node, "`timeout`", &none)),
            retry: fields
                .get("retry")
                .map_or_else(Arc::default, |node| Arc::new(self.retry(node, &Retry::default(), &none))),
        }
    }

    /// Builds one step.
    pub(crate) fn step(&mut self, pending: &Pending<'_>, defaults: &Defaults) -> Built {
        let StepFile { entry, fields, finally } = pending.step;
        let each = &pending.each;
        let needs = fields.get("needs").map(|node| self.needs(node)).unwrap_or_default();
        let work = self.worker(each).work(&fields, "a step");
        let step = Step {
            id: pending.id.clone(),
            name: self.fixed(&fields, "name", each).unwrap_or_else(|| pending.id.to_string()),
            finally,
            when: fields.get("when").and_then(|node| self.expression(node, "`when`")),
            require: fields.get("require").map(|node| self.requirements(node)).unwrap_or_default(),
            work,
            check: self.conditions(&fields, "check", each),
            wait: self.conditions(&fields, "wait", each),
            assert: fields.get("assert").map(|node| self.assertions(node)).unwrap_or_default(),
            outputs: fields.get("outputs").map(|node| self.outputs(node, each)).unwrap_or_default(),
            retry: self.own_retry(&fields, &defaults.retry, each),
            timeout: fields.get("timeout").map_or(defaults.timeout, |node| self.duration(node, "`timeout`", each)),
            deadline: fields.get("deadline").and_then(|node| self.duration(node, "`deadline`", each)),
            expected: fields.get("expected").and_then(|node| self.expected(node, each)),
            normal: self.fixed(&fields, "normal", each),
            locks: fields.get("locks").map(|node| self.locks(node)).unwrap_or_default(),
            hints: fields.get("hints").map(|node| self.hints(node, each)).unwrap_or_default(),
            stages: fields.get("stages").map(|node| self.stages(node, each)).unwrap_or_default(),
            on_demand: self.flag(&fields, "on_demand"),
            undo: fields.get("undo").and_then(|node| self.undo(node, each)).map(Box::new),
            protect: self.flag(&fields, "protect"),
            read_only: self.flag(&fields, "read_only"),
            idempotent: self.flag(&fields, "idempotent"),
            cost: fields.get("cost").and_then(|node| self.cost(node)),
            known_issue: fields.get("known_issue").and_then(|node| self.known_issue(node, each)),
            answers: None,
            scope: Scope { units: self.units.clone(), unit: self.unit, each: Arc::clone(each) },
            place: self.place(&entry.key_span),
        };
        self.does_something(&step, &fields);
        self.sane_times(&step, &fields);
        let each = fields
            .get("foreach")
            .and_then(Node::entries)
            .unwrap_or(&[])
            .iter()
            .map(|entry| entry.key.clone())
            .collect();
        Built { step, needs, each }
    }

    fn worker<'w>(&'w mut self, each: &'w Map<String, Value>) -> Worker<'w> {
        Worker {
            source: self.source,
            before: Before { units: self.units, unit: self.unit, each },
            odd: self.odd,
            kinds: self.kinds,
            schemas: self.schemas,
            problems: self.problems,
        }
    }

    fn does_something(&mut self, step: &Step, fields: &Fields<'_>) {
        // A step may also only wait, look, or be a gate; and where a key is misspelt, that is the problem to report.
        let tries = ["uses", "run", "command", "manual", "wait", "check", "require"]
            .iter()
            .any(|key| fields.get(key).is_some());
        if step.work.is_none() && !tries && fields.all_in(STEP_KEYS) {
            let message = format!("step `{}` does nothing", step.id);
            let help =
                "say what it does with one of `uses`, `run`, `command`, `manual`, or let it `wait` for something";
            let span = step.place.span.clone();
            self.reader().problem_with_help("plan::no-work", &span, message, "", help);
        }
    }

    fn sane_times(&mut self, step: &Step, fields: &Fields<'_>) {
        let (Some(timeout), Some(deadline), Some(node)) = (step.timeout, step.deadline, fields.get("deadline")) else {
            return;
        };
        if deadline < timeout && fields.get("timeout").is_some() {
            let message = format!("the deadline of step `{}` is shorter than one attempt", step.id);
            let remark = format!("less than the timeout of {}", duration::format(timeout));
            let help = "`timeout` bounds one attempt, `deadline` all of them";
            self.reader().problem_with_help("plan::deadline", &node.span, message, remark, help);
        }
    }

    /// A text that is known before anything runs.
    fn fixed(&mut self, fields: &Fields<'_>, key: &str, each: &Map<String, Value>) -> Option<String> {
        let node = fields.get(key)?;
        self.fixed_text(node, &format!("`{key}`"), each)
    }

    fn fixed_text(&mut self, node: &Node, what: &str, each: &Map<String, Value>) -> Option<String> {
        let text = self.reader().text(node, what)?.to_owned();
        match self.fixed_value(node, what, each)? {
            Value::Null => Some(text),
            value => Some(super::inputs::plain(&value)),
        }
    }

    /// A value that is known before anything runs; null where inputs are not given yet.
    fn fixed_value(&mut self, node: &Node, what: &str, each: &Map<String, Value>) -> Option<Value> {
        let before = Before { units: self.units, unit: self.unit, each };
        fixed_value(node, what, before, &mut Reader { source: self.source, problems: self.problems })
    }

    fn duration(&mut self, node: &Node, what: &str, each: &Map<String, Value>) -> Option<Duration> {
        let text = match &node.data {
            Data::Number(number) => number.to_string(),
            _ => {
                self.reader().text(node, what)?;
                match self.fixed_value(node, what, each)? {
                    Value::Null => return None,
                    value => super::inputs::plain(&value),
                }
            }
        };
        match duration::parse(&text) {
            Ok(duration) if duration.is_zero() && matches!(what, "`timeout`" | "`deadline`") => {
                let help = "leave it out where nothing is to be bounded";
                let remark = "nothing ends in no time";
                self.reader().problem_with_help("plan::duration", &node.span, format!("{what} is zero"), remark, help);
                None
            }
            Ok(duration) => Some(duration),
            Err(why) => {
                self.reader().problem("plan::duration", &node.span, format!("{what} is not a duration"), why);
                None
            }
        }
    }

    fn expected(&mut self, node: &Node, each: &Map<String, Value>) -> Option<Expected> {
        let Some((low, high)) = node.text().and_then(|text| text.split_once("..")) else {
            let both = self.duration(node, "`expected`", each)?;
            return Some(Expected { low: both, high: both });
        };
        match (duration::parse(low), duration::parse(high)) {
            (Ok(low), Ok(high)) if low <= high => Some(Expected { low, high }),
            (Ok(_), Ok(_)) => {
                self.reader().problem(
                    "plan::duration",
                    &node.span,
                    "`expected` ends before it begins",
                    "write the shorter time first",
                );
                None
            }
            (Err(why), _) | (_, Err(why)) => {
                self.reader().problem("plan::duration", &node.span, "`expected` is not a range of durations", why);
                None
            }
        }
    }

    fn flag(&mut self, fields: &Fields<'_>, key: &str) -> bool {
        fields.get(key).and_then(|node| self.reader().flag(node, &format!("`{key}`"))).unwrap_or(false)
    }

    fn needs(&mut self, node: &Node) -> Vec<Need> {
        let mut reader = self.reader();
        needs(node, &mut reader)
    }

    fn expression(&mut self, node: &Node, what: &str) -> Option<Expression> {
        let text = match &node.data {
            Data::Bool(flag) => flag.to_string(),
            _ => self.reader().text(node, what)?.to_owned(),
        };
        if text.trim_start().starts_with("${{") {
            let bare = text.trim().trim_start_matches("${{").trim_end_matches("}}").trim();
            let help = format!("write `{bare}`");
            self.reader().problem_with_help(
                "expr::bare",
                &node.span,
                format!("{what} is an expression as it stands"),
                "no `${{ }}` here",
                help,
            );
            return None;
        }
        Some(Expression { text, place: self.place(&node.span) })
    }

    fn requirements(&mut self, node: &Node) -> Vec<Requirement> {
        let items = match &node.data {
            Data::Map(_) => std::slice::from_ref(node),
            _ => self.reader().list(node, "`require`").unwrap_or(&[]),
        };
        items.iter().filter_map(|item| self.requirement(item)).collect()
    }

    fn requirement(&mut self, node: &Node) -> Option<Requirement> {
        let fields = self.reader().fields(node, "a requirement", &["assert", "message", "fix"])?;
        let Some(assert) = fields.get("assert") else {
            self.reader().problem_with_help(
                "plan::require",
                &node.span,
                "a requirement asserts nothing",
                "",
                "add `assert:`, an expression",
            );
            return None;
        };
        let assert = self.expression(assert, "`assert`")?;
        let message = fields.get("message").map_or_else(
            || Template::Plain(Value::String(format!("`{}` does not hold", assert.text))),
            |node| template::from_node(node, self.source),
        );
        Some(Requirement { assert, message, fix: fields.get("fix").map(|node| template::from_node(node, self.source)) })
    }

    fn conditions(&mut self, fields: &Fields<'_>, key: &str, each: &Map<String, Value>) -> Vec<Template> {
        let Some(node) = fields.get(key) else { return Vec::new() };
        let items = match &node.data {
            Data::Map(_) => std::slice::from_ref(node),
            _ => self.reader().list(node, &format!("`{key}`")).unwrap_or(&[]),
        };
        let templates: Vec<Template> = items.iter().map(|item| template::from_node(item, self.source)).collect();
        for (item, template) in items.iter().zip(&templates) {
            self.worker(each).condition(item, template);
        }
        templates
    }

    fn assertions(&mut self, node: &Node) -> Vec<Expression> {
        let items = match &node.data {
            Data::Text(_) | Data::Bool(_) => std::slice::from_ref(node),
            _ => self.reader().list(node, "`assert`").unwrap_or(&[]),
        };
        items.iter().filter_map(|item| self.expression(item, "an assertion")).collect()
    }

    fn outputs(&mut self, node: &Node, each: &Map<String, Value>) -> IndexMap<String, OutputRule> {
        let entries = self.reader().map(node, "`outputs`").unwrap_or(&[]);
        let mut outputs = IndexMap::new();
        for entry in entries {
            self.reader().name(entry, "an output");
            let template = template::from_node(&entry.value, self.source);
            let looks_up = entry.value.get("object").is_some();
            if looks_up {
                self.worker(each).lookup(&entry.value, &template);
            }
            outputs.insert(
                entry.key.clone(),
                if looks_up { OutputRule::Lookup(template) } else { OutputRule::Value(template) },
            );
        }
        outputs
    }

    /// A step's own `retry`, or that of the plan. Of a failed script or command nothing is known but its exit code: whoever writes `retry`
    /// beside one means that.
    fn own_retry(&mut self, step: &Fields<'_>, usual: &Arc<Retry>, each: &Map<String, Value>) -> Arc<Retry> {
        let Some(node) = step.get("retry") else { return Arc::clone(usual) };
        let mut retry = self.retry(node, usual, each);
        let is_program = ["run", "command"].iter().any(|key| step.get(key).is_some());
        let says_which = matches!(&node.data, Data::Map(entries) if entries.iter().any(|entry| entry.key == "only"));
        if is_program && !says_which && !retry.only.contains(&Class::Permanent) {
            retry.only.push(Class::Permanent);
        }
        retry.into()
    }

    fn retry(&mut self, node: &Node, base: &Retry, each: &Map<String, Value>) -> Retry {
        let mut retry = base.clone();
        if matches!(node.data, Data::Number(_)) {
            let help = "write `retry: { attempts: 3 }`";
            self.reader().problem_with_help("plan::retry", &node.span, "`retry` is a map", "this is a number", help);
            return retry;
        }
        let Some(fields) = self.reader().fields(node, "`retry`", &["attempts", "backoff", "only"]) else {
            return retry;
        };
        if let Some(node) = fields.get("attempts") {
            retry.attempts = self.attempts(node).unwrap_or(retry.attempts);
        }
        if let Some(node) = fields.get("backoff") {
            self.backoff(node, &mut retry, each);
        }
        if let Some(node) = fields.get("only") {
            let items = self.reader().list(node, "`only`").unwrap_or(&[]);
            retry.only = items.iter().filter_map(|item| class(item, &mut self.reader())).collect();
        }
        retry
    }

    fn attempts(&mut self, node: &Node) -> Option<u32> {
        let number = match &node.data {
            Data::Number(number) => number.as_u64(),
            _ => None,
        };
        match number {
            Some(attempts @ 1..=1000) => u32::try_from(attempts).ok(),
            _ => {
                let help = "tries in all, the first included: 1 is no retry, 5 is usual";
                self.reader().problem_with_help(
                    "plan::retry",
                    &node.span,
                    "`attempts` must be a whole number from 1 to 1000",
                    "",
                    help,
                );
                None
            }
        }
    }

    fn backoff(&mut self, node: &Node, retry: &mut Retry, each: &Map<String, Value>) {
        let Some(fields) = self.reader().fields(node, "`backoff`", &["initial", "factor", "max"]) else { return };
        if let Some(node) = fields.get("initial") {
            retry.initial = self.duration(node, "`initial`", each).unwrap_or(retry.initial);
        }
        if let Some(node) = fields.get("max") {
            retry.max = self.duration(node, "`max`", each).unwrap_or(retry.max);
        }
        if let Some(node) = fields.get("factor")
            && let Some(factor) = self.reader().number(node, "`factor`")
        {
            if (1.0..=100.0).contains(&factor) {
                retry.factor = factor;
            } else {
                self.reader().problem(
                    "plan::retry",
                    &node.span,
                    "`factor` must be from 1 to 100",
                    "pauses never get shorter",
                );
            }
        }
        if retry.max < retry.initial {
            let message = "the longest pause is shorter than the first";
            let remark = format!(
                "the first is {}, the longest {}",
                duration::format(retry.initial),
                duration::format(retry.max)
            );
            self.reader().problem("plan::retry", &node.span, message, remark);
        }
    }

    fn locks(&mut self, node: &Node) -> Vec<Template> {
        let items = match &node.data {
            Data::Text(_) => std::slice::from_ref(node),
            _ => self.reader().list(node, "`locks`").unwrap_or(&[]),
        };
        let source = self.source;
        items
            .iter()
            .filter(|item| self.reader().text(item, "a lock").is_some())
            .map(|item| template::from_node(item, source))
            .collect()
    }

    fn hint_reader<'r>(&'r mut self, each: &'r Map<String, Value>) -> HintReader<'r> {
        let before = Some(Before { units: self.units, unit: self.unit, each });
        HintReader { source: self.source, problems: self.problems, origin: Origin::Step, before }
    }

    fn hints(&mut self, node: &Node, each: &Map<String, Value>) -> Vec<Hint> {
        let items = self.reader().list(node, "`hints`").unwrap_or(&[]);
        items.iter().filter_map(|item| self.hint_reader(each).hint(item)).collect()
    }

    fn stages(&mut self, node: &Node, each: &Map<String, Value>) -> Vec<Stage> {
        let items = self.reader().list(node, "`stages`").unwrap_or(&[]);
        items.iter().filter_map(|item| self.stage(item, each)).collect()
    }

    fn stage(&mut self, node: &Node, each: &Map<String, Value>) -> Option<Stage> {
        let fields = self.reader().fields(node, "a stage", &["name", "match", "expected", "normal"])?;
        for key in ["name", "match"] {
            if fields.get(key).is_none() {
                self.reader().problem("plan::stage", &node.span, format!("a stage has no `{key}`"), "this one");
            }
        }
        Some(Stage {
            name: self.fixed(&fields, "name", each)?,
            matches: self.hint_reader(each).matching(fields.get("match")?)?,
            expected: fields.get("expected").and_then(|node| self.expected(node, each)),
            normal: self.fixed(&fields, "normal", each),
        })
    }

    fn undo(&mut self, node: &Node, each: &Map<String, Value>) -> Option<Undo> {
        if let Data::Bool(wanted) = node.data {
            return Some(Undo { keep: !wanted, ..Undo::default() });
        }
        let keys = ["confirm", "run", "command", "uses", "with", "env", "dir"];
        let fields = self.reader().fields(node, "`undo`", &keys)?;
        let confirm = self.fixed(&fields, "confirm", each);
        let work = self.worker(each).work(&fields, "`undo`");
        Some(Undo { confirm, work, keep: false })
    }

    fn cost(&mut self, node: &Node) -> Option<Cost> {
        let fields = self.reader().fields(node, "`cost`", &["per_hour"])?;
        let node = fields.get("per_hour")?;
        let per_hour = self.reader().number(node, "`per_hour`")?;
        if per_hour < 0.0 {
            self.reader().problem("plan::cost", &node.span, "`per_hour` is less than nothing", "0 or more");
        }
        Some(Cost { per_hour })
    }

    fn known_issue(&mut self, node: &Node, each: &Map<String, Value>) -> Option<KnownIssue> {
        let fields = self.reader().fields(node, "`known_issue`", &["reason"])?;
        if fields.get("reason").is_none() {
            self.reader().problem("plan::known-issue", &node.span, "a known issue has no `reason`", "say why it fails");
        }
        Some(KnownIssue { reason: self.fixed(&fields, "reason", each)? })
    }
}

/// What a `needs` names: one step, a list, or a map that says what each must have come to.
pub(crate) fn needs(node: &Node, reader: &mut Reader<'_>) -> Vec<Need> {
    match &node.data {
        Data::Text(_) => need(node, reader).into_iter().collect(),
        Data::Map(entries) => entries.iter().filter_map(|entry| need_as(entry, reader)).collect(),
        _ => {
            let items = reader.list(node, "`needs`").unwrap_or(&[]);
            items.iter().filter_map(|item| need(item, reader)).collect()
        }
    }
}

fn need(item: &Node, reader: &mut Reader<'_>) -> Option<Need> {
    if let Some([entry]) = item.entries() {
        return need_as(entry, reader);
    }
    let name = reader.text(item, "a need")?.to_owned();
    Some(Need { name, accept: Accept::Succeeded, span: item.span.clone() })
}

fn need_as(entry: &Entry, reader: &mut Reader<'_>) -> Option<Need> {
    Some(Need { name: entry.key.clone(), accept: accept(&entry.value, reader)?, span: entry.key_span.clone() })
}

fn accept(node: &Node, reader: &mut Reader<'_>) -> Option<Accept> {
    match reader.text(node, "what a need accepts")? {
        "succeeded" => Some(Accept::Succeeded),
        "finished" => Some(Accept::Finished),
        other => {
            let remark = did_you_mean(other, ["succeeded", "finished"]).unwrap_or_else(|| "not known".into());
            let help = "`succeeded` (ok, changed or skipped) or `finished` (any end, a failure too)";
            reader.problem_with_help("plan::need", &node.span, format!("a need cannot be `{other}`"), remark, help);
            None
        }
    }
}
