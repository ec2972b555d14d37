//! `gke.update`: what a cluster that is there is to be like.

mod changes;

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::gke_cluster::{ADDONS, Channel, GatewayApi, gateway_api, line, unknown_addon};
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Gcloud, Location, Placed, Target, trouble};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};

use changes::Change;

/// The kind `gke.update`.
pub(super) static KIND: Kind = Kind {
    name: "gke.update",
    summary: "Changes a GKE cluster into what is wanted, one change after the other",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::PartOfCluster),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "changes", about: "what was changed, in order, as flags of gcloud" },
        OutputDoc { name: "version", about: "the version that its control plane runs" },
        OutputDoc { name: "release_channel", about: "the channel that updates it, in lower case; `none` without one" },
        OutputDoc { name: "gateway_api", about: "`standard` or `disabled`" },
        OutputDoc { name: "network_policy", about: "whether NetworkPolicies are enforced" },
    ],
    open_outputs: false,
    schema: schema_of::<Update>,
    read,
};

const DOCS: &str = "\
Brings a cluster to what `set` says, by as many calls of `gcloud container clusters update` as it takes: GKE takes one change a call,
and one call at a time. What `set` does not name is left as it is.

- **observe**: holds where the cluster is described as wanted. A change that is under way, whoever began it, is waited for before it
  is judged.
- **perform**: computes what is to be changed, changes one thing, waits for its operation, looks again, until nothing is left. So it
  goes on where a crash left it.
- **undo**: brings back what `set` names to what it was before. A control plane does not go back to an older version. A cluster that
  is gone is left alone.
- **failures**: `invalid` (unknown add-on or version, NetworkPolicy with Dataplane V2), `not-found`, `conflict`, `auth-expired`.

`addons` are switched one by one with `--update-addons`, which leaves the others alone (`--addons`, at creation, replaces all of
them). `network_policy: true` switches the add-on `NetworkPolicy` on first, as GKE wants it, and then **recreates all node pools**:
pods restart, for 5 to 10 minutes. `gateway_api: standard` switches `HttpLoadBalancing` on, without which nothing serves
GatewayClasses; those come some minutes, and up to 45, after it.
";

const EXAMPLE: &str = "\
gateway_api:
  uses: gke.update
  with:
    cluster: llm-d
    project: \"${{ inputs.project }}\"
    zone: europe-west4-a
    set:
      gateway_api: standard
      network_policy: true
      addons: { GcsFuseCsiDriver: true }
  expected: 5m..15m
  timeout: 30m
";

/// A cluster and what it is to be like.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Update {
    /// The cluster.
    cluster: String,
    /// Its project.
    project: String,
    /// Its zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    /// Its region.
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// What it is to be like.
    set: Settings,
    /// What it goes back to when it is undone. Runbook writes this down itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Settings>,
}

/// Settings of a cluster; what is not given is not touched.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Whether GKE installs the Gateway API and its GatewayClasses.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_api: Option<GatewayApi>,
    /// Whether NetworkPolicies are enforced, by Calico.
    #[serde(skip_serializing_if = "Option::is_none")]
    network_policy: Option<bool>,
    /// Add-ons that are to be on or off.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    addons: BTreeMap<String, bool>,
    /// The workload identity pool, `PROJECT.svc.id.goog`; `none` switches it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_pool: Option<String>,
    /// The channel that updates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    release_channel: Option<Channel>,
    /// The least version of its control plane, such as `'1.34'` (in quotes: 1.30 is the number 1.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let update: Update = read_with(with)?;
    let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
    let location = Location::read(update.zone.as_deref(), update.region.as_deref())?;
    if update.set == Settings::default() {
        return wrong("set", "expected what the cluster is to be like, found nothing".to_owned());
    }
    if let Some(name) = update.set.addons.keys().find(|name| !ADDONS.contains(&name.as_str())) {
        return wrong(&format!("set.addons.{name}"), unknown_addon(name));
    }
    if let Some(name) = update.set.addons.keys().find(|name| !changes::is_known(name)) {
        return wrong(
            &format!("set.addons.{name}"),
            format!("nobody can see whether `{name}` is on: use `gcloud` for it"),
        );
    }
    for (needed, by, asked) in [
        ("NetworkPolicy", "network_policy: true", update.set.network_policy == Some(true)),
        ("HttpLoadBalancing", "gateway_api: standard", update.set.gateway_api == Some(GatewayApi::Standard)),
    ] {
        if asked && update.set.addons.get(needed) == Some(&false) {
            return wrong(&format!("set.addons.{needed}"), format!("`{by}` needs this add-on"));
        }
    }
    Ok(Box::new(Placed::new(update, location)))
}

impl Placed<Update> {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    fn title(&self) -> String {
        format!("the cluster `{}`", self.cluster)
    }

    fn command(&self, change: &Change) -> Vec<String> {
        let place = self.location().flag();
        let verb = change.verb().to_owned();
        let words = ["container".to_owned(), "clusters".to_owned(), verb, self.cluster.clone(), place];
        words.into_iter().chain(change.flags()).chain(["--async".to_owned()]).collect()
    }

    async fn find(&self, cx: &Context) -> Result<Option<Value>, Failure> {
        let args = ["container", "clusters", "describe", &self.cluster, &self.location().flag()];
        self.gcloud(cx).find(args).await
    }

    async fn must_find(&self, cx: &Context) -> Result<Value, Failure> {
        let found = self.find(cx).await?;
        let place = self.location().name();
        found.ok_or_else(|| {
            Failure::new(Class::NotFound, format!("there is no cluster `{}` in {place}", self.cluster))
                .fix("let this step need the one that makes the cluster")
        })
    }

    /// What a cluster as it is described means for this step.
    async fn judge(&self, cx: &Context, found: &Value) -> Result<Standing, Failure> {
        match found["status"].as_str() {
            Some("PROVISIONING") => return Ok(Standing::InProgress(format!("{} is being made", self.title()))),
            Some("STOPPING") => {
                return Err(Failure::new(Class::Conflict, format!("{} is being deleted", self.title())));
            }
            Some("ERROR") => {
                return Err(Failure::permanent(format!("{} is in ERROR: {}", self.title(), trouble(found))));
            }
            Some("RECONCILING") => {
                let title = self.title();
                if let Some(what) = self.gcloud(cx).under_way(&self.target(&title)).await? {
                    return Ok(Standing::InProgress(format!("{title} is being changed by {what}")));
                }
            }
            _ => {}
        }
        changes::possible(&self.set, found)?;
        Ok(match changes::lacking(&self.set, found).as_slice() {
            [] => Standing::Holds(outputs(found, &[])),
            lacking => Standing::Lacks(format!("{}: {}", self.title(), lacking.join("; "))),
        })
    }

    fn target<'t>(&'t self, title: &'t str) -> Target<'t> {
        Target { location: self.location(), cluster: &self.cluster, title, pool: None }
    }

    /// Changes one thing after the other, until the cluster is as wanted.
    async fn bring_to(&self, cx: &Context, wanted: &Settings) -> Result<Outputs, Failure> {
        let gcloud = self.gcloud(cx);
        gcloud.at_rest(cx, &self.target(&self.title())).await?;
        let mut done: Vec<Change> = Vec::new();
        loop {
            let found = self.must_find(cx).await?;
            changes::possible(wanted, &found)?;
            let mut left = changes::changes(wanted, &found).into_iter();
            let Some(next) = left.next() else { return Ok(outputs(&found, &done)) };
            if done.contains(&next) {
                let what = format!("{} was told `{}`, and is as before", self.title(), next.flags().join(" "));
                return Err(Failure::transient(what));
            }
            let more = left.len();
            let after = if more == 0 { String::new() } else { format!(", {more} more after it") };
            let title = format!("{}: {}{after}", self.title(), next.flags().join(" "));
            cx.note(&title);
            gcloud.change(cx, &self.target(&title), &self.command(&next)).await?;
            done.push(next);
        }
    }

    async fn go_back(&self, cx: &Context) -> Result<(), Failure> {
        let Some(before) = &self.before else {
            cx.note("left alone: nobody wrote down how the cluster was");
            return Ok(());
        };
        match self.find(cx).await? {
            None => Ok(()),
            Some(found) if found["status"] == "STOPPING" => Ok(()),
            Some(_) => self.bring_to(cx, before).await.map(drop),
        }
    }
}

fn outputs(found: &Value, done: &[Change]) -> Outputs {
    let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let outputs = json!({
        "changes": done.iter().map(|change| change.flags().join(" ")).collect::<Vec<_>>(),
        "version": text("/currentMasterVersion"),
        "release_channel": changes::channel(found).name().to_lowercase(),
        "gateway_api": gateway_api(text("/networkConfig/gatewayApiConfig/channel")),
        "network_policy": found.pointer("/networkPolicy/enabled") == Some(&Value::Bool(true)),
    });
    outputs.as_object().cloned().unwrap_or_default()
}

impl Step for Placed<Update> {
    fn intent(&self) -> Vec<String> {
        let all = changes::at_most(&self.set);
        all.iter().map(|change| format!("gcloud {} --project={}", line(&self.command(change)), self.project)).collect()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            let found = self.must_find(cx).await?;
            self.judge(cx, &found).await
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.bring_to(cx, &self.set))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.go_back(cx))
    }

    fn undo_intent(&self) -> Vec<String> {
        match &self.before {
            Some(before) => {
                let all = changes::at_most(before).into_iter();
                all.map(|change| format!("gcloud {} --project={}", line(&self.command(&change)), self.project))
                    .collect()
            }
            None => vec![format!("gcloud container clusters update {} … # back to what it was", self.cluster)],
        }
    }

    fn undo_with<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(async {
            let found = self.must_find(cx).await?;
            let before = changes::as_they_are(&self.set, &found);
            Ok(serde_json::to_value(Update { before: Some(before), ..Update::clone(self) }).ok())
        })
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}
