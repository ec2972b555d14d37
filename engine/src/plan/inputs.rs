//! The inputs of a plan: their types, and how values from the command line become values.
//!
//! Pure: a declaration and a value in, a checked value or what is wrong with it out.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use regex::Regex;
use runbook_steps::tools::quote;
use serde_json::Value;

use super::duration;
use super::error::did_you_mean;
use super::file::{Fields, Reader};
use super::model::Source;
use super::sight::shown;
use super::tree::{self, Entry, Node};

/// The type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Int,
    Float,
    Bool,
    Enum,
    Duration,
    Path,
    List,
    Map,
    Url,
    Ip,
    /// Written wrongly, which was reported; holds anything.
    Unknown,
}

pub(crate) const TYPES: [(&str, Type); 11] = [
    ("string", Type::String),
    ("int", Type::Int),
    ("float", Type::Float),
    ("bool", Type::Bool),
    ("enum", Type::Enum),
    ("duration", Type::Duration),
    ("path", Type::Path),
    ("list", Type::List),
    ("map", Type::Map),
    ("url", Type::Url),
    ("ip", Type::Ip),
];

/// An input's declaration.
#[derive(Clone, Debug)]
pub(crate) struct Input<'t> {
    pub(crate) entry: &'t Entry,
    pub(crate) kind: Type,
    pub(crate) required: bool,
    pub(crate) default: Option<&'t Node>,
    pub(crate) description: &'t str,
    pub(crate) example: Option<String>,
    pattern: Option<Regex>,
    min: Option<f64>,
    max: Option<f64>,
    values: Vec<Value>,
}

/// Reads a declaration.
pub(crate) fn declare<'t>(entry: &'t Entry, fields: &Fields<'t>, reader: &mut Reader<'_>) -> Input<'t> {
    let default = fields.get("default");
    let required = fields.get("required").and_then(|node| reader.flag(node, "`required`"));
    let input = Input {
        entry,
        kind: read_type(entry, fields, reader),
        required: required.unwrap_or(false),
        default,
        description: fields.get("description").and_then(|node| reader.text(node, "`description`")).unwrap_or(""),
        example: fields.get("example").map(|node| plain(&node.to_value())),
        pattern: fields.get("pattern").and_then(|node| read_pattern(node, reader)),
        min: fields.get("min").and_then(|node| reader.number(node, "`min`")),
        max: fields.get("max").and_then(|node| reader.number(node, "`max`")),
        values: fields
            .get("values")
            .and_then(|node| reader.list(node, "`values`"))
            .unwrap_or(&[])
            .iter()
            .map(Node::to_value)
            .collect(),
    };
    check_declaration(&input, fields, required, reader);
    input
}

fn read_type(entry: &Entry, fields: &Fields<'_>, reader: &mut Reader<'_>) -> Type {
    let Some(node) = fields.get("type") else {
        if fields.get("values").is_some() {
            return Type::Enum;
        }
        let names = TYPES.map(|(name, _)| name).join(", ");
        let message = format!("input `{}` has no type", entry.key);
        reader.problem_with_help("input::type", &entry.key_span, message, "", format!("add `type:`, one of {names}"));
        return Type::Unknown;
    };
    let Some(text) = reader.text(node, "`type`") else { return Type::Unknown };
    if let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == text) {
        return *kind;
    }
    let synonym = [
        ("str", "string"),
        ("text", "string"),
        ("integer", "int"),
        ("number", "float"),
        ("boolean", "bool"),
        ("array", "list"),
        ("object", "map"),
        ("file", "path"),
    ];
    let remark = synonym
        .iter()
        .find(|(other, _)| *other == text)
        .map(|(_, ours)| format!("did you mean `{ours}`?"))
        .or_else(|| did_you_mean(text, TYPES.map(|(name, _)| name)))
        .unwrap_or_else(|| format!("one of {}", TYPES.map(|(name, _)| name).join(", ")));
    reader.problem("input::type", &node.span, format!("unknown type `{text}`"), remark);
    Type::Unknown
}

/// Compiles a regular expression, or says where it is wrong.
pub(crate) fn read_pattern(node: &Node, reader: &mut Reader<'_>) -> Option<Regex> {
    let text = reader.text(node, "a pattern")?;
    match Regex::new(text) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            reader.problem("plan::pattern", &node.span, format!("not a regular expression: {why}"), "");
            None
        }
    }
}

fn check_declaration(input: &Input<'_>, fields: &Fields<'_>, required: Option<bool>, reader: &mut Reader<'_>) {
    let name = &input.entry.key;
    if input.kind == Type::Enum && input.values.is_empty() {
        let message = format!("input `{name}` is an enum without values");
        reader.problem_with_help("input::type", &input.entry.key_span, message, "", "add `values: [a, b]`");
    }
    let Some(default) = input.default else { return };
    if required == Some(true) {
        let span = fields.entry("required").map_or(&default.span, |entry| &entry.key_span);
        let message = format!("input `{name}` is required, yet has a default");
        reader.problem_with_help(
            "input::required",
            span,
            message,
            "",
            "an input with a default is never missing; leave `required` out",
        );
    }
    if tree_has_expression(default) {
        let message = format!("the default of input `{name}` is an expression");
        reader.problem_with_help(
            "input::default",
            &default.span,
            message,
            "a default is a value",
            "compute it in `vars`, and use the var in the steps",
        );
    } else if let Err(why) = input.accept(default.to_value()) {
        let written = reader.source.text.get(default.span.clone()).unwrap_or_default();
        let help = match (input.kind, default.what()) {
            (Type::String | Type::Path | Type::Duration, "a number" | "true or false") => {
                Some(format!("put it in quotes: `'{written}'`"))
            }
            _ => None,
        };
        let place = reader.place(&default.span);
        let problem = super::error::Problem::at(
            "input::default",
            &place,
            format!("the default of input `{name}` does not fit"),
            why,
        );
        reader.problems.push(match help {
            Some(help) => problem.help(help),
            None => problem,
        });
    }
}

/// Whether any text in it holds an expression.
pub(crate) fn tree_has_expression(node: &Node) -> bool {
    match &node.data {
        tree::Data::Text(text) => super::scan::has_expression(text),
        tree::Data::List(items) => items.iter().any(tree_has_expression),
        tree::Data::Map(entries) => entries.iter().any(|entry| tree_has_expression(&entry.value)),
        _ => false,
    }
}

impl Input<'_> {
    /// The value of a text from the command line.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Type::Int => text.parse::<i64>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number"))?,
            Type::Float => number(text)?,
            Type::Bool => boolean(text)?,
            Type::List | Type::Map => yaml(text)?,
            Type::Enum => {
                self.values.iter().find(|value| plain(value) == text).cloned().unwrap_or_else(|| Value::from(text))
            }
            _ => Value::from(text),
        };
        self.accept(value)
    }

    /// How a value that fits is given: its type, and an example that is the plan's own, the default, or what is usual of the type.
    pub(crate) fn way_to_give(&self) -> String {
        let name = self.type_name();
        let form = match self.kind {
            Type::List | Type::Map => format!("a `{name}` is written as JSON or YAML"),
            _ => format!("its type is `{name}`"),
        };
        let example = self.fitting().map(|value| quote(&value));
        let example = example.map(|value| format!("; for example: --input {}={value}", self.entry.key));
        format!("{form}{}", example.unwrap_or_default())
    }

    fn type_name(&self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self.kind).map_or("any", |(name, _)| name)
    }

    /// A value that fits, as one types it, if one is known.
    fn fitting(&self) -> Option<String> {
        let usual: &[&str] = match self.kind {
            Type::Int => &["3"],
            Type::Float => &["0.5"],
            Type::Bool => &["true"],
            Type::Duration => &["5m"],
            Type::List => &[r#"["a", "b"]"#],
            Type::Map => &[r#"{"a": "b"}"#],
            Type::Url => &["https://example.com"],
            Type::Ip => &["10.0.0.1"],
            Type::String | Type::Enum | Type::Path | Type::Unknown => &[],
        };
        let default = self.default.map(Node::to_value).filter(|value| !value.is_null());
        let bounds = self.min.into_iter().chain(self.max).map(|bound| bound.to_string());
        let others = default.iter().chain(&self.values).map(plain).chain(usual.iter().map(|it| (*it).to_owned()));
        self.example.iter().cloned().chain(others).chain(bounds).find(|text| self.parse(text).is_ok())
    }

    /// A path's value with `~/` replaced by the home folder; every other value as it is.
    pub(crate) fn at_home(&self, value: Value, home: Option<&Path>) -> Value {
        let rest = value.as_str().and_then(|text| text.strip_prefix("~/"));
        match (self.kind, rest, home) {
            (Type::Path, Some(rest), Some(home)) => Value::from(home.join(rest).to_string_lossy().into_owned()),
            _ => value,
        }
    }

    /// A value of the right type that keeps the rules, or what is wrong.
    pub(crate) fn accept(&self, value: Value) -> Result<Value, String> {
        self.of_type(&value)?;
        self.within_bounds(&value)?;
        if let (Some(pattern), Some(text)) = (&self.pattern, value.as_str())
            && !pattern.is_match(text)
        {
            return Err(format!("`{text}` does not match the pattern `{pattern}`"));
        }
        Ok(value)
    }

    fn of_type(&self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let refuse = |wanted: &str| Err(format!("{} is not {wanted}", shown(value)));
        match self.kind {
            Type::String | Type::Path if text.is_none() => refuse("text"),
            Type::Int if !value.is_i64() && !value.is_u64() => refuse("a whole number"),
            Type::Float if !value.is_number() => refuse("a number"),
            Type::Bool if !value.is_boolean() => refuse("true or false"),
            Type::List if !value.is_array() => refuse("a list"),
            Type::Map if !value.is_object() => refuse("a map"),
            Type::Enum if !self.values.contains(value) => Err(self.not_a_choice(value)),
            Type::Duration => {
                text.map_or_else(|| refuse("a duration such as `5m`"), |text| duration::parse(text).map(drop))
            }
            Type::Url if !text.is_some_and(is_url) => refuse("a URL such as `https://example.com`"),
            Type::Ip if text.is_none_or(|text| text.parse::<IpAddr>().is_err()) => refuse("an IP address"),
            _ => Ok(()),
        }
    }

    fn not_a_choice(&self, value: &Value) -> String {
        let choices: Vec<String> = self.values.iter().map(plain).collect();
        let written = plain(value);
        match did_you_mean(&written, choices.iter().map(String::as_str)) {
            Some(suggestion) => format!("`{written}` is not one of {}; {suggestion}", choices.join(", ")),
            None => format!("`{written}` is not one of {}", choices.join(", ")),
        }
    }

    fn within_bounds(&self, value: &Value) -> Result<(), String> {
        let (size, what) = match value {
            Value::Number(number) => (number.as_f64().unwrap_or(0.0), ""),
            Value::String(text) if matches!(self.kind, Type::String | Type::Path) => {
                (text.chars().count() as f64, " characters")
            }
            Value::Array(items) => (items.len() as f64, " items"),
            _ => return Ok(()),
        };
        match (self.min, self.max) {
            (Some(min), _) if size < min => Err(format!("{} is less than the minimum of {min}{what}", shown(value))),
            (_, Some(max)) if size > max => Err(format!("{} is more than the maximum of {max}{what}", shown(value))),
            _ => Ok(()),
        }
    }
}

/// A value as one types it.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn number(text: &str) -> Result<Value, String> {
    text.parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())
        .map(Value::from)
        .ok_or_else(|| format!("`{text}` is not a number"))
}

fn boolean(text: &str) -> Result<Value, String> {
    match text {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        "yes" | "on" | "1" => Err(format!("`{text}` is not true or false; did you mean `true`?")),
        "no" | "off" | "0" => Err(format!("`{text}` is not true or false; did you mean `false`?")),
        _ => Err(format!("`{text}` is not true or false")),
    }
}

fn yaml(text: &str) -> Result<Value, String> {
    let mut problems = Vec::new();
    let source = Arc::new(Source::new("input", text));
    tree::parse(&source, &mut problems)
        .map(|tree| tree.to_value())
        .ok_or_else(|| problems.last().map_or_else(|| "it is not YAML".to_owned(), |problem| problem.message.clone()))
}

fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            && !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(char::is_whitespace)
    })
}

/// The inputs that a map of values gives, for tests of declarations.
#[cfg(test)]
pub(crate) fn example(text: &str) -> (serde_json::Map<String, Value>, Vec<String>) {
    let source = Arc::new(Source::new("t", text));
    let mut problems = Vec::new();
    let tree = tree::parse(&source, &mut problems).expect("YAML");
    let mut reader = Reader { source: &source, problems: &mut problems };
    let mut values = serde_json::Map::new();
    for entry in tree.entries().expect("a map") {
        let fields = reader
            .fields(
                &entry.value,
                "an input",
                &["type", "default", "required", "pattern", "min", "max", "values", "description", "example"],
            )
            .expect("a map");
        let input = declare(entry, &fields, &mut reader);
        if let Some(Ok(value)) = input.example.as_deref().map(|text| input.parse(text)) {
            values.insert(entry.key.clone(), value);
        }
    }
    (values, problems.iter().map(|problem| format!("{}: {}", problem.message, problem.labels[0].text)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_become_values_by_type() {
        let (values, problems) = example(
            "n: {type: int, example: 3}\nb: {type: bool, example: true}\nl: {type: list, example: '[a, b]'}\nm: {type: map, example: '{a: 1}'}\n\
             u: {type: url, example: 'http://x/y'}\ni: {type: ip, example: '10.0.0.1'}\nd: {type: duration, example: 5m}\ne: {values: [a, 2], example: 2}\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            Value::Object(values),
            json!({"n": 3, "b": true, "l": ["a", "b"], "m": {"a": 1}, "u": "http://x/y", "i": "10.0.0.1", "d": "5m", "e": 2})
        );
    }

    #[test]
    fn defaults_are_checked() {
        let (_, problems) = example(
            "a: {type: int, default: x}\nb: {type: string, default: abc, pattern: '^[0-9]+$'}\nc: {type: int, default: 20, max: 16}\n\
             d: {type: enum, values: [small, large], default: smal}\ne: {type: duration, default: '30'}\n",
        );
        assert_eq!(
            problems,
            [
                "the default of input `a` does not fit: \"x\" is not a whole number",
                "the default of input `b` does not fit: `abc` does not match the pattern `^[0-9]+$`",
                "the default of input `c` does not fit: 20 is more than the maximum of 16",
                "the default of input `d` does not fit: `smal` is not one of small, large; did you mean `small`?",
                "the default of input `e` does not fit: `30` has no unit; did you mean `30s` or `30m`?",
            ]
        );
    }

    #[test]
    fn a_wrong_type_is_suggested() {
        assert_eq!(example("a: {type: integer}").1, ["unknown type `integer`: did you mean `int`?"]);
    }
}
