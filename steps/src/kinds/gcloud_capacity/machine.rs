//! The machines that are probed with, as arguments of `gcloud`. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Capacity;
use crate::gcloud::{OWNER, label_list};

/// A TPU VM.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tpu {
    /// Its type, such as `v6e-1`: one chip of v6e.
    accelerator_type: String,
    /// The software on it.
    #[serde(default = "software")]
    version: String,
}

/// A machine with GPUs.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gpu {
    /// The type of its GPUs, such as `nvidia-tesla-t4`.
    r#type: String,
    /// How many.
    #[serde(default = "one")]
    count: u32,
    /// The machine.
    #[serde(default = "smallest")]
    machine_type: String,
}

fn software() -> String {
    "v2-alpha-tpuv6e".to_owned()
}

fn one() -> u32 {
    1
}

fn smallest() -> String {
    "n1-standard-1".to_owned()
}

impl Capacity {
    /// What is asked for, in words.
    pub(super) fn what(&self) -> String {
        let spot = if self.spot { "spot " } else { "" };
        match (&self.tpu, &self.gpu) {
            (Some(tpu), _) => format!("{spot}`{}`", tpu.accelerator_type),
            (_, Some(gpu)) => format!("{spot}`{}` with {} × `{}`", gpu.machine_type, gpu.count, gpu.r#type),
            _ => "nothing".to_owned(),
        }
    }

    fn place(&self, what: &str, name: &str, zone: &str) -> Vec<String> {
        let group: &[&str] =
            if self.tpu.is_some() { &["compute", "tpus", "tpu-vm"] } else { &["compute", "instances"] };
        let zone = format!("--zone={zone}");
        group.iter().copied().chain([what, name, &zone]).map(str::to_owned).collect()
    }

    pub(super) fn create(&self, name: &str, zone: &str, owner: &str) -> Vec<String> {
        let mut args = self.place("create", name, zone);
        if let Some(tpu) = &self.tpu {
            args.extend([format!("--accelerator-type={}", tpu.accelerator_type), format!("--version={}", tpu.version)]);
            // An external address would be one more thing to run out of.
            args.extend(["--internal-ips"].into_iter().chain(self.spot.then_some("--spot")).map(str::to_owned));
        }
        if let Some(gpu) = &self.gpu {
            args.push(format!("--machine-type={}", gpu.machine_type));
            args.push(format!("--accelerator=type={},count={}", gpu.r#type, gpu.count));
            // A machine with GPUs cannot be moved.
            let rest = ["--maintenance-policy=TERMINATE", "--no-address"];
            args.extend(rest.into_iter().chain(self.spot.then_some("--provisioning-model=SPOT")).map(str::to_owned));
        }
        args.extend(self.network.as_ref().map(|network| format!("--network={network}")));
        args.push(format!("--labels={}", label_list([(OWNER, owner)].into_iter())));
        args
    }

    pub(super) fn describe(&self, name: &str, zone: &str) -> Vec<String> {
        self.place("describe", name, zone)
    }

    /// Deletes it; without waiting for that where time is short. Only Cloud TPU's command can do without.
    pub(super) fn delete(&self, name: &str, zone: &str, hurried: bool) -> Vec<String> {
        let mut args = self.place("delete", name, zone);
        args.extend((hurried && self.tpu.is_some()).then(|| "--async".to_owned()));
        args
    }
}

/// Whether a machine is on its way out.
pub(super) fn is_leaving(machine: &Value) -> bool {
    matches!(machine["status"].as_str(), Some("STOPPING" | "TERMINATED")) || machine["state"] == "DELETING"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::gke_cluster::line;
    use super::*;

    fn capacity(more: &Value) -> Capacity {
        let mut with = json!({ "project": "p-1", "zones": ["us-east5-a"] });
        with.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        serde_json::from_value(with).unwrap()
    }

    #[test]
    fn a_tpu_is_asked_for_by_a_single_chip() {
        let tpu = capacity(&json!({ "tpu": { "accelerator_type": "v6e-1" }, "spot": true }));
        assert_eq!(
            line(&tpu.create("x", "us-east5-a", "trial")),
            "compute tpus tpu-vm create x --zone=us-east5-a --accelerator-type=v6e-1 --version=v2-alpha-tpuv6e --internal-ips --spot \
             --labels=runbook-deployment=trial"
        );
        assert_eq!(
            line(&tpu.delete("x", "us-east5-a", true)),
            "compute tpus tpu-vm delete x --zone=us-east5-a --async"
        );
    }

    #[test]
    fn a_gpu_comes_with_the_smallest_machine() {
        let gpu = capacity(&json!({ "gpu": { "type": "nvidia-tesla-t4" } }));
        assert_eq!(
            line(&gpu.create("x", "us-east5-a", "trial")),
            "compute instances create x --zone=us-east5-a --machine-type=n1-standard-1 --accelerator=type=nvidia-tesla-t4,count=1 \
             --maintenance-policy=TERMINATE --no-address --labels=runbook-deployment=trial"
        );
        assert_eq!(line(&gpu.delete("x", "us-east5-a", true)), "compute instances delete x --zone=us-east5-a");
        assert_eq!(gpu.what(), "`n1-standard-1` with 1 × `nvidia-tesla-t4`");
    }
}
