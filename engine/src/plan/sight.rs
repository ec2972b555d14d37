//! What the names in an expression stand for, as seen from one step: inputs, vars, secrets, items and outputs of other steps.
//!
//! Owns the way from a reference to a value, through includes and items, and the rendering of templates. Gathers only what an
//! expression mentions, so that a plan with many steps or large outputs costs nothing extra.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use minijinja::value::Value as Item;
use runbook_steps::Outputs;
use serde_json::{Map, Value};

use super::eval::EvalError;
use super::expr::{self, Fault};
use super::model::{Expression, Known, Place, StepId, Target, Template, Unit};
use super::scan::{self, Dotted, Mentions, Part, Reference};

/// Templates that lead to each other through includes and vars, at most this far.
const DEEPEST: usize = 32;

/// A point of view.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) units: &'a [Unit],
    pub(crate) unit: usize,
    pub(crate) each: &'a Map<String, Value>,
    pub(crate) known: &'a Known,
    /// The outputs of the step itself, where it has run.
    pub(crate) own: Option<&'a Outputs>,
    pub(crate) depth: usize,
}

/// The names that an expression mentions, by root.
#[derive(Default)]
struct Names {
    groups: BTreeMap<&'static str, BTreeMap<String, Item>>,
    steps: BTreeMap<String, BTreeMap<String, Item>>,
    roots: BTreeMap<String, Item>,
}

impl Names {
    fn into_item(mut self) -> Item {
        for (root, group) in self.groups {
            self.roots.insert(root.to_owned(), Item::from_pairs(group));
        }
        let steps = self
            .steps
            .into_iter()
            .map(|(id, outputs)| (id, Item::from_pairs([("outputs", Item::from_pairs(outputs))])));
        self.roots.insert("steps".to_owned(), Item::from_pairs(steps));
        Item::from_pairs(self.roots)
    }
}

impl<'a> Sight<'a> {
    /// The value of a template.
    pub(crate) fn template(&self, template: &Template) -> Result<Value, EvalError> {
        match template {
            Template::Plain(value) => Ok(value.clone()),
            Template::Text { text, place } => self.text(text, place),
            Template::List(items) => items.iter().map(|item| self.template(item)).collect(),
            Template::Map(entries) => entries
                .iter()
                .map(|(key, value)| Ok((key.clone(), self.template(value)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object),
        }
    }

    /// The value of a text with `${{ }}`.
    pub(crate) fn text(&self, text: &str, place: &Place) -> Result<Value, EvalError> {
        let text = text
            .strip_suffix('\n')
            .filter(|text| text.trim_start().starts_with("${{") && text.ends_with("}}"))
            .unwrap_or(text);
        let parts =
            scan::split(text).map_err(|at| EvalError::new("`${{` without `}}`", caret(place, text, at..at + 3)))?;
        if let [Part::Expression(range)] = parts.as_slice() {
            if let Some(value) = self.direct(&text[range.clone()]) {
                return Ok(value.into_owned());
            }
            let value = self.part(text, range, place)?;
            return expr::to_json(&value).map_err(|message| EvalError::new(message, caret(place, text, range.clone())));
        }
        let mut out = String::with_capacity(text.len());
        for part in &parts {
            match part {
                Part::Literal(range) => out.push_str(&text[range.clone()]),
                Part::Expression(range) => {
                    if self.put_direct(&text[range.clone()], &mut out) {
                        continue;
                    }
                    let value = self.part(text, range, place)?;
                    let shown = text[range.clone()].trim();
                    let problem = |why| {
                        EvalError::new(
                            format!("`{shown}` cannot stand in a text: {why}"),
                            caret(place, text, range.clone()),
                        )
                    };
                    out.push_str(&expr::to_text(&value).map_err(problem)?);
                }
            }
        }
        Ok(Value::String(out))
    }

    /// The value of an expression that only names something that has one; any other is for the interpreter, errors too.
    fn direct(&self, expression: &str) -> Option<Cow<'a, Value>> {
        let mut names = Dotted::read(expression)?.names();
        let (root, name) = (names.next()?, names.next()?);
        let unit = self.units.get(self.unit)?;
        let value = match root {
            "inputs" => unit.inputs.get(name)?,
            "vars" => unit.vars.get(name)?,
            "each" => self.each.get(name)?,
            "steps" if names.next()? == "outputs" => match unit.names.get(name)? {
                Target::Step(id) => self.known.get(id)?.get(names.next()?)?,
                Target::Items(_) | Target::Include(_) => return None,
            },
            "secrets" if names.next().is_none() => {
                return Some(Cow::Owned(Value::String(runbook_steps::secret::marker(name))));
            }
            _ => return None,
        };
        names.try_fold(value, |value, name| value.as_object()?.get(name)).map(Cow::Borrowed)
    }

    /// Writes the value of such an expression, if it is one that a text can hold as it is.
    fn put_direct(&self, expression: &str, out: &mut String) -> bool {
        match self.direct(expression).as_deref() {
            Some(Value::String(text)) => out.push_str(text),
            Some(Value::Number(number)) if !number.is_f64() => out.push_str(&number.to_string()),
            _ => return false,
        }
        true
    }

    fn part(&self, text: &str, range: &Range<usize>, place: &Place) -> Result<Item, EvalError> {
        self.item(&text[range.clone()]).map_err(|error| error.within(range.start, |range| caret(place, text, range)))
    }

    /// The value of a bare expression.
    pub(crate) fn expression(&self, expression: &Expression) -> Result<Value, EvalError> {
        let at = |range| caret(&expression.place, &expression.text, range);
        let value = self.item(&expression.text).map_err(|error| error.within(0, at))?;
        expr::to_json(&value).map_err(|message| EvalError::new(message, expression.place.clone()))
    }

    /// Whether a bare expression holds; it must be true or false.
    pub(crate) fn holds(&self, expression: &Expression) -> Result<bool, EvalError> {
        match self.expression(expression)? {
            Value::Bool(holds) => Ok(holds),
            other => Err(EvalError::new(
                format!("`{}` must be true or false, but is {}", expression.text.trim(), shown(&other)),
                expression.place.clone(),
            )),
        }
    }

    /// The names in an expression with their values, where they have one.
    pub(crate) fn values_of(&self, text: &str) -> Vec<(String, Value)> {
        let found = scan::mentions(text);
        let Ok(names) = self.names(&found) else { return Vec::new() };
        let value = |reference: &Reference| {
            let value = expr::to_json(&expr::lookup(&names, &reference.path)?).ok()?;
            Some((reference.text(), value))
        };
        found.references.iter().filter(|reference| reference.path[0] != "secrets").filter_map(value).collect()
    }

    fn item(&self, text: &str) -> Result<Item, Inner> {
        let found = scan::mentions(text);
        let names = self.names(&found)?;
        expr::eval(text, &found, &names).map_err(|fault| Inner::Here(explain(fault, &found)))
    }

    fn names(&self, found: &Mentions) -> Result<Item, Inner> {
        let mut names = Names::default();
        for root in ["inputs", "vars", "each", "secrets"] {
            names.groups.insert(root, BTreeMap::new());
        }
        for reference in &found.references {
            self.gather(reference, &mut names)?;
        }
        Ok(names.into_item())
    }

    fn gather(&self, reference: &Reference, names: &mut Names) -> Result<(), Inner> {
        let root = reference.path[0].as_str();
        let name = reference.path.get(1).map(String::as_str);
        match root {
            "inputs" => self.gather_group("inputs", name, Self::input, names),
            "vars" => self.gather_group("vars", name, Self::var, names),
            "each" => {
                self.gather_group("each", name, |sight, name| Ok(sight.each.get(name).map(expr::from_json)), names)
            }
            "secrets" => self.gather_group(
                "secrets",
                name,
                |_, name| Ok(Some(Item::from(runbook_steps::secret::marker(name)))),
                names,
            ),
            "steps" => name.map_or(Ok(()), |name| self.gather_step(name, reference, names)),
            "outputs" => {
                if let Some(own) = self.own {
                    names.roots.insert(root.to_owned(), Item::from(minijinja::value::Serde(own)));
                }
                Ok(())
            }
            other => {
                if let Some(value) = self.own.and_then(|own| own.get(other)) {
                    names.roots.insert(other.to_owned(), expr::from_json(value));
                }
                Ok(())
            }
        }
    }

    fn gather_group(
        &self,
        root: &'static str,
        name: Option<&str>,
        get: fn(&Self, &str) -> Result<Option<Item>, EvalError>,
        names: &mut Names,
    ) -> Result<(), Inner> {
        let wanted: Vec<String> = name.map_or_else(|| self.all(root), |name| vec![name.to_owned()]);
        let group = names.groups.entry(root).or_default();
        for name in wanted {
            if let Some(value) = get(self, &name).map_err(Inner::Elsewhere)? {
                group.insert(name, value);
            }
        }
        Ok(())
    }

    /// Every name of a root, for an expression that takes it whole.
    fn all(&self, root: &str) -> Vec<String> {
        let Some(unit) = self.units.get(self.unit) else { return Vec::new() };
        match root {
            "inputs" => unit.inputs.keys().chain(unit.late_inputs.keys()).cloned().collect(),
            "vars" => unit.vars.keys().chain(unit.late_vars.keys()).cloned().collect(),
            "each" => self.each.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    fn input(&self, name: &str) -> Result<Option<Item>, EvalError> {
        let Some(unit) = self.units.get(self.unit) else { return Ok(None) };
        match (unit.inputs.get(name), unit.late_inputs.get(name), unit.parent) {
            (Some(value), _, _) => Ok(Some(expr::from_json(value))),
            (None, Some(template), Some(parent)) => {
                self.from(parent)?.template(template).map(|value| Some(expr::from_json(&value)))
            }
            _ => Ok(None),
        }
    }

    fn var(&self, name: &str) -> Result<Option<Item>, EvalError> {
        let Some(unit) = self.units.get(self.unit) else { return Ok(None) };
        match (unit.vars.get(name), unit.late_vars.get(name)) {
            (Some(value), _) => Ok(Some(expr::from_json(value))),
            (None, Some(template)) => {
                self.from(self.unit)?.template(template).map(|value| Some(expr::from_json(&value)))
            }
            _ => Ok(None),
        }
    }

    /// The view of another unit. It has no items and no own outputs.
    fn from(&self, unit: usize) -> Result<Sight<'a>, EvalError> {
        static NO_ITEM: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        if self.depth >= DEEPEST {
            return Err(EvalError::bare("values refer to each other without end"));
        }
        Ok(Sight { unit, each: &NO_ITEM, own: None, depth: self.depth + 1, ..*self })
    }

    fn gather_step(&self, name: &str, reference: &Reference, names: &mut Names) -> Result<(), Inner> {
        let wanted = reference.path.get(3).map(String::as_str);
        let outputs = names.steps.entry(name.to_owned()).or_default();
        match self.units.get(self.unit).and_then(|unit| unit.names.get(name)) {
            Some(Target::Step(id)) => self.gather_outputs(id, wanted, outputs),
            Some(Target::Items(items)) => {
                for (item, id) in items.iter().filter(|(item, _)| wanted.is_none_or(|wanted| wanted == item)) {
                    let mut inner = BTreeMap::new();
                    self.gather_outputs(id, None, &mut inner);
                    outputs.insert(item.clone(), Item::from_pairs(inner));
                }
            }
            Some(Target::Include(unit)) => {
                self.gather_exports(*unit, wanted, reference.guarded, outputs).map_err(Inner::Elsewhere)?;
            }
            None => {}
        }
        Ok(())
    }

    fn gather_outputs(&self, id: &StepId, wanted: Option<&str>, outputs: &mut BTreeMap<String, Item>) {
        let Some(known) = self.known.get(id) else { return };
        for (name, value) in known.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)) {
            outputs.insert(name.clone(), expr::from_json(value));
        }
    }

    fn gather_exports(
        &self,
        unit: usize,
        wanted: Option<&str>,
        guarded: bool,
        outputs: &mut BTreeMap<String, Item>,
    ) -> Result<(), EvalError> {
        let inside = self.from(unit)?;
        let exports = self.units.get(unit).into_iter().flat_map(|unit| unit.outputs.iter());
        for (name, template) in exports.filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name)) {
            match inside.template(template) {
                Ok(value) => drop(outputs.insert(name.clone(), expr::from_json(&value))),
                Err(_) if guarded || wanted.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// An error in the expression at hand, or in another one that it leads to.
enum Inner {
    Here(Fault),
    Elsewhere(EvalError),
}

impl Inner {
    fn within(self, offset: usize, place: impl Fn(Range<usize>) -> Place) -> EvalError {
        match self {
            Inner::Elsewhere(error) => error,
            Inner::Here(fault) => {
                let at = fault.span.map_or(offset..offset, |span| span.start + offset..span.end + offset);
                let message = match fault.help {
                    Some(help) => format!("{}; {help}", fault.message),
                    None => fault.message,
                };
                EvalError::new(message, place(at))
            }
        }
    }
}

/// Says why a name has no value, where that is known.
fn explain(mut fault: Fault, found: &Mentions) -> Fault {
    let Some(reference) = found.references.iter().find(|reference| Some(reference.span()) == fault.span) else {
        return fault;
    };
    if let ["steps", step, ..] = reference.path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        fault.message = format!(
            "`{}` is not there: step `{step}` was skipped, did not succeed, or gave no such output",
            reference.text()
        );
        fault.help = Some("say what to use instead with `| default(…)`".to_owned());
    }
    fault
}

/// A value in a message, cut short.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// The place of a stretch of a scalar's text. Quotes, escapes and block scalars make text and source differ; then the line of the
/// text is looked for in the source, and failing that the whole scalar is meant.
pub(crate) fn caret(place: &Place, text: &str, range: Range<usize>) -> Place {
    let source = place.source.text.get(place.span.clone()).unwrap_or("");
    let found =
        offset_of(source, text, range.start).filter(|at| source.get(*at..*at + range.len()) == text.get(range.clone()));
    match found {
        Some(at) if !range.is_empty() => {
            Place { source: place.source.clone(), span: place.span.start + at..place.span.start + at + range.len() }
        }
        _ => place.clone(),
    }
}

/// Where in the source of a scalar an offset of its text is.
fn offset_of(source: &str, text: &str, offset: usize) -> Option<usize> {
    if source.starts_with(text) {
        return Some(offset);
    }
    if source.get(1..).is_some_and(|inner| inner.starts_with(text)) {
        return Some(offset + 1);
    }
    let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].split('\n').next()?;
    let trimmed = line.trim();
    let indent = line.len() - line.trim_start().len();
    Some(source.find(trimmed)? + (offset - start).checked_sub(indent)?)
}
