//! In which order objects are applied: what others need first.

use serde_json::Value;

use crate::cluster::kind_of;

/// Kinds in the order in which they are applied. Kinds that are not here come after workloads: they are custom, and their
/// controllers and definitions must be there first. Webhooks come last, because from then on nothing gets past them.
const ORDER: [&str; 32] = [
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "IngressClass",
    "Ingress",
    "APIService",
    "GatewayClass",
    "Gateway",
];

const WEBHOOKS: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

/// An object's place in the order; equal ones keep the order in which they were written.
pub(crate) fn rank(object: &Value) -> usize {
    let kind = kind_of(object);
    let webhook = WEBHOOKS.contains(&kind);
    let known = ORDER.iter().position(|it| *it == kind);
    if webhook { ORDER.len() + 1 } else { known.unwrap_or(ORDER.len()) }
}

/// Sorts objects into the order in which they are applied.
pub(crate) fn sort(objects: &mut [Value]) {
    objects.sort_by_key(rank);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_others_need_comes_first_and_equals_keep_their_order() {
        let kinds = [
            "ValidatingWebhookConfiguration",
            "Issuer",
            "Deployment",
            "Gadget",
            "CustomResourceDefinition",
            "Namespace",
        ];
        let mut objects: Vec<Value> = kinds.iter().map(|kind| json!({ "kind": kind })).collect();
        sort(&mut objects);
        let sorted: Vec<&str> = objects.iter().map(kind_of).collect();
        assert_eq!(
            sorted,
            [
                "Namespace",
                "CustomResourceDefinition",
                "Deployment",
                "Issuer",
                "Gadget",
                "ValidatingWebhookConfiguration"
            ]
        );
    }
}
