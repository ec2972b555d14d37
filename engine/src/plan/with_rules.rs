//! What a `with` may not hold, whatever its schema says: secrets where others can read them, expressions where nobody evaluates them,
//! and names that a probe does not see.
//!
//! Knows what kinds do with their keys, as far as these rules ask; does not know values.

use runbook_steps::{Kind, OutputDoc};

use super::error::did_you_mean;
use super::expr;
use super::file::Reader;
use super::scan;
use super::sight::caret;
use super::template;
use super::tree::{Data, Entry, Node};

/// The keys whose values become arguments of a program; where none are named, all of them do.
pub(super) const ARGUMENTS: [(&str, &[&str]); 14] = [
    ("backends", &["project", "region"]),
    ("command", &["argv"]),
    ("gcloud", &["args", "exists", "undo", "project"]),
    ("gcloud.capacity", &["project", "zones", "network"]),
    ("gcloud.quota", &["project"]),
    ("git.clone", &[]),
    ("gke.cluster", &[]),
    ("gke.credentials", &[]),
    ("gke.node_pool", &[]),
    ("gke.resize", &[]),
    ("gke.update", &[]),
    ("helm.release", &["name", "namespace", "chart", "version", "extra_args"]),
    ("helmfile", &["selectors", "environment", "namespace", "extra_args"]),
    ("make", &["target", "targets", "variables"]),
];

/// The kinds whose own expressions see one name only.
const SEES: [(&str, &str); 2] = [("http.probe", "response"), ("http.bench", "bench")];

/// Reports what a `with` may not hold.
pub(super) fn check(kind: &Kind, with: &Node, reader: &mut Reader<'_>) {
    plain_keys(with, reader);
    if kind.name == "run" {
        with.get("script").into_iter().for_each(|node| plain_script(node, reader));
    }
    arguments(kind.name, with, reader);
    if kind.name == "manual" {
        let help = "what a person is asked is shown to everybody who runs the plan: leave it out";
        with.get("ask").into_iter().for_each(|node| no_secret(node, "a question cannot hold a secret", help, reader));
    }
    if kind.name == "kubectl.apply" {
        with.get("objects")
            .and_then(Node::items)
            .unwrap_or(&[])
            .iter()
            .for_each(|object| only_in_secrets(object, reader));
    }
    if let Some((_, name)) = SEES.iter().find(|(known, _)| *known == kind.name) {
        let sees = Sees { name, fields: kind.outputs };
        let requests = with.get("requests").and_then(Node::items).unwrap_or(&[]);
        std::iter::once(with).chain(requests).for_each(|request| expressions(request, sees, reader));
    }
}

fn plain_keys(node: &Node, reader: &mut Reader<'_>) {
    match &node.data {
        Data::List(items) => items.iter().for_each(|item| plain_keys(item, reader)),
        Data::Map(entries) => entries.iter().for_each(|entry| plain_key(entry, reader)),
        _ => {}
    }
}

fn plain_key(entry: &Entry, reader: &mut Reader<'_>) {
    if scan::has_expression(&entry.key) {
        let help = "only values are evaluated: write the key out, or make the whole map in a var";
        reader.problem_with_help(
            "expr::key",
            &entry.key_span,
            "a key cannot hold `${{ }}`",
            "would stay as it is",
            help,
        );
    }
    plain_keys(&entry.value, reader);
}

fn plain_script(node: &Node, reader: &mut Reader<'_>) {
    let Some((text, at)) = node.text().and_then(|text| Some((text, text.find("${{")?))) else { return };
    let end = text[at..].find("}}").map_or(text.len(), |end| at + end + 2);
    let inside = text[at..end].trim_start_matches("${{").trim_end_matches("}}").trim();
    let variable = variable_for(inside);
    let place = caret(&reader.place(&node.span), text, at..end);
    let help = format!(
        "pass it in: `env: {{ {variable}: \"${{{{ {inside} }}}}\" }}`, and write \"${variable}\" in the script"
    );
    let remark = "its value would become part of the script";
    reader.problem_with_help("plan::script", &place.span, "a script cannot hold `${{ }}`", remark, help);
}

/// `inputs.model_name` → `MODEL_NAME`.
fn variable_for(expression: &str) -> String {
    let last = expression
        .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == '.'))
        .next()
        .unwrap_or("");
    let name = last.rsplit('.').next().unwrap_or("").to_uppercase();
    if name.is_empty() { "VALUE".to_owned() } else { name }
}

fn arguments(kind: &str, with: &Node, reader: &mut Reader<'_>) {
    let Some((_, keys)) = ARGUMENTS.iter().find(|(known, _)| *known == kind) else { return };
    let help = match kind {
        "command" => "every user of the machine can read arguments: pass it by `env` or `stdin`",
        "make" | "gcloud" | "helmfile" => "every user of the machine can read arguments: pass it by `env`",
        "helm.release" => "every user of the machine can read arguments: pass it by `values`",
        _ => "every user of the machine can read arguments",
    };
    let told = with.entries().unwrap_or(&[]).iter().filter(|entry| keys.is_empty() || keys.contains(&&*entry.key));
    told.for_each(|entry| no_secret(&entry.value, "a secret cannot be an argument", help, reader));
}

fn no_secret(node: &Node, message: &str, help: &str, reader: &mut Reader<'_>) {
    match &node.data {
        Data::Text(text) if names_secret(text) => {
            reader.problem_with_help("secret::argv", &node.span, message, "", help);
        }
        Data::List(items) => items.iter().for_each(|item| no_secret(item, message, help, reader)),
        Data::Map(entries) => entries.iter().for_each(|entry| no_secret(&entry.value, message, help, reader)),
        _ => {}
    }
}

fn names_secret(text: &str) -> bool {
    scan::has_expression(text) && template::text_references(text).iter().any(|reference| reference.path[0] == "secrets")
}

/// Of all objects only a Secret may hold one, as text.
fn only_in_secrets(object: &Node, reader: &mut Reader<'_>) {
    let Some(kind) = object.get("kind").and_then(Node::text).filter(|kind| !scan::has_expression(kind)) else { return };
    let help = "put it into `stringData` of a Secret, and refer to that by `secretKeyRef`";
    for entry in object.entries().unwrap_or(&[]).iter().filter(|entry| kind != "Secret" || entry.key != "stringData") {
        let message = match kind {
            "Secret" => format!("`{}` of a Secret cannot hold a secret of the plan", entry.key),
            _ => format!("a {kind} cannot hold a secret: everybody who may read the object could read it"),
        };
        no_secret(&entry.value, &message, help, reader);
    }
}

fn expressions(request: &Node, sees: Sees<'_>, reader: &mut Reader<'_>) {
    let of = |key: &str| request.get(key).into_iter();
    let listed = of("assert").flat_map(|node| node.items().unwrap_or(std::slice::from_ref(node)));
    let captured = of("capture").flat_map(|node| node.entries().unwrap_or(&[])).map(|entry| &entry.value);
    for node in of("until").chain(listed).chain(captured) {
        if let Some(text) = node.text().filter(|text| !scan::has_expression(text)) {
            expression(node, text, sees, reader);
        }
    }
}

fn expression(node: &Node, text: &str, sees: Sees<'_>, reader: &mut Reader<'_>) {
    if let Some(fault) = expr::unreadable(text) {
        let help = fault.help.unwrap_or_else(|| format!("it is an expression, such as `{}`", sees.example()));
        return reader.problem_with_help("expr::syntax", &node.span, fault.message, "", help);
    }
    for reference in scan::mentions(text).references.iter().filter(|reference| reference.path[0] != sees.name) {
        let name = &reference.path[0];
        let at = caret(&reader.place(&node.span), text, reference.spans[0].clone());
        let help = format!("expressions here see only `{}`, as in `{}`", sees.name, sees.example());
        let message = format!("nothing is called `{name}` here");
        reader.problem_with_help("expr::name", &at.span, message, sees.remark_on(name), help);
    }
}

/// What the expressions of a kind see.
#[derive(Clone, Copy)]
struct Sees<'k> {
    name: &'k str,
    fields: &'k [OutputDoc],
}

impl Sees<'_> {
    fn example(self) -> &'static str {
        if self.name == "bench" { "bench.total.p95_ms < 900" } else { "response.status == 200" }
    }

    fn remark_on(self, name: &str) -> String {
        if self.fields.iter().any(|field| field.name == name) {
            return format!("did you mean `{}.{name}`?", self.name);
        }
        did_you_mean(name, [self.name]).unwrap_or_else(|| "would be nothing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_become_arguments_are_keys_of_these_kinds() {
        for (name, keys) in ARGUMENTS {
            let kind = runbook_steps::kind(name).unwrap_or_else(|| panic!("no kind is called {name}"));
            let schema = (kind.schema)();
            for key in keys {
                assert!(schema["properties"].get(key).is_some(), "{name} takes no {key}");
            }
        }
    }
}
