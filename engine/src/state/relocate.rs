//! Paths of a deployment's folder in outputs and fingerprints, after that folder has moved. Pure.

use serde_json::{Map, Value};

/// Says of a folder's new place what was said of its old one, everywhere in a map.
pub(super) fn relocate(map: &mut Map<String, Value>, old: &str, new: &str) {
    if map.keys().any(|key| key.contains(old)) {
        *map = std::mem::take(map).into_iter().map(|(key, value)| (moved(&key, old, new), value)).collect();
    }
    map.values_mut().for_each(|value| relocate_value(value, old, new));
}

/// The same for one value.
pub(super) fn relocate_value(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) if text.contains(old) => *text = moved(text, old, new),
        Value::Array(items) => items.iter_mut().for_each(|item| relocate_value(item, old, new)),
        Value::Object(map) => relocate(map, old, new),
        _ => {}
    }
}

/// The text with the folder replaced where a whole path component ends with it.
pub(super) fn moved(text: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(old) {
        let (before, after) = (&rest[..at], &rest[at + old.len()..]);
        let goes_on = after.starts_with(|next: char| next.is_alphanumeric() || matches!(next, '-' | '_' | '.'));
        out.push_str(before);
        out.push_str(if goes_on { old } else { new });
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_follow_their_folder_and_others_stay() {
        let mut map = json!({
            "dir": "/a/.runbook/p/clones/x", "home": "/a/.runbook/p", "other": "/a/.runbook/p2/x",
            "list": ["make -C /a/.runbook/p/clones all", 3], "inner": { "none": "/b" },
        });
        relocate(map.as_object_mut().expect("a map"), "/a/.runbook/p", "/new/p");
        let expected = json!({
            "dir": "/new/p/clones/x", "home": "/new/p", "other": "/a/.runbook/p2/x",
            "list": ["make -C /new/p/clones all", 3], "inner": { "none": "/b" },
        });
        assert_eq!(map, expected);
    }
}
