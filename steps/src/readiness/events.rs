//! Kubernetes events: which are about an object, and how old they are.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::cluster::{kind_of, name_of, text_at, uid_of};

/// The events about an object, newest first.
pub(crate) fn events_about<'e>(object: &Value, events: &'e [Arc<Value>]) -> Vec<&'e Value> {
    let mut found: Vec<&Value> = events.iter().map(Arc::as_ref).filter(|event| is_about(event, object)).collect();
    found.sort_by(|one, other| time_of(other).cmp(time_of(one)));
    found
}

/// Nodes are named by events without their real uid, so there the name decides.
fn is_about(event: &Value, object: &Value) -> bool {
    let it = event.get("involvedObject").or_else(|| event.get("regarding")).unwrap_or(&Value::Null);
    let (told, uid) = (text_at(it, "/uid"), uid_of(object));
    if told.is_empty() || uid.is_empty() || kind_of(object) == "Node" {
        text_at(it, "/kind") == kind_of(object) && text_at(it, "/name") == name_of(object)
    } else {
        told == uid
    }
}

/// When an event was last seen, as it is written.
pub(crate) fn time_of(event: &Value) -> &str {
    let places = ["/series/lastObservedTime", "/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
    places.iter().map(|place| text_at(event, place)).find(|time| !time.is_empty()).unwrap_or_default()
}

/// When an event was first seen.
pub(super) fn began(event: &Value) -> Option<Timestamp> {
    ["/firstTimestamp", "/eventTime", "/metadata/creationTimestamp"].iter().find_map(|place| moment(event, place))
}

/// The time at a JSON pointer.
pub(crate) fn moment(value: &Value, pointer: &str) -> Option<Timestamp> {
    text_at(value, pointer).parse().ok()
}

/// `Reason: message`.
pub(crate) fn line(event: &Value) -> String {
    let message = text_at(event, "/message").trim();
    match (text_at(event, "/reason"), message) {
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

/// The newest warning among events that are sorted newest first.
pub(super) fn latest_warning(events: &[&Value]) -> Option<String> {
    events.iter().find(|event| text_at(event, "/type") == "Warning").map(|event| line(event))
}
