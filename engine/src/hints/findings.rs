//! What a look around comes to: for each sight the hint that explains it, most likely first. Pure.

use runbook_steps::Class;
use runbook_steps::survey::Sighting;

use super::best::{About, Seen, evidence, ranked};
use super::model::Hint;
use crate::plan::StepId;

/// A sight, and what is known of whose it is.
#[derive(Clone, Debug)]
pub struct Look {
    /// What was seen.
    pub sighting: Sighting,
    /// The class, where a step or a program failed.
    pub class: Option<Class>,
    /// The step that it concerns, and its kind.
    pub step: Option<StepId>,
    /// The kind of that step; empty where it has none.
    pub kind: &'static str,
    /// Whether a step of the plan failed of it.
    pub failed: bool,
}

/// What is the matter.
#[derive(Clone, Debug)]
pub struct Finding<'h> {
    /// What is known of it.
    pub hint: &'h Hint,
    /// The line that shows it.
    pub evidence: String,
    /// What shows it.
    pub look: Look,
    /// How likely it is the cause, for the order only.
    pub rank: usize,
}

impl Finding<'_> {
    /// Whether something is in trouble where it was seen: a step of some concern, or what was looked at. Otherwise it is only known to
    /// make trouble.
    pub fn is_trouble(&self, concern: &[StepId]) -> bool {
        let concerned = self.look.step.as_ref().is_some_and(|step| concern.contains(step));
        self.look.failed || concerned || !self.look.sighting.text.is_empty()
    }
}

/// What was found for some concern: a step's failure weighs most, then what its step waits for, then what is in trouble at all.
pub fn findings<'h>(looks: &[Look], hints: &[&'h Hint], concern: &[StepId]) -> Vec<Finding<'h>> {
    let mut found: Vec<Finding<'h>> = Vec::new();
    for look in looks {
        for (score, hint) in explanations(look, hints) {
            let finding = finding(look, hint, score, concern);
            match found.iter_mut().find(|known| is_same(known.hint, hint)) {
                Some(known) => join(known, finding),
                None => found.push(finding),
            }
        }
    }
    found.sort_by_key(|finding| std::cmp::Reverse(finding.rank));
    found
}

/// Of two findings of the same, the likelier; a step that either of them concerns is kept.
fn join<'h>(known: &mut Finding<'h>, other: Finding<'h>) {
    let other = if known.rank >= other.rank { other } else { std::mem::replace(known, other) };
    known.look.step = known.look.step.take().or(other.look.step);
}

/// Whether two hints come to the same: the words, or what puts it right.
fn is_same(one: &Hint, other: &Hint) -> bool {
    one.cause == other.cause || one.remedy.is_some() && one.remedy == other.remedy
}

/// The hint that explains a sight best; of all objects together, each that speaks of objects.
fn explanations<'h>(look: &Look, hints: &[&'h Hint]) -> Vec<(usize, &'h Hint)> {
    let known = hints.iter().copied().filter(|hint| hint.kind.as_deref().is_none_or(|kind| kind == look.kind));
    let fitting = ranked(known, seen(look));
    if look.sighting.facts.objects.count() > 1 && !look.failed {
        let about_objects = |hint: &Hint| {
            hint.matches.object.is_some() || hint.when.as_ref().is_some_and(|it| it.text.contains("object"))
        };
        return fitting.into_iter().filter(|(_, hint)| about_objects(hint)).collect();
    }
    fitting.into_iter().take(1).collect()
}

fn seen(look: &Look) -> Seen<'_> {
    let about = About { step: look.step.as_ref().map_or("", StepId::as_str), kind: look.kind, ..About::default() };
    // What is looked at now has stood for a while: somebody has come to ask.
    let about = About { elapsed: std::time::Duration::from_secs(3600), ..about };
    Seen { class: look.class, texts: [&look.sighting.text, ""], facts: &look.sighting.facts, about }
}

fn finding<'h>(look: &Look, hint: &'h Hint, score: usize, concern: &[StepId]) -> Finding<'h> {
    let concerned = look.step.as_ref().is_some_and(|step| concern.contains(step));
    let weights = [(look.failed, 1000), (concerned, 500), (!look.sighting.text.is_empty(), 100)];
    let rank = weights.iter().filter(|(holds, _)| *holds).map(|(_, weight)| weight).sum::<usize>() + score;
    let line = evidence(hint, seen(look)).filter(|line| !line.is_empty());
    let line = line.or_else(|| Some(look.sighting.text.clone()).filter(|text| !text.is_empty()));
    Finding { hint, evidence: line.unwrap_or_else(|| look.sighting.subject.clone()), look: look.clone(), rank }
}

/// Sights that are not as wanted and that no hint explains.
pub fn unexplained<'l>(looks: &'l [Look], found: &[Finding<'_>]) -> Vec<&'l Look> {
    let explained = |look: &Look| found.iter().any(|finding| finding.look.sighting.subject == look.sighting.subject);
    looks.iter().filter(|look| !look.sighting.text.is_empty() && !look.failed && !explained(look)).collect()
}

#[cfg(test)]
mod tests {
    use runbook_steps::Facts;
    use runbook_steps::failure::ConditionFact;

    use super::*;
    use crate::hints::shipped;

    fn look(subject: &str, text: &str, facts: Facts) -> Look {
        let sighting = Sighting { subject: subject.into(), text: text.into(), facts, ..Sighting::default() };
        Look { sighting, class: None, step: None, kind: "", failed: false }
    }

    fn no_subnet() -> Facts {
        let condition = ConditionFact {
            object: "gateway/a/g".into(),
            r#type: "Programmed".into(),
            status: "False".into(),
            message: "An active proxy-only subnetwork is required".into(),
            ..ConditionFact::default()
        };
        Facts { conditions: vec![condition], ..Facts::default() }
    }

    fn ids<'h>(found: &[Finding<'h>]) -> Vec<&'h str> {
        found.iter().filter_map(|finding| finding.hint.id.as_deref()).collect()
    }

    #[test]
    fn what_a_step_failed_of_comes_first_and_each_cause_once() {
        let hints: Vec<&Hint> = shipped::hints().iter().collect();
        let log = Facts { log: "error: unrecognized arguments: --x".into(), ..Facts::default() };
        let step = StepId::from("gateway");
        let failed = Look { failed: true, step: Some(step.clone()), ..look("step gateway", "failed", no_subnet()) };
        let looks = [look("pod/x", "CrashLoopBackOff", log), look("gateway/g", "not programmed", no_subnet()), failed];
        let found = findings(&looks, &hints, &[step]);
        assert_eq!(ids(&found), ["no-proxy-subnet", "unknown-flag"]);
        assert_eq!(found[0].look.sighting.subject, "step gateway");
        assert!(found[0].evidence.contains("gateway/a/g: Programmed=False An active proxy-only subnetwork"));
    }

    #[test]
    fn what_nobody_knows_is_told_as_well() {
        let hints: Vec<&Hint> = shipped::hints().iter().collect();
        let looks = [
            look("gateway/g", "not programmed", no_subnet()),
            look("job/x", "0 of 1 pods succeeded", Facts::default()),
        ];
        let found = findings(&looks, &hints, &[]);
        let rest: Vec<&str> = unexplained(&looks, &found).iter().map(|look| look.sighting.subject.as_str()).collect();
        assert_eq!(rest, ["job/x"]);
    }
}
