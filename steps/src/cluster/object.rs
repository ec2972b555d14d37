//! Small readings of a Kubernetes object held as JSON.

use serde_json::Value;

/// `metadata.name`, or empty.
pub fn name_of(object: &Value) -> &str {
    text_at(object, "/metadata/name")
}

/// `metadata.namespace`, or empty for what belongs to no namespace.
pub(crate) fn namespace_of(object: &Value) -> &str {
    text_at(object, "/metadata/namespace")
}

/// `kind`, or empty.
pub(crate) fn kind_of(object: &Value) -> &str {
    text_at(object, "/kind")
}

/// `apiVersion`, or empty.
pub(crate) fn api_version(object: &Value) -> &str {
    text_at(object, "/apiVersion")
}

/// `metadata.uid`, or empty.
pub(crate) fn uid_of(object: &Value) -> &str {
    text_at(object, "/metadata/uid")
}

/// One annotation.
pub(crate) fn annotation<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// One label.
pub(crate) fn label_of<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object.pointer("/metadata/labels")?.get(name)?.as_str()
}

/// The text at a JSON pointer, or empty.
pub(crate) fn text_at<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `kind/name`, lower-case kind, as a person would name it.
pub(crate) fn describe(object: &Value) -> String {
    format!("{}/{}", kind_of(object).to_lowercase(), name_of(object))
}
