//! Where two states of an object differ, leaving out what the server keeps for itself.

use serde_json::{Map, Value};

use crate::cluster::kind_of;

/// What the server writes and no manifest means, and our own marks.
const METADATA: [&str; 5] = ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"];
/// The label that the server gives to every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const MARKS: [&str; 2] = [super::DEPLOYMENT, super::STEP];

/// The first place where two states differ, with both values; the values of a Secret are not shown.
pub(crate) fn first_difference(old: &Value, new: &Value) -> Option<String> {
    let (old_bare, new_bare) = (bare(old), bare(new));
    let (path, old_value, new_value) = difference(&old_bare, &new_bare, String::new())?;
    if kind_of(old) == "Secret" && path.starts_with(".data") {
        return Some(format!("{path} (not shown)"));
    }
    Some(format!("{path}: {} → {}", shown(old_value), shown(new_value)))
}

fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        METADATA.iter().for_each(|key| drop(metadata.remove(*key)));
        strip(metadata, "annotations", &MARKS);
        strip(metadata, "labels", &[NAME_LABEL]);
    }
    object
}

/// Takes keys out of a map of texts, and the map where it is left empty.
fn strip(metadata: &mut Map<String, Value>, field: &str, keys: &[&str]) {
    let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else { return };
    keys.iter().for_each(|key| drop(map.remove(*key)));
    if map.is_empty() {
        metadata.remove(field);
    }
}

type Difference<'v> = (String, &'v Value, &'v Value);

fn difference<'v>(old: &'v Value, new: &'v Value, path: String) -> Option<Difference<'v>> {
    match (old, new) {
        (Value::Object(olds), Value::Object(news)) => {
            let keys = olds.keys().chain(news.keys().filter(|key| !olds.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let (one, other) = (olds.get(key).unwrap_or(&Value::Null), news.get(key).unwrap_or(&Value::Null));
                difference(one, other, format!("{path}.{key}"))
            })
        }
        (Value::Array(olds), Value::Array(news)) if olds.len() == news.len() => {
            let pairs = olds.iter().zip(news).enumerate();
            pairs.into_iter().find_map(|(index, (one, other))| difference(one, other, format!("{path}[{index}]")))
        }
        _ if old == new => None,
        _ => Some((path, old, new)),
    }
}

const LONGEST: usize = 60;

fn shown(value: &Value) -> String {
    let text = if value.is_null() { "nothing".to_owned() } else { value.to_string() };
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_named_with_both_values() {
        let old = json!({ "metadata": { "resourceVersion": "1" }, "spec": { "replicas": 1, "args": ["a"] }, "status": { "x": 1 } });
        let same = json!({ "metadata": { "resourceVersion": "2", "annotations": { "runbook.dev/deployment": "d" } },
                           "spec": { "replicas": 1, "args": ["a"] } });
        let other = json!({ "metadata": {}, "spec": { "replicas": 1, "args": ["b"], "paused": true } });
        assert_eq!(first_difference(&old, &same), None);
        assert_eq!(first_difference(&old, &other).as_deref(), Some(".spec.args[0]: \"a\" → \"b\""));
        assert_eq!(first_difference(&json!({}), &json!({ "a": 1 })).as_deref(), Some(".a: nothing → 1"));
    }

    #[test]
    fn the_data_of_a_secret_is_not_shown() {
        let secret = |data: &str| json!({ "kind": "Secret", "data": { "k": data } });
        assert_eq!(first_difference(&secret("b2xk"), &secret("bmV3")).as_deref(), Some(".data.k (not shown)"));
    }
}
