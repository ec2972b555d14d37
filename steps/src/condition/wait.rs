//! The drivers: look once, or look again whenever something has changed, until a condition holds or cannot.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use super::leaf::{self, Stands};
use super::reason::{self, Explained, Family};
use super::sight::{Sight, is_passing};
use super::verdict::{Finding, State};
use super::{Amount, Condition, Form, Test, Wanted, Which, webhook};
use crate::cluster::{Cluster, Resource, describe, kind_and_name, kind_of, name_of, namespace_of, uid_of};
use crate::context::{Context, Progress};
use crate::failure::{Class, Failure};
use crate::readiness::{Around, Trouble};

/// Looks once.
pub(super) async fn once(condition: &Condition, cx: &Context, cluster: &Cluster) -> Result<Finding, Failure> {
    evaluate(condition, &mut Sight::once(cx, cluster)).await
}

/// How many looks in a row may fail before the wait does.
const PATIENCE: u32 = 5;

/// Looks until it holds.
pub(super) async fn until(condition: &Condition, cx: &Context) -> Result<(), Failure> {
    let cluster = Cluster::connect(cx).await?;
    let mut sight = Sight::watching(cx, &cluster, condition.needs_whole_objects());
    let (mut told, mut failed) = (Progress::default(), 0);
    loop {
        sight.begin();
        match evaluate(condition, &mut sight).await {
            Ok(Finding { state: State::Holds, .. }) => return Ok(()),
            Ok(Finding { state: State::Hopeless(failure), .. }) => return Err(*failure),
            Ok(finding) => {
                failed = 0;
                tell(cx, &mut told, &finding, sight.blind.as_deref());
                sight.changed(finding.again_in).await;
            }
            Err(failure) if is_passing(failure.class) && failed < PATIENCE => {
                failed += 1;
                cx.progress(failure.what);
                cx.clock().sleep(Duration::from_secs(2)).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Tells what is new.
fn tell(cx: &Context, told: &mut Progress, finding: &Finding, blind: Option<&str>) {
    let text = blind.map_or_else(|| finding.text.clone(), |why| format!("{} (last seen; {why})", finding.text));
    let text = cx.redactor.mask(&text).into_owned();
    let progress = Progress { text, facts: finding.facts.clone() };
    if progress != *told {
        cx.observer.progress(progress.clone());
        *told = progress;
    }
}

fn evaluate<'e>(condition: &'e Condition, sight: &'e mut Sight<'_>) -> BoxFuture<'e, Result<Finding, Failure>> {
    Box::pin(async move {
        match &condition.0 {
            Form::Object(wanted) => object(wanted, sight).await,
            Form::Webhook(name) => webhook::answers(name, sight).await,
            Form::Any(any) => Ok(Finding::any(each(any, sight).await?)),
            Form::All(all) => Ok(Finding::all(each(all, sight).await?)),
        }
    })
}

async fn each(conditions: &[Condition], sight: &mut Sight<'_>) -> Result<Vec<Finding>, Failure> {
    let mut found = Vec::with_capacity(conditions.len());
    for condition in conditions {
        found.push(evaluate(condition, sight).await?);
    }
    Ok(found)
}

async fn object(wanted: &Wanted, sight: &mut Sight<'_>) -> Result<Finding, Failure> {
    let target = &wanted.target;
    let Some(resource) = sight.resolve(&target.kind).await? else {
        return Ok(unknown_kind(wanted));
    };
    let default = sight.cluster.default_namespace().to_owned();
    let namespace = if target.namespace.is_empty() { default } else { target.namespace.clone() };
    let around = Around { has_status: resource.has_status };
    match &target.which {
        Which::Named(name) => {
            let found = sight.object(&resource, &namespace, name).await?;
            let stands = leaf::test(&wanted.test, found.as_deref(), around);
            single(wanted, sight, found.as_ref(), stands).await
        }
        Which::Selected(selector) => {
            let found = sight.objects(&resource, &namespace, Some(selector)).await?;
            several(wanted, sight, &resource, &found).await
        }
    }
}

/// A kind that the server does not know has no objects; its CRD may still come.
fn unknown_kind(wanted: &Wanted) -> Finding {
    if matches!(wanted.test, Test::Deleted) {
        return Finding::holds();
    }
    let why = format!("{}: the cluster does not know the kind `{}` yet", wanted.target, wanted.target.kind);
    Finding::not(why).again_in(Duration::from_secs(5))
}

async fn single(
    wanted: &Wanted,
    sight: &mut Sight<'_>,
    found: Option<&Arc<Value>>,
    stands: Stands,
) -> Result<Finding, Failure> {
    match (stands, found) {
        (Stands::AsWanted, _) => Ok(Finding::holds()),
        (Stands::Not(why), Some(object)) => explained(wanted, sight, object, &why).await,
        (Stands::Not(why) | Stands::Hopeless(why), None) => Ok(Finding::not(format!("{}: {why}", wanted.target))),
        (Stands::Hopeless(why), Some(object)) => {
            let mut finding = explained(wanted, sight, object, &why).await?;
            if !matches!(finding.state, State::Hopeless(_)) {
                finding.state = State::Hopeless(Box::new(no_hope(Class::Permanent, object, &why, &finding)));
            }
            Ok(finding)
        }
    }
}

async fn several(
    wanted: &Wanted,
    sight: &mut Sight<'_>,
    resource: &Resource,
    found: &[Arc<Value>],
) -> Result<Finding, Failure> {
    let tally = leaf::tally(wanted, found, Around { has_status: resource.has_status });
    if tally.enough {
        return Ok(Finding::holds());
    }
    let head = format!("{}: {}", wanted.target, tally.text);
    let mut findings = Vec::new();
    for (object, stands) in tally.others {
        findings.push(single(wanted, sight, Some(&object), stands).await?);
    }
    // Enough others may still come to be as wanted.
    let may_do_without = matches!(wanted.amount, Amount::Min(_));
    if !may_do_without && let Some(hopeless) = findings.iter().find(|it| matches!(it.state, State::Hopeless(_))) {
        return Ok(hopeless.clone());
    }
    let Some(first) = findings.first().cloned() else { return Ok(Finding::not(head)) };
    let mut finding = Finding::all(findings);
    finding.state = State::Not;
    finding.text = format!("{head} · {}", first.text);
    Ok(finding)
}

/// What is known of why an object is not as wanted.
async fn explained(wanted: &Wanted, sight: &mut Sight<'_>, object: &Arc<Value>, why: &str) -> Result<Finding, Failure> {
    let plain = !sight.is_watching() || matches!(wanted.test, Test::Deleted);
    if plain {
        let mut finding = Finding::not(format!("{}: {why}", describe(object)));
        finding.facts.conditions = reason::condition_facts(object);
        finding.facts.objects.0.push(Arc::clone(object));
        return Ok(finding);
    }
    let family = family(sight, object).await;
    let Explained { text, facts, troubles } = reason::explain(object, why, &family);
    let mut finding = Finding { facts, ..Finding::not(text) };
    if let Some((pod, trouble)) = troubles.iter().find(|(_, it)| it.log.is_some()) {
        add_log(sight, &mut finding, pod, trouble).await;
    }
    for (pod, trouble) in &troubles {
        finding = weigh(sight, finding, pod, trouble);
    }
    Ok(finding)
}

/// A trouble that has been there for too long ends the hope.
fn weigh(sight: &mut Sight<'_>, finding: Finding, pod: &Value, trouble: &Trouble) -> Finding {
    let held = sight.held(&format!("{} {}", uid_of(pod), trouble.key));
    let (Some(limit), State::Not) = (trouble.hopeless_after, &finding.state) else { return finding };
    match limit.checked_sub(held) {
        Some(left) if !left.is_zero() => finding.again_in(left),
        _ => {
            let failure = no_hope(trouble.class, pod, &trouble.text, &finding);
            Finding { state: State::Hopeless(Box::new(failure)), ..finding }
        }
    }
}

fn no_hope(class: Class, object: &Value, why: &str, finding: &Finding) -> Failure {
    let place = match namespace_of(object) {
        "" => describe(object),
        namespace => format!("{} in `{namespace}`", describe(object)),
    };
    let failure = Failure::new(class, format!("{place}: {why}")).detail(finding.facts.log.clone());
    failure.cause(finding.text.clone()).facts(finding.facts.clone())
}

/// How deep owners own: service, deployment, replica set, pod.
const DEEPEST: usize = 5;

/// What surrounds an object. What may not be read tells nothing, and is no reason to fail.
async fn family(sight: &mut Sight<'_>, object: &Value) -> Family {
    let mut family = Family::default();
    let namespace = namespace_of(object).to_owned();
    if namespace.is_empty() {
        return family;
    }
    let kinds = reason::family_of(kind_of(object));
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

/// Adds the last words of a container that died; read once for each of its lives.
async fn add_log(sight: &mut Sight<'_>, finding: &mut Finding, pod: &Value, trouble: &Trouble) {
    let Some((container, previous)) = &trouble.log else { return };
    let life = format!("{} {}", uid_of(pod), trouble.text);
    if !sight.logs.contains_key(&life) {
        let place = (namespace_of(pod), name_of(pod), container.as_str());
        let mut tail = sight.cluster.log_tail(place, *previous, 20).await.unwrap_or_default();
        if tail.trim().is_empty() && *previous {
            // The kubelet may have thrown the previous life's log away.
            tail = sight.cluster.log_tail(place, false, 20).await.unwrap_or_default();
        }
        sight.logs.insert(life.clone(), tail);
    }
    let tail = sight.logs.get(&life).cloned().unwrap_or_default();
    if let Some(last) = tail.lines().rfind(|line| !line.trim().is_empty()) {
        finding.text.push_str(&format!(": {}", last.trim()));
    }
    finding.facts.log = tail;
}
