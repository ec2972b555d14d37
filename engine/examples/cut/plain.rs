//! What can be compared of two worlds: texts and objects without times, addresses, numbers drawn and keys made up.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

/// Takes out of texts and objects what differs from one world to the next.
pub(crate) struct Plain {
    rules: Vec<(Regex, &'static str)>,
}

/// Fields that say when, how often or in which order, or that hold keys and certificates.
const VOLATILE: &[&str] = &[
    "resourceVersion",
    "uid",
    "managedFields",
    "caBundle",
    "generation",
    "observedGeneration",
    "creationTimestamp",
    "date",
    "created",
    "content-length",
    "containerID",
    "clusterCaCertificate",
];

/// Whether it says what two runs need not have in common. What ends with `_ms` says how long something took.
pub(crate) fn is_volatile(name: &str) -> bool {
    VOLATILE.contains(&name) || name.ends_with("_ms")
}

impl Plain {
    pub(crate) fn new(place: &Path) -> Self {
        let place = regex::escape(&place.to_string_lossy());
        let rules = [
            (place.as_str(), "<folder>"),
            (r"127\.0\.0\.1:\d+", "<address>"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
            (r"cmpl-simulated-\d+", "cmpl-simulated"),
            (r#"created":\d+"#, "created"),
            (r"\b10\.\d+\.\d+\.\d+\b", "<ip>"),
            (r"-ip-[0-9a-f]{8}\b", "-ip-<hash>"),
            (r"-[0-9a-z]{12}\b", "-<hash>"),
            (r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "-<suffix>"),
        ];
        let compiled = rules.map(|(rule, text)| (Regex::new(rule).expect("the rules are fixed"), text));
        Self { rules: compiled.into() }
    }

    pub(crate) fn text(&self, text: &str) -> String {
        self.rules.iter().fold(text.to_owned(), |text, (rule, with)| rule.replace_all(&text, *with).into_owned())
    }

    pub(crate) fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(items) => {
                let mut items: Vec<Value> = items.iter().map(|item| self.value(item)).collect();
                // Conditions are a set: who writes first stands first.
                if items.iter().all(|item| item["type"].is_string() && item["status"].is_string()) {
                    items.sort_by_key(|item| item["type"].to_string());
                }
                items.into()
            }
            Value::Object(map) => {
                let secret = map.get("kind").is_some_and(|kind| kind == "Secret");
                // Helm's own book says `pending-install` of a release over which helm was killed, and no run of ours can put that
                // right: what the release makes is compared, not what helm thinks of it.
                let helms = map.get("owner").is_some_and(|owner| owner == "helm");
                let beside = |key: &str| secret && key == "data" || helms && key == "status";
                let kept = map.iter().filter(|(key, _)| !(is_volatile(key) || beside(key)));
                kept.map(|(key, value)| (self.text(key), self.value(value))).collect()
            }
            other => other.clone(),
        }
    }
}

/// Where two values differ first, and in what; nothing where they are the same.
pub(crate) fn difference(was: &Value, is: &Value) -> Option<String> {
    let below = |name: &str, inner: String| format!(".{name}{inner}");
    match (was, is) {
        _ if was == is => None,
        (Value::Object(a), Value::Object(b)) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            let null = Value::Null;
            names
                .filter_map(|name| {
                    let inner = difference(a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null))?;
                    Some(below(name, inner))
                })
                .next()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.filter_map(|(index, (a, b))| Some(below(&index.to_string(), difference(a, b)?))).next()
        }
        _ => Some(format!(" is {is}, was {was}")),
    }
}
