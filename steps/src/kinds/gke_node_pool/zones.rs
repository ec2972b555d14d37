//! In which zone a pool is made, where several will do: one after the other, as long as they are out of machines.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::NodePool;
use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::gcloud::{Placed, already_exists, operation_in, region_of, trouble};
use crate::kind::ReadError;
use crate::step::Outputs;
use crate::tools::{classify, shorten};

/// A zone that was out of machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Empty {
    zone: String,
    why: String,
}

impl Placed<NodePool> {
    /// Nodes are in the region of their cluster, and alternates are to a single zone.
    pub(super) fn verify_zones(&self) -> Result<(), ReadError> {
        let region = self.location().region();
        for (key, zones) in [("node_locations", &self.node_locations), ("alternates", &self.alternates)] {
            if let Some(index) = zones.iter().position(|zone| region_of(zone) != region) {
                let message = format!(
                    "`{}` is not in the region `{region}` of the cluster, and a pool cannot be anywhere else: \
                     another region takes another cluster",
                    zones[index]
                );
                return Err(ReadError { path: format!("{key}[{index}]"), message });
            }
        }
        self.verify_alternates()
    }

    fn verify_alternates(&self) -> Result<(), ReadError> {
        let wrong = |path: &str, message: String| Err(ReadError { path: path.to_owned(), message });
        if self.alternates.is_empty() {
            return Ok(());
        }
        if self.node_locations.len() > 1 || (self.node_locations.is_empty() && self.zone.is_none()) {
            let message = "`alternates` stand in for one zone: name it, and only it, in `node_locations`";
            return wrong("alternates", message.to_owned());
        }
        let candidates = self.candidates();
        let double = (1..candidates.len()).find(|index| candidates[..*index].contains(&candidates[*index]));
        match double {
            Some(index) => wrong(
                &format!("alternates[{}]", index - 1),
                format!("`{}` is a choice already; each zone is tried once", candidates[index]),
            ),
            None => Ok(()),
        }
    }

    /// The zones that will do, the first choice first; none where the plan leaves no choice.
    pub(super) fn candidates(&self) -> Vec<String> {
        if self.alternates.is_empty() {
            return Vec::new();
        }
        let first = self.node_locations.first().or(self.zone.as_ref());
        first.into_iter().chain(&self.alternates).cloned().collect()
    }

    /// The zones that a pool is in; the cluster's where it does not say.
    pub(super) fn zones_of(&self, found: &Value) -> Vec<String> {
        let named = found["locations"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let named: Vec<String> = named.map(str::to_owned).collect();
        if named.is_empty() { vec![self.location().name().to_owned()] } else { named }
    }

    pub(super) fn is_in_a_candidate(&self, found: &Value) -> bool {
        let candidates = self.candidates();
        self.zones_of(found).iter().all(|zone| candidates.contains(zone))
    }

    /// Where a pool is, for messages: only of interest where it could be elsewhere.
    pub(super) fn place_of(&self, found: &Value) -> String {
        if self.alternates.is_empty() { String::new() } else { format!(" in {}", self.zones_of(found).join(", ")) }
    }

    /// Whether a pool that is being deleted makes room for the same one in another zone.
    pub(super) fn moves_on_from(&self, cx: &Context, found: &Value) -> bool {
        !self.alternates.is_empty() && self.is_ours(cx, found)
    }

    /// Makes the pool in the first zone that has machines.
    pub(super) async fn make(&self, cx: &Context) -> Result<Outputs, Failure> {
        if self.alternates.is_empty() {
            return self.make_in(cx, None, &self.title()).await.map(|found| self.outputs(&found));
        }
        let memory = Memory::of(cx);
        let mut empty = if cx.after_crash { memory.recall() } else { Vec::new() };
        let made = self.make_somewhere(cx, &memory, &mut empty).await;
        match &made {
            // Whoever goes on after this goes on where it ended.
            Err(failure) if failure.class == Class::Cancelled => {}
            _ => memory.forget(),
        }
        match made {
            Ok(found) => {
                let mut outputs = self.outputs(&found);
                outputs.insert("tried".to_owned(), json!(names(&empty)));
                Ok(outputs)
            }
            Err(failure) => Err(told(failure, &empty)),
        }
    }

    async fn make_somewhere(&self, cx: &Context, memory: &Memory, empty: &mut Vec<Empty>) -> Result<Value, Failure> {
        let found = self.after_deletion(cx).await?;
        if let Some(found) = &found
            && let Some(made) = self.leave_what_is_empty(cx, found, empty).await?
        {
            return Ok(made);
        }
        let mut left = self.still_to_try(found.as_ref(), empty).into_iter().peekable();
        while let Some(zone) = left.next() {
            let failure = match self.make_in(cx, Some(&zone), &self.title_in(&zone, empty)).await {
                Err(failure) if failure.class == Class::Stockout => failure,
                other => return other,
            };
            let Some(next) = left.peek() else { return Err(failure) };
            cx.note(&format!("{zone} is out of machines, {next} is next: {}", shorten(&failure.what, 200)));
            empty.push(Empty { zone, why: failure.what.clone() });
            memory.keep(empty)?;
            if let Some(found) = self.leave(cx, &failure).await? {
                empty.pop();
                return Ok(found);
            }
        }
        Err(Failure::new(Class::Stockout, format!("no zone is left to try for {}", self.title())))
    }

    /// The pool as it is, once a deletion that is under way is over.
    async fn after_deletion(&self, cx: &Context) -> Result<Option<Value>, Failure> {
        let gcloud = self.gcloud(cx);
        match gcloud.find(self.describe()).await? {
            Some(found) if found["status"] == "STOPPING" => gcloud.settled(&self.describe(), &self.title(), None).await,
            other => Ok(other),
        }
    }

    /// After a crash, the pool may still be where there are no machines for it: then it is deleted now. Should they have come, here
    /// it is.
    async fn leave_what_is_empty(
        &self,
        cx: &Context,
        found: &Value,
        empty: &mut Vec<Empty>,
    ) -> Result<Option<Value>, Failure> {
        let at = self.zones_of(found);
        if cx.after_crash && failed_for_want_of_machines(found) && !empty.iter().any(|one| at.contains(&one.zone)) {
            empty.extend(at.first().map(|zone| Empty { zone: zone.clone(), why: trouble(found) }));
        }
        let Some(index) = empty.iter().position(|one| at.contains(&one.zone)) else { return Ok(None) };
        let failure = Failure::new(Class::Stockout, empty[index].why.clone());
        let made = self.leave(cx, &failure).await?;
        if made.is_some() {
            empty.remove(index);
        }
        Ok(made)
    }

    fn still_to_try(&self, found: Option<&Value>, empty: &[Empty]) -> Vec<String> {
        let at = found.and_then(|found| self.zones_of(found).into_iter().next());
        order(&self.candidates(), at.as_deref(), found.is_some_and(failed_for_want_of_machines), &names(empty))
    }

    fn title_in(&self, zone: &str, empty: &[Empty]) -> String {
        let before =
            if empty.is_empty() { String::new() } else { format!(" (out of machines: {})", names(empty).join(", ")) };
        format!("{} in {zone}{before}", self.title())
    }

    /// Deletes the pool for which a zone has no machines. Should they have come after all, here it is.
    async fn leave(&self, cx: &Context, failure: &Failure) -> Result<Option<Value>, Failure> {
        let gcloud = self.gcloud(cx);
        loop {
            let Some(found) = gcloud.find(self.describe()).await? else { return Ok(None) };
            match found["status"].as_str() {
                Some("RUNNING") => return Ok(Some(found)),
                Some("STOPPING") => return self.delete_and_wait(cx).await.map(|()| None),
                _ if !self.is_ours(cx, &found) => return Err(failure.clone()),
                _ => {}
            }
            match gcloud.json(self.delete()).await {
                // It tries for half an hour, and until then it wants nothing else to happen.
                Err(busy) if busy.class == Class::Conflict && !already_exists(&busy) => {
                    let Some(operation) = operation_in(&busy) else { return Err(busy) };
                    gcloud.wait_for_operation(self.location(), &operation).await?;
                }
                Err(other) if other.class != Class::NotFound => return Err(other),
                _ => return self.delete_and_wait(cx).await.map(|()| None),
            }
        }
    }
}

/// Round once, from the zone that the pool is in, or the one after that if it failed there; without those that are known to be empty.
fn order(candidates: &[String], at: Option<&str>, failed: bool, empty: &[String]) -> Vec<String> {
    let here = at.and_then(|at| candidates.iter().position(|zone| zone == at));
    let start = here.map_or(0, |index| index + usize::from(failed));
    let round = (0..candidates.len()).map(|step| &candidates[(start + step) % candidates.len()]);
    let left: Vec<String> = round.clone().filter(|zone| !empty.contains(zone)).cloned().collect();
    // The plan may have been given fewer zones since.
    if left.is_empty() { round.cloned().collect() } else { left }
}

fn failed_for_want_of_machines(found: &Value) -> bool {
    found["status"] == "ERROR" && classify(&trouble(found)) == Some(Class::Stockout)
}

fn names(empty: &[Empty]) -> Vec<String> {
    empty.iter().map(|one| one.zone.clone()).collect()
}

/// The failure of the last zone, with those of the zones before it.
fn told(failure: Failure, empty: &[Empty]) -> Failure {
    if empty.is_empty() || failure.class == Class::Cancelled {
        return failure;
    }
    let lines: Vec<String> = empty.iter().map(|one| format!("{}: {}", one.zone, one.why)).collect();
    let detail = [lines.join("\n"), failure.detail.clone()].join("\n").trim().to_owned();
    let what = format!("{} (tried before: {})", failure.what, names(empty).join(", "));
    let mut told = Failure { what, ..failure }.detail(detail);
    told.facts.other.insert("tried".to_owned(), json!(names(empty)));
    told
}

/// The zones that were found empty, in the deployment's folder: after a crash nobody else knows them.
struct Memory {
    file: PathBuf,
}

impl Memory {
    fn of(cx: &Context) -> Self {
        let digest: String =
            Sha256::digest(cx.step.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { file: cx.state_dir.join(format!("stockouts-{digest}.json")) }
    }

    /// A file that cannot be read is as good as none: then zones are asked twice.
    fn recall(&self) -> Vec<Empty> {
        std::fs::read(&self.file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn keep(&self, empty: &[Empty]) -> Result<(), Failure> {
        std::fs::write(&self.file, json!(empty).to_string())
            .map_err(|error| Failure::permanent(format!("cannot write `{}`: {error}", self.file.display())))
    }

    fn forget(&self) {
        // Most often there is none.
        let _ = std::fs::remove_file(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    fn zones(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn problem(more: &str) -> String {
        let with = format!("{{ name: tpu, cluster: c, project: p-1, machine_type: ct6e-standard-4t, {more} }}");
        let error = read(serde_yaml::from_str(&with).unwrap()).expect_err("wrong");
        format!("{}: {}", error.path, error.message)
    }

    #[test]
    fn zones_are_tried_in_order_from_where_the_pool_is() {
        let all = zones(&["a", "b", "c"]);
        for (at, failed, empty, expected) in [
            (None, false, &[][..], &["a", "b", "c"][..]),
            (Some("b"), false, &[], &["b", "c", "a"]),
            (Some("b"), true, &[], &["c", "a", "b"]),
            (None, false, &["a"], &["b", "c"]),
            (Some("b"), true, &["a", "b"], &["c"]),
            (Some("elsewhere"), false, &["a", "b", "c"], &["a", "b", "c"]),
        ] {
            assert_eq!(order(&all, at, failed, &zones(empty)), zones(expected), "{at:?} {failed} {empty:?}");
        }
    }

    #[test]
    fn nodes_are_in_the_region_of_their_cluster() {
        let said = problem("zone: europe-west4-a, alternates: [europe-west4-b, us-east5-a]");
        assert!(
            said.starts_with("alternates[1]: `us-east5-a` is not in the region `europe-west4` of the cluster"),
            "{said}"
        );
        let said = problem("region: us-east5, node_locations: [us-east5-a, us-east1-d]");
        assert!(said.starts_with("node_locations[1]: `us-east1-d` is not in the region `us-east5`"), "{said}");
    }

    #[test]
    fn alternates_stand_in_for_one_zone() {
        assert!(problem("region: us-east5, alternates: [us-east5-b]").contains("name it, and only it"));
        let two = "zone: us-east5-a, node_locations: [us-east5-a, us-east5-b], alternates: [us-east5-c]";
        assert!(problem(two).contains("name it, and only it"));
        let twice = problem("zone: us-east5-a, alternates: [us-east5-b, us-east5-a]");
        assert_eq!(twice, "alternates[1]: `us-east5-a` is a choice already; each zone is tried once");
    }

    #[test]
    fn the_last_failure_tells_of_those_before() {
        let empty = [Empty { zone: "a".to_owned(), why: "no chips".to_owned() }];
        let failure = told(Failure::new(Class::Stockout, "`b` has no machines").detail("b is empty"), &empty);
        assert_eq!(failure.what, "`b` has no machines (tried before: a)");
        assert_eq!(failure.detail, "a: no chips\nb is empty");
    }

    #[test]
    fn a_failure_for_want_of_machines_is_told_from_others() {
        let pool = |message: &str| json!({ "status": "ERROR", "statusMessage": message });
        assert!(failed_for_want_of_machines(&pool("GCE_STOCKOUT: try elsewhere")));
        assert!(!failed_for_want_of_machines(&pool("Quota 'CPUS' exceeded.")));
    }
}
