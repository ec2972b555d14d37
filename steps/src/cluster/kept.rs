//! One object as it is kept between looks: packed as text, because a parsed one takes ten times as much memory. Pure.

use std::sync::Arc;

use serde_json::Value;

use super::shelf::Key;
use super::{Selector, kind_of, name_of, namespace_of, text_at};

/// An object, and of it what must be at hand.
#[derive(Debug)]
pub(super) struct Kept {
    key: Key,
    form: Form,
    version: String,
    relations: Vec<String>,
    labels: Box<[(Box<str>, Box<str>)]>,
}

#[derive(Debug)]
enum Form {
    Packed(Box<str>),
    /// Looked at with many others at each of their changes.
    Open(Arc<Value>),
}

impl Kept {
    /// Packs an object.
    pub(super) fn new(object: &Value) -> Self {
        let version = text_at(object, "/metadata/resourceVersion").to_owned();
        // Copied, so that nothing is kept of the room that a text grew in.
        let form = Form::Packed(object.to_string().as_str().into());
        Self { key: key_of(object), form, version, relations: relations(object), labels: labels(object) }
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
            Form::Packed(text) => Arc::new(serde_json::from_str(text).expect("what was written from a value")),
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

    /// Whether a selector selects it.
    pub(super) fn is_selected(&self, by: &Selector) -> bool {
        by.selects(|name| self.labels.iter().find(|(label, _)| **label == *name).map(|(_, value)| value.as_ref()))
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

fn labels(object: &Value) -> Box<[(Box<str>, Box<str>)]> {
    let all = object.pointer("/metadata/labels").and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_packed_reads_as_it_was() {
        let object = json!({ "z": 1, "a": [null, "\u{1}ü", 1.5], "metadata": { "labels": { "b": "1", "a": "2" } } });
        let mut kept = Kept::new(&object);
        assert_eq!(*kept.read(), object);
        let open = kept.open();
        assert!(Arc::ptr_eq(&open, &kept.read()));
        assert!(matches!(Kept::new(&object).after(Some(&kept)).form, Form::Open(_)));
    }

    #[test]
    fn what_is_kept_packed_is_selected_by_its_labels() {
        let kept = Kept::new(&json!({ "metadata": { "labels": { "app": "x", "odd": 1 } } }));
        let selected = |text: &str| kept.is_selected(&Selector::read(text).expect(text));
        assert!(selected("app=x,!other,!odd") && !selected("app=y") && !selected("app=x,other"));
        assert!(!Kept::new(&json!({})).is_selected(&Selector::read("app").expect("a selector")));
    }

    #[test]
    fn objects_without_a_version_are_never_the_same() {
        let versioned = |version: &str| Kept::new(&json!({ "metadata": { "resourceVersion": version } }));
        assert!(versioned("1").is_same(&versioned("1")));
        assert!(!versioned("1").is_same(&versioned("2")));
        assert!(!versioned("").is_same(&versioned("")));
    }
}
