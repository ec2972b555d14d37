//! What an expression names that there is not: found before anything runs, all of it, with what was most likely meant.
//!
//! Knows what there may be, as a [`Scope`], and no values.

use std::collections::BTreeSet;

use minijinja::{Environment, Template};

use super::words::{Token, What, too_long, words};
use super::{compiled, shown, told};
use crate::nearest::nearest;

/// The functions that expressions may call.
pub const FUNCTIONS: [&str; 4] = ["duration", "cond", "range", "dict"];

/// The filters that every expression may use.
pub const FILTERS: [&str; 44] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];

/// The tests that may follow `is`.
pub const TESTS: [&str; 31] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
    "matching",
];

/// The one name that an expression is over, and what it has.
pub(crate) struct Scope<'s> {
    /// The name.
    pub(crate) root: &'s str,
    /// What is below it, as dotted paths; `*` stands for anything, `*a` for anything in lower case.
    pub(crate) paths: &'s [&'s str],
}

/// All that is wrong with an expression before it has any value.
pub(crate) fn problems(environment: &Environment<'static>, text: &str, scope: &Scope<'_>) -> Vec<String> {
    if let Some(why) = too_long(text) {
        return vec![format!("`{}`: {why}", shown(text))];
    }
    let compiled = match compiled(environment, text) {
        Ok(compiled) => compiled,
        Err(error) => return vec![format!("`{}` is no expression: {}", shown(text), told(&error))],
    };
    let tokens = words(text);
    let mut names: Vec<String> = compiled.undeclared_variables(false).into_iter().collect();
    names.retain(|name| name != scope.root && !FUNCTIONS.contains(&name.as_str()));
    names.sort();
    let strange = names.iter().map(|name| scope.stranger(name, is_called(name, &tokens)));
    let missing = scope.missing(&tokens);
    let unknown = unknown_words(environment, &tokens);
    let all: Vec<String> = strange.chain(missing).chain(unknown).collect();
    all.into_iter().map(|problem| format!("`{}`: {problem}", shown(text))).collect()
}

/// What a text with `{{ }}` names that is not among some names.
pub(crate) fn strangers(template: &Template<'_, '_>, known: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = template.undeclared_variables(false).into_iter().collect();
    names.retain(|name| !known.contains(&name.as_str()) && !FUNCTIONS.contains(&name.as_str()));
    names.sort();
    let there =
        if known.is_empty() { "nothing is known here".to_owned() } else { format!("known: {}", known.join(", ")) };
    names.iter().map(|name| format!("there is no `{name}`{} ({there})", perhaps(name, known.iter().copied()))).collect()
}

impl Scope<'_> {
    /// A name that is not the one there is.
    fn stranger(&self, name: &str, called: bool) -> String {
        let root = self.root;
        if called {
            return format!("there is no function `{name}`{}", perhaps(name, FUNCTIONS));
        }
        let meant = nearest(name, self.below(&[])).map(|field| format!("{root}.{field}"));
        let meant = meant.or_else(|| nearest(name, [root]).map(str::to_owned));
        let meant = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        format!("there is no `{name}`, only `{root}`{meant}")
    }

    /// What an expression wants of the root that it does not have.
    fn missing(&self, tokens: &[Token<'_>]) -> Vec<String> {
        let begins =
            (0..tokens.len()).filter(|at| name_at(tokens, *at) == Some(self.root) && !follows_dot(tokens, *at));
        let found: BTreeSet<String> = begins.filter_map(|at| self.lacks(&path_after(tokens, at + 1))).collect();
        found.into_iter().collect()
    }

    /// The first name on a path that is not there.
    fn lacks(&self, path: &[String]) -> Option<String> {
        for (at, name) in path.iter().enumerate() {
            let known = self.below(&path[..at]);
            if known.contains("*") || (known.contains("*a") && *name == name.to_lowercase()) {
                return None;
            }
            if known.contains("*a") {
                let holder = self.holder(&path[..at]);
                return Some(format!(
                    "the names in `{holder}` are in lower case: write `{holder}['{}']`",
                    name.to_lowercase()
                ));
            }
            if !known.contains(name.as_str()) {
                let holder = self.holder(&path[..at]);
                return Some(format!("`{holder}` has no `{name}`{}", instead(name, &known)));
            }
        }
        None
    }

    fn holder(&self, path: &[String]) -> String {
        [&[self.root.to_owned()], path].concat().join(".")
    }

    /// What may follow a path.
    fn below(&self, path: &[String]) -> BTreeSet<&str> {
        self.paths.iter().filter_map(|known| next_name(known, path)).collect()
    }
}

/// What follows a path in a known one, if that begins with it.
fn next_name<'k>(known: &'k str, path: &[String]) -> Option<&'k str> {
    let mut parts = known.split('.');
    path.iter().all(|name| parts.next() == Some(name)).then(|| parts.next())?
}

/// The most names that a message lists.
const MOST_LISTED: usize = 15;

/// What may be meant, and all that may be named unless that is a long list and one of it was plainly meant.
fn instead(name: &str, known: &BTreeSet<&str>) -> String {
    let meant = perhaps(name, known.iter().copied());
    if known.is_empty() || (known.len() > MOST_LISTED && !meant.is_empty()) {
        return meant;
    }
    let listed = known.iter().copied().collect::<Vec<_>>().join(", ");
    format!("{meant} (it has {listed})")
}

fn perhaps<'c>(name: &str, known: impl IntoIterator<Item = &'c str>) -> String {
    nearest(name, known).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

/// Filters and tests that the language does not have: the interpreter says so only when it comes to them.
fn unknown_words(environment: &Environment<'static>, tokens: &[Token<'_>]) -> Vec<String> {
    let has = |name: &str, what: &str| {
        let asked = environment.compile_expression_owned(format!("'{name}' is {what}"));
        asked.and_then(|asked| asked.eval(())).is_ok_and(|there| there.is_true())
    };
    let mut found = Vec::new();
    for at in 1..tokens.len() {
        let Some(name) = name_at(tokens, at) else { continue };
        let negated = name_at(tokens, at - 1) == Some("not") && at > 1 && name_at(tokens, at - 2) == Some("is");
        if mark_at(tokens, at - 1, "|") && !has(name, "filter") {
            found.push(format!("there is no filter `{name}`{}", perhaps(name, FILTERS)));
        } else if (negated || (name_at(tokens, at - 1) == Some("is") && name != "not")) && !has(name, "test") {
            found.push(format!("there is no test `{name}`{}", perhaps(name, TESTS)));
        }
    }
    found
}

/// The names that follow one, with dots or in brackets, as far as they are written out.
fn path_after(tokens: &[Token<'_>], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    loop {
        if mark_at(tokens, at, ".")
            && let Some(name) = name_at(tokens, at + 1)
        {
            path.push(name.to_owned());
            at += 2;
        } else if mark_at(tokens, at, "[")
            && let Some(What::Text(text)) = tokens.get(at + 1).map(|token| &token.what)
            && mark_at(tokens, at + 2, "]")
        {
            path.push(text.clone());
            at += 3;
        } else {
            return path;
        }
    }
}

fn is_called(name: &str, tokens: &[Token<'_>]) -> bool {
    (0..tokens.len()).any(|at| name_at(tokens, at) == Some(name) && mark_at(tokens, at + 1, "("))
}

fn follows_dot(tokens: &[Token<'_>], at: usize) -> bool {
    at > 0 && (mark_at(tokens, at - 1, ".") || mark_at(tokens, at - 1, "|"))
}

fn name_at<'t>(tokens: &[Token<'t>], at: usize) -> Option<&'t str> {
    match tokens.get(at)?.what {
        What::Name(name) => Some(name),
        _ => None,
    }
}

fn mark_at(tokens: &[Token<'_>], at: usize, mark: &str) -> bool {
    matches!(tokens.get(at), Some(Token { what: What::Mark(found), .. }) if *found == mark)
}

#[cfg(test)]
mod tests {
    use minijinja::UndefinedBehavior;

    use super::*;
    use crate::expression::environment;

    const ANSWER: Scope<'static> =
        Scope { root: "response", paths: &["status", "headers.*a", "json.*", "stream.done", "time_ms"] };

    fn found(text: &str) -> Vec<String> {
        let environment = environment(UndefinedBehavior::Chainable);
        let problems = problems(&environment, text, &ANSWER);
        problems.iter().map(|problem| problem.trim_start_matches(&format!("`{text}`")).to_owned()).collect()
    }

    #[test]
    fn what_may_have_a_value_is_no_problem() {
        for text in [
            "response.status == 200",
            "response['json'].data[0].id | default('x') != ''",
            "response.json.status.response.x is not defined",
            "response.headers['content-type'] == 'text/plain'",
            "range(3) | length > 1 and cond(response.json, 'Ready') == 'True'",
            "response.stream.done if response.stream else true",
            "dict(response=1) | length == 1",
            "not response.json.items | map(attribute='is') is iterable",
        ] {
            assert_eq!(found(text), [] as [String; 0], "{text}");
        }
    }

    #[test]
    fn what_can_never_have_one_is_named_with_what_was_meant() {
        for (text, expected) in [
            ("statuss == 200", ": there is no `statuss`, only `response`; did you mean `response.status`?"),
            ("respnse.status == 200", ": there is no `respnse`, only `response`; did you mean `response`?"),
            ("x == 1", ": there is no `x`, only `response`"),
            (
                "response.statuss == 200",
                ": `response` has no `statuss`; did you mean `status`? (it has headers, json, status, stream, time_ms)",
            ),
            ("response['stream'].don", ": `response.stream` has no `don`; did you mean `done`? (it has done)"),
            (
                "response.headers['Content-Type'] == ''",
                ": the names in `response.headers` are in lower case: write `response.headers['content-type']`",
            ),
            ("response.status.code", ": `response.status` has no `code`"),
            ("condd(response) == ''", ": there is no function `condd`; did you mean `cond`?"),
            ("response.json | uper", ": there is no filter `uper`; did you mean `upper`?"),
            ("response.json is not defind", ": there is no test `defind`; did you mean `defined`?"),
            ("1 +", " is no expression: unexpected end of input, expected expression"),
        ] {
            assert_eq!(found(text), [expected], "{text}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let all = found("response.status == 200 and (statuss | uper) is defind and response.tim_ms < y");
        assert_eq!(all.len(), 5, "{all:#?}");
    }

    #[test]
    fn every_listed_name_exists() {
        let environment = environment(UndefinedBehavior::Strict);
        let listed = FILTERS.map(|name| (name, "filter")).into_iter().chain(TESTS.map(|name| (name, "test")));
        for (name, what) in listed {
            let asked = environment.compile_expression_owned(format!("'{name}' is {what}")).expect(name);
            assert!(asked.eval(()).expect(name).is_true(), "{name}");
        }
    }
}
