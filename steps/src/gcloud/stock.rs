//! Seeing early that a zone is out of machines.
//!
//! GKE hides a stock-out: a node pool that gets no machines stays `PROVISIONING` for some 35 minutes. The errors of its instance
//! groups tell after one or two.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use super::{Gcloud, explain};
use crate::context::Context;
use crate::failure::{Class, Facts, Failure};
use crate::tools::{classify, shorten};

/// Between two looks (on the step's clock). A pool that comes up as usual is looked at two or three times.
const PAUSE: Duration = Duration::from_secs(60);
/// One error may heal: a zone is out of machines when looks in a row say so.
const SIGHTINGS: u32 = 2;

/// Watches the instance groups of one node pool.
pub(crate) struct StockWatch {
    next: Timestamp,
    /// Looking must not eat the machine, however fast the step's clock runs.
    rest_until: Instant,
    sightings: u32,
}

/// An instance group: its name and its zone.
pub(crate) type Group = (String, String);

impl StockWatch {
    pub(crate) fn new(cx: &Context) -> Self {
        Self { next: later(cx), rest_until: Instant::now(), sightings: 0 }
    }

    /// Looks, if it is time to, and fails where the zone is out of machines.
    pub(crate) async fn look(&mut self, cx: &Context, gcloud: &Gcloud<'_>, pool: &Value) -> Result<(), Failure> {
        if cx.clock().now() < self.next || Instant::now() < self.rest_until {
            return Ok(());
        }
        let began = Instant::now();
        let sighted = shortage(gcloud, pool).await?;
        self.rest_until = Instant::now() + 2 * began.elapsed();
        self.next = later(cx);
        let Some((zone, message)) = sighted else {
            self.sightings = 0;
            return Ok(());
        };
        self.sightings += 1;
        cx.progress(format!("out of machines: {}", shorten(&message, 160)));
        if self.sightings < SIGHTINGS { Ok(()) } else { Err(out_of_stock(pool, &zone, &message)) }
    }
}

fn later(cx: &Context) -> Timestamp {
    cx.clock().now().checked_add(PAUSE).unwrap_or(Timestamp::MAX)
}

async fn shortage(gcloud: &Gcloud<'_>, pool: &Value) -> Result<Option<(String, String)>, Failure> {
    for (group, zone) in groups(pool) {
        let args = ["compute", "instance-groups", "managed", "list-errors", &group, &format!("--zone={zone}")];
        match gcloud.find(args).await {
            Ok(errors) => {
                if let Some(message) = stockout_in(errors.as_ref().unwrap_or(&Value::Null)) {
                    return Ok(Some((zone, message)));
                }
            }
            Err(failure) if failure.class == Class::Cancelled => return Err(failure),
            // Who may not read instance groups waits the 35 minutes.
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The instance groups of a pool: `…/zones/ZONE/instanceGroupManagers/NAME`.
pub(crate) fn groups(pool: &Value) -> Vec<Group> {
    let links = pool["instanceGroupUrls"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let group = |link: &str| {
        let parts: Vec<&str> = link.rsplit('/').collect();
        Some(((*parts.first()?).to_owned(), (*parts.get(2)?).to_owned()))
    };
    links.filter_map(group).collect()
}

/// The newest error that tells of a stock-out.
fn stockout_in(errors: &Value) -> Option<String> {
    let text = |error: &Value| {
        let part = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", part("code"), part("message"))
    };
    let errors = errors.as_array().into_iter().flatten();
    let short = errors.filter(|error| classify(&text(error)) == Some(Class::Stockout));
    short.max_by_key(|error| error["timestamp"].as_str().unwrap_or_default().to_owned()).map(text)
}

fn out_of_stock(pool: &Value, zone: &str, message: &str) -> Failure {
    let name = pool["name"].as_str().unwrap_or_default();
    let machine = pool["config"]["machineType"].as_str().unwrap_or("machine");
    let mut facts = Facts { stderr: message.to_owned(), ..Facts::default() };
    facts.other.insert("zone".to_owned(), zone.into());
    facts.other.insert("machine_type".to_owned(), machine.into());
    let what = format!("`{zone}` has no `{machine}` for the node pool `{name}` now");
    let failure = explain(Failure::new(Class::Stockout, what).detail(message).facts(facts));
    failure.cause(
        "the zone has no such machines free now; GKE keeps trying for about 35 minutes, and the next run looks again",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_are_read_from_their_links() {
        let link = "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west4-a/instanceGroupManagers/gke-c-pool-1-grp";
        let group = ("gke-c-pool-1-grp".to_owned(), "europe-west4-a".to_owned());
        assert_eq!(groups(&json!({ "instanceGroupUrls": [link] })), [group]);
        assert_eq!(groups(&json!({})), []);
    }

    #[test]
    fn only_a_stockout_counts() {
        let error = |code: &str, time: &str| json!({ "error": { "code": code, "message": time }, "timestamp": time });
        let errors = json!([
            error("ZONE_RESOURCE_POOL_EXHAUSTED", "2"),
            error("ZONE_RESOURCE_POOL_EXHAUSTED", "1"),
            error("ODD", "3")
        ]);
        assert_eq!(stockout_in(&errors).as_deref(), Some("ZONE_RESOURCE_POOL_EXHAUSTED: 2"));
        assert_eq!(stockout_in(&json!([error("ODD", "3")])), None);
    }
}
