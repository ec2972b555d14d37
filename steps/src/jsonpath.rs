//! kubectl's dialect of JSONPath: `{.status.addresses[0].value}`.
//!
//! Translates it to RFC 9535 and leaves the query to `jsonpath-rust`. What kubectl has beyond one path (`range`, text around
//! the braces, several templates) is refused with the reason. Knows nothing of Kubernetes objects.

use std::iter::Peekable;
use std::str::Chars;

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// A path that was read.
#[derive(Clone, Debug)]
pub struct JsonPath {
    written: String,
    query: JpQuery,
}

impl JsonPath {
    /// Reads a path, with or without its braces and its leading dot.
    pub fn read(text: &str) -> Result<Self, String> {
        let translated = translate(inside_braces(text.trim())?)?;
        let query =
            parse_json_path(&translated).map_err(|_| format!("`{text}` is not a JSONPath that kubectl reads"))?;
        Ok(Self { written: text.trim().to_owned(), query })
    }

    /// Everything that the path leads to.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        js_path_process(&self.query, value)
            .map_or_else(|_| Vec::new(), |found| found.into_iter().map(|it| it.val).collect())
    }

    /// What the path leads to as one value: a list where it leads to several. `None` for nothing, or only nulls and empty texts,
    /// which to a reader of `status` are the same.
    pub fn value(&self, value: &Value) -> Option<Value> {
        let mut found: Vec<Value> = self.find(value).into_iter().filter(|it| !is_blank(it)).cloned().collect();
        if found.len() > 1 { Some(Value::Array(found)) } else { found.pop() }
    }
}

impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.written)
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// A found value as kubectl would print it: texts without quotes.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn inside_braces(text: &str) -> Result<&str, String> {
    let Some(rest) = text.strip_prefix('{') else {
        return if text.contains('{') { Err(one_path_only(text)) } else { Ok(text) };
    };
    let inside = rest.strip_suffix('}').ok_or_else(|| one_path_only(text))?.trim();
    if inside.contains(['{', '}']) || inside.starts_with("range ") || inside == "end" {
        return Err(one_path_only(text));
    }
    Ok(inside)
}

fn one_path_only(text: &str) -> String {
    format!("`{text}` is more than one path: give a single `{{.path}}`, without `range` and without text around it")
}

/// Every field becomes `['field']`, because the standard allows fewer letters in bare names than Kubernetes has in keys.
fn translate(path: &str) -> Result<String, String> {
    let mut rest = path.chars().peekable();
    rest.next_if(|first| matches!(first, '$' | '@'));
    let mut out = String::from("$");
    if rest.peek().is_some_and(|first| !matches!(first, '.' | '[')) {
        push_field(&mut out, &read_field(&mut rest));
    }
    translate_steps(&mut rest, &mut out)?;
    match rest.next() {
        None => Ok(out),
        Some(left) => Err(format!("`{left}` is not expected in the path `{path}`")),
    }
}

/// The steps of a path, up to what cannot be one of them.
fn translate_steps(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    loop {
        match rest.peek() {
            Some('.') => {
                rest.next();
                if rest.next_if_eq(&'.').is_some() {
                    out.push_str("..");
                }
                match rest.peek() {
                    Some('[') => {}
                    _ => push_field(out, &read_field(rest)),
                }
            }
            Some('[') => {
                rest.next();
                translate_brackets(rest, out)?;
            }
            _ => return Ok(()),
        }
    }
}

fn push_field(out: &mut String, field: &str) {
    match field {
        "" => {}
        "*" => out.push_str("[*]"),
        _ => out.push_str(&format!("['{}']", field.replace('\\', "\\\\").replace('\'', "\\'"))),
    }
}

/// A field's name; a backslash makes the next letter part of it.
fn read_field(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut field = String::new();
    while let Some(letter) = rest.next_if(|letter| !ends_field(*letter)) {
        match letter {
            '\\' => field.extend(rest.next()),
            letter => field.push(letter),
        }
    }
    field
}

fn ends_field(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '.' | '[' | ']' | ')' | '=' | '!' | '<' | '>' | '&' | '|' | ',')
}

/// What stands between brackets: an index, a slice, names, or a filter whose paths are translated too.
fn translate_brackets(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    let filter = rest.peek() == Some(&'?');
    loop {
        match rest.next() {
            Some(']') => {
                out.push(']');
                return Ok(());
            }
            Some(quote @ ('"' | '\'')) => copy_quoted(quote, rest, out)?,
            Some('@') if filter => {
                out.push('@');
                translate_steps(rest, out)?;
            }
            Some(letter) => out.push(letter),
            None => return Err("a `[` of the path is not closed".to_owned()),
        }
    }
}

fn copy_quoted(quote: char, rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push(quote);
    while let Some(letter) = rest.next() {
        out.push(letter);
        match letter {
            '\\' => out.extend(rest.next()),
            letter if letter == quote => return Ok(()),
            _ => {}
        }
    }
    Err("a quote of the path is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object() -> Value {
        json!({
            "metadata": { "name": "n", "annotations": { "a.b/c-d": "x" }, "labels": { "app": "web" } },
            "spec": { "ports": [ { "name": "http", "port": 80 }, { "name": "https", "port": 443 } ] },
            "status": {
                "addresses": [ { "value": "10.0.0.1" } ],
                "conditions": [
                    { "type": "Ready", "status": "True" }, { "type": "Accepted", "status": "False" }
                ],
                "empty": ""
            }
        })
    }

    fn found(path: &str) -> Value {
        JsonPath::read(path).expect(path).value(&object()).unwrap_or(Value::Null)
    }

    /// The answers are those of `kubectl get -o jsonpath=…`; several values are a list here, where kubectl joins them by spaces.
    #[test]
    fn paths_find_what_kubectl_finds() {
        let cases = [
            ("{.metadata.name}", json!("n")),
            (".metadata.name", json!("n")),
            ("metadata.name", json!("n")),
            ("{$.metadata.name}", json!("n")),
            ("{ .metadata.name }", json!("n")),
            (r"{.metadata.annotations.a\.b/c-d}", json!("x")),
            ("{.metadata.annotations['a.b/c-d']}", json!("x")),
            ("{.status.addresses[0].value}", json!("10.0.0.1")),
            ("{.spec.ports[-1].port}", json!(443)),
            ("{.spec.ports[*].port}", json!([80, 443])),
            ("{.spec.ports[0:1].name}", json!("http")),
            ("{.spec.ports[0,1].name}", json!(["http", "https"])),
            (r#"{.status.conditions[?(@.type=="Ready")].status}"#, json!("True")),
            (r"{.status.conditions[?(@.type == 'Accepted')].status}", json!("False")),
            ("{.spec.ports[?(@.port>100)].name}", json!("https")),
            ("{..port}", json!([80, 443])),
            ("{.metadata.labels.*}", json!("web")),
            ("{.status.missing}", Value::Null),
            ("{.status.empty}", Value::Null),
            ("{.status.addresses[3].value}", Value::Null),
        ];
        for (path, expected) in cases {
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_not_one_path_is_refused() {
        for path in
            ["{range .items[*]}{.name}{end}", "{.a}{.b}", "x={.a}", "{.a", "{.a[0}", "{.a[?(@.b=='c)]}", "{.a b}"]
        {
            assert!(JsonPath::read(path).is_err(), "{path}");
        }
    }
}
