//! The values of a release: files and inline values made one document, and compared with what helm was given before.
//!
//! Helm is given that one document on its standard input: no secret is in its arguments, and no file has to be cleaned up. Helm itself
//! keeps the values in the release's Secret, so that comparing with those tells a changed secret as well, and nothing else has to be
//! written down.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Class, Failure};

/// Values as a plan gives them; secrets are still markers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(Value);

impl Values {
    /// Reads the files in order, each over those before it, and lays the inline values on top.
    pub(crate) fn load(files: &[PathBuf], inline: &Map<String, Value>, cx: &Context) -> Result<Self, Failure> {
        let mut merged = Value::Object(Map::new());
        for file in files {
            merge(&mut merged, read_file(&cx.plan_path(file), file)?);
        }
        merge(&mut merged, Value::Object(inline.clone()));
        Ok(Self(merged))
    }

    /// With the secrets in their places. Only for helm's standard input and for comparing.
    pub(crate) fn revealed(&self, cx: &Context) -> Result<Value, Failure> {
        let mut revealed = self.0.clone();
        reveal(&mut revealed, cx)?;
        Ok(revealed)
    }
}

fn reveal(value: &mut Value, cx: &Context) -> Result<(), Failure> {
    match value {
        Value::String(text) => {
            let secret = cx.secrets.reveal(text).map_err(|why| Failure::new(Class::NeedsPerson, why))?;
            secret.expose().clone_into(text);
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| reveal(item, cx)),
        Value::Object(map) => map.values_mut().try_for_each(|item| reveal(item, cx)),
        _ => Ok(()),
    }
}

fn read_file(path: &Path, named: &Path) -> Result<Value, Failure> {
    let shown = named.display();
    let text = crate::files::read_text(path).map_err(|error| {
        let class = if error.kind() == std::io::ErrorKind::NotFound { Class::NotFound } else { Class::Permanent };
        Failure::new(class, format!("cannot read the values file `{shown}`: {error}"))
    })?;
    let wrong = |why: String| Failure::invalid(format!("`{shown}` holds no values: {why}"));
    let node: serde_yaml::Value = serde_yaml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let value = serde_json::to_value(node).map_err(|error| wrong(error.to_string()))?;
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(_) => match old_scalar(&text, &value) {
            Some((line, word)) => Err(ambiguous(named, line, &word)),
            None => Ok(value),
        },
        _ => Err(wrong("it is not a map".to_owned())),
    }
}

static OLD: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^\s*(?:- |[^#\s][^#]*?:\s+)(?P<word>(?i:y|n|yes|no|on|off)|0[0-7]+)\s*(?:#.*)?$";
    Regex::new(pattern).expect("a pattern that was written here")
});

/// A word that YAML 1.1, which helm reads, and YAML 1.2, which we read, understand differently; with its line.
fn old_scalar(text: &str, value: &Value) -> Option<(usize, String)> {
    let mut words =
        text.lines().enumerate().filter_map(|(at, line)| Some((at + 1, OLD.captures(line)?["word"].to_owned())));
    // Inside a block of text such a line means nothing.
    words.find(|(_, word)| holds(value, word))
}

fn holds(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) => text == word,
        Value::Number(number) => word.starts_with('0') && word.trim_start_matches('0') == number.to_string(),
        Value::Array(items) => items.iter().any(|item| holds(item, word)),
        Value::Object(map) => map.values().any(|item| holds(item, word)),
        _ => false,
    }
}

fn ambiguous(file: &Path, line: usize, word: &str) -> Failure {
    Failure::invalid(format!("line {line} of `{}`: a plain `{word}` is not a text to helm", file.display()))
        .cause("helm reads YAML 1.1, where it is a boolean or an octal number")
        .fix(format!("write `true`, `false` or the decimal number, or quote it: '{word}'"))
}

/// As helm merges: maps key by key, everything else as a whole.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(below) if below.is_object() && value.is_object() => merge(below, value),
                    _ => drop(base.insert(key, value)),
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// The path of the first value that differs. No value is shown: the old one may be a secret that nobody knows any more.
pub(crate) fn difference(wanted: &Value, given: &Value) -> Option<String> {
    differs(wanted, given, String::new())
}

fn differs(wanted: &Value, given: &Value, path: String) -> Option<String> {
    match (wanted, given) {
        (Value::Object(wanteds), Value::Object(givens)) => {
            let keys = wanteds.keys().chain(givens.keys().filter(|key| !wanteds.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let (one, other) = (wanteds.get(key).unwrap_or(&Value::Null), givens.get(key).unwrap_or(&Value::Null));
                differs(one, other, format!("{path}.{key}"))
            })
        }
        (Value::Array(wanteds), Value::Array(givens)) if wanteds.len() == givens.len() => {
            let pairs = wanteds.iter().zip(givens).enumerate();
            pairs.into_iter().find_map(|(at, (one, other))| differs(one, other, format!("{path}[{at}]")))
        }
        // Helm prints nothing for a map that is empty.
        (Value::Object(_), Value::Null) => differs(wanted, &Value::Object(Map::new()), path),
        (Value::Null, Value::Object(_)) => differs(&Value::Object(Map::new()), given, path),
        // Helm keeps numbers as floats.
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => None,
        _ if wanted == given => None,
        _ if path.is_empty() => Some(".".to_owned()),
        _ => Some(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn later_values_win_key_by_key() {
        let mut base = json!({ "a": { "x": 1, "y": [1, 2] }, "b": 1 });
        merge(&mut base, json!({ "a": { "y": [3] }, "b": null, "c": {} }));
        assert_eq!(base, json!({ "a": { "x": 1, "y": [3] }, "b": null, "c": {} }));
    }

    #[test]
    fn the_first_difference_is_named_without_its_values() {
        let cases = [
            (json!({ "a": { "b": "x" } }), json!({ "a": { "b": "y" } }), Some(".a.b")),
            (json!({ "a": [1, { "b": 1 }] }), json!({ "a": [1, { "b": 2 }] }), Some(".a[1].b")),
            (json!({ "a": 1 }), json!({ "a": 1, "more": 2 }), Some(".more")),
            (json!({ "a": 1 }), json!({ "a": 1.0 }), None),
            (json!({ "a": null }), json!({}), None),
            (json!({}), Value::Null, None),
            (json!({ "a": 1 }), Value::Null, Some(".a")),
        ];
        for (wanted, given, path) in cases {
            assert_eq!(difference(&wanted, &given).as_deref(), path, "{wanted} {given}");
        }
    }

    #[test]
    fn what_the_yamls_disagree_on_is_found() {
        let found = |text: &str| {
            let value =
                serde_json::to_value(serde_yaml::from_str::<serde_yaml::Value>(text).expect("YAML")).expect("JSON");
            old_scalar(text, &value)
        };
        assert_eq!(found("a: 1\nenabled: no\n"), Some((2, "no".to_owned())));
        assert_eq!(found("list:\n  - Yes # really\n"), Some((2, "Yes".to_owned())));
        assert_eq!(found("mode: 0644\n").map(|it| it.0), Some(1));
        for text in ["enabled: 'no'\n", "enabled: false\n", "text: |\n  answer: yes\n", "zero: 0\n", "a: nothing\n"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
