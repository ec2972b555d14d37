//! `gke.cluster`: a GKE cluster.

mod command;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Gcloud, Location, Placed, already_exists, is_ours, trouble};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};
use crate::tools::classify;

pub(super) use command::{ADDONS, bounds, difference, gateway_api, is_at_least, line, unknown_addon};

/// The kind `gke.cluster`.
pub(super) static KIND: Kind = Kind {
    name: "gke.cluster",
    summary: "Makes a GKE cluster, or adopts one that fits",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Cluster),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "name", about: "its name" },
        OutputDoc { name: "endpoint", about: "the address of its API server" },
        OutputDoc { name: "version", about: "the version that it runs, such as 1.34.1-gke.1829001" },
        OutputDoc { name: "location", about: "its zone or region" },
        OutputDoc { name: "zone", about: "its zone; null for a regional cluster" },
        OutputDoc { name: "region", about: "its region" },
    ],
    open_outputs: false,
    schema: schema_of::<Cluster>,
    read,
};

const DOCS: &str = "\
Makes a Standard GKE cluster with `gcloud container clusters create --async` and waits for it.

- **observe**: holds where the cluster runs and fits. One that is being made is waited for, whoever started it. One that does not
  fit is `invalid`, and what differs is listed: it is never changed.
- **perform**: creates it with the label `runbook-deployment`, and waits until it runs.
- **undo**: deletes it, if it carries the label of this deployment; a cluster that was there before is left alone. Delete Gateways
  first, or their load balancers stay behind.
- **failures**: `quota`, `stockout`, `auth-expired`, `invalid` (a wrong flag, a disabled API), `conflict`, `permanent` (`ERROR`).

`addons` replaces GKE's defaults: a list without `HttpLoadBalancing` turns the Gateway controller off. `gateway_api` is off by
default in Standard clusters; say `standard` to have GatewayClasses. Give exactly one of `zone` and `region`.
";

const EXAMPLE: &str = "\
cluster:
  uses: gke.cluster
  with:
    name: llm-d
    project: \"${{ inputs.project }}\"
    zone: europe-west4-a
    version: '1.34'
    release_channel: regular
    machine_type: n1-standard-4
    nodes: 2
    min_nodes: 2
    max_nodes: 4
    gateway_api: standard
    addons: [HttpLoadBalancing, HorizontalPodAutoscaling, GcePersistentDiskCsiDriver]
  expected: 5m..10m
  timeout: 20m
";

/// A cluster as it should be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Cluster {
    /// Its name.
    name: String,
    /// The project that it belongs to.
    project: String,
    /// Its zone, for a zonal cluster.
    zone: Option<String>,
    /// Its region, for a regional cluster.
    region: Option<String>,
    /// The Kubernetes version, such as `'1.34'` (in quotes: 1.30 is the number 1.3).
    version: Option<String>,
    /// The channel that updates it.
    release_channel: Option<Channel>,
    /// The machines of its default pool.
    machine_type: Option<String>,
    /// How many of them (in each zone).
    nodes: Option<u32>,
    /// The least number when autoscaled.
    min_nodes: Option<u32>,
    /// The greatest number; turns autoscaling on.
    max_nodes: Option<u32>,
    /// The size of their disks in GB.
    disk_size: Option<u32>,
    /// The VPC network.
    network: Option<String>,
    /// The subnetwork.
    subnetwork: Option<String>,
    /// Whether GKE installs the Gateway API and its GatewayClasses.
    gateway_api: Option<GatewayApi>,
    /// Add-ons, instead of GKE's defaults.
    #[serde(default)]
    addons: Vec<String>,
    /// Whether NetworkPolicies are enforced, by Calico. Adds the add-on `NetworkPolicy`.
    #[serde(default)]
    network_policy: bool,
    /// The workload identity pool: `PROJECT.svc.id.goog`.
    workload_pool: Option<String>,
    /// Whether nodes are shielded, with secure boot and integrity monitoring.
    #[serde(default)]
    shielded: bool,
    /// Labels, beside the one that runbook sets.
    #[serde(default)]
    labels: BTreeMap<String, Scalar>,
    /// More arguments for `gcloud container clusters create`.
    #[serde(default)]
    extra_args: Vec<String>,
}

/// What updates a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Channel {
    Rapid,
    Regular,
    Stable,
    Extended,
    None,
}

/// Whether GKE installs the Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum GatewayApi {
    Standard,
    Disabled,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    Ok(Box::new(placed(with)?))
}

fn placed(with: Value) -> Result<Placed<Cluster>, ReadError> {
    let cluster: Cluster = read_with(with)?;
    let location = Location::read(cluster.zone.as_deref(), cluster.region.as_deref())?;
    cluster.verify()?;
    Ok(Placed::new(cluster, location))
}

impl Placed<Cluster> {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    fn describe(&self) -> Vec<String> {
        ["container", "clusters", "describe", &self.name, &self.location().flag()].map(str::to_owned).into()
    }

    fn title(&self) -> String {
        format!("the cluster `{}`", self.name)
    }

    /// What a cluster that is there means for this step.
    async fn judge(&self, cx: &Context, found: &Value) -> Result<Standing, Failure> {
        match found["status"].as_str() {
            Some("RUNNING" | "RECONCILING") => self.adopt(found).map(Standing::Holds),
            Some("PROVISIONING") => Ok(Standing::InProgress(self.under_way(cx).await?)),
            Some("STOPPING") => Err(Failure::new(Class::Conflict, format!("{} is being deleted", self.title()))),
            _ => Err(self.broken(cx, found).await),
        }
    }

    async fn under_way(&self, cx: &Context) -> Result<String, Failure> {
        let operation = self.operation(cx).await?;
        let name = operation.as_ref().and_then(|operation| operation["name"].as_str());
        Ok(name.map_or_else(
            || format!("{} is being made", self.title()),
            |name| format!("{} is being made by {name}", self.title()),
        ))
    }

    async fn operation(&self, cx: &Context) -> Result<Option<Value>, Failure> {
        self.gcloud(cx).operation_on(self.location(), &format!("clusters/{}", self.name)).await
    }

    fn adopt(&self, found: &Value) -> Result<Outputs, Failure> {
        let differences = self.differences(found);
        if differences.is_empty() {
            return Ok(self.outputs(found));
        }
        let what = format!("{} is there, but not as the plan wants it", self.title());
        Err(Failure::invalid(what)
            .detail(differences.join("\n"))
            .fix("use another name, or change the cluster or the plan so that they agree"))
    }

    async fn broken(&self, cx: &Context, found: &Value) -> Failure {
        let status = found["status"].as_str().unwrap_or("in an unknown state");
        let mut why = trouble(found);
        if why.is_empty() {
            let operation = self.operation(cx).await.ok().flatten().unwrap_or_default();
            operation["error"]["message"].as_str().unwrap_or_default().clone_into(&mut why);
        }
        let class = classify(&why).unwrap_or(Class::Permanent);
        let said = if why.is_empty() { String::new() } else { format!(": {why}") };
        let facts = crate::Facts { stderr: why, ..crate::Facts::default() };
        let failure =
            crate::gcloud::explain(Failure::new(class, format!("{} is {status}{said}", self.title())).facts(facts));
        let delete = format!(
            "gcloud container clusters delete {} {} --project={}",
            self.name,
            self.location().flag(),
            self.project
        );
        let advice = failure.fix.clone().map(|fix| format!("; then {fix}")).unwrap_or_default();
        failure.fix(format!("a cluster in this state does not heal: delete it with `{delete}`{advice}"))
    }

    async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        let gcloud = self.gcloud(cx);
        if gcloud.find(self.describe()).await?.is_none() {
            match gcloud.json(self.create(&crate::gcloud::owner(cx))).await {
                // Somebody, perhaps we ourselves in a request whose answer got lost, was faster.
                Err(failure) if !already_exists(&failure) => return Err(failure),
                _ => {}
            }
        }
        let Some(found) = gcloud.settled(&self.describe(), &self.title(), None).await? else {
            return Err(Failure::transient(format!("{} vanished while it was made", self.title())));
        };
        match self.judge(cx, &found).await? {
            Standing::Holds(outputs) => Ok(outputs),
            _ => Err(Failure::transient(format!("{} is being made again", self.title()))),
        }
    }

    async fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        let gcloud = self.gcloud(cx);
        let Some(found) = gcloud.find(self.describe()).await? else { return Ok(()) };
        if !is_ours(cx, &found["resourceLabels"]) {
            cx.note("left alone: this deployment did not make the cluster");
            return Ok(());
        }
        if found["status"] != "STOPPING" {
            gcloud.json_in_turn(self.location(), &self.delete()).await.or_else(gone)?;
        }
        match gcloud.settled(&self.describe(), &self.title(), None).await? {
            None => Ok(()),
            Some(found) => Err(self.broken(cx, &found).await),
        }
    }

    fn outputs(&self, found: &Value) -> Outputs {
        let location = self.location();
        let outputs = json!({
            "name": self.name,
            "endpoint": found["endpoint"],
            "version": found["currentMasterVersion"],
            "location": location.name(),
            "zone": self.zone,
            "region": location.region(),
        });
        outputs.as_object().cloned().unwrap_or_default()
    }
}

/// What is gone need not be deleted.
fn gone(failure: Failure) -> Result<Value, Failure> {
    if failure.class == Class::NotFound { Ok(Value::Null) } else { Err(failure) }
}

impl Step for Placed<Cluster> {
    fn intent(&self) -> Vec<String> {
        vec![format!("gcloud {} --project={}", line(&self.create("DEPLOYMENT")), self.project)]
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            match self.gcloud(cx).find(self.describe()).await? {
                None => {
                    Ok(Standing::Lacks(format!("there is no cluster `{}` in {}", self.name, self.location().name())))
                }
                Some(found) => self.judge(cx, &found).await,
            }
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.make(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.unmake(cx))
    }

    fn undo_intent(&self) -> Vec<String> {
        vec![format!("gcloud {} --project={}", line(&self.delete()), self.project)]
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}
