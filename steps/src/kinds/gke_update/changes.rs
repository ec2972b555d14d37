//! From settings and a cluster as it is described to single changes, in an order that GKE takes. Pure.

use serde_json::Value;

use super::Settings;
use crate::failure::Failure;
use crate::kinds::gke_cluster::{Channel, GatewayApi, difference, gateway_api, is_at_least};

/// One call of `gcloud`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Several add-ons are one change.
    Addons(Vec<(String, bool)>),
    GatewayApi(GatewayApi),
    NetworkPolicy(bool),
    WorkloadPool(Option<String>),
    Channel(Channel),
    Version(String),
}

impl Change {
    pub(super) fn verb(&self) -> &'static str {
        if matches!(self, Change::Version(_)) { "upgrade" } else { "update" }
    }

    pub(super) fn flags(&self) -> Vec<String> {
        match self {
            Change::Addons(addons) => {
                let word = |on: &bool| if *on { "ENABLED" } else { "DISABLED" };
                let all: Vec<String> = addons.iter().map(|(name, on)| format!("{name}={}", word(on))).collect();
                vec![format!("--update-addons={}", all.join(","))]
            }
            Change::GatewayApi(api) => vec![format!("--gateway-api={}", api.name())],
            Change::NetworkPolicy(true) => vec!["--enable-network-policy".to_owned()],
            Change::NetworkPolicy(false) => vec!["--no-enable-network-policy".to_owned()],
            Change::WorkloadPool(Some(pool)) => vec![format!("--workload-pool={pool}")],
            Change::WorkloadPool(None) => vec!["--disable-workload-identity".to_owned()],
            Change::Channel(channel) => vec![format!("--release-channel={}", channel.name())],
            Change::Version(version) => vec!["--master".to_owned(), format!("--cluster-version={version}")],
        }
    }
}

/// Where a cluster says whether an add-on is on.
struct Addon {
    name: &'static str,
    field: &'static str,
    /// Whether the field is `disabled` rather than `enabled`.
    negated: bool,
    /// What it is where the cluster says nothing at all.
    default: bool,
}

const fn addon(name: &'static str, field: &'static str) -> Addon {
    Addon { name, field, negated: false, default: false }
}

const KNOWN: &[Addon] = &[
    Addon { name: "HttpLoadBalancing", field: "httpLoadBalancing", negated: true, default: true },
    Addon { name: "HorizontalPodAutoscaling", field: "horizontalPodAutoscaling", negated: true, default: true },
    Addon { name: "NetworkPolicy", field: "networkPolicyConfig", negated: true, default: false },
    Addon { name: "KubernetesDashboard", field: "kubernetesDashboard", negated: true, default: false },
    Addon { name: "CloudRun", field: "cloudRunConfig", negated: true, default: false },
    addon("BackupRestore", "gkeBackupAgentConfig"),
    addon("ConfigConnector", "configConnectorConfig"),
    addon("GcePersistentDiskCsiDriver", "gcePersistentDiskCsiDriverConfig"),
    addon("GcpFilestoreCsiDriver", "gcpFilestoreCsiDriverConfig"),
    addon("GcsFuseCsiDriver", "gcsFuseCsiDriverConfig"),
    addon("HighScaleCheckpointing", "highScaleCheckpointingConfig"),
    addon("LustreCsiDriver", "lustreCsiDriverConfig"),
    addon("NodeLocalDNS", "dnsCacheConfig"),
    addon("ParallelstoreCsiDriver", "parallelstoreCsiDriverConfig"),
    addon("RayOperator", "rayOperatorConfig"),
    addon("StatefulHA", "statefulHaConfig"),
];

/// Whether a cluster says of an add-on whether it is on.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|addon| addon.name == name)
}

fn is_on(found: &Value, name: &str) -> bool {
    let Some(addon) = KNOWN.iter().find(|addon| addon.name == name) else { return false };
    let config = &found["addonsConfig"][addon.field];
    match config.as_object() {
        None => addon.default,
        // What is false is left out.
        Some(config) if addon.negated => config.get("disabled") != Some(&Value::Bool(true)),
        Some(config) => config.get("enabled") == Some(&Value::Bool(true)),
    }
}

fn text<'f>(found: &'f Value, pointer: &str) -> &'f str {
    found.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn enforces(found: &Value) -> bool {
    found.pointer("/networkPolicy/enabled") == Some(&Value::Bool(true))
}

/// The channel that a cluster is in.
pub(super) fn channel(found: &Value) -> Channel {
    match text(found, "/releaseChannel/channel") {
        "RAPID" => Channel::Rapid,
        "REGULAR" => Channel::Regular,
        "STABLE" => Channel::Stable,
        "EXTENDED" => Channel::Extended,
        _ => Channel::None,
    }
}

fn pool(wanted: &str) -> Option<String> {
    (wanted != "none").then(|| wanted.to_owned())
}

/// The add-ons that are asked for, and those without which the rest would not work.
fn addons(settings: &Settings) -> Vec<(String, bool)> {
    let mut all: Vec<(String, bool)> = settings.addons.iter().map(|(name, on)| (name.clone(), *on)).collect();
    let needed = [
        ("HttpLoadBalancing", settings.gateway_api == Some(GatewayApi::Standard)),
        ("NetworkPolicy", settings.network_policy == Some(true)),
    ];
    for (name, _) in needed.iter().filter(|(name, needed)| *needed && !settings.addons.contains_key(*name)) {
        all.push(((*name).to_owned(), true));
    }
    all
}

/// Every change that settings may take, in order. What is switched on comes before what needs it, and what is switched off after;
/// what recreates the nodes comes last, so that it meets a cluster that is otherwise done.
pub(super) fn at_most(settings: &Settings) -> Vec<Change> {
    ordered(settings, &addons(settings))
}

/// The changes that a cluster still needs.
pub(super) fn changes(settings: &Settings, found: &Value) -> Vec<Change> {
    let wrong: Vec<(String, bool)> =
        addons(settings).into_iter().filter(|(name, on)| is_on(found, name) != *on).collect();
    let all = ordered(settings, &wrong).into_iter();
    all.filter(|change| matches!(change, Change::Addons(_)) || is_missing(change, found)).collect()
}

fn ordered(settings: &Settings, addons: &[(String, bool)]) -> Vec<Change> {
    let switched = |on: bool| {
        let some: Vec<(String, bool)> = addons.iter().filter(|(_, state)| *state == on).cloned().collect();
        (!some.is_empty()).then_some(Change::Addons(some))
    };
    let policy = |on: bool| (settings.network_policy == Some(on)).then_some(Change::NetworkPolicy(on));
    let all = [
        policy(false),
        switched(true),
        settings.gateway_api.map(Change::GatewayApi),
        settings.workload_pool.as_deref().map(pool).map(Change::WorkloadPool),
        settings.release_channel.map(Change::Channel),
        settings.version.clone().map(Change::Version),
        policy(true),
        switched(false),
    ];
    all.into_iter().flatten().collect()
}

fn is_missing(change: &Change, found: &Value) -> bool {
    match change {
        Change::Addons(addons) => addons.iter().any(|(name, on)| is_on(found, name) != *on),
        Change::GatewayApi(api) => gateway_api(text(found, "/networkConfig/gatewayApiConfig/channel")) != api.name(),
        Change::NetworkPolicy(on) => enforces(found) != *on,
        Change::WorkloadPool(pool) => {
            text(found, "/workloadIdentityConfig/workloadPool") != pool.as_deref().unwrap_or_default()
        }
        Change::Channel(wanted) => channel(found) != *wanted,
        Change::Version(wanted) => !is_at_least(text(found, "/currentMasterVersion"), wanted),
    }
}

/// In what a cluster is not as wanted, one a line.
pub(super) fn lacking(settings: &Settings, found: &Value) -> Vec<String> {
    let told = |change: &Change| match change {
        Change::Addons(addons) => {
            let word = |on: bool| if on { "on" } else { "off" };
            addons.iter().map(|(name, on)| difference(name, word(*on), word(!*on))).collect()
        }
        Change::GatewayApi(api) => {
            let is = gateway_api(text(found, "/networkConfig/gatewayApiConfig/channel"));
            vec![difference("gateway_api", api.name(), is)]
        }
        Change::NetworkPolicy(on) => vec![difference("network_policy", &on.to_string(), &(!on).to_string())],
        Change::WorkloadPool(pool) => {
            let is = text(found, "/workloadIdentityConfig/workloadPool");
            vec![difference("workload_pool", pool.as_deref().unwrap_or("none"), is)]
        }
        Change::Channel(wanted) => vec![difference("release_channel", wanted.name(), channel(found).name())],
        Change::Version(wanted) => vec![difference("version", wanted, text(found, "/currentMasterVersion"))],
    };
    changes(settings, found).iter().flat_map(|change: &Change| -> Vec<String> { told(change) }).collect()
}

/// Refuses what GKE would refuse after some of the changes were made.
pub(super) fn possible(settings: &Settings, found: &Value) -> Result<(), Failure> {
    let dataplane = text(found, "/networkConfig/datapathProvider");
    if settings.network_policy == Some(true) && dataplane == "ADVANCED_DATAPATH" {
        return Err(Failure::invalid("a cluster with Dataplane V2 cannot have `network_policy`: that is Calico's")
            .fix("leave `network_policy` out: Dataplane V2 enforces NetworkPolicies by itself"));
    }
    Ok(())
}

/// What a cluster is like now, in all that settings would change. A version is not: there is no way back.
pub(super) fn as_they_are(settings: &Settings, found: &Value) -> Settings {
    let workload = Some(text(found, "/workloadIdentityConfig/workloadPool")).filter(|pool| !pool.is_empty());
    let api = match gateway_api(text(found, "/networkConfig/gatewayApiConfig/channel")) {
        "standard" => GatewayApi::Standard,
        _ => GatewayApi::Disabled,
    };
    Settings {
        gateway_api: settings.gateway_api.map(|_| api),
        network_policy: settings.network_policy.map(|_| enforces(found)),
        addons: addons(settings).into_iter().map(|(name, _)| (name.clone(), is_on(found, &name))).collect(),
        workload_pool: settings.workload_pool.as_ref().map(|_| workload.unwrap_or("none").to_owned()),
        release_channel: settings.release_channel.map(|_| channel(found)),
        version: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::read;
    use super::*;

    fn settings(set: Value) -> Settings {
        serde_json::from_value(set).unwrap()
    }

    fn flags(changes: &[Change]) -> Vec<String> {
        changes.iter().map(|change| change.flags().join(" ")).collect()
    }

    fn problem(set: &Value) -> String {
        let with = json!({ "cluster": "c", "project": "p-1", "zone": "europe-west4-a", "set": set });
        let error = read(with).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    /// As GKE describes a cluster of two guides: no Gateway API, and add-ons lost to `--addons`.
    fn poor() -> Value {
        json!({
            "currentMasterVersion": "1.33.5-gke.1", "networkConfig": {},
            "addonsConfig": { "httpLoadBalancing": { "disabled": true }, "networkPolicyConfig": { "disabled": true } },
        })
    }

    #[test]
    fn changes_come_one_by_one_in_an_order_that_works() {
        let wanted = settings(json!({ "gateway_api": "standard", "network_policy": true, "version": "1.34" }));
        let expected = [
            "--update-addons=HttpLoadBalancing=ENABLED,NetworkPolicy=ENABLED",
            "--gateway-api=standard",
            "--master --cluster-version=1.34",
            "--enable-network-policy",
        ];
        assert_eq!(flags(&changes(&wanted, &poor())), expected);
    }

    #[test]
    fn enforcement_ends_before_its_addon() {
        let wanted = settings(json!({ "network_policy": false, "addons": { "NetworkPolicy": false } }));
        let found = json!({ "networkPolicy": { "enabled": true }, "addonsConfig": { "networkPolicyConfig": {} } });
        let expected = ["--no-enable-network-policy", "--update-addons=NetworkPolicy=DISABLED"];
        assert_eq!(flags(&changes(&wanted, &found)), expected);
    }

    #[test]
    fn what_is_so_already_is_left_alone() {
        let wanted = settings(json!({
            "gateway_api": "standard", "release_channel": "regular", "version": "1.34", "workload_pool": "none",
            "addons": { "GcsFuseCsiDriver": true },
        }));
        let found = json!({
            "currentMasterVersion": "1.34.1-gke.1", "releaseChannel": { "channel": "REGULAR" },
            "networkConfig": { "gatewayApiConfig": { "channel": "CHANNEL_STANDARD" } },
            "addonsConfig": { "gcsFuseCsiDriverConfig": { "enabled": true } },
        });
        assert_eq!(changes(&wanted, &found), []);
    }

    #[test]
    fn what_lacks_is_told_line_by_line() {
        let wanted = settings(json!({ "gateway_api": "standard", "release_channel": "rapid" }));
        let expected = [
            "HttpLoadBalancing: the plan wants `on`, it is `off`",
            "gateway_api: the plan wants `standard`, it is `disabled`",
            "release_channel: the plan wants `rapid`, it is `None`",
        ];
        assert_eq!(lacking(&wanted, &poor()), expected);
    }

    #[test]
    fn the_way_back_is_what_was_there() {
        let wanted = settings(json!({ "gateway_api": "standard", "network_policy": true, "version": "1.34" }));
        let back = as_they_are(&wanted, &poor());
        let expected = json!({
            "gateway_api": "disabled", "network_policy": false, "addons": { "HttpLoadBalancing": false, "NetworkPolicy": false },
        });
        assert_eq!(serde_json::to_value(back).unwrap(), expected);
    }

    #[test]
    fn an_addon_that_is_needed_cannot_be_switched_off() {
        let said = problem(&json!({ "network_policy": true, "addons": { "NetworkPolicy": false } }));
        assert_eq!(said, "set.addons.NetworkPolicy: `network_policy: true` needs this add-on");
        let said = problem(&json!({ "addons": { "GkeNetworkPolicy": true } }));
        assert!(said.ends_with("did you mean `NetworkPolicy`?"), "{said}");
        assert!(problem(&json!({})).starts_with("set: expected what the cluster is to be like"));
    }

    #[test]
    fn dataplane_v2_and_calico_exclude_each_other() {
        let found = json!({ "networkConfig": { "datapathProvider": "ADVANCED_DATAPATH" } });
        assert!(possible(&settings(json!({ "network_policy": true })), &found).is_err());
        assert!(possible(&settings(json!({ "gateway_api": "standard" })), &found).is_ok());
    }
}
