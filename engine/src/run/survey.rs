//! Looking around for a diagnosis: the surroundings that the look needs, and the places in the cloud that a plan uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use runbook_steps::survey::{Places, Survey, survey};
use runbook_steps::{Cancel, GkeCluster, Reach, Secrets, World};
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
        let Self { plan, known, world, secrets, home, cancel } = self;
        let look = Look::begin(home);
        let cx = onlooker(plan, &look.carry(Arc::clone(world)), secrets, home, cancel, "diagnose");
        let seen = survey(&cx, &places(plan, known)).await;
        look.end();
        seen
    }
}

/// The clusters that a plan makes or uses, with the pools that it makes in them.
fn places(plan: &Plan, known: &Known) -> Vec<Places> {
    let mut found: BTreeMap<GkeCluster, Vec<String>> = BTreeMap::new();
    for step in &plan.steps {
        let Some((reach, with)) = rendered(step, known) else { continue };
        let Some(cluster) = reach.cluster(&with) else { continue };
        let pool = with["name"].as_str().filter(|_| reach == Reach::NodePool);
        found.entry(cluster).or_default().extend(pool.map(str::to_owned));
    }
    found.into_iter().map(|(cluster, pools)| Places { cluster, pools }).collect()
}

/// How far a step reaches, and what it is given, as far as that can be evaluated.
fn rendered(step: &Step, known: &Known) -> Option<(Reach, Value)> {
    let work = step.work.as_ref()?;
    Some((work.kind.reach()?, step.render_work(work, known).ok()?))
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
    use runbook_steps::Location;

    use super::*;
    use crate::plan::load;

    #[test]
    fn a_cluster_is_looked_at_wherever_it_is() {
        let text = "
runbook: 1
steps:
  cluster: { uses: gke.cluster, with: { name: c, project: p, region: europe-west4, machine_type: e2-standard-4, nodes: 1 } }
  pool:
    needs: [cluster]
    uses: gke.node_pool
    with: { name: n, cluster: c, project: p, region: europe-west4, machine_type: e2-standard-4, nodes: 1 }
  other: { uses: gke.credentials, with: { cluster: c, project: p, zone: us-east5-a } }
  later: { uses: gke.credentials, with: { cluster: '${{ steps.cluster.outputs.name }}', project: p, zone: us-east5-a } }
";
        let plan = load::of_text(text);
        let cluster = |location| GkeCluster { project: "p".to_owned(), location, name: "c".to_owned() };
        let regional = cluster(Location::Region("europe-west4".to_owned()));
        let zonal = cluster(Location::Zone("us-east5-a".to_owned()));
        let expected =
            [Places { cluster: zonal, pools: Vec::new() }, Places { cluster: regional, pools: vec!["n".to_owned()] }];
        assert_eq!(places(&plan, &Known::default()), expected);
    }

    #[test]
    fn a_pod_is_about_what_it_is_part_of() {
        assert!(is_about("llminferenceservice/qwen", "pod", "qwen-kserve-7b9-x"));
        assert!(is_about("deployment/server", "pod", "server-5d-abc"));
        assert!(!is_about("deployment/server", "pod", "server2-5d-abc"));
        assert!(is_about("inferencepool.inference.networking.k8s.io/p", "inferencepool", "p"));
        assert!(!is_about("node", "pod", "x"));
    }
}
