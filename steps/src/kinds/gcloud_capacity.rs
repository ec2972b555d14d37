//! `gcloud.capacity`: whether a zone has machines free now, found out by taking one for a moment.

mod clean;
mod machine;

use futures::StreamExt as _;
use futures::future::{BoxFuture, try_join_all};
use futures::stream::FuturesUnordered;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::gke_cluster::line;
use crate::context::Context;
use crate::failure::{Class, Facts, Failure};
use crate::gcloud::{Gcloud, already_exists, explain, owner};
use crate::kind::{Effect, Kind, OutputDoc, Reach, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};

use machine::{Gpu, Tpu};

/// The kind `gcloud.capacity`.
pub(super) static KIND: Kind = Kind {
    name: "gcloud.capacity",
    summary: "Finds a zone that has TPUs or GPUs free now, by making and deleting a small machine",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Other),
    observes: true,
    idempotent: true,
    outputs: &[
        OutputDoc { name: "zone", about: "the zone that had one" },
        OutputDoc { name: "tried", about: "the zones that had none, or were not waited for" },
    ],
    open_outputs: false,
    schema: schema_of::<Capacity>,
    read,
};

const DOCS: &str = "\
Makes a TPU VM or a machine with a GPU, and deletes it at once. Where there is none, this says so in seconds; a node pool hides it for
half an hour, when a cluster is there and costs money.

The first zone is asked alone. Only where it is out of machines, all others are asked at the same time, and the first that has one is
taken. So the zone can be decided before the cluster is made, which is in one zone for good.

- **observe**: cannot tell what is free without taking it. After a crash it looks whether a probe was left behind.
- **perform**: probes. The probe is called `runbook-probe-…`, by deployment and step, before it is made, and carries the label
  `runbook-deployment`. It is deleted in every end: it was made, it was not, the run was stopped (then without waiting for the end of
  the deletion), another zone was faster. Deleting is tried three times. What a crash left behind is deleted by the next run first.
- **undo**: deletes what may have been left behind.
- **failures**: `stockout` (no zone has one), `quota`, `invalid` (an API that is not enabled, a type that the zone does not know),
  `permanent` (the account may not, or **the probe could not be deleted**: it costs money, and the command to delete it is given).

A probe of one chip does not prove that a host with four is free, and what is free now may be gone in a minute. The zones in which
Cloud TPU has v6e are not all of those in which GKE has it. Needs `tpu.googleapis.com` for TPUs, and `roles/tpu.admin`.
";

const EXAMPLE: &str = "\
capacity:
  uses: gcloud.capacity
  with:
    project: \"${{ inputs.project }}\"
    zones: [europe-west4-a, us-east5-a, us-east5-b]
    tpu: { accelerator_type: v6e-1 }
  expected: 1m..4m
  timeout: 15m
";

/// What is asked for, and where.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Capacity {
    /// The project.
    project: String,
    /// The zones; the first is asked before all others.
    #[schemars(length(min = 1))]
    zones: Vec<String>,
    /// A TPU VM to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tpu: Option<Tpu>,
    /// A machine with GPUs to ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<Gpu>,
    /// The VPC network that the probe is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    /// Whether it may be a spot machine.
    #[serde(default)]
    spot: bool,
    /// What the probe is called. Runbook writes this down itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe: Option<String>,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let capacity: Capacity = read_with(with)?;
    let wrong = |path: &str, message: &str| Err(ReadError { path: path.to_owned(), message: message.to_owned() });
    if capacity.zones.is_empty() {
        return wrong("zones", "expected zones, found an empty list");
    }
    if let Some(index) =
        (1..capacity.zones.len()).find(|index| capacity.zones[..*index].contains(&capacity.zones[*index]))
    {
        return wrong(&format!("zones[{index}]"), "this zone is in the list already");
    }
    if capacity.tpu.is_some() == capacity.gpu.is_some() {
        return wrong("tpu", "give exactly one of `tpu` and `gpu`");
    }
    Ok(Box::new(capacity))
}

/// How one zone answered.
type Answer = (String, Result<(), Failure>);

impl Capacity {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    /// The same for the same step of the same deployment, so that it is found again after a crash.
    fn name(&self, cx: &Context) -> String {
        let of_step = || {
            let digest = Sha256::digest(format!("{}/{}", cx.deployment, cx.step));
            let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
            format!("runbook-probe-{hash}")
        };
        self.probe.clone().unwrap_or_else(of_step)
    }

    async fn find(&self, cx: &Context, zone: &str) -> Result<Option<Value>, Failure> {
        self.gcloud(cx).find(self.describe(&self.name(cx), zone)).await
    }

    /// The zones in which a probe of ours stands.
    async fn left_behind(&self, cx: &Context) -> Result<Vec<String>, Failure> {
        let looks = self
            .zones
            .iter()
            .map(|zone| async move { Ok::<_, Failure>(self.find(cx, zone).await?.map(|_| zone.clone())) });
        Ok(try_join_all(looks).await?.into_iter().flatten().collect())
    }

    async fn sweep(&self, cx: &Context) -> Result<(), Failure> {
        for zone in self.left_behind(cx).await? {
            cx.note(&format!("deleting the probe `{}` that was left behind in {zone}", self.name(cx)));
            self.clean(cx, &zone).await?;
        }
        Ok(())
    }

    /// Takes a machine in a zone and gives it back. What is asked for can be told to stop before the step is.
    async fn probe(&self, cx: &Context, asking: &Context, zone: &str) -> Result<(), Failure> {
        cx.progress(format!("asking {zone} for {}", self.what()));
        let made = match self.make(asking, zone).await {
            // It can only be one that we left: nobody else calls anything so.
            Err(failure) if already_exists(&failure) => {
                self.clean(cx, zone).await?;
                self.make(asking, zone).await
            }
            other => other,
        };
        let cleaned = self.clean(cx, zone).await;
        match (made, cleaned) {
            (Ok(_), cleaned) => cleaned,
            (Err(failure), Ok(())) => Err(failure),
            // What was refused at once cannot have been made, and who may not make it may not look either.
            (Err(failure), Err(_)) if matches!(failure.class, Class::Invalid | Class::AuthExpired | Class::Quota) => {
                Err(failure)
            }
            (Err(failure), Err(left)) => {
                cx.note(&format!("{left}: {}", left.fix.as_deref().unwrap_or_default()));
                Err(if failure.class == Class::Cancelled { failure } else { left.cause(failure.what) })
            }
        }
    }

    async fn make(&self, cx: &Context, zone: &str) -> Result<Value, Failure> {
        self.gcloud(cx).json(self.create(&self.name(cx), zone, &owner(cx))).await
    }

    async fn search(&self, cx: &Context) -> Result<Outputs, Failure> {
        if cx.after_crash {
            self.sweep(cx).await?;
        }
        let (first, others) = self.zones.split_first().expect("verified when it was read");
        let failure = match self.probe(cx, cx, first).await {
            Ok(()) => return Ok(outputs(first, &[])),
            Err(failure) if failure.class == Class::Stockout && !others.is_empty() => failure,
            Err(failure) => return Err(failure),
        };
        cx.note(&format!("{first} has no {} now; asking {} at once", self.what(), others.join(", ")));
        let (taken, answers) = self.race(cx, others).await?;
        let mut tried = vec![first.clone()];
        tried.extend(answers.iter().map(|(zone, _)| zone.clone()));
        match taken {
            Some(zone) => Ok(outputs(&zone, &tried)),
            None => Err(self.nowhere((first.clone(), Err(failure)), answers)),
        }
    }

    /// Asks several zones at the same time. Once one has a machine the others are told to stop, and are waited for: they clean up.
    async fn race(&self, cx: &Context, zones: &[String]) -> Result<(Option<String>, Vec<Answer>), Failure> {
        let cancel = cx.cancel.child();
        let asking = &Context { cancel: cancel.clone(), ..cx.clone() };
        let mut asked: FuturesUnordered<_> =
            zones.iter().map(|zone| async move { (zone.clone(), self.probe(cx, asking, zone).await) }).collect();
        let (mut taken, mut answers) = (None, Vec::new());
        while let Some((zone, answer)) = asked.next().await {
            match answer {
                Ok(()) if taken.is_none() => {
                    taken = Some(zone);
                    cancel.soft.cancel();
                }
                answer => answers.push((zone, answer)),
            }
        }
        if cx.cancel.asked() {
            return Err(Failure::cancelled());
        }
        // A machine that could not be given back is worse than none.
        match answers.iter().position(|(_, answer)| answer.as_ref().is_err_and(clean::is_left_behind)) {
            Some(index) => Err(answers.swap_remove(index).1.expect_err("only failures tell of what is left")),
            None => Ok((taken, answers)),
        }
    }

    fn nowhere(&self, first: Answer, others: Vec<Answer>) -> Failure {
        let all: Vec<Answer> = std::iter::once(first).chain(others).collect();
        let said = |(zone, answer): &Answer| {
            format!("{zone}: {}", answer.as_ref().map_or_else(|failure| failure.what.clone(), |()| String::new()))
        };
        let lines: Vec<String> = all.iter().map(said).collect();
        let zones: Vec<String> = all.into_iter().map(|(zone, _)| zone).collect();
        let mut facts = Facts { stderr: lines.join("\n"), ..Facts::default() };
        facts.other.insert("tried".to_owned(), json!(zones));
        let what = format!("no zone has {} now: {}", self.what(), zones.join(", "));
        explain(Failure::new(Class::Stockout, what).detail(lines.join("\n")).facts(facts))
            .fix("add zones, take a reservation or `spot: true`, or try again later")
    }
}

fn outputs(zone: &str, tried: &[String]) -> Outputs {
    json!({ "zone": zone, "tried": tried }).as_object().cloned().unwrap_or_default()
}

impl Step for Capacity {
    fn intent(&self) -> Vec<String> {
        let name = self.probe.as_deref().unwrap_or("runbook-probe-…");
        let first = &self.zones[0];
        let command = |args: Vec<String>| format!("gcloud {} --project={}", line(&args), self.project);
        let others = self.zones[1..].join(", ");
        let others = (!others.is_empty()).then(|| format!("# where there is none: the same in {others} at once"));
        [command(self.create(name, first, "DEPLOYMENT")), command(self.delete(name, first, false))]
            .into_iter()
            .chain(others)
            .collect()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async {
            if !cx.after_crash {
                return Ok(Standing::Unknown);
            }
            let left = self.left_behind(cx).await?;
            Ok(match left.is_empty() {
                true => Standing::Unknown,
                false => {
                    let what = format!("the probe `{}` was left behind in {}", self.name(cx), left.join(", "));
                    Standing::InProgress(format!("{what}; it is deleted first"))
                }
            })
        })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.search(cx))
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.sweep(cx))
    }

    fn undo_intent(&self) -> Vec<String> {
        let name = self.probe.as_deref().unwrap_or("runbook-probe-…");
        let command =
            |zone: &String| format!("gcloud {} --project={}", line(&self.delete(name, zone, false)), self.project);
        self.zones.iter().map(command).collect()
    }

    fn undo_with<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Option<Value>, Failure>> {
        Box::pin(async { Ok(serde_json::to_value(Capacity { probe: Some(self.name(cx)), ..self.clone() }).ok()) })
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(more: &str) -> String {
        let error = read(serde_yaml::from_str(&format!("{{ project: p-1, {more} }}")).unwrap()).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn one_sort_of_machine_is_asked_for() {
        assert_eq!(problem("zones: [us-east5-a]"), "tpu: give exactly one of `tpu` and `gpu`");
        let both = "zones: [us-east5-a], tpu: { accelerator_type: v6e-1 }, gpu: { type: nvidia-tesla-t4 }";
        assert!(problem(both).contains("exactly one"));
    }

    #[test]
    fn zones_are_asked_once() {
        assert!(problem("zones: [], tpu: { accelerator_type: v6e-1 }").contains("empty list"));
        let twice = problem("zones: [a-a, b-b, a-a], tpu: { accelerator_type: v6e-1 }");
        assert_eq!(twice, "zones[2]: this zone is in the list already");
    }
}
