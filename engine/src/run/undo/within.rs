//! What goes with its cluster, and so needs no undo of its own: nothing is left of it once the cluster is deleted. Pure.
//!
//! Said only where plan and journal tell in which cluster it is: the kind names the cluster, or it works through the deployment's
//! kubeconfig, which was only ever written for one. What a program makes is not known, only that what its step waits for is there.

use runbook_steps::{GkeCluster, Reach};
use serde_json::Value;

use super::plan::{Deed, Left, UndoPlan};
use crate::plan::model::{Step, Template};
use crate::plan::{Plan, StepId};
use crate::state::fold::{Made, Status};
use crate::state::{RunState, StepState};

/// What a program is told that writes another cluster into the kubeconfig.
const SWITCHES: [&str; 3] = ["get-credentials", "use-context", "kubeconfig"];

const MAY_STAY: &str = "; load balancers and disks that were made for its objects may stay";
const PROTECTED: &str = ", though it is protected: let it need that step, or protect that too";

/// Says of what is left whether it goes with a cluster that is undone.
pub(super) fn settle(plan: &Plan, state: &RunState, undo: &mut UndoPlan) {
    let kubeconfig = kubeconfig(plan, state);
    let left = std::mem::take(&mut undo.left);
    let look = Look { plan, state, undo, kubeconfig };
    let settled = left.into_iter().map(|(id, left)| (id.clone(), look.settled(&id, left))).collect();
    undo.left = settled;
}

struct Look<'a> {
    plan: &'a Plan,
    state: &'a RunState,
    undo: &'a UndoPlan,
    kubeconfig: Option<GkeCluster>,
}

impl Look<'_> {
    fn settled(&self, id: &StepId, left: Left) -> Left {
        let Some(step) = self.plan.step(id.as_str()).map(|index| &self.plan.steps[index]) else { return left };
        let protected = matches!(left, Left::Protected | Left::NeededBy(_));
        if let Some((cluster, caveat)) = self.whole(step) {
            return Left::GoesWith { cluster, caveat: if protected { PROTECTED } else { caveat } };
        }
        match self.kubeconfig.as_ref().and_then(|cluster| self.deleted(cluster)) {
            Some(cluster) if !protected && waits_for_objects(step) => {
                Left::PartlyGoesWith { cluster, rest: Box::new(left) }
            }
            _ => left,
        }
    }

    /// The step whose undo deletes the cluster that all of a step's making is in, and what that does not cover.
    fn whole(&self, step: &Step) -> Option<(StepId, &'static str)> {
        let reach = step.work.as_ref()?.kind.reach()?;
        let (cluster, caveat) = match reach {
            Reach::NodePool | Reach::PartOfCluster => (reach.cluster(&self.with(step)?)?, ""),
            Reach::Objects => (self.kubeconfig.clone()?, ""),
            Reach::ObjectsAndMore => (self.kubeconfig.clone()?, MAY_STAY),
            Reach::Cluster | Reach::Kubeconfig | Reach::Anything | Reach::Other => return None,
        };
        Some((self.deleted(&cluster)?, caveat))
    }

    fn with(&self, step: &Step) -> Option<Value> {
        step.render_work(step.work.as_ref()?, self.state.known()).ok()
    }

    /// The step whose own undo deletes a cluster that is surely this deployment's.
    fn deleted(&self, cluster: &GkeCluster) -> Option<StepId> {
        let deletes = |deed: &Deed| {
            !deed.performed
                && is_of(deed.kind, Reach::Cluster)
                && Reach::Cluster.cluster(&deed.with).as_ref() == Some(cluster)
        };
        let item = self.undo.items.values().find(|item| !item.doubtful && item.deeds.iter().any(deletes));
        item.map(|item| item.step.clone())
    }
}

/// The one cluster that the deployment's kubeconfig was ever written for, as far as that can be told.
fn kubeconfig(plan: &Plan, state: &RunState) -> Option<GkeCluster> {
    if plan.steps.iter().any(may_switch) {
        return None;
    }
    let recipes = state.steps().flat_map(|(_, step)| step.recipes());
    let mut all: Vec<Option<GkeCluster>> = recipes
        .filter(|recipe| is_of(&recipe.kind, Reach::Kubeconfig))
        .map(|recipe| Reach::Kubeconfig.cluster(&recipe.with))
        .collect();
    for step in plan.steps.iter().filter(|step| state.step(&step.id).is_some_and(may_have_written)) {
        let Some(work) = step.work.as_ref().filter(|work| work.kind.reach() == Some(Reach::Kubeconfig)) else {
            continue;
        };
        match step.render_work(work, state.known()) {
            Ok(with) => all.push(Reach::Kubeconfig.cluster(&with)),
            // What it used is gone by now; its recipe, if there is one, is there already.
            Err(_) if state.step(&step.id).is_some_and(|step| !step.recipes().is_empty()) => {}
            Err(_) => return None,
        }
    }
    let first = all.first()?.clone()?;
    all.iter().all(|other| other.as_ref() == Some(&first)).then_some(first)
}

/// Whether a kind that the journal names reaches just so far.
fn is_of(kind: &str, reach: Reach) -> bool {
    runbook_steps::kind(kind).is_some_and(|kind| kind.reach() == Some(reach))
}

/// Whether a step came to its work in any run.
fn may_have_written(step: &StepState) -> bool {
    step.done().is_some() || step.made() != Made::Nothing || *step.status() == Status::Undone
}

/// Whether a step's program may write another cluster into the kubeconfig.
fn may_switch(step: &Step) -> bool {
    let work = step.work.as_ref().filter(|work| work.kind.reach() == Some(Reach::Anything));
    work.is_some_and(|work| mentions(&work.with, &|text| SWITCHES.iter().any(|word| text.contains(word))))
}

fn mentions(template: &Template, found: &dyn Fn(&str) -> bool) -> bool {
    match template {
        Template::Plain(value) => found(&value.to_string().to_lowercase()),
        Template::Text { text, .. } => found(&text.to_lowercase()),
        Template::List(items) => items.iter().any(|item| mentions(item, found)),
        Template::Map(fields) => fields.iter().any(|(key, value)| found(&key.to_lowercase()) || mentions(value, found)),
    }
}

/// Whether a step names objects in the cluster as what shows that it is done.
fn waits_for_objects(step: &Step) -> bool {
    step.check.iter().chain(&step.wait).any(|condition| match condition {
        Template::Plain(value) => value.get("object").is_some(),
        Template::Map(fields) => fields.iter().any(|(key, _)| key == "object"),
        Template::Text { .. } | Template::List(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use runbook_steps::Outputs;

    use super::super::plan::{Choice, plan as undo};
    use super::*;
    use crate::plan::load;
    use crate::state::record::{Entry, Failed, Fingerprint, Opened, Outcome, Record, Started, Succeeded, Touches};

    const PLAN: &str = r#"
runbook: 1
steps:
  cluster: { uses: gke.cluster, with: { name: c, project: p, zone: z-a, machine_type: e2-standard-4, nodes: 1 } }
  pool:
    needs: [cluster]
    uses: gke.node_pool
    with: { name: n, cluster: c, project: p, zone: z-a, machine_type: e2-standard-4, nodes: 1 }
    undo: false
  credentials: { needs: [cluster], uses: gke.credentials, with: { cluster: c, project: p, zone: z-a } }
  patched:
    needs: [credentials]
    uses: kubectl.patch
    with: { object: namespace/default, patch: { metadata: { labels: { a: b } } } }
  applied:
    needs: [credentials]
    uses: kubectl.apply
    with: { objects: [ { apiVersion: v1, kind: Namespace, metadata: { name: n } } ] }
    undo: false
  scripted: { needs: [credentials], run: make all, wait: [ { object: deployment/x, for: ready } ] }
  apart: { run: echo apart }
"#;

    fn state(plan: &Plan, failed: &str) -> RunState {
        let mut state = RunState::default();
        let mut tell = |record: Record| {
            let entry = Entry { seq: state.seq() + 1, time: Timestamp::UNIX_EPOCH, record };
            state.apply(&entry).expect("legal");
        };
        tell(Record::Opened(Opened::first()));
        for step in plan.graph.order.iter().map(|&index| plan.steps[index].id.clone()) {
            let (attempt, fingerprint, touches, took_ms) = (1, Fingerprint::default(), Touches::AtOnce, 1);
            let started = Started { step: step.clone(), attempt, fingerprint, recoverable: true, touches };
            tell(Record::Started(started));
            if step.as_str() == failed {
                let failure = runbook_steps::Failure::permanent("no");
                let (retry_in_ms, untouched) = (None, false);
                tell(Record::Failed(Failed { step, attempt, failure, retry_in_ms, took_ms, untouched }));
                continue;
            }
            let (outcome, outputs, note) = (Outcome::Changed, Outputs::new(), None);
            tell(Record::Succeeded(Succeeded {
                step,
                attempt,
                outcome,
                outputs,
                looked_up: BTreeMap::new(),
                took_ms,
                note,
            }));
        }
        state
    }

    /// What is said of the steps that are left, when all have made something, but for one that failed half-way.
    fn said_after(text: &str, failed: &str) -> Vec<String> {
        let plan = load::of_text(text);
        let undo = undo(&plan, &state(&plan, failed), &Choice::default());
        undo.left.iter().map(|(id, left)| format!("{id} {left}")).collect()
    }

    fn said(text: &str) -> Vec<String> {
        said_after(text, "")
    }

    #[test]
    fn what_is_surely_in_a_deleted_cluster_goes_with_it() {
        let said = said(PLAN);
        let of = |id: &str| said.iter().find_map(|line| line.strip_prefix(id)).expect("left").trim_start();
        assert_eq!(of("patched"), "goes with `cluster`");
        assert_eq!(of("pool"), "goes with `cluster`");
        assert!(of("applied").starts_with("goes with `cluster`; load balancers and disks"), "{said:?}");
        assert!(of("scripted").starts_with("what it waits for goes with `cluster`; the rest: "), "{said:?}");
        assert!(of("apart").starts_with("`run` does not know how"), "{said:?}");
    }

    #[test]
    fn nothing_goes_with_a_cluster_that_stays_or_is_another() {
        let changed = |from: &str, to: &str| {
            assert!(PLAN.contains(from));
            said(&PLAN.replacen(from, to, 1))
        };
        let cases = [
            ("the cluster is kept", changed("nodes: 1 } }", "nodes: 1 }, undo: false }")),
            ("its undo is the plan's own", changed("nodes: 1 } }", "nodes: 1 }, undo: { run: echo } }")),
            ("perhaps it was not made", said_after(PLAN, "cluster")),
        ];
        for (why, said) in cases {
            assert!(!said.is_empty() && said.iter().all(|line| !line.contains("goes with")), "{why}: {said:?}");
        }
        let cases = [
            ("another cluster's kubeconfig", changed("with: { cluster: c,", "with: { cluster: d,")),
            (
                "a program may have written another",
                changed("echo apart", "gcloud container clusters get-credentials d"),
            ),
        ];
        for (why, said) in cases {
            let goes: Vec<_> = said.iter().filter(|line| line.contains("goes with")).collect();
            assert_eq!(goes, ["pool goes with `cluster`"], "{why}");
        }
    }

    #[test]
    fn what_is_protected_in_a_cluster_that_goes_is_no_secret() {
        let said = said(&PLAN.replacen(
            "needs: [credentials]\n    uses: kubectl.patch",
            "uses: kubectl.patch\n    protect: true",
            1,
        ));
        assert!(
            said.iter().any(|line| line.starts_with("patched goes with `cluster`, though it is protected")),
            "{said:?}"
        );
    }
}
