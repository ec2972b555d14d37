//! Whether containers have logged something.
//!
//! A log cannot be watched as objects can: it is read again every few seconds, each time what is new since the last time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::explain::explained;
use super::sight::{Sight, is_passing};
use super::verdict::Finding;
use super::{Amount, Target, Which};
use crate::cluster::{LogPart, annotation, name_of, namespace_of, text_at, uid_of};
use crate::failure::{Class, Failure};
use crate::readiness::Around;

/// The line that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    /// Pods.
    pub(super) target: Target,
    /// Empty: the pod's first or default one.
    pub(super) container: String,
    pub(super) pattern: Regex,
    pub(super) amount: Amount,
}

impl fmt::Display for Logged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the log of {}", self.target)?;
        if !self.container.is_empty() {
            write!(f, " (container {})", self.container)?;
        }
        write!(f, " matches `{}`", self.pattern)
    }
}

/// How often a log is read.
const READ_EVERY: Duration = Duration::from_secs(5);
/// How much of a log that is already there is looked through.
const LINES: u32 = 10_000;
/// What is read twice, so that nothing falls between two reads.
const OVERLAP: Duration = Duration::from_secs(5);

/// What is known of the log of one life of a container.
#[derive(Clone, Default)]
pub(super) struct Searched {
    found: bool,
    /// When it was last asked for.
    asked: Option<Timestamp>,
    /// Until when it was searched.
    until: Option<Timestamp>,
    /// Why it cannot be read at the moment.
    trouble: Option<String>,
}

/// Looks whether it was logged.
pub(super) async fn logged(wanted: &Logged, sight: &mut Sight<'_>) -> Result<Finding, Failure> {
    let Some(resource) = sight.resolve("pods").await? else {
        return Ok(Finding::not("the cluster has no pods"));
    };
    let namespace = sight.namespace(&wanted.target.namespace);
    let pods: Vec<Arc<Value>> = match &wanted.target.which {
        Which::Named(name) => sight.object(&resource, &namespace, name).await?.into_iter().collect(),
        Which::Selected(selector) => sight.objects(&resource, &namespace, Some(selector)).await?,
    };
    let alive: Vec<_> = pods.into_iter().filter(|pod| text_at(pod, "/metadata/deletionTimestamp").is_empty()).collect();
    let (mut without, mut trouble, mut refused) = (Vec::new(), None, None);
    for pod in &alive {
        match search(wanted, sight, pod).await {
            Ok(searched) if searched.found => continue,
            Ok(searched) => trouble = trouble.or(searched.trouble),
            Err(failure) => refused = refused.or(Some(failure)),
        }
        without.push(Arc::clone(pod));
    }
    let good = alive.len() - without.len();
    if wanted.amount.is_met(good, alive.len()) {
        return Ok(Finding::holds());
    }
    if let Some(failure) = refused {
        return Err(failure);
    }
    let Some(first) = without.first() else {
        return Ok(Finding::not(format!("{}: there is no pod yet", wanted.target)));
    };
    let why = format!("{good} of {} pods have logged `{}`", alive.len(), wanted.pattern);
    let why = trouble.map_or(why.clone(), |trouble| format!("{why} · {trouble}"));
    let around = Around { has_status: true, ..Around::default() };
    let finding = explained(sight, first, &why, None, around).await?;
    // A pod that runs well has no trouble to tell of.
    let text = if finding.text.contains(&why) { finding.text.clone() } else { format!("{why} · {}", finding.text) };
    Ok(Finding { text, ..finding }.again_in(READ_EVERY))
}

/// Reads what is new in a container's log, but not more often than every few seconds, whether it could be read or not.
async fn search(wanted: &Logged, sight: &mut Sight<'_>, pod: &Value) -> Result<Searched, Failure> {
    let container = container_of(wanted, pod);
    let life = format!("{} {container} {} {}", uid_of(pod), lives(pod, &container), wanted.pattern);
    let now = sight.cx.clock().now();
    let ago = |then: Timestamp| Duration::try_from(now.duration_since(then)).unwrap_or_default();
    let before = sight.searched.get(&life).cloned().unwrap_or_default();
    if before.found || before.asked.is_some_and(|asked| ago(asked) < READ_EVERY) {
        return Ok(before);
    }
    let part = match before.until {
        Some(until) => LogPart { since: Some(ago(until) + OVERLAP), ..LogPart::default() },
        None => LogPart { lines: Some(LINES), ..LogPart::default() },
    };
    let read = sight.cluster.log((namespace_of(pod), name_of(pod), &container), part).await;
    let searched = match read {
        Ok(text) => {
            let found = text.lines().any(|line| wanted.pattern.is_match(line));
            Searched { found, asked: Some(now), until: Some(now), trouble: None }
        }
        Err(failure) if has_no_log(&failure) => Searched { asked: Some(now), ..before },
        // The way to a node may be closed for minutes, and longer than a wait bears that nothing is seen at all.
        Err(failure) if is_passing(failure.class) => {
            Searched { asked: Some(now), trouble: Some(failure.what), ..before }
        }
        Err(failure) => return Err(failure),
    };
    sight.searched.insert(life, searched.clone());
    Ok(searched)
}

/// Whether there is no log because the container has not started, or the pod is gone by now.
fn has_no_log(failure: &Failure) -> bool {
    let early = ["is waiting to start", "is not available", "does not have a host assigned"];
    let not_started = failure.facts.http_status == Some(400) && early.iter().any(|text| failure.what.contains(text));
    not_started || failure.class == Class::NotFound
}

fn container_of(wanted: &Logged, pod: &Value) -> String {
    let first = || text_at(pod, "/spec/containers/0/name");
    let default = || annotation(pod, "kubectl.kubernetes.io/default-container").unwrap_or_else(first);
    if wanted.container.is_empty() { default().to_owned() } else { wanted.container.clone() }
}

/// How often the container was started again.
fn lives(pod: &Value, container: &str) -> u64 {
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
    let all = statuses.iter().filter_map(|place| pod.pointer(place)?.as_array()).flatten();
    let own = all.into_iter().find(|status| text_at(status, "/name") == container);
    own.and_then(|status| status.get("restartCount")?.as_u64()).unwrap_or(0)
}
