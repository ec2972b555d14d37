//! The drivers: look once, or look again whenever something has changed, until a condition holds or cannot.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

use super::explain::{self, explained};
use super::leaf::{self, Stands};
use super::reason::family_of;
use super::sight::{Sight, is_passing};
use super::verdict::{Finding, State};
use super::{Amount, Condition, Form, Test, Wanted, Which, endpoints, event, log, webhook};
use crate::cluster::Cluster;
use crate::context::{Context, Progress};
use crate::failure::Failure;
use crate::readiness::Around;

/// Looks once.
pub(super) async fn once(condition: &Condition, cx: &Context, cluster: &Cluster) -> Result<Finding, Failure> {
    evaluate(condition, &mut Sight::once(cx, cluster)).await
}

/// How many looks in a row may fail before the wait does.
const PATIENCE: u32 = 5;

/// How far a watch lags behind at most, usually.
const LAG: Duration = Duration::from_secs(1);

/// Looks until it holds.
pub(super) async fn until(condition: &Condition, cx: &Context) -> Result<(), Failure> {
    let cluster = Cluster::connect(cx).await?;
    let mut sight = Sight::watching(cx, &cluster, condition.needs_whole_objects());
    let mut wait = Wait { cx, told: Progress::default(), failed: 0 };
    loop {
        sight.begin();
        let looked = evaluate(condition, &mut sight).await;
        match wait.next(looked, &sight) {
            Next::End(result) => return result,
            Next::MakeSure if Box::pin(once(condition, cx, &cluster)).await.is_ok_and(holds) => return Ok(()),
            Next::MakeSure => cx.clock().sleep(LAG).await,
            Next::Pause(span) => cx.clock().sleep(span).await,
            Next::Change(at_latest) => sight.changed(at_latest).await,
        }
    }
}

/// A wait between two looks. What a look found does not outlive it: a thousand waits would hold it a thousand times.
struct Wait<'c> {
    cx: &'c Context,
    /// What was said last.
    told: Progress,
    /// How many looks in a row have failed.
    failed: u32,
}

/// What follows a look.
enum Next {
    End(Result<(), Failure>),
    /// What was done just before this wait may not be seen yet: only a request is sure to.
    MakeSure,
    Pause(Duration),
    /// Of what was looked at, or after that span.
    Change(Option<Duration>),
}

impl Wait<'_> {
    fn next(&mut self, looked: Result<Finding, Failure>, sight: &Sight<'_>) -> Next {
        match looked {
            Ok(Finding { state: State::Holds, .. }) if sight.may_be_late() => Next::MakeSure,
            Ok(Finding { state: State::Hopeless(_), .. }) if sight.may_be_late() => Next::Pause(LAG),
            Ok(Finding { state: State::Holds, .. }) => Next::End(Ok(())),
            Ok(Finding { state: State::Hopeless(failure), .. }) => Next::End(Err(*failure)),
            Ok(finding) => {
                self.failed = 0;
                let at_latest = finding.again_in;
                self.tell(finding, sight.blind.as_deref());
                Next::Change(at_latest)
            }
            Err(failure) if is_passing(failure.class) && self.failed < PATIENCE => {
                self.failed += 1;
                self.cx.progress(failure.what);
                Next::Pause(Duration::from_secs(2))
            }
            Err(failure) => Next::End(Err(failure)),
        }
    }

    /// Tells what is new.
    fn tell(&mut self, finding: Finding, blind: Option<&str>) {
        let text = blind.map_or_else(|| finding.text.clone(), |why| format!("{} (last seen; {why})", finding.text));
        let text = self.cx.redactor.mask(&text).into_owned();
        let progress = Progress { text, facts: finding.facts };
        if progress != self.told {
            self.cx.observer.progress(progress.clone());
            self.told = progress;
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `is_ok_and` hands over")]
fn holds(finding: Finding) -> bool {
    finding.state == State::Holds
}

fn evaluate<'e>(condition: &'e Condition, sight: &'e mut Sight<'_>) -> BoxFuture<'e, Result<Finding, Failure>> {
    Box::pin(async move {
        match &condition.0 {
            Form::Object(wanted) => object(wanted, sight).await,
            Form::Webhook(name) => webhook::answers(name, sight).await,
            Form::Endpoints(wanted) => endpoints::ready(wanted, sight).await,
            Form::Log(wanted) => log::logged(wanted, sight).await,
            Form::Event(wanted) => event::happened(wanted, sight).await,
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
    let namespace = sight.namespace(&target.namespace);
    let around = Around {
        has_status: resource.has_status,
        parents: &wanted.parents,
        expected: wanted.expected,
        now: Some(sight.cx.clock().now()),
        ..Around::default()
    };
    let finding = match &target.which {
        Which::Named(name) => {
            let passed = sight.passed(&resource, &namespace, name);
            if passed.iter().any(|object| leaf::test(&wanted.test, Some(object), &around) == Stands::AsWanted) {
                return Ok(Finding::holds());
            }
            let mut found = sight.object(&resource, &namespace, name).await?;
            let mut stands = leaf::test(&wanted.test, found.as_deref(), &around);
            let explains = found.is_some() && stands != Stands::AsWanted && !matches!(wanted.test, Test::Deleted);
            if explains && sight.is_first_look() {
                // A thousand waits that start at once must not each hold an object while the first lists come.
                drop(found);
                sight.warm(family_of(&resource.kind), explain::home(&namespace, &resource)).await;
                found = sight.object(&resource, &namespace, name).await?;
                stands = leaf::test(&wanted.test, found.as_deref(), &around);
            }
            single(wanted, sight, found.as_ref(), stands, around).await
        }
        Which::Selected(selector) => {
            let found = sight.objects(&resource, &namespace, Some(selector)).await?;
            several(wanted, sight, around, &found).await
        }
    }?;
    let has_limit = wanted.expected.is_some() && finding.state == State::Not;
    Ok(if has_limit { finding.again_in(LOOK_AT_LIMIT) } else { finding })
}

/// How often to look whether what was expected has taken too long.
const LOOK_AT_LIMIT: Duration = Duration::from_secs(30);

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
    around: Around<'_>,
) -> Result<Finding, Failure> {
    match (stands, found) {
        (Stands::AsWanted, _) => Ok(Finding::holds()),
        (Stands::Not(why) | Stands::Hopeless(why), None) => Ok(Finding::not(format!("{}: {why}", wanted.target))),
        (Stands::Not(why) | Stands::Hopeless(why), Some(object)) => {
            let finding = Box::pin(explained(sight, object, &why, Some(wanted), around)).await?;
            let older = leaf::older_in(&wanted.test, object, sight.cx.clock().now());
            Ok(match older {
                Some(span) => finding.again_in(span),
                None => finding,
            })
        }
    }
}

async fn several(
    wanted: &Wanted,
    sight: &mut Sight<'_>,
    around: Around<'_>,
    found: &[Arc<Value>],
) -> Result<Finding, Failure> {
    let tally = leaf::tally(wanted, found, &around);
    if tally.enough {
        return Ok(Finding::holds());
    }
    let head = format!("{}: {}", wanted.target, tally.text);
    let mut findings = Vec::new();
    for (object, stands) in tally.others {
        findings.push(single(wanted, sight, Some(&object), stands, around).await?);
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
