//! What is known to go wrong: the hint that fits what was seen. Pure.

use regex::Regex;
use runbook_steps::failure::ConditionFact;
use runbook_steps::{Class, Facts, Failure};

use crate::plan::model::{Hint, HintMatch};

/// What hints look at: a failure, or a step that waits.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The failure's class; none while it waits.
    pub class: Option<Class>,
    /// Its lines.
    pub texts: [&'a str; 2],
    /// What was seen.
    pub facts: &'a Facts,
}

impl<'a> Seen<'a> {
    /// What a failure shows.
    pub fn failure(failure: &'a Failure) -> Self {
        Self { class: Some(failure.class), texts: [&failure.what, &failure.detail], facts: &failure.facts }
    }

    /// What a waiting step shows.
    pub fn progress(text: &'a str, facts: &'a Facts) -> Self {
        Self { class: None, texts: [text, ""], facts }
    }
}

/// The most specific hint that fits: that which asks for most; of equals the first.
pub fn best<'h>(hints: &'h [Hint], seen: Seen<'_>) -> Option<&'h Hint> {
    let mut best: Option<(usize, &Hint)> = None;
    for hint in hints {
        if let Some(score) = score(&hint.matches, seen)
            && best.is_none_or(|(highest, _)| score > highest)
        {
            best = Some((score, hint));
        }
    }
    best.map(|(_, hint)| hint)
}

/// Works the best hint into a failure: its cause, its fix, and its class if it gives one.
pub fn explain(hints: &[Hint], failure: &mut Failure) {
    let Some(hint) = best(hints, Seen::failure(failure)) else { return };
    failure.cause = Some(hint.cause.clone());
    failure.fix = Some(match &hint.docs {
        Some(docs) => format!("{} (more: {docs})", hint.fix),
        None => hint.fix.clone(),
    });
    failure.class = hint.class.unwrap_or(failure.class);
}

/// How many things a match asks for, if all of them are there. One that asks for nothing fits nothing.
fn score(wanted: &HintMatch, seen: Seen<'_>) -> Option<usize> {
    let facts = seen.facts;
    let any =
        |texts: &[&str], pattern: &str| matcher(pattern).is_some_and(|re| texts.iter().any(|text| re.is_match(text)));
    let events: Vec<&str> = facts.events.iter().map(String::as_str).collect();
    let texts = [
        (&wanted.error, vec![seen.texts[0], seen.texts[1], &facts.stderr, &facts.stdout]),
        (&wanted.stdout, vec![facts.stdout.as_str()]),
        (&wanted.log, vec![facts.log.as_str()]),
        (&wanted.event, events),
        (&wanted.http_body, vec![facts.http_body.as_str()]),
    ];
    let asked = texts.iter().filter_map(|(pattern, texts)| Some((pattern.as_deref()?, texts)));
    let mut checks: Vec<bool> = asked.map(|(pattern, texts)| any(texts, pattern)).collect();
    checks.extend(wanted.http_status.map(|status| facts.http_status == Some(status)));
    checks.extend(wanted.class.map(|class| seen.class == Some(class)));
    checks.extend(conditions(wanted, &facts.conditions));
    (!checks.is_empty() && checks.iter().all(|held| *held)).then_some(checks.len())
}

/// One answer for each part that is asked of a condition; all parts must fit the same condition.
fn conditions(wanted: &HintMatch, seen: &[ConditionFact]) -> Vec<bool> {
    let patterns = [&wanted.condition_type, &wanted.condition_reason, &wanted.condition_message];
    let asked = patterns.iter().filter(|pattern| pattern.is_some()).count();
    let fits = |fact: &ConditionFact| {
        let texts = [&fact.r#type, &fact.reason, &fact.message];
        patterns.iter().zip(texts).all(|(pattern, text)| {
            pattern.as_deref().is_none_or(|pattern| matcher(pattern).is_some_and(|re| re.is_match(text)))
        })
    };
    vec![asked > 0 && seen.iter().any(fits); asked]
}

/// Patterns are checked when the plan is loaded, so one that does not parse fits nothing.
fn matcher(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(matches: HintMatch, cause: &str) -> Hint {
        Hint { matches, cause: cause.to_owned(), fix: "do it".to_owned(), docs: None, class: None }
    }

    fn error(pattern: &str) -> HintMatch {
        HintMatch { error: Some(pattern.to_owned()), ..HintMatch::default() }
    }

    fn condition(kind: &str, message: &str) -> HintMatch {
        let (kind, message) = (Some(kind.to_owned()), Some(message.to_owned()));
        HintMatch { condition_type: kind, condition_message: message, ..HintMatch::default() }
    }

    #[test]
    fn the_most_specific_hint_wins_and_of_equals_the_first() {
        let both = HintMatch { class: Some(Class::Quota), ..error("exceeded") };
        let hints = [hint(error("exceeded"), "a"), hint(both, "b"), hint(error("quota"), "c")];
        let mut failure = Failure::new(Class::Quota, "quota exceeded");
        explain(&hints, &mut failure);
        assert_eq!(failure.cause.as_deref(), Some("b"));
        let other = Failure::permanent("quota exceeded");
        assert_eq!(best(&hints, Seen::failure(&other)).map(|hint| hint.cause.as_str()), Some("a"));
    }

    #[test]
    fn the_parts_of_a_condition_must_fit_the_same_condition() {
        let fact = |kind: &str, message: &str| ConditionFact {
            r#type: kind.to_owned(),
            message: message.to_owned(),
            ..ConditionFact::default()
        };
        let facts = Facts {
            conditions: vec![fact("Accepted", "proxy-only subnet"), fact("Programmed", "waiting")],
            ..Facts::default()
        };
        let hints = [hint(condition("Programmed", "proxy-only"), "no")];
        assert!(best(&hints, Seen::progress("", &facts)).is_none());
        let hints = [hint(condition("Accepted", "proxy-only"), "yes")];
        assert!(best(&hints, Seen::progress("", &facts)).is_some());
    }

    #[test]
    fn a_hint_can_change_the_class_and_names_its_documents() {
        let hints = [Hint {
            class: Some(Class::Transient),
            docs: Some("https://example.com".to_owned()),
            ..hint(error("leader"), "an election")
        }];
        let mut failure = Failure::permanent("no leader");
        explain(&hints, &mut failure);
        assert_eq!(failure.class, Class::Transient);
        assert_eq!(failure.fix.as_deref(), Some("do it (more: https://example.com)"));
    }

    #[test]
    fn a_match_that_asks_for_nothing_fits_nothing() {
        assert!(best(&[hint(HintMatch::default(), "x")], Seen::failure(&Failure::permanent("y"))).is_none());
    }
}
