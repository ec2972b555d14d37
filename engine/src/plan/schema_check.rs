//! Checks a value with places against a JSON Schema, as far as kinds use JSON Schema.
//!
//! Texts that hold expressions are evaluated where that is possible before anything runs, and believed where it is not.

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;

use super::duration;
use super::error::{Problem, did_you_mean, nearest, quoted_list};
use super::model::{Place, Source};
use super::scan;
use super::sight::shown;
use super::template::Before;
use super::tree::{Data, Entry, Node};

/// References to definitions lead to each other at most this far.
const DEEPEST: usize = 96;

/// A check under way.
pub(crate) struct SchemaCheck<'c> {
    pub(crate) source: &'c Arc<Source>,
    /// The whole schema, for `$ref`.
    pub(crate) root: &'c Value,
    pub(crate) before: Before<'c>,
    /// Whose value it is, for messages.
    pub(crate) what: &'c str,
    /// Where to point when something is missing from nothing.
    pub(crate) fallback: &'c Range<usize>,
    pub(crate) found: Vec<Problem>,
}

impl SchemaCheck<'_> {
    /// Checks a node; `path` is where it is in the value.
    pub(crate) fn node(&mut self, node: &Node, schema: &Value, path: &str) {
        self.at_depth(node, schema, path, 0);
    }

    fn at_depth(&mut self, node: &Node, schema: &Value, path: &str, depth: usize) {
        let Some(schema) = self.resolve(schema) else { return };
        if depth > DEEPEST || schema.as_object().is_none_or(serde_json::Map::is_empty) {
            return;
        }
        match &node.data {
            Data::Text(text) if scan::has_expression(text) => self.expression(node, schema, path, depth),
            _ => self.plain(node, schema, path, depth),
        }
    }

    fn resolve<'s>(&self, mut schema: &'s Value) -> Option<&'s Value>
    where
        Self: 's,
    {
        for _ in 0..DEEPEST {
            let Some(reference) = keyword(schema, "$ref").and_then(Value::as_str) else { return Some(schema) };
            // The root outlives the check, but the borrow checker only sees that through the field.
            let root: &'s Value = self.root;
            schema = root.pointer(reference.strip_prefix('#')?)?;
        }
        None
    }

    fn expression(&mut self, node: &Node, schema: &Value, path: &str, depth: usize) {
        let Data::Text(text) = &node.data else { return };
        let place = Place { source: self.source.clone(), span: node.span.clone() };
        if let Some(Ok(value)) = self.before.text(text, &place)
            && !runbook_steps::secret::mentions_secret(&value.to_string())
        {
            self.plain(&node_of(&value, &node.span), schema, path, depth);
        }
    }

    fn plain(&mut self, node: &Node, schema: &Value, path: &str, depth: usize) {
        for key in ["anyOf", "oneOf"] {
            if let Some(branches) = keyword(schema, key).and_then(Value::as_array) {
                self.one_of(node, branches, path, depth);
            }
        }
        for part in keyword(schema, "allOf").and_then(Value::as_array).into_iter().flatten() {
            self.at_depth(node, part, path, depth + 1);
        }
        if is_duration(schema) && !self.duration(node, path) {
            return;
        }
        if self.of_type(node, schema, path) && self.of_value(node, schema, path) {
            self.within(node, schema, path, depth);
        }
    }

    fn problem(
        &mut self,
        code: &'static str,
        span: &Range<usize>,
        message: String,
        remark: impl Into<String>,
    ) -> &mut Problem {
        let span = if span.is_empty() { self.fallback.clone() } else { span.clone() };
        let place = Place { source: self.source.clone(), span };
        self.found.push(Problem::at(code, &place, message, remark));
        self.found.last_mut().expect("just pushed")
    }

    fn named(&self, path: &str) -> String {
        match path {
            "" if self.what.starts_with('`') => format!("the `with` of {}", self.what),
            "" => self.what.to_owned(),
            path => format!("`{path}` of {}", self.what),
        }
    }

    /// What a node is, for a remark; of an expression, what it comes to.
    fn is(&self, node: &Node) -> String {
        let written = self.source.text.get(node.span.clone()).unwrap_or_default();
        if scan::has_expression(written) {
            return format!("its value is {}", shown(&node.to_value()));
        }
        format!("this is {}", node.what())
    }

    /// The branch that fits; if none does, what is wrong with the one that is meant.
    fn one_of(&mut self, node: &Node, branches: &[Value], path: &str, depth: usize) {
        let mut nearest: Option<Vec<Problem>> = None;
        let candidates: Vec<&Value> = branches.iter().filter(|branch| self.is_for(node, branch)).collect();
        for branch in candidates {
            let outer = std::mem::take(&mut self.found);
            self.at_depth(node, branch, path, depth + 1);
            let found = std::mem::replace(&mut self.found, outer);
            if found.is_empty() {
                return;
            }
            if nearest.as_ref().is_none_or(|best| found.len() < best.len()) {
                nearest = Some(found);
            }
        }
        match (self.meant(node, branches), constants(branches)) {
            (_, Some(constants)) => self.not_a_choice(node, &constants, path),
            (Meant::Branch(branch), None) => self.at_depth(node, branch, path, depth + 1),
            (Meant::OneWith(keys), None) => self.lacks_all_of(node, &keys, path),
            (Meant::Unclear, None) => self.not_any(node, branches, nearest, path),
        }
    }

    /// Nothing tells which branch is meant: what is wrong with the nearest.
    fn not_any(&mut self, node: &Node, branches: &[Value], nearest: Option<Vec<Problem>>, path: &str) {
        match nearest {
            Some(found) => self.found.extend(found),
            None => {
                let wanted: Vec<String> =
                    branches.iter().filter_map(|branch| self.resolve(branch)).filter_map(wanted_types).collect();
                let message = format!("{} must be {}", self.named(path), wanted.join(" or "));
                self.problem("kind::type", &node.span, message, self.is(node));
            }
        }
    }

    /// The branch that a map is meant for, by the key that only one branch has and must have.
    fn meant<'s>(&self, node: &Node, branches: &'s [Value]) -> Meant<'s>
    where
        Self: 's,
    {
        let Data::Map(entries) = &node.data else { return Meant::Unclear };
        let mut maps = self.alternatives(branches);
        maps.retain(|branch| fits_type(node, branch));
        let marks: Vec<(&str, &Value)> = maps.iter().filter_map(|map| Some((mark(map, &maps)?, *map))).collect();
        let marked = |key: &str| marks.iter().find(|(mark, _)| *mark == key).map(|(_, branch)| *branch);
        let mut given = entries.iter().filter_map(|entry| marked(&entry.key));
        match (given.next(), given.next()) {
            (Some(only), None) => return Meant::Branch(only),
            (Some(_), Some(_)) => return Meant::Unclear,
            (None, _) => {}
        }
        let strange = |entry: &&Entry| maps.iter().all(|branch| property(branch, &entry.key).is_none());
        let names = || marks.iter().map(|(mark, _)| *mark);
        let misspelt = entries.iter().filter(strange).find_map(|entry| nearest(&entry.key, names()));
        match misspelt.and_then(marked) {
            Some(branch) => Meant::Branch(branch),
            None if maps.len() > 1 && marks.len() == maps.len() => Meant::OneWith(names().collect()),
            None => Meant::Unclear,
        }
    }

    /// The branches, and in place of one that has branches of its own those.
    fn alternatives<'s>(&self, branches: &'s [Value]) -> Vec<&'s Value>
    where
        Self: 's,
    {
        let resolved = branches.iter().filter_map(|branch| self.resolve(branch));
        let flat = resolved.flat_map(|branch| match keyword(branch, "anyOf").and_then(Value::as_array) {
            Some(inner) if keyword(branch, "properties").is_none() => inner.iter().collect(),
            _ => vec![branch],
        });
        flat.collect()
    }

    fn lacks_all_of(&mut self, node: &Node, keys: &[&str], path: &str) {
        let message = format!("no key of {} says what it is about", self.named(path));
        let first_line = first_line(&self.source.text, &node.span);
        self.problem("kind::missing", &first_line, message, "").help =
            Some(format!("it must have one of {}", quoted_list(keys.iter().copied())));
    }

    /// Whether a branch is meant for values such as this: its type fits, and so do the constants that tell branches apart.
    fn is_for(&self, node: &Node, branch: &Value) -> bool {
        let Some(branch) = self.resolve(branch) else { return false };
        let tags = keyword(branch, "properties").and_then(Value::as_object).into_iter().flatten();
        let differs = |(key, schema): (&String, &Value)| {
            let tag = keyword(schema, "const").is_some();
            tag && node.get(key).is_some_and(|value| keyword(schema, "const") != Some(&value.to_value()))
        };
        fits_type(node, branch) && !tags.into_iter().any(differs)
    }

    /// Durations are told in the same words wherever they stand in a plan.
    fn duration(&mut self, node: &Node, path: &str) -> bool {
        let text = match &node.data {
            Data::Text(text) => text.to_string(),
            Data::Number(number) => number.to_string(),
            _ => return true,
        };
        let Err(why) = duration::parse(&text) else { return true };
        let message = format!("{} is not a duration", self.named(path));
        self.problem("plan::duration", &node.span, message, why);
        false
    }

    fn of_type(&mut self, node: &Node, schema: &Value, path: &str) -> bool {
        if fits_type(node, schema) {
            return true;
        }
        let wanted = wanted_types(schema).unwrap_or_default();
        let written = self.source.text.get(node.span.clone()).unwrap_or_default().to_owned();
        let message = format!("{} must be {wanted}", self.named(path));
        let help = match (&node.data, wanted.as_str()) {
            (Data::Number(_) | Data::Bool(_), wanted) if wanted.contains("text") => {
                Some(format!("put it in quotes: `'{written}'`"))
            }
            (Data::Text(text), wanted) if wanted.contains("true or false") => match text.to_lowercase().as_str() {
                "yes" | "on" | "y" | "true" => Some("write `true`".to_owned()),
                "no" | "off" | "n" | "false" => Some("write `false`".to_owned()),
                _ => None,
            },
            (Data::Text(text), wanted) if wanted.contains("number") && text.parse::<f64>().is_ok() => {
                Some(format!("write `{text}`, without quotes"))
            }
            (Data::Text(_), "a list") => Some(format!("write `[{written}]`")),
            _ => None,
        };
        self.problem("kind::type", &node.span, message, self.is(node)).help = help;
        false
    }

    fn of_value(&mut self, node: &Node, schema: &Value, path: &str) -> bool {
        if let Some(choices) = keyword(schema, "enum").and_then(Value::as_array)
            && !choices.contains(&node.to_value())
        {
            self.not_a_choice(node, choices, path);
            return false;
        }
        if let Some(constant) = keyword(schema, "const")
            && *constant != node.to_value()
        {
            self.not_a_choice(node, std::slice::from_ref(constant), path);
            return false;
        }
        self.bounds(node, schema, path)
    }

    fn bounds(&mut self, node: &Node, schema: &Value, path: &str) -> bool {
        let bound = |key: &str| keyword(schema, key).and_then(Value::as_f64);
        let (size, low, high, unit) = match &node.data {
            Data::Number(number) => (number.as_f64().unwrap_or(0.0), bound("minimum"), bound("maximum"), ""),
            Data::Text(text) => (text.chars().count() as f64, bound("minLength"), bound("maxLength"), " characters"),
            Data::List(items) => (items.len() as f64, bound("minItems"), bound("maxItems"), " items"),
            _ => return true,
        };
        let remark = match (low, high) {
            (Some(low), _) if size < low => format!("at least {low}{unit}"),
            (_, Some(high)) if size > high => format!("at most {high}{unit}"),
            _ => return self.matches_pattern(node, schema, path),
        };
        let message = format!("{} is out of bounds", self.named(path));
        self.problem("kind::bounds", &node.span, message, remark);
        false
    }

    fn matches_pattern(&mut self, node: &Node, schema: &Value, path: &str) -> bool {
        let (Some(pattern), Some(text)) = (keyword(schema, "pattern").and_then(Value::as_str), node.text()) else {
            return true;
        };
        let Ok(compiled) = regex::Regex::new(pattern) else { return true };
        if !compiled.is_match(text) {
            let message = format!("{} does not have the right form", self.named(path));
            let form = format!("must match `{pattern}`");
            match did_you_mean(text, words(pattern)) {
                Some(remark) => self.problem("kind::pattern", &node.span, message, remark).help = Some(form),
                None => drop(self.problem("kind::pattern", &node.span, message, form)),
            }
            return false;
        }
        true
    }

    fn not_a_choice(&mut self, node: &Node, choices: &[Value], path: &str) {
        let choices: Vec<String> = choices.iter().map(super::inputs::plain).collect();
        let written = super::inputs::plain(&node.to_value());
        let remark = did_you_mean(&written, choices.iter().map(String::as_str));
        let message = format!("{} cannot be `{written}`", self.named(path));
        let all = quoted_list(choices.iter().map(String::as_str));
        match remark {
            Some(remark) => {
                self.problem("kind::choice", &node.span, message, remark).help = Some(format!("it is one of {all}"));
            }
            None => drop(self.problem("kind::choice", &node.span, message, format!("one of {all}"))),
        }
    }

    fn within(&mut self, node: &Node, schema: &Value, path: &str, depth: usize) {
        match &node.data {
            Data::List(items) => {
                let Some(schema) = keyword(schema, "items") else { return };
                for (index, item) in items.iter().enumerate() {
                    self.at_depth(item, schema, &format!("{path}[{index}]"), depth + 1);
                }
            }
            Data::Map(entries) => self.map(node, entries, schema, path, depth),
            _ => {}
        }
    }

    fn map(&mut self, node: &Node, entries: &[Entry], schema: &Value, path: &str, depth: usize) {
        let properties = keyword(schema, "properties").and_then(Value::as_object);
        let rest = keyword(schema, "additionalProperties").or_else(|| keyword(schema, "unevaluatedProperties"));
        for entry in entries {
            let inner = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match (properties.and_then(|properties| properties.get(&entry.key)), rest) {
                (Some(schema), _) => self.at_depth(&entry.value, schema, &inner, depth + 1),
                (None, Some(Value::Bool(false))) => self.unknown_key(entry, properties, path),
                (None, Some(schema)) => self.at_depth(&entry.value, schema, &inner, depth + 1),
                (None, None) => {}
            }
        }
        let required =
            keyword(schema, "required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let mut missing: Vec<&str> = required.filter(|name| !entries.iter().any(|entry| entry.key == **name)).collect();
        // A misspelt key is one problem, not two.
        let known = |entry: &&Entry| properties.is_some_and(|properties| properties.contains_key(&entry.key));
        for entry in entries.iter().filter(|entry| !known(entry)) {
            if let Some(meant) = nearest(&entry.key, missing.iter().copied()) {
                missing.retain(|name| *name != meant);
            }
        }
        if !missing.is_empty() {
            self.missing(node, &missing, properties, path);
        }
    }

    fn unknown_key(&mut self, entry: &Entry, properties: Option<&serde_json::Map<String, Value>>, path: &str) {
        let known: Vec<&str> =
            properties.into_iter().flat_map(|properties| properties.keys()).map(String::as_str).collect();
        let remark = did_you_mean(&entry.key, known.iter().copied());
        let message = format!("unknown key `{}` in {}", entry.key, self.named(path));
        let all = quoted_list(known.iter().copied());
        match remark {
            Some(remark) => drop(self.problem("kind::unknown-key", &entry.key_span, message, remark)),
            None => {
                self.problem("kind::unknown-key", &entry.key_span, message, "not a key of it").help =
                    Some(format!("it may have {all}"));
            }
        }
    }

    fn missing(
        &mut self,
        node: &Node,
        missing: &[&str],
        properties: Option<&serde_json::Map<String, Value>>,
        path: &str,
    ) {
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let message = format!("{} {verb} missing in {}", quoted_list(missing.iter().copied()), self.named(path));
        let about = |name: &&str| {
            let text = properties?.get(*name)?.get("description")?.as_str()?.lines().next()?;
            Some(format!("{name}: {text}"))
        };
        let help: Vec<String> = missing.iter().filter_map(about).collect();
        let span = if matches!(&node.data, Data::Map(entries) if !entries.is_empty()) {
            node.span.clone()
        } else {
            self.fallback.clone()
        };
        let first_line = first_line(&self.source.text, &span);
        self.problem("kind::missing", &first_line, message, "").help = (!help.is_empty()).then(|| help.join("\n"));
    }
}

/// Which of several branches a map is meant for.
enum Meant<'s> {
    Branch(&'s Value),
    /// It has none of the keys that tell the branches apart.
    OneWith(Vec<&'s str>),
    Unclear,
}

/// The first key that a branch must have and no other one knows.
fn mark<'s>(branch: &'s Value, all: &[&Value]) -> Option<&'s str> {
    let mut required = keyword(branch, "required")?.as_array()?.iter().filter_map(Value::as_str);
    let knows = |other: &&&Value, name: &str| property(other, name).is_some();
    required.find(|name| all.iter().filter(|other| knows(other, name)).count() == 1)
}

fn property<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    keyword(schema, "properties")?.get(name)
}

/// The plain words among the alternatives of a pattern such as `^(exists|ready|age=.+)$`.
fn words(pattern: &str) -> impl Iterator<Item = &str> {
    let inner = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$")).unwrap_or_default();
    let plain = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    inner.split('|').filter(plain)
}

/// What a schema says by a keyword. A schema has few, which are looked through faster than one is hashed.
fn keyword<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    schema.as_object()?.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A map over many lines is marked by its first.
fn first_line(text: &str, span: &Range<usize>) -> Range<usize> {
    let slice = text.get(span.clone()).unwrap_or("");
    span.start..span.start + slice.lines().next().unwrap_or("").trim_end().len()
}

/// A value as a tree all of whose nodes are at one place.
fn node_of(value: &Value, span: &Range<usize>) -> Node {
    let data = match value {
        Value::Null => Data::Null,
        Value::Bool(flag) => Data::Bool(*flag),
        Value::Number(number) => Data::Number(number.clone()),
        Value::String(text) => Data::Text(text.as_str().into()),
        Value::Array(items) => Data::List(items.iter().map(|item| node_of(item, span)).collect()),
        Value::Object(map) => Data::Map(
            map.iter()
                .map(|(key, value)| Entry { key: key.clone(), key_span: span.clone(), value: node_of(value, span) })
                .collect(),
        ),
    };
    Node { span: span.clone(), data }
}

/// The values of branches that are constants or enumerations, if all are.
fn constants(branches: &[Value]) -> Option<Vec<Value>> {
    let of = |branch: &Value| match (keyword(branch, "const"), keyword(branch, "enum")) {
        (Some(constant), _) => Some(vec![constant.clone()]),
        (_, Some(Value::Array(choices))) => Some(choices.clone()),
        _ => None,
    };
    Some(branches.iter().map(of).collect::<Option<Vec<_>>>()?.concat())
}

fn type_names(schema: &Value) -> Vec<&str> {
    match keyword(schema, "type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn fits_type(node: &Node, schema: &Value) -> bool {
    let names = type_names(schema);
    let fits = |name: &&str| match (&node.data, *name) {
        (Data::Null, "null") | (Data::Bool(_), "boolean") | (Data::Number(_), "number") => true,
        (Data::Text(_), "string") | (Data::List(_), "array") | (Data::Map(_), "object") => true,
        (Data::Number(number), "integer") => number.is_i64() || number.is_u64(),
        // A text with an expression may turn out to be anything.
        (Data::Text(text), _) => scan::has_expression(text),
        // `with:` without anything below it is an empty map.
        (Data::Null, "object") => true,
        _ => false,
    };
    names.is_empty() || names.iter().any(fits)
}

/// Whether a schema is that of a duration.
fn is_duration(schema: &Value) -> bool {
    keyword(schema, "pattern").and_then(Value::as_str) == Some(duration::PATTERN)
}

fn wanted_types(schema: &Value) -> Option<String> {
    let plain = |name: &str| match name {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        _ => "nothing",
    };
    let names: Vec<&str> = type_names(schema).into_iter().filter(|name| *name != "null").map(plain).collect();
    (!names.is_empty()).then(|| names.join(" or "))
}
