//! One object as it is kept between looks: packed as text, because a parsed one takes ten times as much memory. Pure.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shelf::Key;
use super::{kind_of, name_of, namespace_of, text_at};

/// An object, and of it what must be at hand.
#[derive(Debug)]
pub(super) struct Kept {
    key: Key,
    form: Form,
    version: String,
    relations: Vec<String>,
    /// An object with the labels only, for selectors.
    labels: Value,
}

#[derive(Debug)]
enum Form {
    Packed(Box<[u8]>),
    /// Looked at with many others at each of their changes.
    Open(Arc<Value>),
}

impl Kept {
    /// Packs an object.
    pub(super) fn new(object: &Value) -> Self {
        let version = text_at(object, "/metadata/resourceVersion").to_owned();
        let labels = json!({ "metadata": { "labels": object.pointer("/metadata/labels") } });
        let form = Form::Packed(object.to_string().into_bytes().into());
        Self { key: key_of(object), form, version, relations: relations(object), labels }
    }

    /// Where it stands.
    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// Keeps it open if the one whose place it takes was.
    pub(super) fn after(mut self, before: Option<&Kept>) -> Self {
        if before.is_some_and(|before| matches!(before.form, Form::Open(_))) {
            self.open();
        }
        self
    }

    /// The object.
    pub(super) fn read(&self) -> Arc<Value> {
        match &self.form {
            Form::Open(object) => Arc::clone(object),
            Form::Packed(text) => Arc::new(serde_json::from_slice(text).expect("what was written from a value")),
        }
    }

    /// The object, which is read often and is from now on kept open.
    pub(super) fn open(&mut self) -> Arc<Value> {
        let object = self.read();
        self.form = Form::Open(Arc::clone(&object));
        object
    }

    /// Whether it is the same version of the object.
    pub(super) fn is_same(&self, other: &Kept) -> bool {
        !self.version.is_empty() && self.version == other.version
    }

    /// What it belongs to: the uids of its owners and, of an event, the uid and the `Kind/name` of what it is about.
    pub(super) fn relations(&self) -> &[String] {
        &self.relations
    }

    /// An object with the same labels.
    pub(super) fn labels(&self) -> &Value {
        &self.labels
    }
}

/// Where an object stands.
pub(super) fn key_of(object: &Value) -> Key {
    (namespace_of(object).to_owned(), name_of(object).to_owned())
}

/// What stands for an object where an event does not give its uid.
pub(crate) fn kind_and_name(object: &Value) -> String {
    format!("{}/{}", kind_of(object), name_of(object))
}

fn relations(object: &Value) -> Vec<String> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let mut found: Vec<String> = owners.map(|owner| text_at(owner, "/uid").to_owned()).collect();
    if let Some(about) = object.get("involvedObject").or_else(|| object.get("regarding")) {
        found.push(text_at(about, "/uid").to_owned());
        found.push(format!("{}/{}", text_at(about, "/kind"), text_at(about, "/name")));
    }
    found.retain(|relation| !relation.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_packed_reads_as_it_was() {
        let object = json!({ "z": 1, "a": [null, "\u{1}ü", 1.5], "metadata": { "labels": { "b": "1", "a": "2" } } });
        let mut kept = Kept::new(&object);
        assert_eq!(*kept.read(), object);
        assert_eq!(kept.labels().pointer("/metadata/labels"), object.pointer("/metadata/labels"));
        let open = kept.open();
        assert!(Arc::ptr_eq(&open, &kept.read()));
        assert!(matches!(Kept::new(&object).after(Some(&kept)).form, Form::Open(_)));
    }

    #[test]
    fn objects_without_a_version_are_never_the_same() {
        let versioned = |version: &str| Kept::new(&json!({ "metadata": { "resourceVersion": version } }));
        assert!(versioned("1").is_same(&versioned("1")));
        assert!(!versioned("1").is_same(&versioned("2")));
        assert!(!versioned("").is_same(&versioned("")));
    }
}
