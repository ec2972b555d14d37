//! What exactly a step does, in parts: equal fingerprints mean the same work, and a difference can be named.
//!
//! Covers the kind and its version, the rendered `with` (script, command and environment are in it) and the contents of the files that
//! it uses; for a step that only waits, its conditions. Not the name, hints, retries, timeouts and estimates: they do not change what is
//! done. Reads files, and nothing else.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use runbook_steps::Redactor;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::relocate::{moved, relocate};
use crate::plan::eval::Rendered;
use crate::plan::model::Step;

/// Longer texts stand in the journal as their digest.
const LONGEST: usize = 2048;

/// What exactly a step does, in parts, so that a difference can be named.
///
/// It is a map in the journal, and the text of that map in memory, where every step of a deployment has one: equal ones are mostly
/// equal texts, and only a difference is worth taking apart.
#[derive(Clone, Default, Eq)]
pub struct Fingerprint(Box<str>);

/// From where the folder has moved is no difference.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        let has_moved = || self.0.contains(MOVED) || other.0.contains(MOVED);
        self.0 == other.0 || (has_moved() && self.unmoved() == other.unmoved())
    }
}

impl Fingerprint {
    /// Its parts.
    pub fn parts(&self) -> Map<String, Value> {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The same with every secret masked.
    pub(crate) fn masked(self, redactor: &Redactor) -> Self {
        if redactor.is_idle() {
            return self;
        }
        let mut parts = self.parts();
        parts.values_mut().for_each(|part| redactor.mask_value(part));
        parts.into()
    }

    /// The same of a folder's new place. What is a digest speaks of the place that the folder had then, which is kept.
    pub(super) fn relocate(&mut self, old: &str, new: &str) {
        let mut parts = self.parts();
        let from = match parts.remove(MOVED) {
            Some(moved) => moved["from"].clone(),
            None => json!(old),
        };
        relocate(&mut parts, old, new);
        if self.0.contains(DIGEST) && from != new {
            parts.insert(MOVED.to_owned(), json!({ "from": from, "to": new }));
        }
        *self = parts.into();
    }

    fn unmoved(&self) -> Map<String, Value> {
        let mut parts = self.parts();
        parts.remove(MOVED);
        parts
    }

    /// What a step would now do otherwise than this. Long texts are compared as they would be at the place that the folder had then.
    pub(crate) fn differences_to(&self, now: &Self, rendered: &Rendered) -> Vec<String> {
        // Nearly no folder has moved, and to take fingerprints apart takes its time in a large plan.
        if !self.0.contains(MOVED) {
            return differences(self, now);
        }
        let mut then = self.parts();
        let Some(moved) = then.remove(MOVED) else { return differences(self, now) };
        let (Some(from), Some(to)) = (moved["from"].as_str(), moved["to"].as_str()) else {
            return differences(self, now);
        };
        let mut now = now.parts();
        now.get_mut("with").into_iter().for_each(|with| put_back(with, &rendered.with, to, from));
        let waits = now.get_mut("wait").and_then(Value::as_array_mut).into_iter().flatten();
        waits.zip(&rendered.wait).for_each(|(part, value)| put_back(part, value, to, from));
        differences(&then.into(), &now.into())
    }

    /// The contents of the files that the step uses.
    pub(crate) fn files(&self) -> Value {
        self.parts().remove("files").unwrap_or_else(|| Value::Object(Map::new()))
    }

    fn from_text(text: Vec<u8>) -> Self {
        let text = String::from_utf8(text).expect("JSON is text");
        Self(if text == "{}" { Box::default() } else { text.into() })
    }
}

impl From<Map<String, Value>> for Fingerprint {
    fn from(parts: Map<String, Value>) -> Self {
        Self::from_text(json_of(&parts))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = if self.0.is_empty() { "{}" } else { &*self.0 };
        let json: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut text = Vec::new();
        Copied(&mut text).deserialize(deserializer)?;
        match text.first() {
            Some(b'{') => Ok(Self::from_text(text)),
            _ => Err(D::Error::custom("a fingerprint is a map")),
        }
    }
}

/// Writes whatever comes as JSON, without making a tree of it.
struct Copied<'t>(&'t mut Vec<u8>);

impl Copied<'_> {
    fn put<E>(self, value: impl Serialize) -> Result<(), E> {
        serde_json::to_writer(self.0, &value).expect("plain data has a JSON");
        Ok(())
    }

    /// Closes a collection after whose items commas were put.
    fn close(self, end: u8) {
        match self.0.last_mut() {
            Some(last) if *last == b',' => *last = end,
            _ => self.0.push(end),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Copied<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Copied<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.put(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.put(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.put(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.put(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        while items.next_element_seed(Copied(self.0))?.is_some() {
            self.0.push(b',');
        }
        self.close(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.push(b'{');
        while entries.next_key_seed(Copied(self.0))?.is_some() {
            self.0.push(b':');
            entries.next_value_seed(Copied(self.0))?;
            self.0.push(b',');
        }
        self.close(b'}');
        Ok(())
    }
}

fn json_of(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data has a JSON")
}

/// What stands in front of a digest.
const DIGEST: &str = "sha256:";

/// The part that says from where to where the folder has moved since.
const MOVED: &str = "moved";

/// Writes each digest of a part as it was written when the folder was at another place. Short texts were moved with it.
fn put_back(part: &mut Value, value: &Value, now: &str, then: &str) {
    match (part, value) {
        (Value::String(part), Value::String(text)) if text.contains(now) => {
            let before = moved(text, now, then);
            if before.len() > LONGEST {
                *part = digest_of_text(&before);
            }
        }
        (Value::Array(parts), Value::Array(values)) => {
            parts.iter_mut().zip(values).for_each(|(part, value)| put_back(part, value, now, then));
        }
        (Value::Object(parts), Value::Object(values)) => {
            let both = parts.iter_mut().filter_map(|(key, part)| Some((part, values.get(key)?)));
            both.for_each(|(part, value)| put_back(part, value, now, then));
        }
        _ => {}
    }
}

fn digest_of_text(text: &str) -> String {
    format!("{DIGEST}{}", hex(&Sha256::digest(text.as_bytes())))
}

/// The parts of a fingerprint, as they are written.
#[derive(Serialize)]
struct Parts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<Shortened<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<Vec<Shortened<'a>>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    files: Map<String, Value>,
}

/// The fingerprint of a step. `files` are those that its kind says it uses; relative ones start from `dir`.
pub fn fingerprint(step: &Step, rendered: &Rendered, files: &[PathBuf], dir: &Path) -> Fingerprint {
    let kind = step.work.as_ref().map(|work| work.kind);
    let parts = Parts {
        kind: kind.map(|kind| kind.name),
        version: kind.map(|kind| kind.version),
        with: kind.map(|_| Shortened(&rendered.with)),
        wait: kind.is_none().then(|| rendered.wait.iter().map(Shortened).collect()),
        files: contents(files, dir),
    };
    Fingerprint::from_text(json_of(&parts))
}

/// The contents of files, as digests. Relative ones start from `dir`.
pub(crate) fn contents(files: &[PathBuf], dir: &Path) -> Map<String, Value> {
    let digest = |file: &PathBuf| (file.display().to_string(), Value::String(digest_of(&dir.join(file))));
    files.iter().map(digest).collect()
}

/// What differs, one line for each difference; empty when nothing does.
pub fn differences(old: &Fingerprint, new: &Fingerprint) -> Vec<String> {
    let mut lines = Vec::new();
    if old != new {
        let (old, mut new) = (old.parts(), new.parts());
        // Which files a step uses follows from its `with`. Where only that became known, it is this program that has learnt it.
        if !old.contains_key("files") && old.get("with") == new.get("with") {
            new.remove("files");
        }
        maps("", &old, &new, &mut lines);
    }
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
pub(crate) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    let rest = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{rest}`")
}

/// A value in which long texts are written as their digest.
struct Shortened<'a>(&'a Value);

impl Serialize for Shortened<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.len() > LONGEST => serializer.serialize_str(&digest_of_text(text)),
            Value::Array(items) => serializer.collect_seq(items.iter().map(Shortened)),
            Value::Object(map) => serializer.collect_map(map.iter().map(|(key, item)| (key, Shortened(item)))),
            other => other.serialize(serializer),
        }
    }
}

/// A digest of a value, short: to tell a few from each other.
pub(crate) fn short_digest(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string())[..8])
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
    entries.iter().for_each(|entry| add_entry(hash, entry));
    Ok(())
}

/// An entry of a folder. A link to a folder may lead back up, so only where it points to counts; what is no file has no content.
fn add_entry(hash: &mut Sha256, path: &Path) {
    add_part(hash, path.file_name().map(OsStr::as_encoded_bytes).unwrap_or_default());
    let points_to = fs::read_link(path).ok();
    match path.metadata() {
        Ok(meta) if meta.is_file() => add_part(hash, digest_of(path).as_bytes()),
        Ok(meta) if meta.is_dir() && points_to.is_none() => add_part(hash, digest_of(path).as_bytes()),
        _ => add_part(hash, points_to.unwrap_or_default().as_os_str().as_encoded_bytes()),
    }
}

/// With its length, so that nothing that a file holds looks like another file.
fn add_part(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

/// Opens without waiting, and looks at what was opened: at a pipe, nobody may ever write.
fn add_file(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = File::options().read(true).custom_flags(without_waiting).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
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
            Value::Object(map) => map.into(),
            _ => Fingerprint::default(),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        for value in [
            json!({}),
            json!({ "kind": "run", "version": 1, "with": { "a": [], "b": {}, "c": [null, true, -1, 0.5, "ä\n\"{,"] } }),
            json!({ "wait": [{ "for": "x" }], "files": { "a,": "1" } }),
        ] {
            let text = value.to_string();
            let read: Fingerprint = serde_json::from_str(&text).expect("a fingerprint");
            assert_eq!(read, print(value.clone()));
            assert_eq!(serde_json::to_string(&read).expect("written"), text);
            assert_eq!(serde_json::from_value::<Fingerprint>(value).expect("read"), read);
        }
        assert!(serde_json::from_str::<Fingerprint>("[1]").is_err());
    }

    #[test]
    fn the_order_of_parts_is_no_difference() {
        assert!(differences(&print(json!({ "a": 1, "b": 2 })), &print(json!({ "b": 2, "a": 1 }))).is_empty());
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
    fn a_file_that_an_older_program_did_not_know_of_is_no_difference() {
        let old = print(json!({ "kind": "command", "with": { "argv": ["./a.sh"] } }));
        let new = print(json!({ "kind": "command", "with": { "argv": ["./a.sh"] }, "files": { "a.sh": "1234" } }));
        assert!(differences(&old, &new).is_empty());
        let later = print(json!({ "kind": "command", "with": { "argv": ["./a.sh"] }, "files": { "a.sh": "5678" } }));
        assert_eq!(differences(&new, &later), ["the file `a.sh` changed"]);
    }

    #[test]
    fn a_new_version_of_a_kind_is_a_difference() {
        let old = print(json!({ "kind": "command", "version": 1, "with": {} }));
        let new = print(json!({ "kind": "command", "version": 2, "with": {} }));
        assert_eq!(differences(&old, &new), ["`version` changed `1` → `2`"]);
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
    fn a_pipe_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a folder");
        let pipe = dir.path().join("pipe");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, rustix::fs::Mode::RWXU, 0).expect("made");
        assert_eq!(digest_of(&pipe), "unreadable: invalid input parameter");
        assert_eq!(digest_of(Path::new("/dev/zero")), "unreadable: invalid input parameter");
    }

    #[test]
    fn a_digest_knows_from_where_its_folder_came_and_is_the_same_still() {
        let digest = print(
            json!({ "with": { "script": digest_of_text(&"x".repeat(LONGEST + 1)) }, "files": { "/a/p/f": "1" } }),
        );
        let (mut there, mut back) = (digest.clone(), digest.clone());
        there.relocate("/a/p", "/b/p");
        back.relocate("/a/p", "/b/p");
        back.relocate("/b/p", "/a/p");
        assert_eq!(there.parts()[MOVED], json!({ "from": "/a/p", "to": "/b/p" }));
        assert_eq!(there.parts()["files"], json!({ "/b/p/f": "1" }));
        assert!(back == digest && !back.parts().contains_key(MOVED));
        let mut plain = print(json!({ "with": { "script": "cat /a/p/f" } }));
        plain.relocate("/a/p", "/b/p");
        assert_eq!(plain.parts(), json!({ "with": { "script": "cat /b/p/f" } }).as_object().expect("a map").clone());
    }

    #[test]
    fn long_texts_stand_as_their_digest() {
        let script = json!({ "script": "x".repeat(LONGEST + 1) });
        let long = serde_json::to_value(Shortened(&script)).expect("plain data");
        assert!(long["script"].as_str().is_some_and(|text| text.starts_with("sha256:") && text.len() == 71));
    }

    #[test]
    fn a_folder_is_what_its_files_hold_however_its_links_point() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).expect("made");
        fs::write(at("sub/a"), "1").expect("written");
        std::os::unix::fs::symlink("..", at("sub/up")).expect("linked");
        std::os::unix::fs::symlink("nowhere", at("broken")).expect("linked");
        let before = digest_of(dir.path());
        assert_eq!(before.len(), 64, "{before}");
        fs::write(at("sub/a"), "2").expect("written");
        let after = digest_of(dir.path());
        assert_ne!(before, after);
        fs::rename(at("sub/a"), at("sub/b")).expect("moved");
        assert_ne!(digest_of(dir.path()), after, "names count");
    }
}
