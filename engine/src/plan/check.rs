//! What refers to what: every name in every expression, every need, and the graph that comes of it.
//!
//! Reports all that is wrong at once. Evaluates nothing.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;

use super::bind::Frame;
use super::braces;
use super::build::{Built, Need, needs};
use super::early;
use super::error::{Problem, did_you_mean, nearest};
use super::expr::{self, Fault};
use super::file::{Fields, File, Reader};
use super::graph;
use super::model::{
    Accept, Edge, Expression, Graph, OutputRule, Place, SecretSpec, Source, Step, StepId, Target, Template, Unit,
};
use super::references::{Allowed, Own, References};
use super::scan::{self, Part, Reference};
use super::sight::caret;
use super::template;
use super::texts::Texts;
use super::tree::Node;
use crate::maps::NameMap;

/// Beyond so many problems nothing more is suggested: it takes time with many steps, and nobody reads it.
const SUGGESTIONS: usize = 200;

/// So many links are looked through faster than they are hashed.
const FEW: usize = 16;

/// An edge with the place that it comes from.
#[derive(Clone, Debug)]
struct Link {
    edge: Edge,
    place: Place,
}

/// A need of an include as a whole, to be spread over its last steps.
struct Whole {
    step: usize,
    unit: usize,
    accept: Accept,
    implied: bool,
    place: Place,
}

/// The keys of a step, or of `defaults`, whose values must be known before anything runs, and which of the keys within them.
const FIXED: [(&str, &str, &[&str]); 10] = [
    ("name", "`name`", &[]),
    ("timeout", "`timeout`", &[]),
    ("deadline", "`deadline`", &[]),
    ("expected", "`expected`", &[]),
    ("normal", "`normal`", &[]),
    ("retry", "`retry`", &[]),
    ("hints", "`hints`", &["id", "cause", "fix", "docs", "remedy"]),
    ("stages", "`stages`", &["name", "expected", "normal"]),
    ("undo", "`undo`", &["confirm"]),
    ("known_issue", "`known_issue`", &["reason"]),
];

/// A node, or what stands below some keys of it or of its items.
fn inner_nodes<'n>(node: &'n Node, keys: &'n [&str]) -> Vec<&'n Node> {
    if keys.is_empty() {
        return vec![node];
    }
    let maps = node.items().unwrap_or(std::slice::from_ref(node));
    maps.iter().flat_map(|map| keys.iter().filter_map(|key| map.get(key))).collect()
}

/// A check under way.
pub(crate) struct Checker<'c, 't> {
    texts: &'c Texts,
    files: &'c [Option<File<'t>>],
    frames: &'c [Frame<'t>],
    units: &'c Arc<Vec<Unit>>,
    built: &'c [Built],
    problems: &'c mut Vec<Problem>,
    references: References<'c, 't>,
    index: &'c NameMap<StepId, usize>,
    links: Vec<Vec<Link>>,
    wholes: Vec<Whole>,
}

impl<'c, 't> Checker<'c, 't> {
    pub(crate) fn new(
        texts: &'c Texts,
        files: &'c [Option<File<'t>>],
        frames: &'c [Frame<'t>],
        units: &'c Arc<Vec<Unit>>,
        (built, index): (&'c [Built], &'c NameMap<StepId, usize>),
        secrets: &'c IndexMap<String, SecretSpec>,
        problems: &'c mut Vec<Problem>,
    ) -> Self {
        let references = References::new(files, frames, units, (built, index), secrets);
        let links = vec![Vec::new(); built.len()];
        Self { texts, files, frames, units, built, problems, references, index, links, wholes: Vec::new() }
    }

    fn source(&self, unit: usize) -> &'c Arc<Source> {
        &self.texts.list[self.frames[unit].text].source
    }

    /// Checks everything. No graph comes back where steps form a cycle.
    pub(crate) fn check(mut self) -> Option<Graph> {
        for unit in 0..self.units.len() {
            self.unit(unit);
        }
        for step in 0..self.built.len() {
            self.step(step);
        }
        self.spread_includes();
        self.finally_last();
        let used = std::mem::take(&mut self.references.used);
        self.problems.extend(used.unused(self.texts, self.files, self.frames, self.references.secrets));
        self.graph()
    }

    /// What belongs to no step: vars, what is passed to an include, outputs of the plan.
    fn unit(&mut self, unit: usize) {
        let Some(file) = &self.files[self.frames[unit].text] else { return };
        let source = self.source(unit).clone();
        for entry in file.vars {
            self.template(&template::from_node(&entry.value, &source), unit, &Allowed::early("a var"));
        }
        for (_, fields) in &file.includes {
            for entry in fields.get("with").and_then(|node| node.entries()).unwrap_or(&[]) {
                self.template(
                    &template::from_node(&entry.value, &source),
                    unit,
                    &Allowed::steps("what an include is given"),
                );
            }
        }
        for step in &file.steps {
            for entry in step.fields.get("foreach").and_then(|node| node.entries()).unwrap_or(&[]) {
                self.foreach(unit, &entry.value, &source);
            }
        }
        self.fixed(unit, file, &source);
        for entry in file.outputs {
            self.template(&template::from_node(&entry.value, &source), unit, &Allowed::steps("an output of the plan"));
        }
    }

    /// What was evaluated when the steps were built, as far as its names are known: here its names are judged.
    fn fixed(&mut self, unit: usize, file: &File<'_>, source: &Arc<Source>) {
        if let Some(fields) = &file.defaults {
            self.fixed_keys(unit, fields, &[], source);
        }
        for step in &file.steps {
            let foreach = step.fields.get("foreach").and_then(Node::entries).unwrap_or(&[]);
            let each: Vec<String> = foreach.iter().map(|entry| entry.key.clone()).collect();
            self.fixed_keys(unit, &step.fields, &each, source);
            step.fields.entries().iter().for_each(|entry| self.bare_braces(unit, &entry.value, source));
        }
    }

    fn fixed_keys(&mut self, unit: usize, fields: &Fields<'_>, each: &[String], source: &Arc<Source>) {
        for (key, what, inner) in FIXED {
            let Some(node) = fields.get(key) else { continue };
            // That it comes too late is told where it is evaluated.
            let allowed = Allowed { each, steps: true, ..Allowed::early(what) };
            for node in inner_nodes(node, inner) {
                self.template(&template::from_node(node, source), unit, &allowed);
            }
        }
    }

    /// What somebody meant to be an expression stays as it is, and nothing says so later.
    fn bare_braces(&mut self, unit: usize, node: &Node, source: &Arc<Source>) {
        let mut found = Vec::new();
        braces::below(node, &mut found);
        for bare in found.into_iter().filter(|bare| self.references.exists(&bare.reference, unit)) {
            let place = Place { source: source.clone(), span: bare.node.span.clone() };
            let text = bare.node.text().unwrap_or_default();
            let written = &text[bare.at.clone()];
            let problem =
                Problem::at("expr::braces", &caret(&place, text, bare.at), format!("`{written}` stays as it is"), "");
            self.problems.push(problem.help(format!("an expression begins with a `$`: `${written}`")).warning());
        }
    }

    fn foreach(&mut self, unit: usize, node: &Node, source: &Arc<Source>) {
        let allowed = Allowed::early("`foreach`");
        match node.text().filter(|text| !scan::has_expression(text)) {
            Some(text) => {
                let place = Place { source: source.clone(), span: node.span.clone() };
                self.expression(&Expression { text: text.to_owned(), place }, unit, &allowed);
            }
            None => drop(self.template(&template::from_node(node, source), unit, &allowed)),
        }
    }

    fn step(&mut self, index: usize) {
        let built = &self.built[index];
        let step = &built.step;
        for need in &built.needs {
            self.need(index, need);
        }
        self.remedies(step);
        let each = &built.each;
        let plain = |what| Allowed { each, ..Allowed::steps(what) };
        let mut found = Vec::new();
        if let Some(when) = &step.when {
            found.extend(self.expression(when, step.scope.unit, &plain("`when`")));
        }
        for requirement in &step.require {
            found.extend(self.expression(&requirement.assert, step.scope.unit, &plain("`require`")));
            for template in std::iter::once(&requirement.message).chain(&requirement.fix) {
                found.extend(self.template(template, step.scope.unit, &plain("`require`")));
            }
        }
        for template in step.check.iter().chain(&step.wait) {
            found.extend(self.template(template, step.scope.unit, &plain("a condition")));
        }
        for template in &step.locks {
            found.extend(self.template(template, step.scope.unit, &plain("`locks`")));
        }
        let secret = Allowed { secrets: true, ..plain("`with`") };
        for work in step.work.iter().chain(step.undo.iter().filter_map(|undo| undo.work.as_ref())) {
            found.extend(self.template(&work.with, step.scope.unit, &secret));
        }
        found.extend(self.own(index, step, each));
        for (reference, place) in found {
            self.follow(index, &reference, &place);
        }
        self.problems.extend(early::problems(step));
        // Of very many steps most have one link or two, and room for four.
        self.links[index].shrink_to_fit();
    }

    /// What a hint of a step offers to run must be there, and wait to be asked for.
    fn remedies(&mut self, step: &Step) {
        for name in step.hints.iter().filter_map(|hint| hint.remedy.as_ref()) {
            let found = match self.units[step.scope.unit].names.get(name) {
                Some(Target::Step(id)) => self.index.get(id).map(|index| &self.built[*index].step),
                _ => None,
            };
            let (message, help) = match found {
                Some(offered) if offered.on_demand => continue,
                Some(_) => (
                    format!("the remedy `{name}` of step `{}` runs anyway", step.id),
                    "a remedy is a step with `on_demand: true`".to_owned(),
                ),
                None => (
                    format!("the remedy `{name}` of step `{}` does not exist", step.id),
                    did_you_mean(name, self.units[step.scope.unit].sorted_names()).unwrap_or_else(|| {
                        "a remedy is the id of a step of this plan with `on_demand: true`".to_owned()
                    }),
                ),
            };
            self.problems.push(Problem::at("plan::remedy", &step.place, message, "has a hint with it").help(help));
        }
    }

    /// What sees the step's own outputs.
    fn own(&mut self, index: usize, step: &Step, each: &[String]) -> Vec<(Reference, Place)> {
        let own = |above, what| Allowed { each, own: Some(Own { step: index, above }), ..Allowed::steps(what) };
        let mut found = Vec::new();
        for assertion in &step.assert {
            found.extend(self.expression(assertion, step.scope.unit, &own(None, "`assert`")));
        }
        for (above, rule) in step.outputs.values().enumerate() {
            let (OutputRule::Lookup(template) | OutputRule::Value(template)) = rule;
            found.extend(self.template(template, step.scope.unit, &own(Some(above), "`outputs`")));
        }
        found
    }

    fn template(&mut self, template: &Template, unit: usize, allowed: &Allowed<'_>) -> Vec<(Reference, Place)> {
        let mut found = Vec::new();
        template::texts(template, &mut |text, place| found.extend(self.text(text, place, unit, allowed)));
        found
    }

    fn text(&mut self, text: &str, place: &Place, unit: usize, allowed: &Allowed<'_>) -> Vec<(Reference, Place)> {
        let parts = match scan::split(text) {
            Ok(parts) => parts,
            Err(at) => {
                let at = caret(place, text, at..at + 3);
                self.problems.push(Problem::at("expr::syntax", &at, "`${{` without `}}`", "begins here"));
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for part in parts {
            if let Part::Expression(range) = part {
                found.extend(self.fragment(&text[range.clone()], unit, allowed, |inner| {
                    caret(place, text, range.start + inner.start..range.start + inner.end)
                }));
            }
        }
        found
    }

    fn expression(&mut self, expression: &Expression, unit: usize, allowed: &Allowed<'_>) -> Vec<(Reference, Place)> {
        self.fragment(&expression.text, unit, allowed, |inner| caret(&expression.place, &expression.text, inner))
    }

    /// Checks one expression; what it refers to comes back with places.
    fn fragment(
        &mut self,
        text: &str,
        unit: usize,
        allowed: &Allowed<'_>,
        place: impl Fn(Range<usize>) -> Place,
    ) -> Vec<(Reference, Place)> {
        let trimmed = text.len() - text.trim_start().len()..text.trim_end().len();
        let whole = if trimmed.start < trimmed.end { trimmed } else { 0..text.len() };
        match expr::check(text) {
            Err(faults) => {
                for fault in faults {
                    self.fault("expr::syntax", &fault, &whole, &place);
                }
                Vec::new()
            }
            Ok(mentions) => {
                for reference in &mentions.references {
                    if let Some(fault) = self.references.check(reference, unit, allowed) {
                        self.fault("expr::name", &fault, &whole, &place);
                    }
                }
                mentions
                    .references
                    .into_iter()
                    .map(|reference| (place(reference.span()), reference))
                    .map(|(place, found)| (found, place))
                    .collect()
            }
        }
    }

    fn fault(
        &mut self,
        code: &'static str,
        fault: &Fault,
        whole: &Range<usize>,
        place: &impl Fn(Range<usize>) -> Place,
    ) {
        let at = place(fault.span.clone().unwrap_or_else(|| whole.clone()));
        let problem = match &fault.help {
            Some(help) if help.starts_with("did you mean") => Problem::at(code, &at, &fault.message, help),
            Some(help) => Problem::at(code, &at, &fault.message, "").help(help),
            None => Problem::at(code, &at, &fault.message, ""),
        };
        self.problems.push(problem);
    }

    fn need(&mut self, index: usize, need: &Need) {
        let step = &self.built[index].step;
        let unit = step.scope.unit;
        let place = Place { source: self.source(unit).clone(), span: need.span.clone() };
        match self.units[unit].names.get(&need.name) {
            Some(target) => self.needs_target(index, target, need.accept, &place),
            None if self.references.is_unread(unit, &need.name) => {}
            None => {
                let problem = self.unknown_need(&format!("step `{}`", step.id), unit, need, &place);
                self.problems.push(problem);
            }
        }
    }

    fn needs_target(&mut self, index: usize, target: &Target, accept: Accept, place: &Place) {
        match target {
            Target::Step(id) => self.link(index, id, accept, false, place),
            Target::Items(items) => items.iter().for_each(|(_, id)| self.link(index, id, accept, false, place)),
            Target::Include(unit) => {
                self.wholes.push(Whole { step: index, unit: *unit, accept, implied: false, place: place.clone() });
            }
        }
    }

    fn unknown_need(&self, who: &str, unit: usize, need: &Need, place: &Place) -> Problem {
        let message = format!("{who} needs `{}`, which does not exist", need.name);
        let names = || self.units[unit].sorted_names();
        if need.name.contains([',', ' ']) {
            let names: Vec<&str> = need.name.split([',', ' ']).filter(|name| !name.is_empty()).collect();
            let help = format!("several are a list: `needs: [{}]`", names.join(", "));
            return Problem::at("plan::unknown-step", place, message, "one name").help(help);
        }
        let near = if self.problems.len() < SUGGESTIONS { nearest(&need.name, names()) } else { None };
        match near {
            Some(name) => {
                let line = self.line_of(unit, name).map_or_else(String::new, |line| format!(" (line {line})"));
                Problem::at("plan::unknown-step", place, message, format!("did you mean `{name}`{line}?"))
            }
            None => Problem::at("plan::unknown-step", place, message, "no step has this name"),
        }
    }

    fn line_of(&self, unit: usize, name: &str) -> Option<usize> {
        let file = self.files[self.frames[unit].text].as_ref()?;
        let steps = file.steps.iter().map(|step| step.entry).chain(file.includes.iter().map(|(entry, _)| *entry));
        let entry = steps.into_iter().find(|entry| entry.key == name)?;
        Some(self.source(unit).line_and_column(entry.key_span.start).0)
    }

    fn link(&mut self, index: usize, id: &StepId, accept: Accept, implied: bool, place: &Place) {
        let Some(&target) = self.index.get(id) else { return };
        if target == index {
            let message = format!("step `{id}` needs itself");
            let problem = Problem::at("plan::self-need", place, message, "this is the step itself");
            let own = "its own outputs have their bare names, in its `assert` and `outputs`";
            self.problems.push(if implied { problem.help(own) } else { problem });
            return;
        }
        if self.built[target].step.on_demand {
            let message =
                format!("step `{}` needs `{id}`, which runs only when it is asked for", self.built[index].step.id);
            let help = format!("`{id}` has `on_demand: true`: a run leaves it out, so nothing can stand on it");
            self.problems.push(Problem::at("plan::on-demand", place, message, "is left out of a run").help(help));
            return;
        }
        self.links[index].push(Link { edge: Edge { step: target, accept, implied }, place: place.clone() });
    }

    /// Turns a reference into edges.
    fn follow(&mut self, index: usize, reference: &Reference, place: &Place) {
        let step = &self.built[index].step;
        let mut targets = Vec::new();
        self.references.targets(step.scope.unit, reference, &mut targets, 0);
        for target in targets {
            let finally = step.finally && !self.built[target].step.finally;
            let accept = if finally { Accept::Finished } else { Accept::Succeeded };
            self.maybe_skipped(index, target, reference, place);
            let id = self.built[target].step.id.clone();
            self.link(index, &id, accept, true, place);
        }
    }

    /// A step that `when` may skip gives no outputs.
    fn maybe_skipped(&mut self, index: usize, target: usize, reference: &Reference, place: &Place) {
        let (step, other) = (&self.built[index].step, &self.built[target].step);
        let Some(when) = &other.when else { return };
        let through_include = reference.path[0] != "steps" || other.scope.unit != step.scope.unit;
        if reference.guarded || through_include || matches!(when.text.trim(), "true") {
            return;
        }
        let same = step.when.as_ref().is_some_and(|own| own.text.contains(when.text.trim()));
        if same {
            return;
        }
        let message = format!(
            "`{}` may not be there: step `{}` is skipped unless `{}`",
            reference.text(),
            other.id,
            when.text.trim()
        );
        let help = format!(
            "say what to use instead: `{} | default('…')`, or give this step the same `when`",
            reference.text()
        );
        let problem = Problem::at("plan::maybe-skipped", place, message, "has no value if it is skipped").help(help);
        self.problems.push(if step.when.is_some() { problem.warning() } else { problem });
    }

    /// Needs between a step and an include as a whole: of its last steps, and by its first steps.
    fn spread_includes(&mut self) {
        let inside = self.inside();
        for unit in 1..self.units.len() {
            self.include_needs(unit, &inside);
        }
        let mut last: HashMap<usize, Vec<usize>> = HashMap::new();
        for whole in std::mem::take(&mut self.wholes) {
            let last = last.entry(whole.unit).or_insert_with(|| self.last_of(whole.unit, &inside)).clone();
            for target in last {
                let edge = Edge { step: target, accept: whole.accept, implied: whole.implied };
                self.links[whole.step].push(Link { edge, place: whole.place.clone() });
            }
        }
    }

    /// For each unit, the steps in it or in what it includes.
    fn inside(&self) -> Vec<Vec<usize>> {
        let mut inside = vec![Vec::new(); self.units.len()];
        for (index, built) in self.built.iter().enumerate().filter(|(_, built)| !built.step.on_demand) {
            for unit in std::iter::successors(Some(built.step.scope.unit), |unit| self.units[*unit].parent) {
                inside[unit].push(index);
            }
        }
        inside
    }

    fn include_needs(&mut self, unit: usize, inside: &[Vec<usize>]) {
        let (Some((entry, fields)), Some(parent)) = (&self.frames[unit].include, self.units[unit].parent) else {
            return;
        };
        let Some(node) = fields.get("needs") else { return };
        let members: HashSet<usize> = inside[unit].iter().copied().collect();
        let first: Vec<usize> = inside[unit]
            .iter()
            .copied()
            .filter(|step| !self.links[*step].iter().any(|link| members.contains(&link.edge.step)))
            .collect();
        let source = self.source(parent);
        let named = needs(node, &mut Reader { source, problems: self.problems });
        for need in named {
            let place = Place { source: source.clone(), span: need.span.clone() };
            match self.units[parent].names.get(&need.name) {
                Some(Target::Include(other)) if *other == unit => {
                    let message = format!("include `{}` needs itself", entry.key);
                    self.problems.push(Problem::at("plan::self-need", &place, message, "this is the include itself"));
                }
                Some(target) => first.iter().for_each(|step| self.needs_target(*step, target, need.accept, &place)),
                None => {
                    let problem = self.unknown_need(&format!("include `{}`", entry.key), parent, &need, &place);
                    self.problems.push(problem);
                }
            }
        }
    }

    /// The steps of an include that nothing in it waits for.
    fn last_of(&self, unit: usize, inside: &[Vec<usize>]) -> Vec<usize> {
        let needed: HashSet<usize> =
            inside[unit].iter().flat_map(|step| &self.links[*step]).map(|link| link.edge.step).collect();
        inside[unit].iter().copied().filter(|step| !needed.contains(step) && !self.built[*step].step.finally).collect()
    }

    /// What runs at the end may wait for the rest, not the other way round.
    fn finally_last(&mut self) {
        for (index, links) in self.links.iter().enumerate() {
            let step = &self.built[index].step;
            for link in links.iter().filter(|link| !step.finally && self.built[link.edge.step].step.finally) {
                let other = &self.built[link.edge.step].step.id;
                let message = format!("step `{}` needs `{other}`, which runs at the very end", step.id);
                let help = format!("`{other}` stands in `finally`; move it to `steps`, or this step to `finally`");
                self.problems
                    .push(Problem::at("plan::finally", &link.place, message, "stands in `finally`").help(help));
            }
        }
    }

    fn graph(self) -> Option<Graph> {
        let needs = self.links.iter().map(|links| merged(links)).collect();
        match graph::build(needs) {
            Ok(graph) => Some(graph),
            Err(cycles) => {
                for cycle in cycles {
                    let problem = self.cycle(&cycle);
                    self.problems.push(problem);
                }
                None
            }
        }
    }

    fn cycle(&self, cycle: &[usize]) -> Problem {
        let id = |step: usize| self.built[step].step.id.as_str();
        let mut names: Vec<&str> = cycle.iter().map(|step| id(*step)).collect();
        names.push(names[0]);
        let message = format!("steps form a cycle: {}", names.join(" → "));
        let mut problem = Problem::bare("plan::cycle", message);
        for (at, step) in cycle.iter().enumerate() {
            let next = cycle[(at + 1) % cycle.len()];
            let Some(link) = self.links[next].iter().find(|link| link.edge.step == *step) else { continue };
            let source = problem.source.get_or_insert_with(|| link.place.source.clone());
            if Arc::ptr_eq(source, &link.place.source) {
                let how = if link.edge.implied { "uses" } else { "needs" };
                problem = problem.and(link.place.span.clone(), format!("`{}` {how} `{}`", id(next), id(*step)));
            }
        }
        problem.help("remove one of these needs; a step can only start when all that it needs has ended")
    }
}

/// Each step once: what is written wins over what follows from a reference.
fn merged(links: &[Link]) -> Vec<Edge> {
    let mut edges: Vec<Edge> = Vec::with_capacity(links.len());
    let mut many: HashMap<usize, usize> = HashMap::new();
    for link in links {
        let step = link.edge.step;
        let known = if links.len() <= FEW {
            edges.iter().position(|edge| edge.step == step)
        } else {
            let place = *many.entry(step).or_insert(edges.len());
            (place < edges.len()).then_some(place)
        };
        match known {
            None => edges.push(link.edge),
            Some(known) if edges[known].implied && !link.edge.implied => edges[known] = link.edge,
            Some(_) => {}
        }
    }
    edges
}

/// `did you mean …?` among names, for a fault.
pub(crate) fn suggest<'n>(fault: Fault, written: &str, names: impl IntoIterator<Item = &'n str>) -> Fault {
    match did_you_mean(written, names) {
        Some(help) => fault.help(help),
        None => fault,
    }
}
