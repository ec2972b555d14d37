//! Looking around for a diagnosis: the surroundings that the look needs, and the places in the cloud that a plan uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use runbook_steps::survey::{Places, Survey, survey};
use runbook_steps::{Cancel, Secrets, World};
use serde_json::Value;

use super::orphans::Look;
use super::verify::onlooker;
use crate::plan::model::{Known, Step};
use crate::plan::{Plan, StepId};
use crate::state::Home;

/// All that looking around needs.
pub struct Surroundings<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The outputs of its steps, as far as they are known.
    pub known: &'a Known,
    /// Where it stands.
    pub world: Arc<World>,
    /// The plan's secrets, for masking.
    pub secrets: Arc<Secrets>,
    /// The deployment's folder.
    pub home: &'a Home,
    /// How it is told to stop.
    pub cancel: Cancel,
}

impl Surroundings<'_> {
    /// Looks at the cluster and the cloud.
    pub async fn survey(&self) -> Survey {
        let Self { plan, world, secrets, home, cancel, .. } = self;
        let look = Look::begin(home);
        let cx = onlooker(plan, &look.carry(Arc::clone(world)), secrets, home, cancel, "diagnose");
        let seen = survey(&cx, &self.places()).await;
        look.end();
        seen
    }

    /// The clusters that the plan makes or uses, with the pools that it makes in them.
    fn places(&self) -> Vec<Places> {
        let mut found: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
        for step in &self.plan.steps {
            let Some((kind, with)) = rendered(step, self.known) else { continue };
            let field = |name: &str| with.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let name = if kind == "gke.cluster" { field("name") } else { field("cluster") };
            let pools = found.entry((field("project"), field("zone"), name)).or_default();
            pools.extend((kind == "gke.node_pool").then(|| field("name")));
        }
        let whole = |((project, zone, cluster), pools): (_, Vec<String>)| Places { project, zone, cluster, pools };
        found.into_iter().map(whole).filter(|places| !places.project.is_empty() && !places.zone.is_empty()).collect()
    }
}

/// What a step that speaks of a cluster of Google's is given, as far as it can be evaluated.
fn rendered(step: &Step, known: &Known) -> Option<(&'static str, Value)> {
    let work = step.work.as_ref()?;
    let speaks = matches!(work.kind.name, "gke.cluster" | "gke.node_pool" | "gke.credentials");
    let with = speaks.then(|| step.render_work(work, known).ok()).flatten()?;
    Some((work.kind.name, with))
}

/// The step that waits for an object, given as `kind/name` in a namespace; for a pod, one that waits for what it is part of.
pub fn step_that_waits(plan: &Plan, known: &Known, subject: &str) -> Option<StepId> {
    let (kind, name) = subject.split_once('/')?;
    let waits = |step: &&Step| {
        let conditions = step.render(known).map(|rendered| rendered.wait).unwrap_or_default();
        conditions.iter().filter_map(|it| it.get("object")?.as_str()).any(|object| is_about(object, kind, name))
    };
    // The last step that waits for it is nearest to the end that it holds up.
    plan.steps.iter().rev().find(waits).map(|step| step.id.clone())
}

fn is_about(object: &str, kind: &str, name: &str) -> bool {
    let Some((wanted, whose)) = object.split_once('/') else { return false };
    let wanted = wanted.split('.').next().unwrap_or(wanted);
    match kind {
        "pod" | "replicaset" => name.strip_prefix(whose).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')),
        "deployment" if wanted != "deployment" => {
            name.strip_prefix(whose).is_some_and(|rest| rest.is_empty() || rest == "-kserve")
        }
        _ => wanted.eq_ignore_ascii_case(kind) && whose == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_about_what_it_is_part_of() {
        assert!(is_about("llminferenceservice/qwen", "pod", "qwen-kserve-7b9-x"));
        assert!(is_about("deployment/server", "pod", "server-5d-abc"));
        assert!(!is_about("deployment/server", "pod", "server2-5d-abc"));
        assert!(is_about("inferencepool.inference.networking.k8s.io/p", "inferencepool", "p"));
        assert!(!is_about("node", "pod", "x"));
    }
}
