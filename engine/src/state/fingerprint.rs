//! What exactly a step does, in parts: equal fingerprints mean the same work, and a difference can be named.
//!
//! Covers the kind and its version, the rendered `with` (script, command and environment are in it) and the contents of the files that
//! it uses; for a step that only waits, its conditions. Not the name, hints, retries, timeouts and estimates: they do not change what is
//! done. Reads files, and nothing else.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::record::Fingerprint;
use crate::plan::eval::Rendered;
use crate::plan::model::Step;

/// Longer texts stand in the journal as their digest.
const LONGEST: usize = 2048;

/// The fingerprint of a step. `files` are those that its kind says it uses; relative ones start from `dir`.
pub fn fingerprint(step: &Step, rendered: &Rendered, files: &[PathBuf], dir: &Path) -> Fingerprint {
    let mut parts = Map::new();
    match &step.work {
        Some(work) => {
            parts.insert("kind".to_owned(), json!(work.kind.name));
            parts.insert("version".to_owned(), json!(work.kind.version));
            parts.insert("with".to_owned(), shortened(&rendered.with));
        }
        None => {
            parts.insert("wait".to_owned(), shortened(&Value::Array(rendered.wait.clone())));
        }
    }
    if !files.is_empty() {
        let digests = files.iter().map(|file| (file.display().to_string(), json!(digest_of(&dir.join(file)))));
        parts.insert("files".to_owned(), Value::Object(digests.collect()));
    }
    Fingerprint(parts)
}

/// What differs, one line for each difference; empty when nothing does.
pub fn differences(old: &Fingerprint, new: &Fingerprint) -> Vec<String> {
    let mut lines = Vec::new();
    maps("", &old.0, &new.0, &mut lines);
    lines
}

fn maps(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, lines: &mut Vec<String>) {
    let under = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, before) in old {
        match new.get(key) {
            Some(after) => values(&under(key), before, after, lines),
            None => lines.push(format!("`{}` is gone (was {})", under(key), shown(before))),
        }
    }
    for (key, after) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        lines.push(format!("`{}` is new ({})", under(key), shown(after)));
    }
}

fn values(path: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Object(old), Value::Object(new)) => maps(path, old, new, lines),
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                values(&format!("{path}[{index}]"), old, new, lines);
            }
        }
        _ if path.starts_with("files.") => lines.push(format!("the file `{}` changed", &path["files.".len()..])),
        _ => lines.push(format!("`{path}` changed {} → {}", shown(old), shown(new))),
    }
}

/// A value in a few words.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    let rest = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{rest}`")
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > LONGEST => {
            json!(format!("sha256:{}", hex(&Sha256::digest(text.as_bytes()))))
        }
        Value::Array(items) => items.iter().map(shortened).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), shortened(item))).collect(),
        other => other.clone(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of a file, or of all files below a folder with their names. What cannot be read has the reason as its digest: the step
/// itself will say so better.
fn digest_of(path: &Path) -> String {
    let mut hash = Sha256::new();
    match add(&mut hash, path) {
        Ok(()) => hex(&hash.finalize()),
        Err(error) => format!("unreadable: {}", error.kind()),
    }
}

fn add(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    if !path.metadata()?.is_dir() {
        return add_file(hash, path);
    }
    let mut entries =
        fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    for entry in entries {
        hash.update(entry.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default());
        hash.update([0]);
        add(hash, &entry)?;
        hash.update([0]);
    }
    Ok(())
}

fn add_file(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(value: Value) -> Fingerprint {
        match value {
            Value::Object(map) => Fingerprint(map),
            _ => Fingerprint::default(),
        }
    }

    #[test]
    fn every_difference_is_named_with_its_path() {
        let old = print(json!({
            "kind": "gke.node_pool",
            "with": { "machine_type": "ct6e-standard-4t", "labels": ["a", "b"], "spot": true },
            "files": { "m.yaml": "1234" },
        }));
        let new = print(json!({
            "kind": "gke.node_pool",
            "with": { "machine_type": "ct6e-standard-8t", "labels": ["a", "c"], "nodes": 2 },
            "files": { "m.yaml": "5678" },
        }));
        assert_eq!(
            differences(&old, &new),
            [
                "`with.machine_type` changed `ct6e-standard-4t` → `ct6e-standard-8t`",
                "`with.labels[1]` changed `b` → `c`",
                "`with.spot` is gone (was `true`)",
                "`with.nodes` is new (`2`)",
                "the file `m.yaml` changed",
            ]
        );
        assert!(differences(&old, &old).is_empty());
    }

    #[test]
    fn a_folder_changes_with_any_file_in_it() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("sub")).expect("made");
        fs::write(dir.path().join("sub/a"), "1").expect("written");
        let before = digest_of(dir.path());
        assert_eq!(before, digest_of(dir.path()));
        fs::write(dir.path().join("sub/a"), "2").expect("written");
        let changed = digest_of(dir.path());
        assert_ne!(before, changed);
        fs::rename(dir.path().join("sub/a"), dir.path().join("sub/b")).expect("renamed");
        assert_ne!(changed, digest_of(dir.path()));
        assert_eq!(digest_of(&dir.path().join("none")), "unreadable: entity not found");
    }

    #[test]
    fn long_texts_stand_as_their_digest() {
        let long = shortened(&json!({ "script": "x".repeat(LONGEST + 1) }));
        assert!(long["script"].as_str().is_some_and(|text| text.starts_with("sha256:") && text.len() == 71));
    }
}
