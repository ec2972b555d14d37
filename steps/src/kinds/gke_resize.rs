//! `gke.resize`: how many nodes a pool has.

mod size;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::gke_cluster::line;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Gcloud, Location, Placed, Target, groups, trouble};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};

use size::{Bounds, Group, Size};

/// The kind `gke.resize`.
pub(super) static KIND: Kind = Kind {
    name: "gke.resize",
    summary: "Gives a node pool a number of nodes",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::PartOfCluster),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "nodes", about: "how many nodes it has in each zone" },
        OutputDoc { name: "total", about: "how many in all zones" },
        OutputDoc { name: "zones", about: "its zones" },
    ],
    open_outputs: false,
    schema: schema_of::<Resize>,
    read,
};

const DOCS: &str = "\
Resizes a node pool with `gcloud container clusters resize --node-pool` (there is no `node-pools resize`), and waits for it.

- **observe**: holds where every instance group of the pool wants that many machines, and has them. A change that is under way,
  whoever began it, is waited for before it is judged.
- **perform**: resizes, when it is the cluster's turn, and waits for the operation.
- **undo**: gives the pool the size, and its autoscaler the bounds, that they had before; a pool that is gone is left alone.
- **failures**: `invalid` (a size outside the autoscaler's bounds, without `widen`), `stockout` – told early by the errors of the
  instance groups –, `quota`, `not-found` (no such pool), `conflict`.

The number is **by zone**, as everywhere in GKE. An autoscaled pool keeps only a size within its bounds: `widen: true` stretches them
first, with `--enable-autoscaling`, without which gcloud ignores `--max-nodes`. Within them the autoscaler still decides: nodes
without pods go after about ten minutes, and a pending pod brings one back. So take the workload away before resizing to 0. A
`gke.node_pool` that names narrower bounds finds its pool changed when it looks again: give it the wide ones where a plan has both.
";

const EXAMPLE: &str = "\
three_hosts:
  uses: gke.resize
  with:
    pool: tpu-v6e-pool
    cluster: llm-d
    project: \"${{ inputs.project }}\"
    zone: europe-west4-a
    nodes: 3
    widen: true
  expected: 3m..15m
  timeout: 40m
";

/// A pool and its size.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Resize {
    /// The pool.
    pool: String,
    /// The cluster that it belongs to.
    cluster: String,
    /// The cluster's project.
    project: String,
    /// The cluster's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// The cluster's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// How many nodes it has in each zone.
    nodes: u32,
    /// Whether an autoscaler's bounds are stretched where the size is outside them.
    #[serde(default)]
    widen: bool,
    /// What it goes back to when it is undone. Runbook writes this down itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
}

/// A pool as it was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Before {
    /// How many nodes it had in each zone.
    nodes: u32,
    /// Between what its autoscaler kept it, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bounds: Option<Bounds>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let resize: Resize = read_with(with)?;
    let location = Location::read(resize.zone.as_deref(), resize.region.as_deref())?;
    Ok(Box::new(Placed::new(resize, location)))
}

impl Placed<Resize> {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    fn title(&self) -> String {
        format!("the node pool `{}`", self.pool)
    }

    fn describe(&self) -> Vec<String> {
        self.of_pool("describe")
    }

    fn of_pool(&self, what: &str) -> Vec<String> {
        let cluster = format!("--cluster={}", self.cluster);
        ["container", "node-pools", what, &self.pool, &cluster, &self.location().flag()].map(str::to_owned).into()
    }

    fn resize(&self, nodes: &str) -> Vec<String> {
        let (pool, nodes) = (format!("--node-pool={}", self.pool), format!("--num-nodes={nodes}"));
        let place = self.location().flag();
        ["container", "clusters", "resize", &self.cluster, &pool, &nodes, &place, "--async"].map(str::to_owned).into()
    }

    fn rebound(&self, bounds: &Bounds) -> Vec<String> {
        let mut args = self.of_pool("update");
        args.push("--enable-autoscaling".to_owned());
        args.extend(bounds.flags());
        args.push("--async".to_owned());
        args
    }

    /// The pool as it is and as its instance groups are; nothing where there is none.
    async fn look(&self, cx: &Context) -> Result<Option<(Value, Size)>, Failure> {
        let gcloud = self.gcloud(cx);
        let Some(pool) = gcloud.find(self.describe()).await? else { return Ok(None) };
        let mut found_groups = Vec::new();
        for (name, zone) in groups(&pool) {
            let place = format!("--zone={zone}");
            let found = gcloud.json(["compute", "instance-groups", "managed", "describe", &name, &place]).await?;
            found_groups.push(Group::read(&zone, &found));
        }
        let size = Size::read(&pool, found_groups);
        Ok(Some((pool, size)))
    }

    async fn must_look(&self, cx: &Context) -> Result<(Value, Size), Failure> {
        self.look(cx).await?.ok_or_else(|| {
            Failure::new(Class::NotFound, format!("the cluster `{}` has no node pool `{}`", self.cluster, self.pool))
                .fix("let this step need the one that makes the pool")
        })
    }

    async fn judge(&self, cx: &Context, pool: &Value, size: &Size) -> Result<Standing, Failure> {
        match pool["status"].as_str() {
            Some("ERROR") => {
                return Err(Failure::permanent(format!("{} is in ERROR: {}", self.title(), trouble(pool))));
            }
            Some("STOPPING") => {
                return Err(Failure::new(Class::Conflict, format!("{} is being deleted", self.title())));
            }
            _ => {}
        }
        if let Some(what) = self.under_way(cx, size).await? {
            return Ok(Standing::InProgress(format!("{} is being changed by {what}", self.title())));
        }
        if let Some(bounds) = size.outside(self.nodes) {
            return self.too_narrow(&bounds).map(Standing::Lacks);
        }
        Ok(match size.differs(self.nodes) {
            None => Standing::Holds(outputs(size)),
            Some(difference) => Standing::Lacks(format!("{} has {difference}", self.title())),
        })
    }

    /// What is being done to the pool, asked for only where it can be seen that something is.
    async fn under_way(&self, cx: &Context, size: &Size) -> Result<Option<String>, Failure> {
        if !size.changing {
            return Ok(None);
        }
        let title = self.title();
        let found = self.gcloud(cx).under_way(&self.target(&title, None)).await?;
        Ok(found.or_else(|| size.busy().then(|| "its instance group".to_owned())))
    }

    fn target<'t>(&'t self, title: &'t str, pool: Option<&'t [String]>) -> Target<'t> {
        Target { location: self.location(), cluster: &self.cluster, title, pool }
    }

    fn too_narrow(&self, bounds: &Bounds) -> Result<String, Failure> {
        let told = format!("{} is autoscaled from {} to {}", self.title(), bounds.least, bounds.most);
        if self.widen {
            return Ok(told);
        }
        Err(Failure::invalid(format!("{told}, and would not stay at {} nodes", self.nodes))
            .fix("say `widen: true` to stretch the bounds too, or take a size within them"))
    }

    async fn change(&self, cx: &Context) -> Result<Outputs, Failure> {
        let title = self.title();
        let (gcloud, describe) = (self.gcloud(cx), self.describe());
        // What is under way may be just this.
        gcloud.at_rest(cx, &self.target(&title, Some(&describe))).await?;
        let (pool, size) = self.must_look(cx).await?;
        if let Standing::Holds(outputs) = self.judge(cx, &pool, &size).await? {
            return Ok(outputs);
        }
        if let Some(bounds) = size.outside(self.nodes) {
            cx.note(&self.too_narrow(&bounds)?);
            gcloud.change(cx, &self.target(&title, None), &self.rebound(&size.widened(&bounds, self.nodes))).await?;
        }
        self.set(cx, self.nodes).await
    }

    async fn set(&self, cx: &Context, nodes: u32) -> Result<Outputs, Failure> {
        let title = format!("{} to {nodes} nodes", self.title());
        let describe = self.describe();
        let target = self.target(&title, Some(&describe));
        self.gcloud(cx).change(cx, &target, &self.resize(&nodes.to_string())).await?;
        let (_, size) = self.must_look(cx).await?;
        match size.differs(nodes) {
            None => Ok(outputs(&size)),
            Some(difference) => Err(Failure::transient(format!("{} still has {difference}", self.title()))),
        }
    }

    async fn go_back(&self, cx: &Context) -> Result<(), Failure> {
        let Some(before) = &self.before else {
            cx.note("left alone: nobody wrote down how large the pool was");
            return Ok(());
        };
        let Some((_, size)) = self.look(cx).await? else { return Ok(()) };
        if size.changing || size.differs(before.nodes).is_some() {
            self.set(cx, before.nodes).await?;
        }
        match &before.bounds {
            Some(bounds) if size.bounds.as_ref() != Some(bounds) => {
                let title = self.title();
                self.gcloud(cx).change(cx, &self.target(&title, None), &self.rebound(bounds)).await
            }
            _ => Ok(()),
        }
    }
}

fn outputs(size: &Size) -> Outputs {
    let zones: Vec<&str> = size.groups.iter().map(|group| group.zone.as_str()).collect();
    let total: u32 = size.groups.iter().map(|group| group.wants).sum();
    let outputs = json!({ "nodes": size.by_zone(), "total": total, "zones": zones });
    outputs.as_object().cloned().unwrap_or_default()
}

impl Step for Placed<Resize> {
    fn intent(&self) -> Vec<String> {
        let resize = format!("gcloud {} --project={}", line(&self.resize(&self.nodes.to_string())), self.project);
        let widen = "# before that, where it is autoscaled within less: gcloud container node-pools update --enable-autoscaling …";
        std::iter::once(resize).chain(self.widen.then(|| widen.to_owned())).collect()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            let (pool, size) = self.must_look(cx).await?;
            self.judge(cx, &pool, &size).await
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.change(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.go_back(cx))
    }

    fn undo_intent(&self) -> Vec<String> {
        let nodes = self.before.as_ref().map_or_else(|| "BEFORE".to_owned(), |before| before.nodes.to_string());
        let resize = format!("gcloud {} --project={}", line(&self.resize(&nodes)), self.project);
        let bounds = self.before.as_ref().and_then(|before| before.bounds.as_ref());
        let bounds = bounds.map(|bounds| format!("gcloud {} --project={}", line(&self.rebound(bounds)), self.project));
        std::iter::once(resize).chain(bounds).collect()
    }

    fn undo_with<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(async {
            let (_, size) = self.must_look(cx).await?;
            let before = Before { nodes: size.by_zone(), bounds: size.bounds };
            Ok(serde_json::to_value(Resize { before: Some(before), ..Resize::clone(self) }).ok())
        })
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}
