//! What an expression mentions, without evaluating it: references with their places, functions, filters and tests.
//!
//! Goes by the words of the expression: minijinja tells the names of what an expression refers to, but neither where they stand nor
//! whether `default` guards them. Owns `${{ }}` as well: where each begins and ends in a text.

use std::ops::Range;

use runbook_steps::expression::{Token, WORDY, What, Words, too_long, words};

/// One part of a text with `${{ }}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text as it is.
    Literal(Range<usize>),
    /// What stands between `${{` and `}}`.
    Expression(Range<usize>),
}

/// Splits a text at its `${{ }}`. The error is the offset of a `${{` that does not end.
pub(crate) fn split(text: &str) -> Result<Vec<Part>, usize> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let open = at + found;
        if open > at {
            parts.push(Part::Literal(at..open));
        }
        let inside = open + 3;
        let close = closing_plain(text, inside).or_else(|| closing(text, inside)).ok_or(open)?;
        parts.push(Part::Expression(inside..close));
        at = close + 2;
    }
    if at < text.len() {
        parts.push(Part::Literal(at..text.len()));
    }
    Ok(parts)
}

/// Whether a text holds an expression.
pub(crate) fn has_expression(text: &str) -> bool {
    text.contains("${{")
}

/// The same where no quote and no brace comes before it.
fn closing_plain(text: &str, from: usize) -> Option<usize> {
    let at = from + text[from..].find(['}', '{', '\'', '"'])?;
    text[at..].starts_with("}}").then_some(at)
}

/// Where the `}}` of an expression is: not in a string, not closing a map.
fn closing(text: &str, from: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut words = Words::from(text, from);
    loop {
        let at = words.skip_space();
        if depth == 0 && text[at..].starts_with("}}") {
            return Some(at);
        }
        match words.next()?.what {
            What::Mark("{") => depth += 1,
            What::Mark("}") => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// An expression that is nothing but names with dots between them, such as `vars.zone` or ` steps.a.outputs.ip `. Most are, and need no
/// interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dotted<'t> {
    text: &'t str,
    /// Where it begins in the expression.
    at: usize,
}

impl<'t> Dotted<'t> {
    /// The expression as names; none if it has anything else in it, or begins with another name than one of our own.
    pub(crate) fn read(expression: &'t str) -> Option<Self> {
        let text = expression.trim_ascii();
        let (root, rest) = text.split_once('.')?;
        let ours = matches!(root, "inputs" | "vars" | "each" | "secrets" | "steps");
        let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        let names = || rest.split('.');
        let named = |name: &str| name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        (ours && plain && names().all(named) && names().count() < LONGEST_PATH)
            .then(|| Self { text, at: expression.len() - expression.trim_ascii_start().len() })
    }

    /// Its names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'t str> {
        self.text.split('.')
    }

    /// What [`mentions`] finds in it.
    fn mentions(self) -> Mentions {
        let mut next = self.at;
        let spans = self.names().map(|name| {
            let start = next;
            next += name.len() + 1;
            start..start + name.len()
        });
        let spans = spans.collect();
        let path = self.names().map(str::to_owned).collect();
        let reference = Reference { path, spans, computed: false, guarded: false, as_is: true };
        Mentions { references: vec![reference], ..Mentions::default() }
    }
}

/// Longer paths are left to the interpreter, which has a limit of its own.
const LONGEST_PATH: usize = 16;

/// A dotted name such as `steps.gateway.outputs.ip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Its names; a subscript that is not a literal ends it.
    pub(crate) path: Vec<String>,
    /// Where each name stands.
    pub(crate) spans: Vec<Range<usize>>,
    /// Whether a computed subscript follows.
    pub(crate) computed: bool,
    /// Whether `default`, `is defined` or `is undefined` follows.
    pub(crate) guarded: bool,
    /// Whether its value goes on as it is, alone or in a text, a list or a map: nothing is computed from it.
    pub(crate) as_is: bool,
}

impl Reference {
    /// The whole of it.
    pub(crate) fn span(&self) -> Range<usize> {
        self.spans[0].start..self.spans[self.spans.len() - 1].end
    }

    /// As written with dots.
    pub(crate) fn text(&self) -> String {
        self.path.join(".")
    }
}

/// A name that is called, filtered or tested with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
}

/// What an expression mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub(crate) references: Vec<Reference>,
    pub(crate) functions: Vec<Used>,
    pub(crate) filters: Vec<Used>,
    pub(crate) tests: Vec<Used>,
}

/// Reads what an expression mentions; offsets count from the start of `text`. Nothing, if it is too long: nobody evaluates it.
pub(crate) fn mentions(text: &str) -> Mentions {
    if let Some(dotted) = Dotted::read(text) {
        return dotted.mentions();
    }
    if too_long(text).is_some() {
        return Mentions::default();
    }
    walk(text)
}

/// The filter that has the last word in an expression, if no operator stands beside it.
pub(crate) fn last_filter(text: &str) -> Option<String> {
    let (mut depth, mut last) = (0usize, None);
    let tokens = if too_long(text).is_some() { Vec::new() } else { words(text) };
    for (at, token) in tokens.iter().enumerate() {
        match &token.what {
            What::Mark("(" | "[" | "{") => depth += 1,
            What::Mark(")" | "]" | "}") => depth = depth.saturating_sub(1),
            What::Mark("==" | "!=" | "<" | ">" | "<=" | ">=") if depth == 0 => return None,
            What::Name(word) if depth == 0 && WORDY.contains(word) => return None,
            What::Mark("|") if depth == 0 => match tokens.get(at + 1).map(|token| &token.what) {
                Some(What::Name(name)) => last = Some((*name).to_owned()),
                _ => return None,
            },
            // What follows a filter's value, such as `.name` or `[0]`, has the word.
            What::Mark(".") if depth == 0 => last = None,
            _ => {}
        }
    }
    let ends = matches!(tokens.last()?.what, What::Name(_) | What::Mark(")"));
    last.filter(|_| ends)
}

fn walk(text: &str) -> Mentions {
    let tokens = words(text);
    let mut walk = Walk { tokens: &tokens, at: 0, found: Mentions::default() };
    while walk.at < tokens.len() {
        walk.step();
    }
    walk.found
}

struct Walk<'t> {
    tokens: &'t [Token<'t>],
    at: usize,
    found: Mentions,
}

const WORDS: [&str; 12] = ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "True", "False"];

impl<'t> Walk<'t> {
    fn mark_at(&self, at: usize, mark: &str) -> bool {
        matches!(self.tokens.get(at), Some(Token { what: What::Mark(found), .. }) if *found == mark)
    }

    fn name_at(&self, at: usize) -> Option<&'t str> {
        match self.tokens.get(at)?.what {
            What::Name(name) => Some(name),
            _ => None,
        }
    }

    fn used(&self, at: usize) -> Used {
        Used { name: self.name_at(at).unwrap_or_default().to_owned(), span: self.tokens[at].span.clone() }
    }

    fn after(&self, mark: &str) -> bool {
        self.at > 0 && self.mark_at(self.at - 1, mark)
    }

    fn step(&mut self) {
        let at = self.at;
        self.at += 1;
        let Some(name) = self.name_at(at) else { return };
        self.at = at;
        if name == "is" {
            self.test();
        } else if WORDS.contains(&name) || name == "None" || self.after(".") || self.mark_at(at + 1, "=") {
            self.at += 1;
        } else if self.after("|") {
            self.found.filters.push(self.used(at));
            self.at += 1;
        } else if self.mark_at(at + 1, "(") {
            self.found.functions.push(self.used(at));
            self.at += 1;
        } else {
            self.reference();
        }
    }

    fn test(&mut self) {
        self.at += 1;
        if self.name_at(self.at) == Some("not") {
            self.at += 1;
        }
        if self.name_at(self.at).is_some() {
            self.found.tests.push(self.used(self.at));
            self.at += 1;
        }
    }

    fn reference(&mut self) {
        let (path, spans) = (Vec::new(), Vec::new());
        let mut reference = Reference { path, spans, computed: false, guarded: false, as_is: false };
        let begins = self.at;
        self.add(&mut reference, begins);
        self.at += 1;
        loop {
            if self.mark_at(self.at, ".") && self.name_at(self.at + 1).is_some() {
                if self.mark_at(self.at + 2, "(") {
                    break; // a method, not a field
                }
                self.add(&mut reference, self.at + 1);
                self.at += 2;
            } else if self.mark_at(self.at, "[") && self.literal_at(self.at + 1) && self.mark_at(self.at + 2, "]") {
                self.add(&mut reference, self.at + 1);
                self.at += 3;
            } else {
                break;
            }
        }
        reference.computed = self.mark_at(self.at, "[");
        reference.guarded = self.is_guarded();
        reference.as_is = self.is_as_is(begins);
        self.found.references.push(reference);
    }

    fn literal_at(&self, at: usize) -> bool {
        matches!(self.tokens.get(at), Some(Token { what: What::Text(_) | What::Number(_), .. }))
    }

    fn add(&self, reference: &mut Reference, at: usize) {
        let token = &self.tokens[at];
        reference.path.push(match &token.what {
            What::Name(text) | What::Number(text) | What::Mark(text) => (*text).to_owned(),
            What::Text(text) => text.clone(),
        });
        reference.spans.push(token.span.clone());
    }

    /// Of a reference that begins at a token and has just been read.
    fn is_as_is(&self, begins: usize) -> bool {
        let what = |token: &Token<'t>| token.what.clone();
        let before = begins.checked_sub(1).map(|at| what(&self.tokens[at]));
        let after = self.tokens.get(self.at).map(what);
        let begun = matches!(before, None | Some(What::Mark("~" | "," | "[" | ":") | What::Name("else")));
        let ended = matches!(after, None | Some(What::Mark("~" | "," | "]" | "}") | What::Name("if" | "else")));
        let open = |mark| self.tokens[..begins].iter().filter(|token| token.what == What::Mark(mark)).count();
        begun && ended && open("(") == open(")")
    }

    fn is_guarded(&self) -> bool {
        let mut at = self.at;
        while self.mark_at(at, ")") {
            at += 1;
        }
        let name = |at| self.name_at(at).unwrap_or_default();
        if self.mark_at(at, "|") {
            return matches!(name(at + 1), "default" | "d");
        }
        let test = if name(at + 1) == "not" { at + 2 } else { at + 1 };
        name(at) == "is" && matches!(name(test), "defined" | "undefined")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        mentions(text).references.iter().map(Reference::text).collect()
    }

    #[test]
    fn a_text_is_split_at_its_expressions() {
        let text = "a ${{ x }} b ${{ {'k': {'l': 1}} }}${{ '}}' }}";
        let parts: Vec<&str> = split(text)
            .unwrap()
            .iter()
            .map(|part| match part {
                Part::Literal(range) | Part::Expression(range) => &text[range.clone()],
            })
            .collect();
        assert_eq!(parts, ["a ", " x ", " b ", " {'k': {'l': 1}} ", " '}}' "]);
    }

    #[test]
    fn an_open_expression_is_an_error() {
        assert_eq!(split("ab ${{ x }"), Err(3));
        assert_eq!(split("${{ 'x }}"), Err(0));
    }

    #[test]
    fn references_are_found_with_subscripts() {
        assert_eq!(names("steps['a-b'].outputs.ip ~ inputs.zones[0]"), ["steps.a-b.outputs.ip", "inputs.zones.0"]);
        assert_eq!(names("f(a.b, key=c.d) | join(e) and x is in y"), ["a.b", "c.d", "e", "x", "y"]);
        assert_eq!(names("{'k': v.w, k2: [z]}"), ["v.w", "k2", "z"]);
    }

    #[test]
    fn the_short_way_to_a_dotted_name_finds_what_the_long_one_does() {
        for text in ["vars.x", " steps.a_1.outputs.ip ", "\n inputs._.b", "each.if"] {
            assert!(Dotted::read(text).is_some(), "{text}");
            assert_eq!(mentions(text), walk(text), "{text}");
        }
        for text in ["vars", "vars.", "vars.1", "vars.a.b c", "x.y", "vars.a[0]", "vars.a | upper", "steps.ä", ""] {
            assert_eq!(Dotted::read(text), None, "{text}");
        }
    }

    #[test]
    fn methods_are_not_fields() {
        assert_eq!(names("inputs.a.upper().x"), ["inputs.a"]);
    }

    #[test]
    fn a_computed_subscript_ends_a_reference() {
        let found = mentions("steps[inputs.x].outputs");
        assert!(found.references[0].computed);
        assert_eq!(found.references[1].text(), "inputs.x");
    }

    #[test]
    fn guards_are_seen() {
        let guarded = |text| mentions(text).references[0].guarded;
        assert!(guarded("steps.a.outputs.x | default('')"));
        assert!(guarded("(steps.a.outputs.x)|d(1)"));
        assert!(guarded("steps.a.outputs.x is not defined"));
        assert!(!guarded("steps.a.outputs.x | upper"));
    }

    #[test]
    fn what_is_computed_with_is_told_from_what_goes_on_as_it_is() {
        let as_is = |text| mentions(text).references.iter().all(|reference| reference.as_is);
        for text in [
            "secrets.a",
            "'Bearer ' ~ secrets.a",
            "secrets.a ~ ':' ~ secrets.b",
            "{'k': secrets.a, 'l': [secrets.b]}",
            "secrets.a if true else secrets.b",
        ] {
            assert!(as_is(text), "{text}");
        }
        for text in [
            "secrets.a | b64",
            "'x' ~ secrets.a | trim",
            "secrets.a == ''",
            "not secrets.a",
            "f(1, secrets.a)",
            "(secrets.a) | length",
            "secrets.a.upper()",
            "secrets.a[0:2]",
            "secrets.a is defined",
        ] {
            assert!(!as_is(text), "{text}");
        }
    }

    #[test]
    fn the_filter_with_the_last_word_is_found() {
        for (text, filter) in [
            ("a | length", Some("length")),
            ("a.b | default([]) | join(', ')", Some("join")),
            ("f(a | length)", None),
            ("(a | length) > 0", None),
            ("a | length > 0", None),
            ("not a | length", None),
            ("a | length if b else c", None),
            ("(a | first).ready", None),
            ("a | list[0]", None),
            ("a", None),
            ("", None),
        ] {
            assert_eq!(last_filter(text).as_deref(), filter, "{text}");
        }
    }

    #[test]
    fn functions_filters_and_tests_are_told_apart() {
        let found = mentions("duration('5m') > 3 and x | upper is not odd");
        assert_eq!(found.functions[0].name, "duration");
        assert_eq!(found.filters[0].name, "upper");
        assert_eq!(found.tests[0].name, "odd");
        assert_eq!(found.references.len(), 1);
    }
}
