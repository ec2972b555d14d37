//! From files to units: inputs bound, vars evaluated, includes followed, items of `foreach` counted out.
//!
//! Owns which steps there are and what they are called; does not know what a step does.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::{Problem, did_you_mean};
use super::file::{self, Fields, File, Reader, StepFile};
use super::inputs::{self, Input};
use super::load::Given;
use super::model::{Expression, Place, Source, StepId, Target, Unit};
use super::scan;
use super::template::{self, Before, Reach};
use super::texts::Texts;
use super::tree::{Data, Entry, Node};
use crate::maps::NameMap;

/// Plans inside plans, at most this deep.
const DEEPEST_INCLUDE: usize = 16;

/// What the loader knows of a unit besides what expressions see.
pub(crate) struct Frame<'t> {
    /// Its file.
    pub(crate) text: usize,
    /// What its file declares.
    pub(crate) inputs: Vec<Input<'t>>,
    /// The include that it comes from, in the file of the parent.
    pub(crate) include: Option<(&'t Entry, Fields<'t>)>,
}

/// A step to be built.
pub(crate) struct Pending<'t> {
    pub(crate) unit: usize,
    pub(crate) step: StepFile<'t>,
    pub(crate) id: StepId,
    pub(crate) each: Arc<Map<String, Value>>,
}

/// Binds units.
pub(crate) struct Binder<'t, 'p> {
    pub(crate) texts: &'t Texts,
    pub(crate) files: Vec<Option<File<'t>>>,
    pub(crate) given: &'p Given,
    pub(crate) problems: &'p mut Vec<Problem>,
    pub(crate) units: Vec<Unit>,
    pub(crate) frames: Vec<Frame<'t>>,
    pub(crate) pending: Vec<Pending<'t>>,
}

impl<'t, 'p> Binder<'t, 'p> {
    pub(crate) fn new(texts: &'t Texts, given: &'p Given, problems: &'p mut Vec<Problem>) -> Self {
        let mut files = Vec::new();
        for text in &texts.list {
            let mut reader = Reader { source: &text.source, problems };
            files.push(text.root.as_ref().and_then(|root| file::read(root, &mut reader)));
        }
        Self { texts, files, given, problems, units: Vec::new(), frames: Vec::new(), pending: Vec::new() }
    }

    fn bind_input(&mut self, unit: usize, input: &Input<'t>, value: Value) {
        let value = input.at_home(value, self.given.home.as_deref());
        self.units[unit].inputs.insert(input.entry.key.clone(), value);
    }

    fn source(&self, unit: usize) -> &'t Arc<Source> {
        &self.texts.list[self.frames[unit].text].source
    }

    pub(crate) fn reader(&mut self, unit: usize) -> Reader<'_> {
        Reader { source: &self.texts.list[self.frames[unit].text].source, problems: self.problems }
    }

    fn place(&self, unit: usize, span: &Range<usize>) -> Place {
        Place { source: self.source(unit).clone(), span: span.clone() }
    }

    /// Binds the plan itself.
    pub(crate) fn top(&mut self) {
        self.unit(0, None, String::new(), None);
    }

    fn unit(
        &mut self,
        text: usize,
        parent: Option<usize>,
        prefix: String,
        include: Option<(&'t Entry, Fields<'t>)>,
    ) -> usize {
        let unit = self.units.len();
        self.units.push(Unit { prefix, parent, ..Unit::default() });
        self.frames.push(Frame { text, inputs: Vec::new(), include });
        if self.files[text].is_some() {
            self.declare_inputs(unit);
            match (parent, include) {
                (Some(parent), Some((entry, fields))) => self.pass_inputs(unit, parent, entry, &fields),
                _ => self.give_inputs(),
            }
            self.bind_vars(unit);
            self.bind_names(unit);
            self.bind_outputs(unit);
        }
        unit
    }

    fn file(&self, unit: usize) -> Option<&File<'t>> {
        self.files[self.frames[unit].text].as_ref()
    }

    fn declare_inputs(&mut self, unit: usize) {
        let declared = self.file(unit).map(|file| file.inputs.clone()).unwrap_or_default();
        let mut reader = self.reader(unit);
        let inputs: Vec<Input<'t>> =
            declared.iter().map(|(entry, fields)| inputs::declare(entry, fields, &mut reader)).collect();
        self.frames[unit].inputs = inputs;
    }

    /// The plan's own inputs: what was given, else the defaults.
    fn give_inputs(&mut self) {
        let inputs = self.frames[0].inputs.clone();
        let mut missing = Vec::new();
        for input in &inputs {
            let name = &input.entry.key;
            match (self.given.inputs.get(name), input.default) {
                (Some(text), _) => match input.parse(text) {
                    Ok(value) => self.bind_input(0, input, value),
                    Err(why) => self.wrong_input(input, &why),
                },
                (None, Some(default)) => self.bind_input(0, input, default.to_value()),
                (None, None) if input.required => missing.push(input),
                (None, None) => self.bind_input(0, input, Value::Null),
            }
        }
        self.unknown_inputs(&inputs);
        if self.given.require_inputs && !missing.is_empty() {
            let problem = missing_inputs(&missing, self.source(0));
            self.problems.push(problem);
        }
    }

    fn wrong_input(&mut self, input: &Input<'t>, why: &str) {
        let name = &input.entry.key;
        let place = self.place(0, &input.entry.key_span);
        let problem = Problem::at("input::invalid", &place, format!("input `{name}`: {why}"), "declared here");
        self.problems.push(problem.help(input.way_to_give()));
    }

    fn unknown_inputs(&mut self, inputs: &[Input<'t>]) {
        let names = || inputs.iter().map(|input| input.entry.key.as_str());
        let given = self.given.inputs.keys().filter(|name| !self.given.remembered.contains(*name));
        for name in given.filter(|name| !names().any(|known| known == *name)) {
            let problem = Problem::bare("input::unknown", format!("the plan has no input `{name}`"));
            let all = names().collect::<Vec<_>>().join(", ");
            let help = did_you_mean(name, names())
                .unwrap_or_else(|| if all.is_empty() { "it has none".into() } else { format!("it has: {all}") });
            self.problems.push(problem.help(help));
        }
    }

    /// The inputs of an include: what `with` passes, else the defaults.
    fn pass_inputs(&mut self, unit: usize, parent: usize, include: &'t Entry, fields: &Fields<'t>) {
        let passed = match fields.get("with") {
            Some(node) => self.reader(parent).map(node, "`with`").unwrap_or(&[]),
            None => &[],
        };
        let inputs = self.frames[unit].inputs.clone();
        for entry in passed {
            match inputs.iter().find(|input| input.entry.key == entry.key) {
                Some(input) => self.pass(unit, parent, input, &entry.value),
                None => {
                    let names = inputs.iter().map(|input| input.entry.key.as_str());
                    let remark = did_you_mean(&entry.key, names).unwrap_or_else(|| "not one of its inputs".to_owned());
                    let place = self.place(parent, &entry.key_span);
                    let message = format!("the plan included as `{}` has no input `{}`", include.key, entry.key);
                    self.problems.push(Problem::at("include::input", &place, message, remark));
                }
            }
        }
        for input in inputs.iter().filter(|input| !passed.iter().any(|entry| entry.key == input.entry.key)) {
            self.not_passed(unit, parent, include, input);
        }
    }

    fn not_passed(&mut self, unit: usize, parent: usize, include: &'t Entry, input: &Input<'t>) {
        let name = &input.entry.key;
        match input.default {
            Some(default) => self.bind_input(unit, input, default.to_value()),
            None if input.required => {
                let place = self.place(parent, &include.key_span);
                let message = format!("include `{}` does not pass the input `{name}`", include.key);
                let about =
                    if input.description.is_empty() { String::new() } else { format!(": {}", input.description) };
                self.problems.push(
                    Problem::at("include::input", &place, message, "")
                        .help(format!("add `{name}` to its `with`{about}")),
                );
            }
            None => self.bind_input(unit, input, Value::Null),
        }
    }

    fn pass(&mut self, unit: usize, parent: usize, input: &Input<'t>, node: &'t Node) {
        let template = template::from_node(node, self.source(parent));
        let none = Map::new();
        let before = Before { units: &self.units, unit: parent, each: &none };
        let name = input.entry.key.clone();
        match before.reach_of_template(&template) {
            Reach::Inputs => {}
            Reach::Steps => drop(self.units[unit].late_inputs.insert(name, template)),
            Reach::Now => {
                let value = before.with_known(|sight| sight.template(&template));
                let accepted = value.map_err(|error| error.message).and_then(|value| input.accept(value));
                match accepted {
                    Ok(value) => self.bind_input(unit, input, value),
                    Err(why) => {
                        let place = self.place(parent, &node.span);
                        self.problems.push(Problem::at(
                            "include::input",
                            &place,
                            format!("the input `{name}` does not fit"),
                            why,
                        ));
                    }
                }
            }
        }
    }

    fn bind_vars(&mut self, unit: usize) {
        let vars = self.file(unit).map_or(&[][..], |file| file.vars);
        let mut order = VarOrder { vars, done: HashSet::new(), path: Vec::new(), sorted: Vec::new(), cycle: None };
        for entry in vars {
            order.visit(entry);
        }
        if let Some(cycle) = order.cycle {
            let place = self.place(unit, &cycle[0].key_span);
            let names: Vec<&str> = cycle.iter().map(|entry| entry.key.as_str()).collect();
            let message = format!("vars form a cycle: {} → {}", names.join(" → "), names[0]);
            self.problems.push(Problem::at("plan::var-cycle", &place, message, "needs its own value"));
        }
        for entry in order.sorted {
            self.bind_var(unit, entry);
        }
    }

    fn bind_var(&mut self, unit: usize, entry: &'t Entry) {
        let template = template::from_node(&entry.value, self.source(unit));
        let none = Map::new();
        let before = Before { units: &self.units, unit, each: &none };
        match before.reach_of_template(&template) {
            Reach::Inputs => {}
            Reach::Steps => drop(self.units[unit].late_vars.insert(entry.key.clone(), template)),
            Reach::Now => match before.with_known(|sight| sight.template(&template)) {
                Ok(value) => drop(self.units[unit].vars.insert(entry.key.clone(), value)),
                Err(error) => {
                    let place = error.place.unwrap_or_else(|| self.place(unit, &entry.value.span));
                    self.problems.push(Problem::at(
                        "expr::value",
                        &place,
                        format!("the var `{}` has no value: {}", entry.key, error.message),
                        "",
                    ));
                }
            },
        }
    }

    fn bind_names(&mut self, unit: usize) {
        let (includes, steps) =
            self.file(unit).map(|file| (file.includes.clone(), file.steps.clone())).unwrap_or_default();
        let mut names = NameMap::with_capacity_and_hasher(steps.len() + includes.len(), Default::default());
        for (entry, fields) in includes {
            if let Some(inner) = self.include(unit, entry, fields) {
                names.insert(entry.key.clone(), Target::Include(inner));
            }
        }
        let prefix = self.units[unit].prefix.clone();
        let no_item = Arc::default();
        for step in steps {
            let name = &step.entry.key;
            let target = match step.fields.get("foreach") {
                Some(node) => self.items(unit, step, node, &prefix),
                None => {
                    let id = StepId::from(format!("{prefix}{name}").as_str());
                    self.pending.push(Pending { unit, step, id: id.clone(), each: Arc::clone(&no_item) });
                    Target::Step(id)
                }
            };
            names.entry(name.clone()).or_insert(target);
        }
        self.units[unit].names = names;
    }

    fn include(&mut self, unit: usize, entry: &'t Entry, fields: Fields<'t>) -> Option<usize> {
        let Some(node) = fields.get("plan") else {
            let message = format!("include `{}` names no plan", entry.key);
            self.reader(unit).problem_with_help(
                "include::plan",
                &entry.key_span,
                message,
                "",
                "add `plan: modules/NAME.yaml`",
            );
            return None;
        };
        let name = self.reader(unit).text(node, "`plan`")?;
        let text = *self.texts.included.get(&(self.frames[unit].text, name.to_owned()))?;
        if self.chain(unit).any(|outer| outer == text) || self.chain(unit).count() >= DEEPEST_INCLUDE {
            let message = format!("`{name}` includes itself");
            self.reader(unit).problem("include::cycle", &node.span, message, "this would never end");
            return None;
        }
        let prefix = format!("{}{}.", self.units[unit].prefix, entry.key);
        Some(self.unit(text, Some(unit), prefix, Some((entry, fields))))
    }

    /// The files from a unit outwards.
    fn chain(&self, unit: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(unit), |unit| self.units[*unit].parent).map(|unit| self.frames[unit].text)
    }

    fn bind_outputs(&mut self, unit: usize) {
        let outputs = self.file(unit).map_or(&[][..], |file| file.outputs);
        let source = self.source(unit).clone();
        self.units[unit].outputs =
            outputs.iter().map(|entry| (entry.key.clone(), template::from_node(&entry.value, &source))).collect();
    }

    /// Counts out a `foreach`: every combination of its lists, each step named by its values.
    fn items(&mut self, unit: usize, step: StepFile<'t>, node: &'t Node, prefix: &str) -> Target {
        let lists = self.reader(unit).map(node, "`foreach`").unwrap_or(&[]);
        let mut combinations: Vec<(String, Map<String, Value>)> = vec![(String::new(), Map::new())];
        for entry in lists {
            self.reader(unit).name(entry, "an item");
            let items = self.list_of(unit, &entry.value).map(|items| self.each_once(unit, &entry.value, items));
            combinations = combine(&combinations, &entry.key, items.as_deref());
        }
        let mut named = Vec::new();
        for (item, each) in combinations {
            let id = StepId::from(format!("{prefix}{}[{item}]", step.entry.key).as_str());
            self.pending.push(Pending { unit, step, id: id.clone(), each: each.into() });
            named.push((item, id));
        }
        Target::Items(named)
    }

    fn each_once(&mut self, unit: usize, node: &Node, items: Vec<(String, Value)>) -> Vec<(String, Value)> {
        let mut seen = HashSet::new();
        let (first, again): (Vec<_>, Vec<_>) = items.into_iter().partition(|(item, _)| seen.insert(item.clone()));
        for (item, _) in again {
            let message = format!("`foreach` has the item `{item}` twice");
            self.reader(unit).problem("plan::foreach", &node.span, message, "items are known by their values");
        }
        first
    }

    /// The items of a list, if they are known by now.
    fn list_of(&mut self, unit: usize, node: &'t Node) -> Option<Vec<(String, Value)>> {
        let source = self.source(unit).clone();
        let none = Map::new();
        let before = Before { units: &self.units, unit, each: &none };
        let value = match &node.data {
            Data::Text(text) if !scan::has_expression(text) => {
                let expression =
                    Expression { text: text.to_string(), place: Place { source, span: node.span.clone() } };
                let reach = before.reach(&scan::mentions(text).references);
                (reach, before.with_known(|sight| (reach == Reach::Now).then(|| sight.expression(&expression))))
            }
            _ => {
                let template = template::from_node(node, &source);
                (before.reach_of_template(&template), before.value(&template))
            }
        };
        let mut reader = self.reader(unit);
        match value {
            // Reported where names are checked.
            (Reach::Steps, _) => None,
            (_, None) => None,
            (_, Some(Err(error))) => {
                reader.problem("plan::foreach", &node.span, format!("the list has no value: {}", error.message), "");
                None
            }
            (_, Some(Ok(Value::Array(items)))) => {
                Some(items.into_iter().filter_map(|item| keyed(item, node, &mut reader)).collect())
            }
            (_, Some(Ok(_))) => {
                reader.problem("plan::foreach", &node.span, "`foreach` needs a list", "this is not a list");
                None
            }
        }
    }
}

/// An item with its name: its own text, or the `name` of a map.
fn keyed(item: Value, node: &Node, reader: &mut Reader<'_>) -> Option<(String, Value)> {
    let key = match &item {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => Some(inputs::plain(&item)),
        Value::Object(map) => map.get("name").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    if key.is_none() {
        let help = "items are texts, numbers, or maps with a `name`";
        reader.problem_with_help("plan::foreach", &node.span, "an item of `foreach` cannot be named", "", help);
    }
    let key = key?;
    if key.contains(char::is_control) {
        let message = format!("the item {key:?} of `foreach` has a line break or another control character");
        let help = "an item is a part of its step's name; give a map with a `name` and the text in another key";
        reader.problem_with_help("plan::foreach", &node.span, message, "", help);
        return None;
    }
    Some((key, item))
}

/// Each so far, with each item of one more list. An unknown list stands for itself.
fn combine(
    before: &[(String, Map<String, Value>)],
    name: &str,
    items: Option<&[(String, Value)]>,
) -> Vec<(String, Map<String, Value>)> {
    let joined = |left: &str, right: &str| if left.is_empty() { right.to_owned() } else { format!("{left},{right}") };
    let Some(items) = items else {
        return before.iter().map(|(key, each)| (joined(key, "…"), each.clone())).collect();
    };
    let with = |(key, each): &(String, Map<String, Value>)| {
        items
            .iter()
            .map(|(item, value)| {
                let mut each = each.clone();
                each.insert(name.to_owned(), value.clone());
                (joined(key, item), each)
            })
            .collect::<Vec<_>>()
    };
    before.iter().flat_map(with).collect()
}

/// All inputs that are missing, in one problem.
fn missing_inputs(missing: &[&Input<'_>], source: &Arc<Source>) -> Problem {
    let names: Vec<&str> = missing.iter().map(|input| input.entry.key.as_str()).collect();
    let message = match names.as_slice() {
        [one] => format!("the input `{one}` is missing"),
        many => format!("{} inputs are missing: {}", many.len(), many.join(", ")),
    };
    let lines: Vec<String> = missing
        .iter()
        .map(|input| {
            let value = input.example.as_deref().unwrap_or("…");
            let about = if input.description.is_empty() { String::new() } else { format!("   {}", input.description) };
            format!("--input {}={value}{about}", input.entry.key)
        })
        .collect();
    let mut problem = Problem { source: Some(source.clone()), ..Problem::bare("input::missing", message) };
    for input in missing {
        problem = problem.and(input.entry.key_span.clone(), "required");
    }
    problem.help(format!("give {}\n{}", if names.len() == 1 { "it" } else { "them" }, lines.join("\n")))
}

/// Vars, each after those that it names.
struct VarOrder<'t> {
    vars: &'t [Entry],
    done: HashSet<&'t str>,
    path: Vec<&'t Entry>,
    sorted: Vec<&'t Entry>,
    cycle: Option<Vec<&'t Entry>>,
}

impl<'t> VarOrder<'t> {
    fn visit(&mut self, entry: &'t Entry) {
        if self.done.contains(entry.key.as_str()) {
            return;
        }
        if let Some(at) = self.path.iter().position(|open| open.key == entry.key) {
            self.cycle.get_or_insert_with(|| self.path[at..].to_vec());
            return;
        }
        self.path.push(entry);
        for name in named_vars(&entry.value) {
            if let Some(next) = self.vars.iter().find(|entry| entry.key == name) {
                self.visit(next);
            }
        }
        self.path.pop();
        self.done.insert(&entry.key);
        self.sorted.push(entry);
    }
}

fn named_vars(node: &Node) -> Vec<String> {
    match &node.data {
        Data::Text(text) => template::text_references(text)
            .into_iter()
            .filter(|reference| reference.path[0] == "vars")
            .filter_map(|reference| reference.path.get(1).cloned())
            .collect(),
        Data::List(items) => items.iter().flat_map(named_vars).collect(),
        Data::Map(entries) => entries.iter().flat_map(|entry| named_vars(&entry.value)).collect(),
        _ => Vec::new(),
    }
}
