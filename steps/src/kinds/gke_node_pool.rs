//! `gke.node_pool`: a node pool of a GKE cluster.

mod command;
mod zones;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::gke_cluster::line;
use crate::context::Context;
use crate::failure::{Class, Facts, Failure};
use crate::gcloud::{Gcloud, Location, Placed, StockWatch, already_exists, explain, is_ours, owner, trouble};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::scalar::Scalar;
use crate::step::{Outputs, Standing, Step};
use crate::tools::classify;

/// The kind `gke.node_pool`.
pub(super) static KIND: Kind = Kind {
    name: "gke.node_pool",
    summary: "Makes a node pool in a GKE cluster, or adopts one that fits",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::NodePool),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "name", about: "its name" },
        OutputDoc { name: "machine_type", about: "the machines that it has" },
        OutputDoc { name: "version", about: "the version that its nodes run" },
        OutputDoc { name: "instance_groups", about: "the links of its instance groups" },
        OutputDoc { name: "zone", about: "the zone that its nodes are in; the first where there are several" },
        OutputDoc { name: "zones", about: "all zones that its nodes are in" },
        OutputDoc { name: "tried", about: "the zones that were out of machines before it was made" },
    ],
    open_outputs: false,
    schema: schema_of::<NodePool>,
    read,
};

const DOCS: &str = "\
Makes a node pool with `gcloud container node-pools create --async` and waits for it.

- **observe**: holds where the pool runs and fits. One that is being made is waited for. One that does not fit is `invalid`, and
  what differs is listed.
- **perform**: creates it with the label `runbook-deployment`, and waits until it runs. A pool of this deployment that is in `ERROR`
  is deleted and made anew. Where the cluster is busy with something else, that is waited for.
- **undo**: deletes it, if it carries the label of this deployment.
- **failures**: `stockout` – told early by the errors of the instance groups, where GKE alone would try for 35 minutes in silence;
  `quota`; `invalid` (a machine type that the zone lacks, a wrong flag).

**alternates** are zones to try, in their order, where the zone before is out of machines (`stockout`), and only then. The first
choice is the one zone in `node_locations`, or the cluster's. The pool that failed is deleted before the next zone is tried: GKE
refuses that while it still tries itself (some 35 minutes), so give the step a `timeout` with room for it. A pool that is in one of
the zones already is adopted there; after a crash the zones that were found empty are not asked again. Nodes are in the region of
their cluster: for another region, it takes another cluster (see `gcloud.capacity`).

On TPU machines (`ct…`) GKE sets the labels `cloud.google.com/gke-tpu-…` and the taint `google.com/tpu` itself; giving them is
refused. Give exactly one of `zone` and `region`: that of the cluster.
";

const EXAMPLE: &str = "\
tpu_pool:
  uses: gke.node_pool
  with:
    name: tpu-v6e-pool
    cluster: llm-d
    project: \"${{ inputs.project }}\"
    zone: us-east5-a
    alternates: [us-east5-b]
    machine_type: ct6e-standard-4t
    nodes: 1
    min_nodes: 0
    max_nodes: 3
  expected: 3m..15m
  timeout: 40m
";

/// A node pool as it should be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NodePool {
    /// Its name.
    name: String,
    /// The cluster that it belongs to.
    cluster: String,
    /// The cluster's project.
    project: String,
    /// The cluster's zone.
    zone: Option<String>,
    /// The cluster's region.
    region: Option<String>,
    /// Its machines, such as `ct6e-standard-4t`.
    machine_type: String,
    /// How many at first (in each zone).
    nodes: Option<u32>,
    /// The least number when autoscaled.
    min_nodes: Option<u32>,
    /// The greatest number when autoscaled.
    max_nodes: Option<u32>,
    /// Whether it is autoscaled; the default is yes where `max_nodes` is given.
    autoscaling: Option<bool>,
    /// The zones that its nodes are in, where these are not the cluster's.
    #[serde(default)]
    node_locations: Vec<String>,
    /// Zones to try, one after the other, where the zone before is out of machines.
    #[serde(default)]
    alternates: Vec<String>,
    /// Cheaper machines that may be taken away at any time.
    #[serde(default)]
    spot: bool,
    /// The name of a reservation to take the machines from.
    reservation: Option<String>,
    /// Machines that are queued for and live for at most seven days.
    #[serde(default)]
    flex_start: bool,
    /// GPUs of each machine.
    accelerator: Option<Accelerator>,
    /// The topology of a multi-host TPU slice, such as `4x4`.
    tpu_topology: Option<String>,
    /// The sort of its disks, such as `pd-balanced`.
    disk_type: Option<String>,
    /// The size of its disks in GB.
    disk_size: Option<u32>,
    /// Kubernetes labels of its nodes.
    #[serde(default)]
    node_labels: BTreeMap<String, Scalar>,
    /// Kubernetes taints of its nodes: `KEY=VALUE:EFFECT`.
    #[serde(default)]
    node_taints: Vec<String>,
    /// More arguments for `gcloud container node-pools create`.
    #[serde(default)]
    extra_args: Vec<String>,
}

/// GPUs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Accelerator {
    /// Their type, such as `nvidia-tesla-t4`.
    r#type: String,
    /// How many on each machine.
    count: u32,
    /// The driver that GKE installs: `default`, `latest` or `disabled`.
    driver: Option<Driver>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Driver {
    Default,
    Latest,
    Disabled,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    Ok(Box::new(placed(with)?))
}

fn placed(with: Value) -> Result<Placed<NodePool>, ReadError> {
    let pool: NodePool = read_with(with)?;
    let location = Location::read(pool.zone.as_deref(), pool.region.as_deref())?;
    let pool = Placed::new(pool, location);
    pool.verify()?;
    Ok(pool)
}

impl Placed<NodePool> {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    fn title(&self) -> String {
        format!("the node pool `{}`", self.name)
    }

    async fn judge(&self, cx: &Context, found: &Value) -> Result<Standing, Failure> {
        match found["status"].as_str() {
            Some("RUNNING" | "RECONCILING") => self.adopt(found).map(Standing::Holds),
            Some("PROVISIONING") => Ok(Standing::InProgress(self.under_way(cx, found).await?)),
            Some("STOPPING") if self.moves_on_from(cx, found) => {
                Ok(Standing::InProgress(format!("{} is being deleted, for the next zone", self.title())))
            }
            Some("STOPPING") => Err(Failure::new(Class::Conflict, format!("{} is being deleted", self.title()))),
            _ if self.is_ours(cx, found) => {
                Ok(Standing::Lacks(format!("{}; it will be made anew", self.broken(found).what)))
            }
            _ => Err(self.broken(found)),
        }
    }

    async fn under_way(&self, cx: &Context, found: &Value) -> Result<String, Failure> {
        let target = format!("clusters/{}/nodePools/{}", self.cluster, self.name);
        let operation = self.gcloud(cx).operation_on(self.location(), &target).await?;
        let name = operation.as_ref().and_then(|operation| operation["name"].as_str());
        let by = name.map(|name| format!(" by {name}")).unwrap_or_default();
        Ok(format!("{} is being made{}{by}", self.title(), self.place_of(found)))
    }

    fn adopt(&self, found: &Value) -> Result<Outputs, Failure> {
        let differences = self.differences(found);
        if differences.is_empty() {
            return Ok(self.outputs(found));
        }
        let what = format!("{} is there, but not as the plan wants it", self.title());
        Err(Failure::invalid(what)
            .detail(differences.join("\n"))
            .fix("use another name, or change the pool or the plan so that they agree"))
    }

    fn is_ours(&self, cx: &Context, found: &Value) -> bool {
        is_ours(cx, &found["config"]["resourceLabels"])
    }

    fn broken(&self, found: &Value) -> Failure {
        let (status, why) = (found["status"].as_str().unwrap_or("in an unknown state"), trouble(found));
        let said = if why.is_empty() { String::new() } else { format!(": {why}") };
        let mut facts = Facts { stderr: why, ..Facts::default() };
        facts.other.insert("zone".to_owned(), self.location().name().into());
        let class = classify(&facts.stderr).unwrap_or(Class::Permanent);
        explain(Failure::new(class, format!("{} is {status}{said}", self.title())).facts(facts))
    }

    /// Makes the pool in one zone, or where the plan leaves that to the cluster.
    async fn make_in(&self, cx: &Context, zone: Option<&str>, title: &str) -> Result<Value, Failure> {
        let gcloud = self.gcloud(cx);
        let found = gcloud.find(self.describe()).await?;
        let failed = found.as_ref().is_some_and(|found| found["status"] == "ERROR" && self.is_ours(cx, found));
        if failed {
            cx.note("the pool is in ERROR from an earlier attempt: deleting it first");
            self.delete_and_wait(cx).await?;
        }
        if failed || found.is_none() {
            match gcloud.json_in_turn(self.location(), &self.create(&owner(cx), zone)).await {
                Err(failure) if !already_exists(&failure) => return Err(failure),
                _ => {}
            }
        }
        let Some(found) = gcloud.settled(&self.describe(), title, Some(StockWatch::new(cx))).await? else {
            return Err(Failure::transient(format!("{} vanished while it was made", self.title())));
        };
        match self.judge(cx, &found).await? {
            Standing::Holds(_) => Ok(found),
            _ => Err(self.broken(&found)),
        }
    }

    async fn delete_and_wait(&self, cx: &Context) -> Result<(), Failure> {
        let gcloud = self.gcloud(cx);
        match gcloud.json_in_turn(self.location(), &self.delete()).await {
            Err(failure) if failure.class != Class::NotFound => return Err(failure),
            _ => {}
        }
        match gcloud.settled(&self.describe(), &self.title(), None).await? {
            None => Ok(()),
            Some(found) => Err(self.broken(&found)),
        }
    }

    async fn unmake(&self, cx: &Context) -> Result<(), Failure> {
        let Some(found) = self.gcloud(cx).find(self.describe()).await? else { return Ok(()) };
        if !self.is_ours(cx, &found) {
            cx.note("left alone: this deployment did not make the node pool");
            return Ok(());
        }
        self.delete_and_wait(cx).await
    }

    fn outputs(&self, found: &Value) -> Outputs {
        let outputs = json!({
            "name": self.name,
            "machine_type": found["config"]["machineType"],
            "version": found["version"],
            "instance_groups": found["instanceGroupUrls"].as_array().cloned().unwrap_or_default(),
            "zone": self.zones_of(found).first(),
            "zones": self.zones_of(found),
            "tried": [],
        });
        outputs.as_object().cloned().unwrap_or_default()
    }
}

impl Step for Placed<NodePool> {
    fn intent(&self) -> Vec<String> {
        let candidates = self.candidates();
        let first = line(&self.create("DEPLOYMENT", candidates.first().map(String::as_str)));
        let command = format!("gcloud {first} --project={}", self.project);
        let others = candidates.iter().skip(1);
        let other = |zone| format!("# where there are no machines: the same with --node-locations={zone}");
        std::iter::once(command).chain(others.map(other)).collect()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            match self.gcloud(cx).find(self.describe()).await? {
                None => Ok(Standing::Lacks(format!("the cluster `{}` has no node pool `{}`", self.cluster, self.name))),
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
