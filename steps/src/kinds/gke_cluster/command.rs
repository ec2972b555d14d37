//! What a cluster's `with` means as arguments of `gcloud`, and against a cluster that is there. Pure.

use serde_json::Value;

use super::{Channel, Cluster, GatewayApi};
use crate::gcloud::{OWNER, Placed, label_list};
use crate::kind::ReadError;
use crate::nearest::nearest;
use crate::tools::Program;

/// The keys that `--addons` knows. One unknown key, and gcloud refuses the whole command.
pub(crate) const ADDONS: &[&str] = &[
    "BackupRestore",
    "CloudRun",
    "ConfigConnector",
    "GcePersistentDiskCsiDriver",
    "GcpFilestoreCsiDriver",
    "GcsFuseCsiDriver",
    "HighScaleCheckpointing",
    "HorizontalPodAutoscaling",
    "HttpLoadBalancing",
    "KubeRun",
    "KubernetesDashboard",
    "LustreCsiDriver",
    "NetworkPolicy",
    "NodeLocalDNS",
    "ParallelstoreCsiDriver",
    "RayOperator",
    "StatefulHA",
];

/// Add-ons that are on unless a cluster says otherwise, and where it says so.
const SWITCHES: &[(&str, &str)] = &[
    ("HttpLoadBalancing", "/addonsConfig/httpLoadBalancing/disabled"),
    ("HorizontalPodAutoscaling", "/addonsConfig/horizontalPodAutoscaling/disabled"),
    ("NetworkPolicy", "/addonsConfig/networkPolicyConfig/disabled"),
];

impl Channel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Channel::Rapid => "rapid",
            Channel::Regular => "regular",
            Channel::Stable => "stable",
            Channel::Extended => "extended",
            Channel::None => "None",
        }
    }
}

impl GatewayApi {
    pub(crate) fn name(self) -> &'static str {
        match self {
            GatewayApi::Standard => "standard",
            GatewayApi::Disabled => "disabled",
        }
    }
}

impl Cluster {
    pub(super) fn verify(&self) -> Result<(), ReadError> {
        let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
        if let Some(index) = self.addons.iter().position(|addon| !ADDONS.contains(&addon.as_str())) {
            return wrong(&format!("addons[{index}]"), unknown_addon(&self.addons[index]));
        }
        if self.gateway_api == Some(GatewayApi::Standard)
            && !self.addons.is_empty()
            && !self.has_addon("HttpLoadBalancing")
        {
            let message = "the list replaces GKE's defaults, and without `HttpLoadBalancing` there is no Gateway controller: add it";
            return wrong("addons", message.to_owned());
        }
        if self.labels.contains_key(OWNER) {
            return wrong("labels", format!("`{OWNER}` is set by runbook"));
        }
        match bounds(self.nodes, self.min_nodes, self.max_nodes) {
            Err((path, message)) => wrong(path, message),
            Ok(()) => Ok(()),
        }
    }

    fn has_addon(&self, name: &str) -> bool {
        self.all_addons().any(|addon| addon == name)
    }

    /// Those of the plan, and the one that enforcing NetworkPolicies needs.
    fn all_addons(&self) -> impl Iterator<Item = &str> {
        let listed = self.addons.iter().map(String::as_str);
        let needed =
            self.network_policy && !self.addons.is_empty() && !self.addons.iter().any(|addon| addon == "NetworkPolicy");
        listed.chain(needed.then_some("NetworkPolicy"))
    }

    fn switches(&self) -> impl Iterator<Item = &'static str> {
        let shielded = ["enable-shielded-nodes", "shielded-secure-boot", "shielded-integrity-monitoring"];
        let autoscaled = self.max_nodes.map(|_| "enable-autoscaling");
        let policed = self.network_policy.then_some("enable-network-policy");
        // Without `--async` a killed run would leave nobody who waits; waiting is a thing of our own.
        ["enable-ip-alias", "async"]
            .into_iter()
            .chain(autoscaled)
            .chain(policed)
            .chain(shielded.into_iter().filter(|_| self.shielded))
    }

    /// In what a cluster that is there is not as this one should be, one a line. Numbers of nodes do not count: they move.
    pub(super) fn differences(&self, found: &Value) -> Vec<String> {
        let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut differences = Vec::new();
        let mut compare = |name: &str, wanted: Option<String>, is: &str| {
            differences.extend(wanted.filter(|wanted| wanted != is).map(|wanted| difference(name, &wanted, is)));
        };
        let version = text("/currentMasterVersion");
        compare("version", self.version.clone().filter(|wanted| !is_at_least(version, wanted)), version);
        compare("network", self.network.as_deref().map(last_part), last_part(text("/network")).as_str());
        compare("subnetwork", self.subnetwork.as_deref().map(last_part), last_part(text("/subnetwork")).as_str());
        compare("workload_pool", self.workload_pool.clone(), text("/workloadIdentityConfig/workloadPool"));
        compare(
            "gateway_api",
            self.gateway_api.map(|api| api.name().to_owned()),
            gateway_api(text("/networkConfig/gatewayApiConfig/channel")),
        );
        let policed = found.pointer("/networkPolicy/enabled") == Some(&Value::Bool(true));
        compare(
            "network_policy",
            self.network_policy.then(|| "true".to_owned()),
            if policed { "true" } else { "false" },
        );
        let off = |pointer: &str| found.pointer(pointer) == Some(&Value::Bool(true));
        let missing = SWITCHES.iter().filter(|(addon, pointer)| self.has_addon(addon) && off(pointer));
        differences.extend(missing.map(|(addon, _)| format!("addons: `{addon}` is wanted, but disabled")));
        differences
    }
}

impl Placed<Cluster> {
    /// `container clusters create …`.
    pub(super) fn create(&self, owner: &str) -> Vec<String> {
        let mut args =
            ["container", "clusters", "create", &self.name, &self.location().flag()].map(str::to_owned).to_vec();
        let mut flag = |name: &str, value: Option<String>| args.extend(value.map(|value| format!("--{name}={value}")));
        flag("cluster-version", self.version.clone());
        flag("release-channel", self.release_channel.map(|channel| channel.name().to_owned()));
        flag("machine-type", self.machine_type.clone());
        flag("disk-size", self.disk_size.map(|size| size.to_string()));
        flag("num-nodes", self.nodes.map(|nodes| nodes.to_string()));
        flag("min-nodes", self.min_nodes.map(|nodes| nodes.to_string()));
        flag("max-nodes", self.max_nodes.map(|nodes| nodes.to_string()));
        flag("network", self.network.clone());
        flag("subnetwork", self.subnetwork.clone());
        flag("gateway-api", self.gateway_api.map(|api| api.name().to_owned()));
        flag("addons", Some(self.all_addons().collect::<Vec<_>>().join(",")).filter(|addons| !addons.is_empty()));
        flag("workload-pool", self.workload_pool.clone());
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.0.as_str()));
        flag("labels", Some(label_list(labels.chain([(OWNER, owner)]))));
        args.extend(self.switches().map(|switch| format!("--{switch}")));
        args.extend(self.extra_args.iter().cloned());
        args
    }

    /// `container clusters delete …`.
    pub(super) fn delete(&self) -> Vec<String> {
        ["container", "clusters", "delete", &self.name, &self.location().flag(), "--async"].map(str::to_owned).into()
    }
}

/// A difference, in a line.
pub(crate) fn difference(name: &str, wanted: &str, is: &str) -> String {
    let is = if is.is_empty() { "not set".to_owned() } else { format!("`{is}`") };
    format!("{name}: the plan wants `{wanted}`, it is {is}")
}

/// The word that plans have for a channel of the Gateway API.
pub(crate) fn gateway_api(channel: &str) -> &'static str {
    if channel == "CHANNEL_STANDARD" { "standard" } else { "disabled" }
}

/// Networks come as names and as links.
fn last_part(link: &str) -> String {
    link.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Whether a version is the wanted one or newer: a release channel moves clusters on.
pub(crate) fn is_at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| text.split(['.', '-']).filter_map(|part| part.parse::<u64>().ok()).collect::<Vec<_>>();
    let (version, wanted) = (numbers(version), numbers(wanted));
    version.iter().take(wanted.len()).ge(wanted.iter())
}

/// Whether numbers of nodes make sense together. The error names the key.
pub(crate) fn bounds(nodes: Option<u32>, least: Option<u32>, most: Option<u32>) -> Result<(), (&'static str, String)> {
    let (low, high) = (least.unwrap_or(0), most.unwrap_or(u32::MAX));
    match nodes {
        _ if least.is_some() && most.is_none() => Err(("min_nodes", "autoscaling needs `max_nodes` too".to_owned())),
        _ if low > high => Err(("min_nodes", format!("{low} is more than `max_nodes` ({high})"))),
        Some(nodes) if nodes < low => Err(("nodes", format!("{nodes} is less than `min_nodes` ({low})"))),
        Some(nodes) if nodes > high => Err(("nodes", format!("{nodes} is more than `max_nodes` ({high})"))),
        _ => Ok(()),
    }
}

/// Why a name is no add-on.
pub(crate) fn unknown_addon(name: &str) -> String {
    match nearest(name, ADDONS.iter().copied()) {
        Some(meant) => format!("there is no add-on `{name}`; did you mean `{meant}`?"),
        None => format!("there is no add-on `{name}`; there are {}", ADDONS.join(", ")),
    }
}

/// Arguments as a person would type them.
pub(crate) fn line(args: &[String]) -> String {
    let line = Program::new("").args(args).command_line();
    line.trim_start_matches("''").trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{placed, read};
    use super::*;

    fn with(more: Value) -> Value {
        let mut with = json!({ "name": "llm-d", "project": "p-1", "zone": "europe-west4-a" });
        if let Value::Object(more) = more {
            with.as_object_mut().unwrap().extend(more);
        }
        with
    }

    fn cluster(more: Value) -> Placed<Cluster> {
        placed(with(more)).unwrap()
    }

    fn problem(more: Value) -> String {
        let error = read(with(more)).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn the_command_is_the_corrected_one() {
        let cluster = cluster(json!({
            "version": "1.34", "release_channel": "regular", "machine_type": "n1-standard-4", "nodes": 2, "min_nodes": 2, "max_nodes": 4,
            "gateway_api": "standard", "addons": ["HttpLoadBalancing", "HorizontalPodAutoscaling", "GcePersistentDiskCsiDriver"],
            "network_policy": true, "workload_pool": "p-1.svc.id.goog", "shielded": true, "labels": { "team": "ml" },
        }));
        let wanted = "container clusters create llm-d --zone=europe-west4-a --cluster-version=1.34 --release-channel=regular \
            --machine-type=n1-standard-4 --num-nodes=2 --min-nodes=2 --max-nodes=4 --gateway-api=standard \
            --addons=HttpLoadBalancing,HorizontalPodAutoscaling,GcePersistentDiskCsiDriver,NetworkPolicy \
            --workload-pool=p-1.svc.id.goog --labels=team=ml,runbook-deployment=trial --enable-ip-alias --async \
            --enable-autoscaling --enable-network-policy --enable-shielded-nodes --shielded-secure-boot \
            --shielded-integrity-monitoring";
        assert_eq!(line(&cluster.create("trial")), wanted);
    }

    #[test]
    fn what_is_not_given_is_left_to_gke() {
        let wanted = "container clusters create llm-d --zone=europe-west4-a --labels=runbook-deployment=trial --enable-ip-alias --async";
        assert_eq!(line(&cluster(json!({})).create("trial")), wanted);
    }

    #[test]
    fn a_wrong_addon_is_suggested_the_right_one() {
        let problem = problem(json!({ "addons": ["HttpLoadBalancing", "GkeNetworkPolicy"] }));
        assert_eq!(problem, "addons[1]: there is no add-on `GkeNetworkPolicy`; did you mean `NetworkPolicy`?");
    }

    #[test]
    fn a_list_without_the_gateway_controller_is_refused() {
        let problem = problem(json!({ "gateway_api": "standard", "addons": ["GcePersistentDiskCsiDriver"] }));
        assert!(problem.starts_with("addons: the list replaces GKE's defaults"), "{problem}");
    }

    #[test]
    fn numbers_of_nodes_must_fit_together() {
        assert_eq!(problem(json!({ "nodes": 5, "max_nodes": 4 })), "nodes: 5 is more than `max_nodes` (4)");
        assert_eq!(problem(json!({ "min_nodes": 1 })), "min_nodes: autoscaling needs `max_nodes` too");
    }

    #[test]
    fn a_place_is_given_once() {
        assert_eq!(problem(json!({ "region": "europe-west4" })), "zone: give exactly one of `zone` and `region`");
    }

    #[test]
    fn a_version_must_be_quoted() {
        assert!(problem(json!({ "version": 1.30 })).starts_with("version: invalid type: floating point"));
    }

    #[test]
    fn a_cluster_that_fits_has_no_differences() {
        let wanted = json!({
            "version": "1.34", "gateway_api": "standard", "network": "default", "addons": ["HttpLoadBalancing"],
            "workload_pool": "p-1.svc.id.goog",
        });
        let found = json!({
            "currentMasterVersion": "1.34.1-gke.1829001", "network": "default",
            "networkConfig": { "gatewayApiConfig": { "channel": "CHANNEL_STANDARD" }, "network": "projects/p-1/global/networks/default" },
            "addonsConfig": { "httpLoadBalancing": {} }, "workloadIdentityConfig": { "workloadPool": "p-1.svc.id.goog" },
        });
        assert_eq!(cluster(wanted).differences(&found), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_listed() {
        let wanted = json!({ "version": "1.34", "gateway_api": "standard", "addons": ["HttpLoadBalancing"], "network_policy": true });
        let found = json!({ "currentMasterVersion": "1.33.5-gke.1", "addonsConfig": { "httpLoadBalancing": { "disabled": true } } });
        let differences = [
            "version: the plan wants `1.34`, it is `1.33.5-gke.1`",
            "gateway_api: the plan wants `standard`, it is `disabled`",
            "network_policy: the plan wants `true`, it is `false`",
            "addons: `HttpLoadBalancing` is wanted, but disabled",
        ];
        assert_eq!(cluster(wanted).differences(&found), differences);
    }

    #[test]
    fn a_newer_version_fits() {
        assert!(is_at_least("1.35.0-gke.1", "1.34"));
        assert!(is_at_least("1.34.1-gke.3355001", "1.34.1-gke.3355001"));
        assert!(!is_at_least("1.34.1-gke.3355000", "1.34.1-gke.3355001"));
        assert!(!is_at_least("", "1.34"));
    }
}
