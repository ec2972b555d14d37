//! The words of an expression, with their places, and how many there may be.
//!
//! A small lexer over the expression language of minijinja, which tells no words. Knows what a word looks like, not what it means.

use std::ops::Range;

/// The most bytes that an expression may have.
const LONGEST: usize = 8 << 10;

/// The most operators that an expression may have. The interpreter goes one level down for each, on the stack; a thread's, of 2 MiB,
/// holds about 1,000 levels where nothing is optimised.
pub const MOST_OPERATORS: usize = 400;

/// Words that are operators.
pub const WORDY: [&str; 6] = ["and", "or", "not", "in", "is", "if"];

/// Why an expression is too long to be read, if it is.
pub fn too_long(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        let kib = text.len().div_ceil(1 << 10);
        return Some(format!("the expression is too long: {kib} KiB, where {} KiB is the most", LONGEST >> 10));
    }
    if text.len() <= MOST_OPERATORS {
        return None;
    }
    too_many(words(text).iter().map(Token::operators).sum())
}

/// The same for a text with `{{ }}` and `{% %}` in it. What stands in `{% %}` may be nested, so that it counts as one expression.
pub(crate) fn too_long_within(text: &str) -> Option<String> {
    let (mut statements, mut at) = (0, 0);
    while let Some(tag) = next_tag(text, at) {
        at = tag.end + text[tag.end..].chars().next().map_or(0, char::len_utf8);
        let inside = &text[tag.start + OPEN..tag.end];
        if text[tag.start..].starts_with("{%") {
            statements += 1 + words(inside).iter().map(Token::operators).sum::<usize>();
        } else if let Some(why) = too_long(inside) {
            return Some(why);
        }
    }
    too_many(statements)
}

fn too_many(count: usize) -> Option<String> {
    (count > MOST_OPERATORS)
        .then(|| format!("the expression is too long: {count} operators, where {MOST_OPERATORS} is the most"))
}

/// The length of `{{` and `{%`.
const OPEN: usize = 2;

/// The next `{{ }}` or `{% %}`, without its closing mark: up to where it ends, or to where nobody can read on.
fn next_tag(text: &str, from: usize) -> Option<Range<usize>> {
    let opens = |at: &usize| text[*at..].starts_with("{{") || text[*at..].starts_with("{%");
    let start = text[from..].match_indices('{').map(|(at, _)| from + at).find(opens)?;
    let close = if text[start..].starts_with("{%") { "%}" } else { "}}" };
    let mut inside = Words::from(text, start + OPEN);
    let mut depth = 0usize;
    loop {
        let at = inside.skip_space();
        if depth == 0 && text[at..].starts_with(close) {
            return Some(start..at);
        }
        match inside.next().map(|token| token.what) {
            None => return Some(start..at),
            Some(What::Mark("{" | "[" | "(")) => depth += 1,
            Some(What::Mark("}" | "]" | ")")) => depth = depth.saturating_sub(1),
            Some(_) => {}
        }
    }
}

/// All words of an expression, up to a text in it that does not end.
pub fn words(text: &str) -> Vec<Token<'_>> {
    Words::from(text, 0).collect()
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub enum What<'t> {
    /// A name, or a word of the language.
    Name(&'t str),
    /// A quoted text, without its quotes.
    Text(String),
    /// What begins with a digit.
    Number(&'t str),
    /// Anything else.
    Mark(&'t str),
}

/// A word and where it stands.
#[derive(Clone, Debug)]
pub struct Token<'t> {
    /// The word.
    pub what: What<'t>,
    /// Its place, in bytes.
    pub span: Range<usize>,
}

impl Token<'_> {
    /// How many operators it may be for the interpreter.
    fn operators(&self) -> usize {
        match &self.what {
            What::Text(_) => 0,
            What::Name(name) => WORDY.contains(name).into(),
            // To the interpreter, a number ends where a word begins: `1or 2`.
            What::Number(digits) => digits.bytes().filter(u8::is_ascii_alphabetic).count(),
            What::Mark(mark) => (!matches!(*mark, "," | ":" | ")" | "]" | "}" | "=")).into(),
        }
    }
}

/// The words of a text, one after the other.
#[derive(Clone, Debug)]
pub struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    /// The words from a place on.
    pub fn from(text: &'t str, at: usize) -> Self {
        Self { text, at }
    }

    /// Goes on to where the next word begins, which is the answer.
    pub fn skip_space(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        let start = self.skip_space();
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let (what, length) = match first {
            '\'' | '"' => string(rest, first)?,
            '0'..='9' => run(rest, |letter| letter.is_alphanumeric() || letter == '_', What::Number),
            '_' => run(rest, |letter| letter.is_alphanumeric() || letter == '_', What::Name),
            letter if letter.is_alphabetic() => {
                run(rest, |letter| letter.is_alphanumeric() || letter == '_', What::Name)
            }
            _ => mark(rest, first),
        };
        self.at = start + length;
        Some(Token { what, span: start..self.at })
    }
}

fn run<'t>(rest: &'t str, belongs: fn(char) -> bool, make: fn(&'t str) -> What<'t>) -> (What<'t>, usize) {
    let length = rest.find(|letter| !belongs(letter)).unwrap_or(rest.len());
    (make(&rest[..length]), length)
}

fn mark(rest: &str, first: char) -> (What<'_>, usize) {
    const DOUBLE: [&str; 6] = ["==", "!=", "<=", ">=", "**", "//"];
    let length = if DOUBLE.iter().any(|double| rest.starts_with(double)) { 2 } else { first.len_utf8() };
    (What::Mark(&rest[..length]), length)
}

/// A quoted text; none if it does not end.
fn string(rest: &str, quote: char) -> Option<(What<'_>, usize)> {
    let mut value = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.push(letters.next()?.1),
            _ if letter == quote => return Some((What::Text(value), at + 1)),
            _ => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use minijinja::UndefinedBehavior;

    use super::*;
    use crate::expression::{compiled, environment, template};

    /// Texts with one operator after the other, of every kind that goes down a level for each.
    fn texts(count: usize) -> Vec<String> {
        vec![
            format!("a {{{{ n{} }}}}", "+1".repeat(count)),
            format!("{{{{ {{'a': {{'b': n}}}}{} }}}}", "|d".repeat(count)),
            format!("{{{{ '}}}}'{} }}}}", "~n".repeat(count)),
            format!("{{% if n{} %}}{{% endif %}}", " and n".repeat(count)),
            format!("{{% if n %}}{}{{% endif %}}", "{% elif n %}".repeat(count)),
            format!("it's {{# {{{{ ' #}} {{{{ n{} }}}}", "+1".repeat(count)),
            format!("{{{{ n{} 'x", "+1".repeat(count)),
        ]
    }

    fn on_a_threads_stack(work: impl FnOnce() + Send + 'static) {
        std::thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread").join().expect("no panic");
    }

    #[test]
    fn no_text_is_so_long_that_reading_it_breaks_the_stack() {
        on_a_threads_stack(|| {
            let environment = environment(UndefinedBehavior::Strict);
            for count in [MOST_OPERATORS - 40, 20_000] {
                for text in texts(count) {
                    let outcome = template(&environment, &text).map(|_| ());
                    let refused = outcome.is_err_and(|error| error.to_string().contains("too long"));
                    assert_eq!(refused, count > MOST_OPERATORS, "{text:.80}");
                }
                let text = format!("n{}", "+1".repeat(count));
                assert_eq!(compiled(&environment, &text).is_err(), count > MOST_OPERATORS);
            }
        });
    }

    #[test]
    fn many_short_expressions_in_a_long_text_are_fine() {
        let environment = environment(UndefinedBehavior::Strict);
        let text = format!("{}{{{{ n }}}}, - or not, ", "a + b ".repeat(MOST_OPERATORS)).repeat(MOST_OPERATORS);
        assert!(template(&environment, &text).is_ok());
    }
}
