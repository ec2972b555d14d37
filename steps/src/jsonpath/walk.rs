//! What a path leads to, and what a template prints.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Node, Operand, Part, text};

/// Everything that a path leads to, in order.
pub(super) fn select<'v>(path: &[Part], from: &'v Value) -> Vec<&'v Value> {
    path.iter().fold(vec![from], |values, part| all(part, &values))
}

/// One step from all values. A union goes part by part, not value by value.
fn all<'v>(part: &Part, values: &[&'v Value]) -> Vec<&'v Value> {
    if let Part::Union(parts) = part {
        return parts.iter().flat_map(|part| all(part, values)).collect();
    }
    let mut found = Vec::new();
    values.iter().for_each(|value| step(part, value, &mut found));
    found
}

fn step<'v>(part: &Part, value: &'v Value, found: &mut Vec<&'v Value>) {
    match part {
        Part::Field(name) => found.extend(value.get(name)),
        Part::Index(index) => found.extend(at(value, *index)),
        Part::Slice(from, to, by) => slice(value, (*from, *to, by.unwrap_or(1)), found),
        Part::Every => found.extend(children(value)),
        Part::Deep => descend(value, found),
        Part::Union(parts) => parts.iter().for_each(|part| found.extend(all(part, &[value]))),
        Part::Filter(left, right) => {
            let items = value.as_array().into_iter().flatten();
            found.extend(items.filter(|item| passes(item, left, right.as_ref())));
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

fn descend<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    found.push(value);
    children(value).into_iter().for_each(|child| descend(child, found));
}

/// An index from the start, or, negative, from the end.
fn at(value: &Value, index: i64) -> Option<&Value> {
    let items = value.as_array()?;
    let length = i64::try_from(items.len()).ok()?;
    items.get(usize::try_from(if index < 0 { index + length } else { index }).ok()?)
}

fn slice<'v>(value: &'v Value, (from, to, by): (Option<i64>, Option<i64>, i64), found: &mut Vec<&'v Value>) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place =
        |bound: i64| usize::try_from((if bound < 0 { bound + length } else { bound }).clamp(0, length)).unwrap_or(0);
    let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
    let by = usize::try_from(by).unwrap_or(1).max(1);
    found.extend(items.get(from..to).into_iter().flatten().step_by(by));
}

fn passes(item: &Value, left: &Operand, right: Option<&(Comparison, Operand)>) -> bool {
    let left = values(item, left);
    let Some((comparison, right)) = right else { return !left.is_empty() };
    match (left.as_slice(), values(item, right).as_slice()) {
        ([left], [right]) => compare(left, right, *comparison),
        _ => false,
    }
}

fn values<'v>(item: &'v Value, operand: &'v Operand) -> Vec<&'v Value> {
    match operand {
        Operand::Literal(value) => vec![value],
        Operand::Path(path) => select(path, item),
    }
}

/// Only values of one sort can be compared.
fn compare(left: &Value, right: &Value, comparison: Comparison) -> bool {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::Bool(left), Value::Bool(right)) if left == right => Some(Ordering::Equal),
        (Value::Bool(_), Value::Bool(_)) => return comparison == Comparison::NotEqual,
        _ => None,
    };
    order.is_some_and(|order| match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

/// What a template prints for a value: several finds of one path are parted by spaces.
pub(super) fn print(nodes: &[Node], value: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(path) => {
                let found: Vec<String> = select(path, value).into_iter().map(text).collect();
                out.push_str(&found.join(" "));
            }
            Node::Range(path, body) => {
                select(path, value).into_iter().for_each(|item| print(body, item, out));
            }
        }
    }
}
