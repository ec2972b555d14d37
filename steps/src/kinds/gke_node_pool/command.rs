//! What a node pool's `with` means as arguments of `gcloud`, and against a pool that is there. Pure.

use serde_json::Value;

use super::super::gke_cluster::bounds;
use super::{Accelerator, Driver, NodePool};
use crate::gcloud::{OWNER, Placed, label_list};
use crate::kind::ReadError;

impl Accelerator {
    fn flag(&self) -> String {
        let driver = self.driver.map(|driver| match driver {
            Driver::Default => ",gpu-driver-version=default",
            Driver::Latest => ",gpu-driver-version=latest",
            Driver::Disabled => ",gpu-driver-version=disabled",
        });
        format!("type={},count={}{}", self.r#type, self.count, driver.unwrap_or_default())
    }
}

impl Placed<NodePool> {
    pub(super) fn verify(&self) -> Result<(), ReadError> {
        let wrong = |path: &str, message: &str| Err(ReadError { path: path.to_owned(), message: message.to_owned() });
        if let Err((path, message)) = bounds(self.nodes, self.min_nodes, self.max_nodes) {
            return wrong(path, &message);
        }
        if self.autoscaling == Some(true) && self.max_nodes.is_none() {
            return wrong("autoscaling", "autoscaling needs `max_nodes`");
        }
        if self.autoscaling == Some(false) && self.max_nodes.is_some() {
            return wrong("autoscaling", "`max_nodes` has no meaning without autoscaling");
        }
        if [self.spot, self.flex_start, self.reservation.is_some()].iter().filter(|given| **given).count() > 1 {
            return wrong("spot", "give at most one of `spot`, `flex_start` and `reservation`");
        }
        self.verify_zones()?;
        self.verify_tpu()
    }

    /// Guides pass these; GKE sets them itself, and a value that differs from its own leaves the pods pending.
    fn verify_tpu(&self) -> Result<(), ReadError> {
        let wrong = |path: &str, name: &str| {
            Err(ReadError {
                path: path.to_owned(),
                message: format!("GKE sets `{name}` on TPU machines itself: leave it out"),
            })
        };
        if !self.machine_type.starts_with("ct") {
            return Ok(());
        }
        if let Some(name) = self.node_labels.keys().find(|name| name.starts_with("cloud.google.com/gke-tpu")) {
            return wrong("node_labels", name);
        }
        match self.node_taints.iter().find(|taint| taint.starts_with("google.com/tpu")) {
            Some(taint) => wrong("node_taints", taint),
            None => Ok(()),
        }
    }

    fn place(&self, what: &str) -> Vec<String> {
        let cluster = format!("--cluster={}", self.cluster);
        ["container", "node-pools", what, &self.name, &cluster, &self.location().flag()].map(str::to_owned).into()
    }

    /// `container node-pools describe …`.
    pub(super) fn describe(&self) -> Vec<String> {
        self.place("describe")
    }

    /// `container node-pools delete …`.
    pub(super) fn delete(&self) -> Vec<String> {
        let mut args = self.place("delete");
        args.push("--async".to_owned());
        args
    }

    /// `container node-pools create …`, in a zone where it is not left to the cluster.
    pub(super) fn create(&self, owner: &str, zone: Option<&str>) -> Vec<String> {
        let mut args = self.place("create");
        let mut flag = |name: &str, value: Option<String>| args.extend(value.map(|value| format!("--{name}={value}")));
        let list = |items: &[String]| Some(items.join(",")).filter(|items| !items.is_empty());
        flag("machine-type", Some(self.machine_type.clone()));
        flag("num-nodes", self.nodes.map(|nodes| nodes.to_string()));
        flag("min-nodes", self.min_nodes.map(|nodes| nodes.to_string()));
        flag("max-nodes", self.max_nodes.map(|nodes| nodes.to_string()));
        flag("node-locations", zone.map(str::to_owned).or_else(|| list(&self.node_locations)));
        flag("reservation", self.reservation.clone());
        flag("reservation-affinity", self.affinity().map(str::to_owned));
        flag("accelerator", self.accelerator.as_ref().map(Accelerator::flag));
        flag("tpu-topology", self.tpu_topology.clone());
        flag("disk-type", self.disk_type.clone());
        flag("disk-size", self.disk_size.map(|size| size.to_string()));
        let labels = self.node_labels.iter().map(|(name, value)| (name.as_str(), value.0.as_str()));
        flag("node-labels", Some(label_list(labels)).filter(|labels| !labels.is_empty()));
        flag("node-taints", list(&self.node_taints));
        flag("labels", Some(label_list([(OWNER, owner)].into_iter())));
        args.extend(self.switches().map(|switch| format!("--{switch}")));
        args.extend(self.extra_args.iter().cloned());
        args
    }

    /// Machines that are queued for may not come from a reservation.
    fn affinity(&self) -> Option<&'static str> {
        self.reservation.as_ref().map(|_| "specific").or(self.flex_start.then_some("none"))
    }

    fn switches(&self) -> impl Iterator<Item = &'static str> {
        let autoscaled = self.max_nodes.map(|_| "enable-autoscaling");
        ["async"]
            .into_iter()
            .chain(autoscaled)
            .chain(self.spot.then_some("spot"))
            .chain(self.flex_start.then_some("flex-start"))
    }

    /// In what a pool that is there is not as this one should be, one a line. The number of nodes moves, and does not count.
    pub(super) fn differences(&self, found: &Value) -> Vec<String> {
        let at = |pointer: &str| found.pointer(pointer).cloned().unwrap_or_default();
        let number = |pointer: &str| at(pointer).as_u64().unwrap_or(0);
        let mut differences = Vec::new();
        let mut compare = |name: &str, wanted: String, is: String| {
            if wanted != is {
                differences.push(format!("{name}: the plan wants `{wanted}`, it is `{is}`"));
            }
        };
        compare(
            "machine_type",
            self.machine_type.clone(),
            at("/config/machineType").as_str().unwrap_or_default().to_owned(),
        );
        if !self.alternates.is_empty() && !self.is_in_a_candidate(found) {
            compare("zones", self.candidates().join("` or `"), self.zones_of(found).join(", "));
        }
        compare("spot", self.spot.to_string(), at("/config/spot").as_bool().unwrap_or(false).to_string());
        if let Some(most) = self.max_nodes {
            let wanted = format!("{}..{most}", self.min_nodes.unwrap_or(0));
            compare(
                "autoscaling",
                wanted,
                format!("{}..{}", number("/autoscaling/minNodeCount"), number("/autoscaling/maxNodeCount")),
            );
        }
        if let Some(accelerator) = &self.accelerator {
            let is = at("/config/accelerators/0/acceleratorType").as_str().unwrap_or("none").to_owned();
            compare("accelerator", accelerator.r#type.clone(), is);
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::gke_cluster::line;
    use super::super::{placed, read};
    use super::*;

    fn with(more: Value) -> Value {
        let mut with = json!({
            "name": "tpu", "cluster": "llm-d", "project": "p-1", "zone": "europe-west4-a", "machine_type": "ct6e-standard-4t",
        });
        if let Value::Object(more) = more {
            with.as_object_mut().unwrap().extend(more);
        }
        with
    }

    fn pool(more: Value) -> Placed<NodePool> {
        placed(with(more)).unwrap()
    }

    fn created(more: Value) -> String {
        line(&pool(more).create("trial", None))
            .replace("container node-pools create tpu --cluster=llm-d --zone=europe-west4-a ", "")
    }

    fn problem(more: Value) -> String {
        let error = read(with(more)).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn a_tpu_pool_gets_no_labels_or_taints_of_ours() {
        assert_eq!(
            created(json!({ "nodes": 1, "min_nodes": 0, "max_nodes": 3 })),
            "--machine-type=ct6e-standard-4t --num-nodes=1 --min-nodes=0 --max-nodes=3 --labels=runbook-deployment=trial --async \
             --enable-autoscaling"
        );
        let problem = problem(json!({ "node_taints": ["google.com/tpu=present:NoSchedule"] }));
        assert_eq!(
            problem,
            "node_taints: GKE sets `google.com/tpu=present:NoSchedule` on TPU machines itself: leave it out"
        );
    }

    #[test]
    fn a_gpu_pool_names_its_driver() {
        let accelerator = json!({ "type": "nvidia-tesla-t4", "count": 1, "driver": "default" });
        let command = created(json!({ "machine_type": "n1-standard-4", "accelerator": accelerator }));
        assert!(command.contains("--accelerator=type=nvidia-tesla-t4,count=1,gpu-driver-version=default"), "{command}");
    }

    #[test]
    fn scarce_machines_come_in_one_of_three_ways() {
        assert!(created(json!({ "spot": true })).ends_with("--async --spot"));
        assert!(created(json!({ "reservation": "r" })).contains("--reservation=r --reservation-affinity=specific"));
        let flexible = created(json!({ "flex_start": true }));
        assert!(flexible.contains("--reservation-affinity=none") && flexible.ends_with("--flex-start"), "{flexible}");
        assert!(problem(json!({ "spot": true, "flex_start": true })).contains("at most one"));
    }

    #[test]
    fn autoscaling_and_its_bounds_agree() {
        assert_eq!(problem(json!({ "autoscaling": true })), "autoscaling: autoscaling needs `max_nodes`");
        assert!(problem(json!({ "autoscaling": false, "max_nodes": 3 })).contains("no meaning"));
    }

    #[test]
    fn differences_are_listed() {
        let found = json!({
            "config": { "machineType": "ct5lp-hightpu-4t", "spot": true }, "autoscaling": { "enabled": true, "maxNodeCount": 1 },
        });
        let differences = [
            "machine_type: the plan wants `ct6e-standard-4t`, it is `ct5lp-hightpu-4t`",
            "spot: the plan wants `false`, it is `true`",
            "autoscaling: the plan wants `0..3`, it is `0..1`",
        ];
        assert_eq!(pool(json!({ "min_nodes": 0, "max_nodes": 3 })).differences(&found), differences);
    }
}
