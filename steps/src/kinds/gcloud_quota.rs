//! `gcloud.quota`: whether a project may have what a plan is about to make.

mod count;
mod judge;

use futures::future::{BoxFuture, try_join_all};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::Gcloud;
use crate::kind::{Effect, Kind, OutputDoc, ReadError, read_with, schema_of};
use crate::step::{Outputs, Standing, Step};
use crate::tools::Program;

use judge::{Quota, Room, Scope};

/// The kind `gcloud.quota`.
pub(super) static KIND: Kind = Kind {
    name: "gcloud.quota",
    summary: "Checks that a project's quotas have room for what is needed",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Reads,
    observes: false,
    idempotent: true,
    outputs: &[OutputDoc {
        name: "quotas",
        about: "for each that was asked for: `metric`, `region`, `family`, `needed`, `limit`, `usage` (null where nobody may see it), `left`",
    }],
    open_outputs: false,
    schema: schema_of::<Quotas>,
    read,
};

const DOCS: &str = "\
Compares what is needed with what the quotas leave (limit minus usage), and tells of all that are too small at once, each with the
command that asks for more. It only looks.

A need is a `metric` and an `amount`, which plans compute from their inputs. Needs of the same quota are added up.

| metric | of what | where it is read |
|---|---|---|
| `CPUS` | vCPUs of all machines but TPU machines | with `region`: `gcloud compute regions describe` |
| `IN_USE_ADDRESSES` | external addresses in use: one for each load balancer and each machine with one | the same |
| `FORWARDING_RULES` | load balancers' front ends; those of deleted clusters count until they are deleted | the same |
| `NVIDIA_T4_GPUS`, `NVIDIA_L4_GPUS`, `NVIDIA_H100_GPUS` | GPUs of one model | the same |
| `SSD_TOTAL_GB`, `DISKS_TOTAL_GB` | disks | the same |
| `CPUS_ALL_REGIONS`, `GPUS_ALL_REGIONS`, `NETWORKS` | of the whole project | without `region`: `gcloud compute project-info describe` |
| `TPUS_PER_TPU_FAMILY` | TPU chips: four for a host `ct6e-standard-4t` | with `region` and `family` (`CT6E` is v6e): `gcloud beta quotas info list` |
| `GPUS_PER_GPU_FAMILY` | GPUs of the newer models | the same, with a family such as `NVIDIA_H100` |

Any other metric that those commands show can be given as well; `PREEMPTIBLE_` before a metric is its quota for spot machines. Quotas
by family need the API `cloudquotas.googleapis.com` and gcloud's `beta` commands. Google shows no usage of them: it is counted from
the machines that are there, and where they may not be listed either, only the limit is compared, which the log says.

- **observe**, **perform**: asks once, and judges. Later runs do not ask again where there was room and the step still says the same.
- **undo**: nothing to undo.
- **failures**: `quota` (more is needed than is left: a matter of minutes to two days, not of patience), `invalid` (no such metric),
  `auth-expired`, `transient`. What a quota leaves says nothing of free machines: for that there is `gcloud.capacity`.
";

const EXAMPLE: &str = "\
quota:
  uses: gcloud.quota
  with:
    project: \"${{ inputs.project }}\"
    needs:
      - { metric: CPUS, region: europe-west4, amount: 8 }
      - { metric: IN_USE_ADDRESSES, region: europe-west4, amount: 1 }
      - { metric: TPUS_PER_TPU_FAMILY, family: CT6E, region: europe-west4, amount: 4 }
  expected: 2s..10s
";

/// What is needed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Quotas {
    /// The project.
    project: String,
    /// What must be free.
    #[schemars(length(min = 1))]
    needs: Vec<Need>,
}

/// One need.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Need {
    /// The quota's metric, such as `CPUS` or `TPUS_PER_TPU_FAMILY`.
    metric: String,
    /// The region; without it the quota is the project's.
    region: Option<String>,
    /// The family, for a metric that is by TPU or GPU family, such as `CT6E`.
    family: Option<String>,
    /// How much must be free.
    #[schemars(range(min = 0))]
    amount: f64,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let quotas: Quotas = read_with(with)?;
    let wrong = |path: String, message: &str| Err(ReadError { path, message: message.to_owned() });
    if quotas.needs.is_empty() {
        return wrong("needs".to_owned(), "expected what is needed, found an empty list");
    }
    for (index, need) in quotas.needs.iter().enumerate() {
        if let Err((key, message)) = need.verify() {
            return wrong(format!("needs[{index}].{key}"), &message);
        }
    }
    Ok(Box::new(quotas))
}

impl Need {
    fn verify(&self) -> Result<(), (&'static str, String)> {
        let by_family = self.metric.to_uppercase().ends_with("_FAMILY");
        if by_family && self.family.is_none() {
            return Err((
                "family",
                format!("`{}` is counted by family: say which, such as CT6E for TPU v6e", self.metric),
            ));
        }
        if !by_family && self.family.is_some() {
            return Err(("family", format!("`{}` is not counted by family: leave it out", self.metric)));
        }
        if by_family && self.region.is_none() {
            return Err(("region", format!("`{}` is counted by region: say which", self.metric)));
        }
        if self.region.as_ref().is_some_and(|region| is_a_zone(region)) {
            return Err(("region", "this is a zone; quotas are of regions, such as europe-west4".to_owned()));
        }
        if !(self.amount.is_finite() && self.amount >= 0.0) {
            return Err(("amount", "an amount is zero or more".to_owned()));
        }
        Ok(())
    }

    fn quota(&self) -> Quota {
        let metric = self.metric.to_uppercase();
        let scope = match (&self.region, &self.family) {
            (None, _) => Scope::Project,
            (Some(region), None) => Scope::Region(region.clone()),
            (Some(region), Some(family)) => Scope::Family { region: region.clone(), family: family.to_uppercase() },
        };
        Quota { metric, scope }
    }
}

/// `europe-west4-a`.
fn is_a_zone(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, last)| last.len() == 1 && last.chars().all(|c| c.is_ascii_lowercase()))
}

impl Quotas {
    fn gcloud<'a>(&'a self, cx: &'a Context) -> Gcloud<'a> {
        Gcloud::new(cx, Some(&self.project))
    }

    /// The quotas that are asked for, each once, with all that is needed of it.
    fn wanted(&self) -> Vec<(Quota, f64)> {
        let mut wanted: Vec<(Quota, f64)> = Vec::new();
        for need in &self.needs {
            let quota = need.quota();
            match wanted.iter_mut().find(|(known, _)| *known == quota) {
                Some((_, amount)) => *amount += need.amount,
                None => wanted.push((quota, need.amount)),
            }
        }
        wanted
    }

    /// The commands that tell of them: each is asked once.
    fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        for (quota, _) in self.wanted() {
            let question = match quota.scope {
                Scope::Project => Question::Project,
                Scope::Region(region) => Question::Region(region),
                Scope::Family { .. } => Question::Families,
            };
            if !questions.contains(&question) {
                questions.push(question);
            }
        }
        questions
    }

    async fn look(&self, cx: &Context) -> Result<Outputs, Failure> {
        let questions = self.questions();
        let asked = questions.iter().map(|question| ask(self.gcloud(cx), question.args()));
        let answers: Vec<Value> = try_join_all(asked).await?;
        let answers: Vec<(Question, Value)> = questions.into_iter().zip(answers).collect();
        let mut rooms = Vec::new();
        for (quota, needed) in self.wanted() {
            let mut room = judge::room(&quota, &answers, needed)?;
            if let Scope::Family { region, family } = &quota.scope {
                room.usage = self.count(cx, &quota.metric, region, family).await?;
            }
            rooms.push(room);
        }
        match judge::shortage(&rooms, &self.project) {
            Some(failure) => Err(failure),
            None => Ok(outputs(&rooms)),
        }
    }

    /// What a family uses, counted from its machines; nothing where they cannot be seen.
    async fn count(&self, cx: &Context, metric: &str, region: &str, family: &str) -> Result<Option<f64>, Failure> {
        let filter = count::filter(metric, region, family);
        match self.gcloud(cx).json(["compute", "instances", "list", &format!("--filter={filter}")]).await {
            Ok(machines) => Ok(Some(count::units(&machines, metric, family))),
            Err(failure) if matches!(failure.class, Class::Permanent | Class::Invalid | Class::NotFound) => {
                cx.note(&format!("what {family} uses in {region} cannot be seen, so only the limit counts: {failure}"));
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// One command that tells of quotas.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Question {
    Project,
    Region(String),
    Families,
}

impl Question {
    fn args(&self) -> Vec<String> {
        let words: &[&str] = match self {
            Question::Project => &["compute", "project-info", "describe"],
            Question::Region(region) => &["compute", "regions", "describe", region],
            // All of Compute's quotas are more than can be read at once.
            Question::Families => &[
                "beta",
                "quotas",
                "info",
                "list",
                "--service=compute.googleapis.com",
                "--filter=metric~_per_[tg]pu_family",
            ],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

async fn ask(gcloud: Gcloud<'_>, args: Vec<String>) -> Result<Value, Failure> {
    gcloud.json(args).await
}

fn outputs(rooms: &[Room]) -> Outputs {
    Outputs::from_iter([("quotas".to_owned(), rooms.iter().map(Room::show).collect())])
}

impl Step for Quotas {
    fn intent(&self) -> Vec<String> {
        let line = |question: &Question| {
            let args = question.args().into_iter().chain([format!("--project={}", self.project)]);
            Program::new("gcloud").args(args).command_line()
        };
        self.questions().iter().map(line).collect()
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(self.look(cx))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn programs(&self) -> Vec<String> {
        vec!["gcloud".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(need: &Value) -> String {
        let error = read(json!({ "project": "p-1", "needs": [need] })).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn a_need_says_what_its_metric_is_counted_by() {
        let family = problem(&json!({ "metric": "TPUS_PER_TPU_FAMILY", "region": "us-east5", "amount": 4 }));
        assert!(family.starts_with("needs[0].family: `TPUS_PER_TPU_FAMILY` is counted by family"), "{family}");
        let odd = problem(&json!({ "metric": "CPUS", "family": "CT6E", "region": "us-east5", "amount": 4 }));
        assert_eq!(odd, "needs[0].family: `CPUS` is not counted by family: leave it out");
        let zone = problem(&json!({ "metric": "CPUS", "region": "us-east5-a", "amount": 4 }));
        assert!(zone.starts_with("needs[0].region: this is a zone"), "{zone}");
        assert!(problem(&json!({ "metric": "CPUS", "amount": -1 })).contains("zero or more"));
    }

    #[test]
    fn needs_of_one_quota_are_added_and_asked_once() {
        let need = |amount: u32| json!({ "metric": "cpus", "region": "us-east5", "amount": amount });
        let more = json!({ "metric": "NETWORKS", "amount": 1 });
        let quotas: Quotas =
            serde_json::from_value(json!({ "project": "p-1", "needs": [need(8), need(4), more] })).unwrap();
        assert_eq!(quotas.wanted().iter().map(|(_, amount)| *amount).collect::<Vec<_>>(), [12.0, 1.0]);
        assert_eq!(
            quotas.intent(),
            [
                "gcloud compute regions describe us-east5 --project=p-1",
                "gcloud compute project-info describe --project=p-1"
            ]
        );
    }

    #[test]
    fn every_known_metric_is_in_the_table() {
        for (metric, _) in judge::KNOWN {
            assert!(DOCS.contains(&format!("`{metric}`")), "{metric}");
        }
    }
}
