//! Which hint fits what was seen. Pure.

use std::cell::OnceCell;
use std::time::Duration;

use runbook_steps::failure::ConditionFact;
use runbook_steps::{Class, Facts, Failure};
use serde_json::{Map, Value, json};

use super::model::{Hint, HintMatch, ObjectMatch, Pattern};
use crate::plan::hints::{holds, weight};

/// What hints look at: a failure, or a step that waits.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The failure's class; none while it waits.
    pub class: Option<Class>,
    /// Its lines.
    pub texts: [&'a str; 2],
    /// What was seen.
    pub facts: &'a Facts,
    /// Whom it was seen at, as far as that is known.
    pub about: About<'a>,
}

/// The step that it was seen at.
#[derive(Clone, Copy, Debug, Default)]
pub struct About<'a> {
    /// Its id.
    pub step: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// The plan's inputs.
    pub inputs: Option<&'a Map<String, Value>>,
    /// How long the attempt has lasted, in model time.
    pub elapsed: Duration,
}

impl<'a> Seen<'a> {
    /// What a failure shows.
    pub fn failure(failure: &'a Failure) -> Self {
        let texts = [failure.what.as_str(), failure.detail.as_str()];
        Self { class: Some(failure.class), texts, facts: &failure.facts, about: About::default() }
    }

    /// What a waiting step shows.
    pub fn progress(text: &'a str, facts: &'a Facts) -> Self {
        Self { class: None, texts: [text, ""], facts, about: About::default() }
    }

    /// The same at a step.
    #[must_use]
    pub fn at(mut self, about: About<'a>) -> Self {
        self.about = about;
        self
    }

    /// The names that `when` can use.
    fn names(&self, objects: &[Value]) -> Value {
        let facts = self.facts;
        let error: Vec<&str> = self.texts.into_iter().filter(|text| !text.is_empty()).collect();
        json!({
            "error": error.join("\n"), "class": self.class.map(Class::name).unwrap_or_default(),
            "stdout": facts.stdout, "stderr": facts.stderr, "exit_code": facts.exit_code, "log": facts.log,
            "events": facts.events, "conditions": facts.conditions,
            "http": { "status": facts.http_status, "body": facts.http_body },
            "objects": objects, "object": objects.first(), "other": facts.other,
            "step": { "id": self.about.step, "kind": self.about.kind }, "inputs": self.about.inputs,
            "elapsed": self.about.elapsed.as_secs_f64(), "waiting": self.class.is_none(),
        })
    }
}

/// What was seen, with what only some hints ask for and all of them share.
struct Sight<'a> {
    seen: Seen<'a>,
    objects: OnceCell<Vec<Value>>,
    names: OnceCell<Value>,
}

impl<'a> Sight<'a> {
    fn of(seen: Seen<'a>) -> Self {
        Self { seen, objects: OnceCell::new(), names: OnceCell::new() }
    }

    fn objects(&self) -> &[Value] {
        self.objects.get_or_init(|| self.seen.facts.objects.read())
    }

    fn names(&self) -> &Value {
        self.names.get_or_init(|| self.seen.names(self.objects()))
    }
}

/// The most specific hint that fits: that which asks for most; of equals the nearest, and of those the first.
pub fn best<'h>(hints: impl IntoIterator<Item = &'h Hint>, seen: Seen<'_>) -> Option<&'h Hint> {
    ranked(hints, seen).first().map(|(_, hint)| *hint)
}

/// All hints that fit, the best first, each with how much it asks for.
pub fn ranked<'h>(hints: impl IntoIterator<Item = &'h Hint>, seen: Seen<'_>) -> Vec<(usize, &'h Hint)> {
    let sight = Sight::of(seen);
    let fit = |hint: &'h Hint| score(hint, &sight).map(|score| (score, hint));
    let mut found: Vec<_> = hints.into_iter().filter_map(fit).collect();
    found.sort_by_key(|(score, hint)| std::cmp::Reverse((*score, hint.origin)));
    found
}

/// Works the best hint into a failure: its cause, its fix, and its class if it gives one. Returns it.
pub fn explain<'h>(
    hints: impl IntoIterator<Item = &'h Hint>,
    failure: &mut Failure,
    about: About<'_>,
) -> Option<&'h Hint> {
    let hint = best(hints, Seen::failure(failure).at(about))?;
    failure.cause = Some(hint.cause.clone());
    failure.fix = Some(hint.whole_fix());
    failure.class = hint.class.unwrap_or(failure.class);
    Some(hint)
}

/// How many things a hint asks for, if all of them are there. One that asks for nothing fits nothing.
fn score(hint: &Hint, sight: &Sight<'_>) -> Option<usize> {
    let asked = asked(&hint.matches, sight)?;
    let Some(when) = &hint.when else { return (asked > 0).then_some(asked) };
    holds(&when.text, sight.names()).then(|| asked + weight(&when.text))
}

/// Whether a match alone fits.
pub(crate) fn fits(wanted: &HintMatch, seen: Seen<'_>) -> bool {
    asked(wanted, &Sight::of(seen)).is_some_and(|asked| asked > 0)
}

/// How many things a match asks for, if all of them are there. Figures are compared before any pattern is compiled.
fn asked(wanted: &HintMatch, sight: &Sight<'_>) -> Option<usize> {
    let (seen, facts) = (sight.seen, sight.seen.facts);
    let figures = [
        wanted.http_status.map(|status| facts.http_status == Some(status)),
        wanted.class.map(|class| seen.class == Some(class)),
    ];
    if figures.contains(&Some(false)) {
        return None;
    }
    let texts = asked_texts(wanted, seen);
    let found = |(pattern, texts): &(&Pattern, Vec<&str>)| texts.iter().any(|text| pattern.is_in(text));
    if !texts.iter().all(found) {
        return None;
    }
    let parts = condition_parts(wanted).iter().flatten().count();
    if parts > 0 && !facts.conditions.iter().any(|fact| condition_fits(wanted, fact)) {
        return None;
    }
    let of_object = wanted.object.as_ref().map_or(Some(0), |object| asked_of_object(object, sight.objects()))?;
    Some(figures.iter().flatten().count() + texts.len() + parts + of_object)
}

/// The patterns over texts, each with the texts that it may be found in.
fn asked_texts<'a>(wanted: &'a HintMatch, seen: Seen<'a>) -> Vec<(&'a Pattern, Vec<&'a str>)> {
    let facts = seen.facts;
    let places = [
        (&wanted.error, vec![seen.texts[0], seen.texts[1], &facts.stderr, &facts.stdout]),
        (&wanted.stdout, vec![facts.stdout.as_str()]),
        (&wanted.log, vec![facts.log.as_str()]),
        (&wanted.event, facts.events.iter().map(String::as_str).collect()),
        (&wanted.http_body, vec![facts.http_body.as_str()]),
    ];
    places.into_iter().filter_map(|(pattern, texts)| Some((pattern.as_ref()?, texts))).collect()
}

/// The parts of a condition that a match asks for.
fn condition_parts(wanted: &HintMatch) -> [Option<&Pattern>; 4] {
    [&wanted.condition_type, &wanted.condition_status, &wanted.condition_reason, &wanted.condition_message]
        .map(Option::as_ref)
}

fn condition_fits(wanted: &HintMatch, fact: &ConditionFact) -> bool {
    let texts = [&fact.r#type, &fact.status, &fact.reason, &fact.message];
    condition_parts(wanted).iter().zip(texts).all(|(pattern, text)| pattern.is_none_or(|pattern| pattern.is_in(text)))
}

/// How many things are asked of an object, if all of them fit the same one.
fn asked_of_object(wanted: &ObjectMatch, objects: &[Value]) -> Option<usize> {
    let asked = [wanted.kind.is_some(), wanted.path.is_some(), wanted.matches.is_some()];
    let fits = objects.iter().any(|object| object_fits(wanted, object));
    fits.then(|| asked.iter().filter(|it| **it).count())
}

fn object_fits(wanted: &ObjectMatch, object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    let is_kind = wanted.kind.as_ref().is_none_or(|pattern| pattern.is_in(kind));
    let Some(path) = wanted.json_path() else { return is_kind };
    let found: Vec<String> = path.find(object).into_iter().filter(|it| !it.is_null()).map(|it| text_of(&it)).collect();
    is_kind
        && match &wanted.matches {
            _ if wanted.absent => found.is_empty(),
            Some(pattern) => found.iter().any(|text| pattern.is_in(text)),
            None => !found.is_empty(),
        }
}

fn text_of(value: &Value) -> String {
    runbook_steps::jsonpath::text(value)
}

/// The line that a hint was recognised by, for people.
pub fn evidence(hint: &Hint, seen: Seen<'_>) -> Option<String> {
    let wanted = &hint.matches;
    let condition = seen.facts.conditions.iter().find(|fact| condition_fits(wanted, fact));
    let asks_condition = condition_parts(wanted).iter().any(Option::is_some);
    let condition = condition.filter(|_| asks_condition).map(|fact| {
        let said = if fact.message.is_empty() { &fact.reason } else { &fact.message };
        format!("{}: {}={} {said}", fact.object, fact.r#type, fact.status)
    });
    let line = || {
        let texts = asked_texts(wanted, seen);
        texts.iter().find_map(|(pattern, texts)| texts.iter().find_map(|text| pattern.line_in(text))).map(str::to_owned)
    };
    let http = || seen.facts.http_status.map(|status| format!("HTTP {status} {}", seen.facts.http_body.trim()));
    let object = || wanted.object.as_ref().and_then(|object| object_line(object, seen.facts));
    condition
        .or_else(line)
        .or_else(http)
        .or_else(object)
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
}

/// The object that fits, and what stands in it there.
fn object_line(wanted: &ObjectMatch, facts: &Facts) -> Option<String> {
    let object = facts.objects.read().into_iter().find(|object| object_fits(wanted, object))?;
    let kind = object["kind"].as_str().filter(|kind| !kind.contains('#')).unwrap_or_default().to_lowercase();
    let name = object["metadata"]["name"].as_str().or_else(|| object["name"].as_str()).unwrap_or_default();
    let whose = [kind.as_str(), name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let path = wanted.json_path()?;
    let found: Vec<String> = path.find(&object).into_iter().map(|it| text_of(&it)).take(3).collect();
    let said =
        if found.is_empty() { format!("{path} is not there") } else { format!("{path} is {}", found.join(", ")) };
    Some(if whose.is_empty() { said } else { format!("{whose}: {said}") })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use runbook_steps::failure::Objects;

    use super::*;
    use crate::hints::Origin;
    use crate::plan::model::{Expression, Place, Source};

    fn hint(matches: HintMatch, cause: &str) -> Hint {
        Hint::new(matches, cause, "do it")
    }

    fn error(pattern: &str) -> HintMatch {
        HintMatch { error: Some(Pattern::new(pattern)), ..HintMatch::default() }
    }

    fn when(text: &str) -> Option<Expression> {
        let source = Arc::new(Source::new("test", text));
        Some(Expression { text: text.to_owned(), place: Place { source, span: 0..text.len() } })
    }

    fn condition(kind: &str, message: &str) -> HintMatch {
        let (kind, message) = (Some(Pattern::new(kind)), Some(Pattern::new(message)));
        HintMatch { condition_type: kind, condition_message: message, ..HintMatch::default() }
    }

    fn cause<'h>(hints: &'h [Hint], seen: Seen<'_>) -> Option<&'h str> {
        best(hints, seen).map(|hint| hint.cause.as_str())
    }

    #[test]
    fn the_most_specific_hint_wins_and_of_equals_the_first() {
        let both = HintMatch { class: Some(Class::Quota), ..error("exceeded") };
        let hints = [hint(error("exceeded"), "a"), hint(both, "b"), hint(error("quota"), "c")];
        let mut failure = Failure::new(Class::Quota, "quota exceeded");
        explain(&hints, &mut failure, About::default());
        assert_eq!(failure.cause.as_deref(), Some("b"));
        assert_eq!(cause(&hints, Seen::failure(&Failure::permanent("quota exceeded"))), Some("a"));
    }

    #[test]
    fn of_equals_the_nearest_wins() {
        let from = |origin, cause: &str| Hint { origin, ..hint(error("x"), cause) };
        let hints = [from(Origin::Shipped, "shipped"), from(Origin::Kind, "kind"), from(Origin::Folder, "folder")];
        let failure = Failure::permanent("x");
        assert_eq!(cause(&hints, Seen::failure(&failure)), Some("folder"));
        assert_eq!(cause(&hints[..2], Seen::failure(&failure)), Some("kind"));
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
        let seen = Seen::progress("", &facts);
        assert_eq!(cause(&[hint(condition("Programmed", "proxy-only"), "no")], seen), None);
        assert_eq!(cause(&[hint(condition("Accepted", "proxy-only"), "yes")], seen), Some("yes"));
    }

    #[test]
    fn the_parts_of_an_object_must_fit_the_same_object() {
        let objects = [
            json!({ "kind": "Gateway", "spec": { "gatewayClassName": "gke-l7-global-external-managed" } }),
            json!({ "kind": "Service", "spec": { "ports": [{ "port": 80 }] } }),
        ];
        let facts = Facts { objects: Objects::new(&objects), ..Facts::default() };
        let asks = |kind: &str, path: &str, matches: Option<&str>, absent: bool| {
            let object = ObjectMatch {
                kind: Some(Pattern::new(kind)),
                path: Some(path.to_owned()),
                matches: matches.map(Pattern::new),
                absent,
            };
            let hints = [hint(HintMatch { object: Some(object), ..HintMatch::default() }, "x")];
            best(&hints, Seen::progress("", &facts)).is_some()
        };
        assert!(asks("^Gateway$", "{.spec.gatewayClassName}", Some("global"), false));
        assert!(!asks("^Service$", "{.spec.gatewayClassName}", Some("global"), false));
        assert!(asks("^Service$", "{.spec.ports[*].appProtocol}", None, true));
        assert!(!asks("^Gateway$", "{.spec.gatewayClassName}", None, true));
    }

    #[test]
    fn expressions_see_all_that_was_seen() {
        let facts = Facts { http_status: Some(404), http_body: "fault filter abort".into(), ..Facts::default() };
        let failure = Failure::permanent("404").facts(facts);
        let asks = |text: &str, elapsed: u64| {
            let hints = [Hint { when: when(text), ..hint(HintMatch::default(), "x") }];
            let about = About { elapsed: Duration::from_secs(elapsed), kind: "http.probe", ..About::default() };
            best(&hints, Seen::failure(&failure).at(about)).is_some()
        };
        assert!(asks("http.status == 404 and 'abort' in http.body", 0));
        assert!(asks("elapsed > duration('3m') and step.kind == 'http.probe'", 200));
        assert!(!asks("elapsed > duration('3m')", 100));
        assert!(!asks("waiting", 0));
        assert!(!asks("object.spec.nothing == 1", 0), "what has no value does not hold");
    }

    #[test]
    fn a_hint_can_change_the_class_and_names_its_documents() {
        let hints = [Hint {
            class: Some(Class::Transient),
            docs: Some("https://example.com".to_owned()),
            ..hint(error("leader"), "an election")
        }];
        let mut failure = Failure::permanent("no leader");
        explain(&hints, &mut failure, About::default());
        assert_eq!(failure.class, Class::Transient);
        assert_eq!(failure.fix.as_deref(), Some("do it (more: https://example.com)"));
    }

    #[test]
    fn a_match_that_asks_for_nothing_fits_nothing() {
        assert_eq!(cause(&[hint(HintMatch::default(), "x")], Seen::failure(&Failure::permanent("y"))), None);
    }

    #[test]
    fn the_evidence_is_the_line_that_fits() {
        let facts = Facts { log: "INFO start\nerror: unrecognized arguments: --x\nbye".into(), ..Facts::default() };
        let known = hint(HintMatch { log: Some(Pattern::new("unrecognized")), ..HintMatch::default() }, "x");
        let seen = Seen::progress("pod: CrashLoopBackOff", &facts);
        assert_eq!(evidence(&known, seen).as_deref(), Some("error: unrecognized arguments: --x"));
    }
}
