//! What is not kept of objects that are watched by the thousand. Pure.

use serde_json::Value;

/// The object as it was last applied, which it is anyway.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes out what only the server and kubectl need: half of many an object.
pub(super) fn trim(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.remove("managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
}

/// An object without that.
pub(crate) fn strip(mut object: Value) -> Value {
    trim(&mut object);
    object
}

/// Whether a path may lead to what is taken out.
pub(crate) fn needs_whole(path: &str) -> bool {
    ["managedFields", "last-applied", ".."].iter().any(|part| path.contains(part))
        || path.contains("metadata") && path.contains('*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn managers_and_the_last_applied_go_and_the_rest_stays() {
        let mut object = json!({ "metadata": { "name": "a", "managedFields": [{}],
                                 "annotations": { LAST_APPLIED: "{}", "mine": "1" } }, "status": {} });
        trim(&mut object);
        assert_eq!(object, json!({ "metadata": { "name": "a", "annotations": { "mine": "1" } }, "status": {} }));
        let mut odd = json!({ "metadata": { "annotations": null } });
        trim(&mut odd);
        assert_eq!(odd, json!({ "metadata": { "annotations": null } }));
    }

    #[test]
    fn paths_that_could_lead_there_are_told() {
        let needing =
            ["{.metadata.managedFields[0].manager}", "{..manager}", "{.metadata.*}", "{.metadata.annotations[*]}"];
        assert!(needing.into_iter().all(needs_whole));
        let others = ["{.status.conditions[*].type}", "{.metadata.annotations.mine}", "{.spec.replicas}"];
        assert!(!others.into_iter().any(needs_whole));
    }
}
