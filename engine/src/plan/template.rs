//! Templates: values in which texts may hold expressions. From the tree, and what they depend on.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::eval::EvalError;
use super::model::{Known, Place, Source, Template, Unit};
use super::scan::{self, Dotted, Part, Reference};
use super::sight::Sight;
use super::tree::{Data, Node};

/// A node as a template. What holds no expression becomes plain data at once.
pub(crate) fn from_node(node: &Node, source: &Arc<Source>) -> Template {
    match &node.data {
        Data::Text(text) if scan::has_expression(text) => {
            Template::Text { text: text.to_string(), place: Place { source: source.clone(), span: node.span.clone() } }
        }
        Data::List(items) => list(items.iter().map(|item| from_node(item, source)).collect()),
        Data::Map(entries) => {
            map(entries.iter().map(|entry| (entry.key.clone(), from_node(&entry.value, source))).collect())
        }
        _ => Template::Plain(node.to_value()),
    }
}

fn list(items: Vec<Template>) -> Template {
    if items.iter().any(|item| !matches!(item, Template::Plain(_))) {
        return Template::List(items);
    }
    Template::Plain(items.into_iter().map(into_plain).collect())
}

/// A map of templates, plain where all are.
pub(crate) fn map(entries: Vec<(String, Template)>) -> Template {
    if entries.iter().any(|(_, value)| !matches!(value, Template::Plain(_))) {
        return Template::Map(entries);
    }
    Template::Plain(Value::Object(
        entries.into_iter().map(|(key, value)| (key, into_plain(value))).collect::<Map<_, _>>(),
    ))
}

fn into_plain(template: Template) -> Value {
    match template {
        Template::Plain(value) => value,
        _ => Value::Null,
    }
}

/// Calls `visit` with every text that holds an expression.
pub(crate) fn texts<'t>(template: &'t Template, visit: &mut impl FnMut(&'t str, &'t Place)) {
    match template {
        Template::Plain(_) => {}
        Template::Text { text, place } => visit(text, place),
        Template::List(items) => items.iter().for_each(|item| texts(item, visit)),
        Template::Map(entries) => entries.iter().for_each(|(_, value)| texts(value, visit)),
    }
}

/// Every reference in a template.
pub(crate) fn references(template: &Template) -> Vec<Reference> {
    let mut found = Vec::new();
    texts(template, &mut |text, _| found.extend(text_references(text)));
    found
}

/// Every reference in a text with `${{ }}`.
pub(crate) fn text_references(text: &str) -> Vec<Reference> {
    let parts = scan::split(text).unwrap_or_default();
    let inside = parts.into_iter().filter_map(|part| match part {
        Part::Expression(range) => Some(scan::mentions(&text[range]).references),
        Part::Literal(_) => None,
    });
    inside.flatten().collect()
}

/// When a value can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// At once.
    Now,
    /// Once the inputs are given.
    Inputs,
    /// Once other steps have run.
    Steps,
}

/// What can be seen before anything runs.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) units: &'a [Unit],
    pub(crate) unit: usize,
    pub(crate) each: &'a Map<String, Value>,
}

impl<'a> Before<'a> {
    /// The latest of what some references need.
    pub(crate) fn reach(&self, references: &[Reference]) -> Reach {
        references.iter().map(|reference| self.reach_of(reference)).max().unwrap_or(Reach::Now)
    }

    /// The latest of what the expressions in a template need.
    pub(crate) fn reach_of_template(&self, template: &Template) -> Reach {
        match template {
            Template::Plain(_) => Reach::Now,
            Template::Text { text, .. } => self.reach_of_text(text),
            Template::List(items) => items.iter().map(|item| self.reach_of_template(item)).max().unwrap_or(Reach::Now),
            Template::Map(entries) => {
                entries.iter().map(|(_, item)| self.reach_of_template(item)).max().unwrap_or(Reach::Now)
            }
        }
    }

    fn reach_of_text(&self, text: &str) -> Reach {
        let parts = scan::split(text).unwrap_or_default();
        let needs = parts.into_iter().map(|part| match part {
            Part::Literal(_) => Reach::Now,
            Part::Expression(range) => match Dotted::read(&text[range.clone()]) {
                Some(dotted) => {
                    let mut names = dotted.names();
                    self.reach_of_name(names.next().unwrap_or_default(), names.next().unwrap_or_default())
                }
                None => self.reach(&scan::mentions(&text[range]).references),
            },
        });
        needs.max().unwrap_or(Reach::Now)
    }

    fn reach_of(&self, reference: &Reference) -> Reach {
        self.reach_of_name(&reference.path[0], reference.path.get(1).map(String::as_str).unwrap_or_default())
    }

    fn reach_of_name(&self, root: &str, name: &str) -> Reach {
        let unit = &self.units[self.unit];
        let known = |found: bool, late: bool| match (found, late) {
            (true, _) => Reach::Now,
            (_, true) => Reach::Steps,
            _ => Reach::Inputs,
        };
        match root {
            "inputs" => known(unit.inputs.contains_key(name), unit.late_inputs.contains_key(name)),
            "vars" => known(unit.vars.contains_key(name), unit.late_vars.contains_key(name)),
            "each" => known(self.each.contains_key(name), false),
            "secrets" => Reach::Now,
            _ => Reach::Steps,
        }
    }

    /// The value of a template, if it can be had at once.
    pub(crate) fn value(&self, template: &Template) -> Option<Result<Value, EvalError>> {
        let now = self.reach_of_template(template) == Reach::Now;
        now.then(|| self.with_known(|sight| sight.template(template)))
    }

    /// The value of a text with `${{ }}`, if it can be had at once.
    pub(crate) fn text(&self, text: &str, place: &Place) -> Option<Result<Value, EvalError>> {
        let now = self.reach_of_text(text) == Reach::Now;
        now.then(|| self.with_known(|sight| sight.text(text, place)))
    }

    /// Evaluates with nothing known of other steps.
    pub(crate) fn with_known<T>(&self, evaluate: impl FnOnce(&Sight<'_>) -> T) -> T {
        let known = Known::default();
        evaluate(&Sight { units: self.units, unit: self.unit, each: self.each, known: &known, own: None, depth: 0 })
    }
}
