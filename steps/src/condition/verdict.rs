//! What was found about a condition, and how findings combine.

use std::time::Duration;

use crate::failure::{Facts, Failure};

/// Whether a condition holds, or ever can.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Holds,
    Not,
    /// It does not, and waiting will not help.
    Hopeless(Box<Failure>),
}

/// What was found about a condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) state: State,
    /// The deepest known reason why it does not hold.
    pub(super) text: String,
    pub(super) facts: Facts,
    /// When to look again even if nothing is seen to change.
    pub(super) again_in: Option<Duration>,
}

impl Finding {
    pub(super) fn holds() -> Self {
        Self { state: State::Holds, text: String::new(), facts: Facts::default(), again_in: None }
    }

    pub(super) fn not(text: impl Into<String>) -> Self {
        Self { state: State::Not, text: text.into(), facts: Facts::default(), again_in: None }
    }

    pub(super) fn again_in(mut self, span: Duration) -> Self {
        self.again_in = Some(self.again_in.map_or(span, |before| before.min(span)));
        self
    }

    /// All must hold: what is hopeless decides, then what does not hold.
    pub(super) fn all(findings: Vec<Finding>) -> Self {
        if findings.iter().all(|it| it.state == State::Holds) {
            return Self::holds();
        }
        let again_in = soonest(&findings);
        let left = findings.iter().filter(|it| it.state != State::Holds).count();
        let hopeless = findings.iter().find(|it| matches!(it.state, State::Hopeless(_)));
        if let Some(hopeless) = hopeless {
            return hopeless.clone();
        }
        let facts = merged(&findings);
        let first = findings.into_iter().find(|it| it.state != State::Holds).map(|it| it.text).unwrap_or_default();
        let text = if left > 1 { format!("{first} (and {} more)", left - 1) } else { first };
        Self { state: State::Not, text, facts, again_in }
    }

    /// One must hold: it is hopeless only when all are.
    pub(super) fn any(findings: Vec<Finding>) -> Self {
        if findings.iter().any(|it| it.state == State::Holds) {
            return Self::holds();
        }
        let again_in = soonest(&findings);
        let facts = merged(&findings);
        match findings.iter().find(|it| it.state == State::Not) {
            Some(first) => Self { state: State::Not, text: first.text.clone(), facts, again_in },
            None => findings.into_iter().next().unwrap_or_else(Self::holds),
        }
    }
}

fn soonest(findings: &[Finding]) -> Option<Duration> {
    findings.iter().filter_map(|it| it.again_in).min()
}

fn merged(findings: &[Finding]) -> Facts {
    let mut all = Facts::default();
    for facts in findings.iter().filter(|it| it.state != State::Holds).map(|it| &it.facts) {
        all.conditions.extend(facts.conditions.iter().cloned());
        all.events.extend(facts.events.iter().cloned());
        all.other.extend(facts.other.clone());
        all.objects.extend(&facts.objects);
        if all.log.is_empty() {
            all.log.clone_from(&facts.log);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hopeless() -> Finding {
        Finding { state: State::Hopeless(Box::new(Failure::permanent("no hope"))), ..Finding::not("no hope") }
    }

    #[test]
    fn all_need_all_and_one_without_hope_ends_it() {
        assert_eq!(Finding::all(vec![Finding::holds(), Finding::holds()]).state, State::Holds);
        let two = Finding::all(vec![Finding::not("a"), Finding::holds(), Finding::not("b")]);
        assert_eq!((two.state, two.text.as_str()), (State::Not, "a (and 1 more)"));
        assert!(matches!(Finding::all(vec![Finding::not("a"), hopeless()]).state, State::Hopeless(_)));
    }

    #[test]
    fn any_needs_one_and_hopes_while_one_may_come() {
        assert_eq!(Finding::any(vec![Finding::not("a"), Finding::holds()]).state, State::Holds);
        assert_eq!(Finding::any(vec![hopeless(), Finding::not("a")]).state, State::Not);
        assert!(matches!(Finding::any(vec![hopeless(), hopeless()]).state, State::Hopeless(_)));
    }

    #[test]
    fn the_soonest_next_look_counts() {
        let soon = Finding::not("a").again_in(Duration::from_secs(2));
        let late = Finding::not("b").again_in(Duration::from_secs(9));
        assert_eq!(Finding::all(vec![late, soon]).again_in, Some(Duration::from_secs(2)));
    }
}
