//! From text to nodes.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::{Comparison, Node, Operand, Part};

/// Reads a template; one without braces is a single path.
pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    if text.is_empty() {
        return Err("a path is missing".to_owned());
    }
    if !text.contains('{') {
        return Ok(vec![Node::Path(path(text)?)]);
    }
    let mut pieces = pieces(text)?.into_iter();
    nodes(&mut pieces, false)
}

/// Text between braces, or inside them.
enum Piece {
    Text(String),
    Action(String),
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some(open) = rest.find('{') {
        if open > 0 {
            found.push(Piece::Text(rest[..open].to_owned()));
        }
        let close = closing(&rest[open..]).ok_or_else(|| format!("a `{{` of `{text}` is not closed"))?;
        found.push(Piece::Action(rest[open + 1..open + close].trim().to_owned()));
        rest = &rest[open + close + 1..];
    }
    if !rest.is_empty() {
        found.push(Piece::Text(rest.to_owned()));
    }
    Ok(found)
}

/// Where the brace that `text` begins with is closed: not inside quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, letter) in text.char_indices() {
        match (letter, quote) {
            _ if escaped => escaped = false,
            ('\\', _) => escaped = true,
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => quote = Some(letter),
            ('}', None) => return Some(at),
            _ => {}
        }
    }
    None
}

fn nodes(pieces: &mut std::vec::IntoIter<Piece>, inside_range: bool) -> Result<Vec<Node>, String> {
    let mut found = Vec::new();
    while let Some(piece) = pieces.next() {
        match piece {
            Piece::Text(text) => found.push(Node::Text(text)),
            Piece::Action(action) if action == "end" && inside_range => return Ok(found),
            Piece::Action(action) if action == "end" => return Err("an `{end}` without a `{range}`".to_owned()),
            Piece::Action(action) => match action.strip_prefix("range").filter(|rest| !rest.starts_with(is_letter)) {
                Some(list) => found.push(Node::Range(path(list)?, nodes(pieces, true)?)),
                None => found.push(self::action(&action)?),
            },
        }
    }
    if inside_range { Err("a `{range}` without its `{end}`".to_owned()) } else { Ok(found) }
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// A quoted text, a number, or a path.
fn action(text: &str) -> Result<Node, String> {
    if text.is_empty() {
        return Err("there is nothing in the braces".to_owned());
    }
    Ok(match literal(text)? {
        Some(value) => Node::Text(super::text(&value)),
        None => Node::Path(path(text)?),
    })
}

/// `"text"`, `'text'`, `3`, `1.5`, `true`.
fn literal(text: &str) -> Result<Option<Value>, String> {
    if let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        let inner = text[1..].strip_suffix(quote).filter(|_| text.len() > 1);
        let inner = inner.ok_or_else(|| format!("the quote in `{text}` is not closed"))?;
        return Ok(Some(Value::String(unescaped(inner))));
    }
    Ok(match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+')) => {
            let number = text.trim_start_matches('+').parse().ok();
            Some(Value::Number(number.ok_or_else(|| format!("`{text}` is no number"))?))
        }
        _ => None,
    })
}

fn unescaped(text: &str) -> String {
    let (mut out, mut letters) = (String::new(), text.chars());
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (letter, false) => out.push(letter),
        }
    }
    out
}

/// A path: `.a.b[0]`, `$.a`, `@.a`, `a.b`.
fn path(text: &str) -> Result<Vec<Part>, String> {
    let mut rest = text.trim().chars().peekable();
    rest.next_if(|first| matches!(first, '$' | '@'));
    let mut parts = Vec::new();
    if rest.peek().is_some_and(|first| !matches!(first, '.' | '[')) {
        field(&mut rest, &mut parts);
    }
    while let Some(letter) = rest.next() {
        match letter {
            '.' => {
                if rest.next_if_eq(&'.').is_some() {
                    parts.push(Part::Deep);
                }
                field(&mut rest, &mut parts);
            }
            '[' => parts.push(brackets(&inside_brackets(&mut rest, text)?)?),
            letter if letter.is_whitespace() => {}
            letter => return Err(format!("`{letter}` is not expected in the path `{text}`")),
        }
    }
    Ok(parts)
}

/// A field's name; a backslash makes the next letter part of it.
fn field(rest: &mut Peekable<Chars<'_>>, parts: &mut Vec<Part>) {
    let mut name = String::new();
    while let Some(letter) = rest.next_if(|letter| !ends_field(*letter)) {
        match letter {
            '\\' => name.extend(rest.next()),
            letter => name.push(letter),
        }
    }
    match name.as_str() {
        "" => {}
        "*" => parts.push(Part::Every),
        _ => parts.push(Part::Field(name)),
    }
}

fn ends_field(letter: char) -> bool {
    letter.is_whitespace()
        || matches!(letter, '.' | '[' | ']' | ')' | '(' | '=' | '!' | '<' | '>' | '&' | '|' | ',' | '{' | '}')
}

/// Up to the bracket that closes the one just read: not inside quotes, and with those inside filters.
fn inside_brackets(rest: &mut Peekable<Chars<'_>>, path: &str) -> Result<String, String> {
    let (mut inside, mut depth, mut quote) = (String::new(), 0, None);
    for letter in rest.by_ref() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => quote = Some(letter),
            ('[', None) => depth += 1,
            (']', None) if depth == 0 => return Ok(inside),
            (']', None) => depth -= 1,
            _ => {}
        }
        inside.push(letter);
    }
    Err(format!("a `[` of the path `{path}` is not closed"))
}

fn brackets(inside: &str) -> Result<Part, String> {
    let inside = inside.trim();
    if let Some(filter) = inside.strip_prefix('?') {
        let condition = filter.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        return self::filter(
            condition.ok_or_else(|| format!("a filter is written `[?(@.a==\"b\")]`, not `[{inside}]`"))?,
        );
    }
    let several = parts_by_comma(inside);
    match several.as_slice() {
        [one] => element(one),
        _ => Ok(Part::Union(several.into_iter().map(element).collect::<Result<_, _>>()?)),
    }
}

/// Parts between commas that are in no quotes.
fn parts_by_comma(text: &str) -> Vec<&str> {
    let mut quote = None;
    let parts = text.split(move |letter| {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('"' | '\'', None) => quote = Some(letter),
            _ => {}
        }
        letter == ',' && quote.is_none()
    });
    parts.map(str::trim).collect()
}

/// `*`, `'name'`, `3`, `1:3`, `::2`.
fn element(text: &str) -> Result<Part, String> {
    if text == "*" {
        // Of maps too `.*`, but not `[*]`.
        return Ok(Part::Slice(None, None, None));
    }
    if let Some(Value::String(name)) = literal(text).ok().flatten() {
        return Ok(Part::Field(name));
    }
    let wrong = || format!("`[{text}]` is no index, slice, quoted name or filter");
    let bounds: Vec<Option<i64>> = text
        .split(':')
        .map(|bound| match bound.trim() {
            "" => Ok(None),
            number => number.parse().map(Some).map_err(|_| wrong()),
        })
        .collect::<Result<_, _>>()?;
    match bounds.as_slice() {
        [Some(index)] => Ok(Part::Index(*index)),
        [from, to] => Ok(Part::Slice(*from, *to, None)),
        [_, _, Some(step)] if *step <= 0 => Err(format!("the step of `[{text}]` must be greater than 0")),
        [from, to, step] => Ok(Part::Slice(*from, *to, *step)),
        _ => Err(wrong()),
    }
}

fn filter(text: &str) -> Result<Part, String> {
    const WORDS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    if text.contains("&&") || text.contains("||") {
        return Err(format!("`{text}`: a filter of kubectl has one comparison; write one filter after the other"));
    }
    let Some(at) = text.find(['=', '!', '<', '>']) else { return Ok(Part::Filter(operand(text)?, None)) };
    let (left, rest) = text.split_at(at);
    let found = WORDS.iter().find(|(word, _)| rest.starts_with(word));
    let (word, comparison) = found.ok_or_else(|| format!("`{text}` has none of == != < <= > >="))?;
    Ok(Part::Filter(operand(left)?, Some((*comparison, operand(&rest[word.len()..])?))))
}

fn operand(text: &str) -> Result<Operand, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a filter lacks what it compares".to_owned());
    }
    Ok(match literal(text)? {
        Some(value) => Operand::Literal(value),
        None if text.starts_with(['@', '.', '$', '[']) => Operand::Path(path(text)?),
        None => return Err(format!("`{text}` is neither a path such as `@.type` nor a text in quotes")),
    })
}
