//! A YAML text as a tree in which every key and value knows its place.
//!
//! Owns what YAML a plan may use: no duplicate or odd keys, no tags, no merge keys, one document, bounded depth, size and alias
//! expansion. Does not know what a plan is, nor what a plain scalar stands for ([`scalar`](super::scalar)).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StructureStyle};
use serde_json::{Map, Number, Value};

use super::error::Problem;
use super::model::{Place, Source};
use super::scalar::{is_text, resolve, surprise};
use super::slip;
use crate::maps::NameMap;

/// Larger files are refused.
pub(crate) const LARGEST: usize = 10 * 1024 * 1024;
/// Deeper documents are refused.
const DEEPEST: usize = 64;
/// How many nodes aliases may add.
const EXPANSION: usize = 100_000;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) data: Data,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(Box<str>),
    List(Box<[Node]>),
    Map(Box<[Entry]>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Node {
    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
        }
    }

    /// The text of a string.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a map.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<&[Node]> {
        match &self.data {
            Data::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value below a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// As plain data.
    pub(crate) fn to_value(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.to_string()),
            Data::List(items) => items.iter().map(Node::to_value).collect(),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    fn size(&self) -> usize {
        1 + match &self.data {
            Data::List(items) => items.iter().map(Node::size).sum(),
            Data::Map(entries) => entries.iter().map(|entry| 1 + entry.value.size()).sum(),
            _ => 0,
        }
    }

    fn height(&self) -> usize {
        match &self.data {
            Data::List(items) => 1 + items.iter().map(Node::height).max().unwrap_or(0),
            Data::Map(entries) => 1 + entries.iter().map(|entry| entry.value.height()).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// Reads a text. Adds what is wrong to `problems`; no tree comes back where the text is not YAML that a plan may use.
pub(crate) fn parse(source: &Arc<Source>, problems: &mut Vec<Problem>) -> Option<Node> {
    if source.text.len() > LARGEST {
        problems.push(too_large(source));
        return None;
    }
    let options = granit_parser::options! { emit_comments: false };
    let mut builder = Builder::new(source, problems);
    for event in Parser::new_from_str_with_options(&source.text, options) {
        let step = match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => Err(syntax_error(source, &error)),
        };
        if let Err(problem) = step {
            builder.problems.push(*problem);
            return None;
        }
    }
    builder.finish()
}

fn too_large(source: &Source) -> Problem {
    let size = source.text.len() as f64 / 1_048_576.0;
    Problem::bare("yaml::too-large", format!("`{}` has {size:.1} MiB; a plan may have 10 MiB", source.name))
        .help("move large data into files that steps read, or split the plan with `include`")
}

fn syntax_error(source: &Arc<Source>, error: &ScanError) -> Box<Problem> {
    let at = error.marker().byte_offset().unwrap_or(0).min(source.text.len());
    let start = floor_boundary(&source.text, at);
    let end = start + source.text[start..].chars().next().filter(|letter| *letter != '\n').map_or(0, char::len_utf8);
    let place = Place { source: source.clone(), span: start..end };
    let message = format!("not valid YAML: {}", error.info());
    Box::new(match slip::at(&source.text, start, &error.info()) {
        Some(slip) => Problem::at("yaml::syntax", &place, message, slip.remark).help(slip.help),
        None => Problem::at("yaml::syntax", &place, message, "here"),
    })
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A collection that is not closed yet.
struct Open {
    start: usize,
    anchor: usize,
    flow: bool,
    held: Held,
}

enum Held {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: Seen, key: Option<(String, Range<usize>)> },
}

/// Which keys a map has so far. Most maps are small, and looked through faster than hashed.
#[derive(Default)]
struct Seen(NameMap<String, Range<usize>>);

/// Maps beyond this are hashed.
const SMALL: usize = 16;

impl Seen {
    /// Takes note of the key after some entries; where it stood before, if it did.
    fn add(&mut self, entries: &[Entry], key: &str, span: &Range<usize>) -> Option<Range<usize>> {
        if entries.len() < SMALL {
            return entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.key_span.clone());
        }
        if self.0.is_empty() {
            self.0 = entries.iter().map(|entry| (entry.key.clone(), entry.key_span.clone())).collect();
        }
        self.0.insert(key.to_owned(), span.clone())
    }
}

struct Builder<'p> {
    source: &'p Arc<Source>,
    problems: &'p mut Vec<Problem>,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Arc<Node>, usize, usize)>,
    expanded: usize,
    documents: usize,
    root: Option<Node>,
}

type Step<T = ()> = Result<T, Box<Problem>>;

impl<'p> Builder<'p> {
    fn new(source: &'p Arc<Source>, problems: &'p mut Vec<Problem>) -> Self {
        Self { source, problems, stack: Vec::new(), anchors: HashMap::new(), expanded: 0, documents: 0, root: None }
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place { source: self.source.clone(), span }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Step {
        self.refuse_tag(&event, span)?;
        let range = span.byte_range().unwrap_or(0..0);
        match event {
            Event::DocumentStart(..) => self.document(range),
            Event::Scalar(text, style, anchor, _) => self.scalar(&text, style, anchor, range),
            Event::Alias(anchor) => self.alias(anchor, range),
            Event::SequenceStart(style, anchor, _) => self.open(Held::List(Vec::new()), style, anchor, range),
            Event::MappingStart(style, anchor, _) => {
                let held = Held::Map { entries: Vec::new(), seen: Seen::default(), key: None };
                self.open(held, style, anchor, range)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(range),
            _ => Ok(()),
        }
    }

    fn refuse_tag(&self, event: &Event<'_>, span: &Span) -> Step {
        let Some(tag) = event.tag() else { return Ok(()) };
        let at = span.tag_span().and_then(|span| span.byte_range()).or_else(|| span.byte_range()).unwrap_or(0..0);
        let message = format!("the tag `{}` is not allowed", tag.original());
        let problem = Problem::at("yaml::tag", &self.place(at), message, "a plan has no tags");
        Err(Box::new(problem.help("leave it out; write text in quotes to keep it text")))
    }

    fn document(&mut self, range: Range<usize>) -> Step {
        self.documents += 1;
        if self.documents == 1 {
            return Ok(());
        }
        let problem =
            Problem::at("yaml::documents", &self.place(range), "a plan is one YAML document", "a second begins here");
        Err(Box::new(problem.help("put each plan into a file of its own; `include` brings them together")))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, range: Range<usize>) -> Step {
        let plain = style == ScalarStyle::Plain;
        if self.awaits_key() {
            return self.key(text, plain, range);
        }
        let data = if plain { self.plain(text, &range)? } else { Data::Text(text.into()) };
        let end = if plain { range.end } else { trim_end(&self.source.text, &range) };
        self.put(Node { span: range.start..end, data }, anchor)
    }

    fn plain(&mut self, text: &str, range: &Range<usize>) -> Step<Data> {
        let data = resolve(text);
        if let Some(remark) = surprise(text) {
            let message = format!("`{text}` is text, not {}", remark.0);
            self.problems.push(
                Problem::at("yaml::surprise", &self.place(range.clone()), message, "")
                    .help(format!("write {}, or put it in quotes to say that text is meant", remark.1))
                    .warning(),
            );
        }
        data.ok_or_else(|| {
            let message = format!("`{text}` is a number that cannot be kept");
            let problem = Problem::at("yaml::number", &self.place(range.clone()), message, "too large, or not finite");
            Box::new(problem.help("put it in quotes if text is meant"))
        })
    }

    fn awaits_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open { held: Held::Map { key: None, .. }, .. }))
    }

    fn key(&mut self, text: &str, plain: bool, range: Range<usize>) -> Step {
        if plain && text == "<<" {
            return Err(Box::new(
                Problem::at(
                    "yaml::merge-key",
                    &self.place(range),
                    "merge keys are not allowed",
                    "`<<` hides where a value comes from",
                )
                .help("write the values out, or share them through `vars` or `defaults`"),
            ));
        }
        if plain && !is_text(text) {
            let shown = if text.is_empty() { "an empty key".to_owned() } else { format!("the key `{text}`") };
            let problem = Problem::at("yaml::key", &self.place(range), format!("{shown} is not text"), "keys are text");
            return Err(Box::new(problem.help(format!("put it in quotes: `\"{text}\":`"))));
        }
        self.name_once(text, range)
    }

    /// Notes a key. A repeated one is reported with both places, and reading goes on.
    fn name_once(&mut self, text: &str, range: Range<usize>) -> Step {
        let Some(Open { held: Held::Map { entries, seen, key }, .. }) = self.stack.last_mut() else { return Ok(()) };
        *key = Some((text.to_owned(), range.clone()));
        if let Some(first) = seen.add(entries, text, &range) {
            let problem = Problem::at(
                "yaml::duplicate-key",
                &self.place(range),
                format!("the key `{text}` is given twice"),
                "again here",
            )
            .and(first, "first here");
            self.problems.push(problem.help("keep one of them"));
        }
        Ok(())
    }

    fn open(&mut self, held: Held, style: StructureStyle, anchor: usize, range: Range<usize>) -> Step {
        if self.awaits_key() {
            let problem =
                Problem::at("yaml::key", &self.place(range), "a list or map cannot be a key", "keys are text");
            return Err(Box::new(
                problem.help("`{{ }}` without `$` in front is YAML for a map; expressions are `${{ }}`, in quotes"),
            ));
        }
        if self.stack.len() >= DEEPEST {
            return Err(self.too_deep(range));
        }
        self.stack.push(Open { start: range.start, anchor, flow: style == StructureStyle::Flow, held });
        Ok(())
    }

    fn too_deep(&self, range: Range<usize>) -> Box<Problem> {
        let message = format!("nested more than {DEEPEST} levels deep");
        Box::new(Problem::at("yaml::too-deep", &self.place(range), message, "this is one level too many"))
    }

    fn close(&mut self, range: Range<usize>) -> Step {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let (data, last) = match open.held {
            Held::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Data::List(items.into()), last)
            }
            Held::Map { entries, .. } => {
                let last = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                (Data::Map(entries.into()), last)
            }
        };
        // The end event of a block collection lies after blank lines and comments that are not part of it.
        let end = if open.flow { range.end } else { last.unwrap_or(open.start) };
        self.put(Node { span: open.start..end.max(open.start), data }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, range: Range<usize>) -> Step {
        if self.awaits_key() {
            let problem = Problem::at("yaml::key", &self.place(range), "an alias cannot be a key", "keys are text");
            return Err(Box::new(problem));
        }
        let Some((node, size, height)) = self.anchors.get(&anchor).cloned() else {
            let problem =
                Problem::at("yaml::alias", &self.place(range), "an alias stands inside what it refers to", "here");
            return Err(Box::new(problem.help("a value cannot contain itself")));
        };
        self.expanded += size;
        if self.expanded > EXPANSION {
            let message = format!("aliases add more than {EXPANSION} values");
            return Err(Box::new(Problem::at("yaml::alias-bomb", &self.place(range), message, "refused here")));
        }
        if self.stack.len() + height > DEEPEST {
            return Err(self.too_deep(range));
        }
        self.put(Node::clone(&node), 0)
    }

    fn put(&mut self, node: Node, anchor: usize) -> Step {
        if anchor != 0 {
            self.anchors.insert(anchor, (Arc::new(node.clone()), node.size(), node.height()));
        }
        match self.stack.last_mut().map(|open| &mut open.held) {
            None => self.root = Some(node),
            Some(Held::List(items)) => items.push(node),
            Some(Held::Map { entries, key, .. }) => {
                let (key, key_span) = key.take().unwrap_or_default();
                entries.push(Entry { key, key_span, value: node });
            }
        }
        Ok(())
    }

    fn finish(self) -> Option<Node> {
        self.root.or(Some(Node { span: 0..0, data: Data::Null }))
    }
}

/// A block scalar's event reaches into the line after it.
fn trim_end(text: &str, range: &Range<usize>) -> usize {
    let slice = text.get(range.clone()).unwrap_or("");
    range.start + slice.trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Value>, Vec<String>) {
        let source = Arc::new(Source::new("t", text));
        let mut problems = Vec::new();
        let tree = parse(&source, &mut problems);
        (tree.map(|tree| tree.to_value()), problems.iter().map(|problem| problem.code.to_owned()).collect())
    }

    fn slice(text: &str, key: &str) -> String {
        let source = Arc::new(Source::new("t", text));
        let tree = parse(&source, &mut Vec::new()).unwrap();
        text[tree.get(key).unwrap().span.clone()].to_owned()
    }

    #[test]
    fn scalars_are_those_of_yaml_1_2() {
        let (value, _) = read("[yes, 0777, 1_000, 0o17, 0x1f, 1.50, ~, True, -3, +4, 1e3, '1', 12:30, .5]");
        assert_eq!(
            value.unwrap(),
            serde_json::json!(["yes", "0777", "1_000", 15, 31, 1.5, null, true, -3, 4, 1000.0, "1", "12:30", 0.5])
        );
    }

    #[test]
    fn surprises_are_warned_about() {
        assert_eq!(read("[no, 'no', on, 0777, 1_000, nothing, 0]").1.len(), 4);
    }

    #[test]
    fn places_are_exact() {
        let text = "a:\n  b: [1, 2]\n  c: x y\n\n# end\nd: |\n  one\n  two\n\ne: {f: 1}\n";
        assert_eq!(slice(text, "a"), "b: [1, 2]\n  c: x y");
        assert_eq!(slice(text, "e"), "{f: 1}");
        assert_eq!(slice(text, "d"), "one\n  two");
    }

    #[test]
    fn what_a_plan_may_not_use_is_refused() {
        for (text, code) in [
            ("a: !!str 1", "yaml::tag"),
            ("a: 1\n---\nb: 2", "yaml::documents"),
            ("<<: {a: 1}", "yaml::merge-key"),
            ("1: a", "yaml::key"),
            ("[a]: b", "yaml::key"),
            ("a: {{ x }}", "yaml::key"),
            ("a: &x [*x]", "yaml::alias"),
            ("a: .nan", "yaml::number"),
            ("a: 99999999999999999999999", "yaml::number"),
            ("a: [", "yaml::syntax"),
            ("a: *nowhere", "yaml::syntax"),
        ] {
            let (value, codes) = read(text);
            assert_eq!((value, codes), (None, vec![code.to_owned()]), "{text}");
        }
    }

    #[test]
    fn a_repeated_key_shows_both_places() {
        let source = Arc::new(Source::new("t", "a: 1\nb: 2\na: 3\n"));
        let mut problems = Vec::new();
        parse(&source, &mut problems);
        assert_eq!(problems[0].labels[0].span, 10..11);
        assert_eq!(problems[0].labels[1].span, 0..1);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&deep(DEEPEST)).0.is_some());
        assert_eq!(read(&deep(DEEPEST + 1)).1, ["yaml::too-deep"]);
        assert!(read(&deep(100_000)).0.is_none());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let before = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert_eq!(read(&text).1, ["yaml::alias-bomb"]);
    }

    #[test]
    fn an_alias_is_a_copy() {
        assert_eq!(read("a: &x [1, 2]\nb: *x").0.unwrap(), serde_json::json!({"a": [1, 2], "b": [1, 2]}));
    }

    #[test]
    fn an_empty_text_is_nothing() {
        assert_eq!(read("# only a comment\n").0, Some(Value::Null));
    }
}
