//! kubectl's dialect of JSONPath: `{.status.addresses[0].value}`, with filters, `range` and text around the braces.
//!
//! Finds what kubectl finds and prints what it prints; the table in `kubectl.yaml`, made by the real one, says so. It differs where
//! kubectl would end with an error that only means "not yet": an index beyond the end, a filter on what is no list; those find nothing.
//! Knows nothing of Kubernetes objects.

mod parse;
mod walk;

use serde_json::Value;

/// A path, or a template of several, that was read.
#[derive(Clone, Debug)]
pub struct JsonPath {
    written: String,
    nodes: Vec<Node>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Text(String),
    Path(Vec<Part>),
    Range(Vec<Part>, Vec<Node>),
}

/// A step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Field(String),
    /// From, to (without it) and by how many; a missing bound is the end on that side.
    Slice(Option<i64>, Option<i64>, Option<i64>),
    Index(i64),
    Every,
    /// Everything below, at any depth.
    Deep,
    /// All that one of these finds.
    Union(Vec<Part>),
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Literal(Value),
    Path(Vec<Part>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path, with or without its braces and its leading dot; or a template.
    pub fn read(text: &str) -> Result<Self, String> {
        let nodes = parse::template(text.trim())?;
        Ok(Self { written: text.trim().to_owned(), nodes })
    }

    /// Everything that the path leads to; of a template what it prints, as one text.
    pub fn find(&self, value: &Value) -> Vec<Value> {
        match self.nodes.as_slice() {
            [Node::Path(path)] => walk::select(path, value).into_iter().cloned().collect(),
            _ => vec![Value::String(self.print(value))],
        }
    }

    /// What the path leads to as one value: a list where it leads to several. `None` for nothing, or only nulls and empty texts,
    /// which to a reader of `status` are the same.
    pub fn value(&self, value: &Value) -> Option<Value> {
        let mut found = self.find(value);
        found.retain(|found| !is_blank(found));
        if found.len() > 1 { Some(Value::Array(found)) } else { found.pop() }
    }

    /// What kubectl would print.
    pub fn print(&self, value: &Value) -> String {
        let mut out = String::new();
        walk::print(&self.nodes, value, &mut out);
        out
    }
}

impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

/// Null, or no text: to a reader of `status` that is nothing.
pub(crate) fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// A found value as kubectl would print it: texts without quotes, the keys of maps in order.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => {
            let mut sorted = value.clone();
            sorted.sort_all_objects();
            sorted.to_string()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
