//! Templates inside a document: `${{ values.x }}` in the texts of parsed YAML.
//!
//! Evaluated on nodes after parsing, never on text: a value can change what a field holds, but not the shape of the document.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::expression::{compiled, environment, shown, told};

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Renders every text of a document. Only `values` can be named; what is undefined is an error.
pub(super) fn render(node: &mut Value, values: &Map<String, Value>) -> Result<(), String> {
    let environment = environment(UndefinedBehavior::Strict);
    let scope = minijinja::context! { values => minijinja::value::Serde(values) };
    Renderer { environment, scope }.node(node, &mut String::new())
}

struct Renderer {
    environment: Environment<'static>,
    scope: minijinja::Value,
}

impl Renderer {
    fn node(&self, node: &mut Value, path: &mut String) -> Result<(), String> {
        match node {
            Value::String(text) if text.contains(OPEN) => {
                *node = self.text(text).map_err(|why| format!("`{}`: {why}", path.trim_start_matches('.')))?;
                Ok(())
            }
            Value::Array(items) => {
                items.iter_mut().enumerate().try_for_each(|(index, item)| self.below(item, &format!("[{index}]"), path))
            }
            Value::Object(map) => map.iter_mut().try_for_each(|(key, item)| self.below(item, &format!(".{key}"), path)),
            _ => Ok(()),
        }
    }

    fn below(&self, node: &mut Value, step: &str, path: &mut String) -> Result<(), String> {
        let length = path.len();
        path.push_str(step);
        let rendered = self.node(node, path);
        path.truncate(length);
        rendered
    }

    /// A text that is one expression keeps the type of its value; otherwise values become part of the text.
    fn text(&self, text: &str) -> Result<Value, String> {
        let parts = parts(text)?;
        if let [Part::Expression(expression)] = parts.as_slice() {
            return self.value(expression);
        }
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(expression) => match self.value(expression)? {
                    Value::String(text) => out.push_str(&text),
                    Value::Array(_) | Value::Object(_) => {
                        return Err(format!("`{expression}` is a list or a mapping, which cannot stand inside a text"));
                    }
                    other => out.push_str(&other.to_string()),
                },
            }
        }
        Ok(Value::String(out))
    }

    fn value(&self, expression: &str) -> Result<Value, String> {
        let found = compiled(&self.environment, expression).and_then(|it| it.eval(&self.scope));
        let found = found.map_err(|error| format!("`{}`: {}", shown(expression), told(&error)))?;
        if found.is_undefined() {
            return Err(format!("`{expression}` is undefined"));
        }
        serde_json::to_value(&found).map_err(|error| format!("`{expression}`: {error}"))
    }
}

enum Part<'t> {
    Text(&'t str),
    Expression(&'t str),
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let end = end_of(after).ok_or_else(|| format!("`{OPEN}` is not closed"))?;
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(Part::Expression(after[..end].trim()));
        rest = &after[end + CLOSE.len()..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// Where an expression ends: at the first closing mark that is not inside quotes.
fn end_of(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, letter) in text.char_indices() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            (None, '}') if text[index..].starts_with(CLOSE) => return Some(index),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "`json!` values are written in place")]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(node: Value) -> Result<Value, String> {
        let values = json!({ "replicas": 3, "name": "q", "evil": "x\nkind: Secret", "list": [1] });
        let mut node = node;
        render(&mut node, values.as_object().expect("an object")).map(|()| node)
    }

    #[test]
    fn values_keep_their_type_alone_and_join_texts() {
        let node = json!({ "replicas": "${{ values.replicas }}", "name": "m-${{ values.name }}-${{ values.replicas }}", "x": 1 });
        assert_eq!(rendered(node).expect("fine"), json!({ "replicas": 3, "name": "m-q-3", "x": 1 }));
        assert_eq!(rendered(json!("${{ 'a }}' ~ values.name }}")).expect("fine"), json!("a }}q"));
    }

    #[test]
    fn a_value_cannot_change_the_shape() {
        assert_eq!(rendered(json!({ "a": "${{ values.evil }}" })).expect("fine"), json!({ "a": "x\nkind: Secret" }));
    }

    #[test]
    fn mistakes_name_the_place() {
        let cases = [
            (json!({ "spec": { "a": ["${{ values.missing }}"] } }), "`spec.a[0]`: `values.missing` is undefined"),
            (
                json!({ "a": "x ${{ values.list }}" }),
                "`a`: `values.list` is a list or a mapping, which cannot stand inside a text",
            ),
            (json!({ "a": "${{ values.x" }), "`a`: `${{` is not closed"),
        ];
        for (node, message) in cases {
            assert_eq!(rendered(node).expect_err("a mistake"), message);
        }
    }
}
