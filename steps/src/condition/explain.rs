//! Drives the search for the deepest reason: gathers what is around an object, reads the log that tells most, and weighs how long a
//! trouble has been there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::leaf::{self, Stands};
use super::reason::{self, Explained, Family, family_of};
use super::sight::Sight;
use super::verdict::{Finding, State};
use super::{Test, Wanted};
use crate::cluster::{LogPart, Resource, describe, kind_and_name, kind_of, name_of, namespace_of, uid_of};
use crate::failure::{Class, Failure, Objects};
use crate::readiness::{Around, Trouble};

/// How long a log that still grows is taken for what it was.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// How long "40 s ago" is said before it is put right.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// What is known of why an object is not as wanted. With a test it is tested anew, now with what is around it.
pub(super) async fn explained(
    sight: &mut Sight<'_>,
    object: &Arc<Value>,
    why: &str,
    wanted: Option<&Wanted>,
    around: Around<'_>,
) -> Result<Finding, Failure> {
    if !sight.is_watching() || wanted.is_some_and(|wanted| matches!(wanted.test, Test::Deleted)) {
        let mut finding = Finding::not(format!("{}: {why}", describe(object)));
        finding.facts.conditions = reason::condition_facts(object);
        finding.facts.objects = Objects::new([object.as_ref()]);
        return Ok(finding);
    }
    let family = reason::narrow(object, gather(sight, object).await);
    let (now, troubles) = (sight.cx.clock().now(), reason::troubles(&family));
    let held = troubles.iter().map(|(pod, trouble)| trouble.name(pod)).map(|name| (name.clone(), sight.held(&name)));
    let held: BTreeMap<String, Duration> = held.collect();
    let around = Around {
        events: &family.events,
        pods: &family.pods,
        now: Some(now),
        watched: Some(sight.began),
        held: Some(&held),
        ..around
    };
    let stands = match wanted {
        Some(wanted) => leaf::test(&wanted.test, Some(object), &around),
        None => Stands::Not(why.to_owned()),
    };
    let (Stands::Not(why) | Stands::Hopeless(why)) = &stands else { return Ok(Finding::holds()) };
    let explained = reason::explain(object, why, &family, troubles);
    let log = Box::pin(last_log(sight, &explained)).await;
    let words = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut finding = Finding::not(explained.text(words, now));
    finding.facts = explained.facts;
    finding.facts.log.clone_from(&log);
    for (pod, trouble) in &explained.troubles {
        finding = weigh(finding, pod, trouble, words, &around);
    }
    if let (Stands::Hopeless(why), State::Not) = (&stands, &finding.state) {
        finding.state = State::Hopeless(Box::new(no_hope(Class::Permanent, object, why, &finding)));
    }
    Ok(finding)
}

/// A trouble that has been there for too long ends the hope.
fn weigh(finding: Finding, pod: &Value, trouble: &Trouble, words: &str, around: &Around<'_>) -> Finding {
    let finding = if trouble.died.is_some() { finding.again_in(SAY_AGAIN) } else { finding };
    let (Some(limit), State::Not) = (trouble.limit(around), &finding.state) else { return finding };
    if trouble.is_hopeless(pod, around) {
        let failure = no_hope(trouble.class, pod, &trouble.line(words, around.now), &finding);
        return Finding { state: State::Hopeless(Box::new(failure)), ..finding };
    }
    let held = around.held.and_then(|held| held.get(&trouble.name(pod)).copied()).unwrap_or_default();
    finding.again_in(limit.saturating_sub(held))
}

pub(super) fn no_hope(class: Class, object: &Value, why: &str, finding: &Finding) -> Failure {
    let place = match namespace_of(object) {
        "" => describe(object),
        namespace => format!("{} in `{namespace}`", describe(object)),
    };
    let failure = Failure::new(class, format!("{place}: {why}")).detail(finding.facts.log.clone());
    failure.cause(finding.text.clone()).facts(finding.facts.clone())
}

/// How deep owners own: service, deployment, replica set, pod.
const DEEPEST: usize = 5;
/// Where events about what belongs to no namespace are kept.
const ELSEWHERE: &str = "default";

/// Where what tells more about objects of a kind is.
pub(super) fn home<'n>(namespace: &'n str, resource: &Resource) -> &'n str {
    if resource.namespaced { namespace } else { ELSEWHERE }
}

/// What surrounds an object. What may not be read tells nothing, and is no reason to fail.
async fn gather(sight: &mut Sight<'_>, object: &Value) -> Family {
    let mut family = Family::default();
    let namespace = match namespace_of(object) {
        "" => ELSEWHERE.to_owned(),
        namespace => namespace.to_owned(),
    };
    let kinds = family_of(kind_of(object));
    let controllers: Vec<&str> = kinds.iter().copied().filter(|kind| !matches!(*kind, "pods" | "events")).collect();
    let mut owners = vec![uid_of(object).to_owned()];
    for _ in 0..DEEPEST {
        let below = kin(sight, &controllers, &namespace, &owners).await;
        owners = below.iter().map(|it| uid_of(it).to_owned()).collect();
        family.controllers.extend(below);
    }
    let relatives = || std::iter::once(object).chain(family.controllers.iter().map(Arc::as_ref));
    if kinds.contains(&"pods") {
        let owners: Vec<String> = relatives().map(|it| uid_of(it).to_owned()).collect();
        family.pods = kin(sight, &["pods"], &namespace, &owners).await;
    }
    if kinds.contains(&"events") {
        let all = relatives().chain(family.pods.iter().map(Arc::as_ref));
        let about: Vec<String> = all.flat_map(|it| [uid_of(it).to_owned(), kind_and_name(it)]).collect();
        family.events = kin(sight, &["events"], &namespace, &about).await;
    }
    family
}

/// The objects of these kinds that belong to one of those.
async fn kin(sight: &mut Sight<'_>, kinds: &[&str], namespace: &str, to: &[String]) -> Vec<Arc<Value>> {
    let to: Vec<String> = to.iter().filter(|it| !it.is_empty()).cloned().collect();
    let mut found = Vec::new();
    for kind in kinds {
        if to.is_empty() {
            break;
        }
        let Ok(Some(resource)) = sight.cluster.resolve_known(kind).await else { continue };
        found.extend(sight.related(&resource, namespace, &to).await.unwrap_or_default());
    }
    found
}

/// The last lines of the container that is in the worst trouble: of one that died read once for each of its lives, of one that runs
/// now and then.
async fn last_log(sight: &mut Sight<'_>, explained: &Explained) -> String {
    let told = explained.troubles.iter().find_map(|(pod, trouble)| Some((pod, trouble, trouble.log.as_ref()?)));
    let Some((pod, trouble, log)) = told else { return String::new() };
    let now = sight.cx.clock().now();
    let life = format!("{} {} {} {}", uid_of(pod), log.container, trouble.restarts, trouble.what);
    let known = sight
        .logs
        .get(&life)
        .filter(|(at, _)| !log.grows || Duration::try_from(now.duration_since(*at)).unwrap_or_default() < READ_AGAIN);
    if let Some((_, text)) = known {
        return text.clone();
    }
    let place = (namespace_of(pod), name_of(pod), log.container.as_str());
    let part = LogPart { lines: Some(20), previous: log.previous, ..LogPart::default() };
    let mut text = sight.cluster.log(place, part).await.unwrap_or_default();
    if text.trim().is_empty() && log.previous {
        // The kubelet may have thrown the previous life's log away.
        text = sight.cluster.log(place, LogPart { previous: false, ..part }).await.unwrap_or_default();
    }
    sight.logs.insert(life, (now, text.clone()));
    text
}
