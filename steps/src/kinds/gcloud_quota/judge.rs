//! What the answers of Google Cloud say of quotas. Pure.

use serde_json::{Value, json};

use super::Question;
use crate::failure::{Class, Facts, Failure};
use crate::nearest::nearest;

/// One quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) metric: String,
    pub(super) scope: Scope,
}

/// Whose quota it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Project,
    Region(String),
    Family { region: String, family: String },
}

/// What a quota has room for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Room {
    pub(super) quota: Quota,
    pub(super) needed: f64,
    pub(super) limit: f64,
    /// Nothing where nobody may see it.
    pub(super) usage: Option<f64>,
    /// The name by which more of it is asked for.
    pub(super) id: String,
}

/// What metrics count, in words.
pub(super) const KNOWN: &[(&str, &str)] = &[
    ("CPUS", "vCPUs"),
    ("IN_USE_ADDRESSES", "external addresses in use"),
    ("FORWARDING_RULES", "front ends of load balancers"),
    ("NVIDIA_T4_GPUS", "T4 GPUs"),
    ("NVIDIA_L4_GPUS", "L4 GPUs"),
    ("NVIDIA_H100_GPUS", "H100 GPUs"),
    ("SSD_TOTAL_GB", "GB of SSD disks"),
    ("DISKS_TOTAL_GB", "GB of disks"),
    ("CPUS_ALL_REGIONS", "vCPUs in all regions"),
    ("GPUS_ALL_REGIONS", "GPUs in all regions"),
    ("NETWORKS", "VPC networks"),
    ("TPUS_PER_TPU_FAMILY", "TPU chips"),
    ("GPUS_PER_GPU_FAMILY", "GPUs"),
];

impl Quota {
    fn place(&self) -> String {
        match &self.scope {
            Scope::Project => "in the project".to_owned(),
            Scope::Region(region) => format!("in {region}"),
            Scope::Family { region, family } => format!("of {family} in {region}"),
        }
    }

    fn counts(&self) -> String {
        let plain = self.metric.strip_prefix("PREEMPTIBLE_").unwrap_or(&self.metric);
        let known = KNOWN.iter().find(|(metric, _)| *metric == plain);
        let spot = if plain == self.metric { "" } else { " of spot machines" };
        known.map(|(_, words)| format!(" ({words}{spot})")).unwrap_or_default()
    }

    /// The name under which Cloud Quotas knows a quota of Compute.
    fn id(&self) -> String {
        let by = if self.scope == Scope::Project { "per-project" } else { "per-project-region" };
        format!("{}-{by}", self.metric.replace('_', "-"))
    }

    fn dimensions(&self) -> Option<String> {
        match &self.scope {
            Scope::Project => None,
            Scope::Region(region) => Some(format!("region={region}")),
            Scope::Family { region, family } => Some(format!("region={region},{}={family}", self.dimension())),
        }
    }

    /// `tpu_family` of `TPUS_PER_TPU_FAMILY`.
    fn dimension(&self) -> String {
        self.metric.to_lowercase().rsplit("_per_").next().unwrap_or_default().to_owned()
    }
}

impl Room {
    fn left(&self) -> f64 {
        (self.limit - self.usage.unwrap_or(0.0)).max(0.0)
    }

    fn is_short(&self) -> bool {
        self.needed > self.left()
    }

    pub(super) fn show(&self) -> Value {
        let (region, family) = match &self.quota.scope {
            Scope::Project => (None, None),
            Scope::Region(region) => (Some(region), None),
            Scope::Family { region, family } => (Some(region), Some(family)),
        };
        json!({
            "metric": self.quota.metric, "region": region, "family": family, "needed": self.needed, "limit": self.limit,
            "usage": self.usage, "left": self.left(),
        })
    }

    fn told(&self) -> String {
        let used = self.usage.map_or_else(|| "usage unknown".to_owned(), |usage| format!("{usage} used"));
        format!(
            "`{}` {}{}: {} needed, {} left (limit {}, {used})",
            self.quota.metric,
            self.quota.place(),
            self.quota.counts(),
            self.needed,
            self.left(),
            self.limit
        )
    }

    /// The command that asks for as much as is needed.
    fn request(&self, project: &str) -> String {
        let enough = (self.usage.unwrap_or(0.0) + self.needed).ceil();
        let dimensions = self.quota.dimensions().map(|all| format!(" --dimensions={all}")).unwrap_or_default();
        format!(
            "gcloud beta quotas preferences create --service=compute.googleapis.com --project={project} --quota-id={} \
             --preferred-value={enough}{dimensions}",
            self.id
        )
    }
}

/// What the answers say of one quota.
pub(super) fn room(quota: &Quota, answers: &[(Question, Value)], needed: f64) -> Result<Room, Failure> {
    let of = |wanted: &Question| {
        answers.iter().find(|(question, _)| question == wanted).map_or(&Value::Null, |(_, answer)| answer)
    };
    match &quota.scope {
        Scope::Project => plain(quota, of(&Question::Project), needed),
        Scope::Region(region) => plain(quota, of(&Question::Region(region.clone())), needed),
        Scope::Family { region, family } => by_family(quota, of(&Question::Families), (region, family), needed),
    }
}

/// A quota of Compute: `{metric, limit, usage}`.
fn plain(quota: &Quota, answer: &Value, needed: f64) -> Result<Room, Failure> {
    let all: Vec<&Value> = answer["quotas"].as_array().into_iter().flatten().collect();
    let Some(found) = all.iter().find(|one| one["metric"] == quota.metric.as_str()) else {
        let names: Vec<&str> = all.iter().filter_map(|one| one["metric"].as_str()).collect();
        return Err(no_such(quota, &names));
    };
    let number = |key: &str| found[key].as_f64().unwrap_or_default();
    Ok(Room { quota: quota.clone(), needed, limit: number("limit"), usage: Some(number("usage")), id: quota.id() })
}

fn no_such(quota: &Quota, names: &[&str]) -> Failure {
    let meant = nearest(&quota.metric, names.iter().copied())
        .map(|name| format!("; did you mean `{name}`?"))
        .unwrap_or_default();
    let other = if quota.scope == Scope::Project {
        "give a `region` if it is a region's"
    } else {
        "leave `region` out if it is the project's"
    };
    Failure::invalid(format!("there is no quota `{}` {}{meant}", quota.metric, quota.place())).fix(other)
}

/// A quota by family: the entry that says most of this region and family. What has no entry may not be had at all.
fn by_family(quota: &Quota, answer: &Value, (region, family): (&str, &str), needed: f64) -> Result<Room, Failure> {
    let name = format!("compute.googleapis.com/{}", quota.metric.to_lowercase());
    let infos: Vec<&Value> = answer.as_array().into_iter().flatten().collect();
    let Some(info) = infos.iter().find(|info| info["metric"] == name.as_str()) else {
        let names: Vec<String> = infos.iter().filter_map(|info| info["metric"].as_str()).map(last_part).collect();
        return Err(no_such(quota, &names.iter().map(String::as_str).collect::<Vec<_>>()));
    };
    let wanted = [("region", region), (&quota.dimension(), family)];
    let fits = |entry: &&Value| {
        let mut said = entry["dimensions"].as_object().into_iter().flatten();
        said.all(|(key, value)| wanted.iter().any(|(name, meant)| name == key && value.as_str() == Some(meant)))
            && applies(entry, region)
    };
    let entries = info["dimensionsInfos"].as_array().into_iter().flatten().filter(fits);
    let best = entries.max_by_key(|entry| entry["dimensions"].as_object().map_or(0, serde_json::Map::len));
    let limit = best.and_then(|entry| limit_of(&entry["details"]["value"])).unwrap_or(0.0);
    let id = info["quotaId"].as_str().map_or_else(|| quota.id(), str::to_owned);
    Ok(Room { quota: quota.clone(), needed, limit, usage: None, id })
}

fn last_part(metric: &str) -> String {
    metric.rsplit('/').next().unwrap_or_default().to_uppercase()
}

fn applies(entry: &Value, region: &str) -> bool {
    entry["applicableLocations"]
        .as_array()
        .is_none_or(|all| all.is_empty() || all.iter().any(|one| one == region || one == "global"))
}

/// 64-bit numbers are text in JSON; no limit is -1.
fn limit_of(value: &Value) -> Option<f64> {
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    Some(if number < 0.0 { f64::MAX } else { number })
}

/// The failure that tells of all quotas that are too small.
pub(super) fn shortage(rooms: &[Room], project: &str) -> Option<Failure> {
    let short: Vec<&Room> = rooms.iter().filter(|room| room.is_short()).collect();
    let what = match short.as_slice() {
        [] => return None,
        [one] => format!("the quota is too small: {}", one.told()),
        several => {
            let names: Vec<String> =
                several.iter().map(|room| format!("`{}` {}", room.quota.metric, room.quota.place())).collect();
            format!("{} quotas are too small: {}", several.len(), names.join(", "))
        }
    };
    let lines = short.iter().map(|room| format!("{}\n  {}", room.told(), room.request(project)));
    let detail = lines.collect::<Vec<_>>().join("\n");
    let mut facts =
        Facts { stderr: short.iter().map(|room| exceeded(room)).collect::<Vec<_>>().join("\n"), ..Facts::default() };
    facts.other.insert("short".to_owned(), short.iter().map(|room| room.show()).collect());
    let failure = Failure::new(Class::Quota, what).detail(detail).facts(facts);
    Some(failure.cause("the project may not have as much as the plan needs; waiting does not help").fix(format!(
        "ask for more with the commands above or at https://console.cloud.google.com/iam-admin/quotas?project={project} (it takes 15 \
         minutes to 2 days), free what is not used, or ask the plan for less"
    )))
}

/// As Google would say it, for hints that match its words.
fn exceeded(room: &Room) -> String {
    format!("Quota '{}' exceeded. Limit: {} {}.", room.quota.metric, room.limit, room.quota.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(metric: &str) -> Quota {
        Quota { metric: metric.to_owned(), scope: Scope::Region("us-east5".to_owned()) }
    }

    fn chips() -> Quota {
        let scope = Scope::Family { region: "us-east5".to_owned(), family: "CT6E".to_owned() };
        Quota { metric: "TPUS_PER_TPU_FAMILY".to_owned(), scope }
    }

    fn of_region(quotas: &Value) -> Vec<(Question, Value)> {
        vec![(Question::Region("us-east5".to_owned()), json!({ "quotas": quotas }))]
    }

    fn of_families(entries: &Value) -> Vec<(Question, Value)> {
        let info = json!({
            "metric": "compute.googleapis.com/tpus_per_tpu_family", "quotaId": "TPUS-PER-TPU-FAMILY-per-project-region",
            "dimensionsInfos": entries,
        });
        vec![(Question::Families, json!([info]))]
    }

    #[test]
    fn what_is_left_is_the_limit_without_the_usage() {
        let answers = of_region(&json!([{ "metric": "CPUS", "limit": 24.0, "usage": 20.0 }]));
        let four = room(&region("CPUS"), &answers, 4.0).unwrap();
        assert!(!four.is_short() && shortage(&[four], "p-1").is_none());
        let failure = shortage(&[room(&region("CPUS"), &answers, 8.0).unwrap()], "p-1").unwrap();
        assert_eq!(failure.class, Class::Quota);
        assert_eq!(
            failure.what,
            "the quota is too small: `CPUS` in us-east5 (vCPUs): 8 needed, 4 left (limit 24, 20 used)"
        );
        assert!(failure.detail.ends_with(
            "--project=p-1 --quota-id=CPUS-per-project-region --preferred-value=28 --dimensions=region=us-east5"
        ));
    }

    #[test]
    fn all_that_are_too_small_are_told_at_once() {
        let answers = of_region(&json!([
            { "metric": "CPUS", "limit": 0.0, "usage": 0.0 }, { "metric": "IN_USE_ADDRESSES", "limit": 8.0, "usage": 8.0 },
        ]));
        let rooms = ["CPUS", "IN_USE_ADDRESSES"].map(|metric| room(&region(metric), &answers, 1.0).unwrap());
        let failure = shortage(&rooms, "p-1").unwrap();
        assert_eq!(failure.what, "2 quotas are too small: `CPUS` in us-east5, `IN_USE_ADDRESSES` in us-east5");
        assert_eq!(failure.detail.lines().count(), 4);
        assert_eq!(failure.facts.other["short"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn an_unknown_metric_is_suggested_the_right_one() {
        let answers = of_region(&json!([{ "metric": "IN_USE_ADDRESSES", "limit": 8.0, "usage": 0.0 }]));
        let failure = room(&region("IN_USE_ADRESSES"), &answers, 1.0).unwrap_err();
        assert_eq!(failure.what, "there is no quota `IN_USE_ADRESSES` in us-east5; did you mean `IN_USE_ADDRESSES`?");
    }

    #[test]
    fn the_entry_that_says_most_counts() {
        let entries = json!([
            { "dimensions": {}, "details": { "value": "0" }, "applicableLocations": ["us-east5", "us-east1"] },
            { "dimensions": { "region": "us-east5", "tpu_family": "CT6E" }, "details": { "value": "16" } },
            { "dimensions": { "region": "us-east5", "tpu_family": "CT5LP" }, "details": { "value": "99" } },
            { "dimensions": { "region": "us-east1", "tpu_family": "CT6E" }, "details": { "value": "99" } },
        ]);
        let found = room(&chips(), &of_families(&entries), 8.0).unwrap();
        assert_eq!((found.limit, found.usage, found.is_short()), (16.0, None, false));
        let request = found.request("p-1");
        assert!(request.ends_with("--preferred-value=8 --dimensions=region=us-east5,tpu_family=CT6E"), "{request}");
    }

    #[test]
    fn what_has_no_entry_cannot_be_had() {
        let found = room(&chips(), &of_families(&json!([])), 4.0).unwrap();
        assert_eq!((found.limit, found.is_short()), (0.0, true));
        let nothing = room(&chips(), &[(Question::Families, json!([]))], 4.0).unwrap_err();
        assert_eq!(nothing.class, Class::Invalid);
    }

    #[test]
    fn no_limit_is_enough() {
        let entries = json!([{ "dimensions": {}, "details": { "value": "-1" } }]);
        assert!(!room(&chips(), &of_families(&entries), 4000.0).unwrap().is_short());
    }
}
