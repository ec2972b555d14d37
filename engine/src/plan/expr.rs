//! The expression language: minijinja's, with names that are always defined or an error, and a few functions of our own.
//!
//! Owns the environment, how values come out of it, and what is wrong with an expression; does not know what the names mean.

use std::ops::Range;
use std::sync::LazyLock;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use minijinja::value::{Serde, Value as Item, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use runbook_steps::expression::{FILTERS, FUNCTIONS, TESTS, too_long};
use serde_json::Value;

use super::duration;
use super::error::did_you_mean;
use super::scan::{self, Dotted, Mentions, Used};

/// What is wrong with an expression, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// In one line.
    pub(crate) message: String,
    /// Byte offsets in the expression; none for all of it.
    pub(crate) span: Option<Range<usize>>,
    /// What to do about it.
    pub(crate) help: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, help: None }
    }

    pub(crate) fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The filters of plans besides those of every expression.
const OWN_FILTERS: [&str; 5] = ["b64", "b64decode", "basename", "dirname", "region_of_zone"];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

fn environment() -> Environment<'static> {
    let mut environment = runbook_steps::expression::environment(UndefinedBehavior::Strict);
    environment.set_recursion_limit(100);
    // With the words that plans have for a wrong duration.
    environment.add_function("duration", seconds);
    environment.add_filter("b64", |text: String| BASE64_STANDARD.encode(text));
    environment.add_filter("b64decode", |text: String| decode(&text).map_err(invalid));
    environment.add_filter("basename", |path: String| last_part(&path).to_owned());
    environment.add_filter("dirname", |path: String| all_but_last_part(&path).to_owned());
    environment.add_filter("region_of_zone", |zone: String| region_of(&zone).map_err(invalid));
    environment.add_filter("tojson", |value: Item| json_text(&value).map_err(invalid));
    environment
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// `duration('6m')`: seconds.
fn seconds(text: &str) -> Result<f64, Error> {
    duration::parse(text).map(|duration| duration.as_secs_f64()).map_err(invalid)
}

fn last_part(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

fn all_but_last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit_once('/').map_or(".", |(folder, _)| if folder.is_empty() { "/" } else { folder })
}

/// `europe-west4-a` lies in `europe-west4`; what already is a region stays.
fn region_of(zone: &str) -> Result<String, String> {
    let parts: Vec<&str> = zone.split('-').collect();
    match parts.as_slice() {
        [continent, area, letter] if letter.len() == 1 => Ok(format!("{continent}-{area}")),
        [_, _] => Ok(zone.to_owned()),
        _ => Err(format!("`{zone}` is not a zone such as `europe-west4-a`")),
    }
}

fn json_text(value: &Item) -> Result<String, String> {
    to_json(value).map(|value| value.to_string())
}

/// Base64 with or without the padding at its end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Base64 of a text; spaces and line ends in it mean nothing.
fn decode(text: &str) -> Result<String, String> {
    let bare: String = text.split_whitespace().collect();
    let bytes = LENIENT.decode(bare).map_err(|error| format!("not base64: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "base64 of something that is not text".to_owned())
}

/// Checks an expression as far as that is possible without values: its form, its functions, filters and tests.
pub(crate) fn check(text: &str) -> Result<Mentions, Vec<Fault>> {
    if text.trim().is_empty() {
        return Err(vec![Fault::new("an expression is missing")]);
    }
    if Dotted::read(text).is_some() {
        return Ok(scan::mentions(text));
    }
    if let Some(fault) = unreadable(text) {
        return Err(vec![fault]);
    }
    let found = scan::mentions(text);
    let mut faults: Vec<Fault> = Vec::new();
    faults.extend(
        found
            .functions
            .iter()
            .filter(|used| !FUNCTIONS.contains(&used.name.as_str()))
            .map(|used| unknown("function", used, FUNCTIONS)),
    );
    faults.extend(
        found
            .filters
            .iter()
            .filter(|used| !filters().any(|filter| filter == used.name))
            .map(|used| unknown("filter", used, filters())),
    );
    faults.extend(
        found.tests.iter().filter(|used| !TESTS.contains(&used.name.as_str())).map(|used| unknown("test", used, TESTS)),
    );
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn filters() -> impl Iterator<Item = &'static str> {
    FILTERS.into_iter().chain(OWN_FILTERS)
}

/// Why a text is no expression, whatever it names.
pub(crate) fn unreadable(text: &str) -> Option<Fault> {
    if let Some(why) = too_long(text) {
        return Some(in_parts(why));
    }
    ENVIRONMENT.compile_expression_owned(text.to_owned()).err().map(|error| syntax(&error, text))
}

fn in_parts(why: String) -> Fault {
    Fault::new(why).help("compute it in parts: give each a name in `vars`, or have a step compute it")
}

fn syntax(error: &Error, text: &str) -> Fault {
    let detail = error.detail().unwrap_or("it cannot be read");
    let fault = Fault::new(format!("not an expression: {detail}"));
    if detail.contains('&') || detail.contains("unexpected character") || text.contains("||") {
        return fault.help("expressions are written as in Jinja: `and`, `or`, `not`, `==`, `in`");
    }
    if ["==", "!=", "<=", ">="].iter().fold(text.to_owned(), |text, operator| text.replace(operator, "")).contains('=')
    {
        return fault.help("two values are compared with `==`");
    }
    fault
}

fn unknown<'c>(what: &str, used: &Used, known: impl IntoIterator<Item = &'c str>) -> Fault {
    let fault = Fault::new(format!("unknown {what} `{}`", used.name)).at(used.span.clone());
    match did_you_mean(&used.name, known) {
        Some(help) => fault.help(help),
        None => fault,
    }
}

/// Evaluates an expression over a map of names.
pub(crate) fn eval(text: &str, found: &Mentions, names: &Item) -> Result<Item, Fault> {
    if let Some(why) = too_long(text) {
        return Err(in_parts(why));
    }
    let compiled = ENVIRONMENT.compile_expression_owned(text).map_err(|error| syntax(&error, text))?;
    match compiled.eval(names.clone()) {
        Ok(value) if value.is_undefined() => {
            Err(missing(found, names).unwrap_or_else(|| Fault::new("it has no value")))
        }
        Ok(value) => Ok(value),
        Err(error) => Err(missing(found, names).unwrap_or_else(|| failure(&error))),
    }
}

fn failure(error: &Error) -> Fault {
    match error.kind() {
        ErrorKind::OutOfFuel => Fault::new("it takes too long"),
        ErrorKind::UndefinedError => Fault::new("something in it is not defined"),
        kind => Fault::new(error.detail().map_or_else(|| kind.to_string(), str::to_owned)),
    }
}

/// The first name that has no value and is not guarded.
fn missing(found: &Mentions, names: &Item) -> Option<Fault> {
    let reference =
        found.references.iter().find(|reference| !reference.guarded && lookup(names, &reference.path).is_none())?;
    Some(Fault::new(format!("`{}` has no value", reference.text())).at(reference.span()))
}

/// The value of a dotted name.
pub(crate) fn lookup(names: &Item, path: &[String]) -> Option<Item> {
    path.iter().try_fold(names.clone(), |value, name| {
        let next = match (value.kind(), name.parse::<usize>()) {
            (ValueKind::Seq, Ok(index)) => value.get_item_by_index(index).ok()?,
            _ => value.get_attr(name).ok()?,
        };
        (!next.is_undefined()).then_some(next)
    })
}

/// A value for an expression.
pub(crate) fn from_json(value: &Value) -> Item {
    Item::from(Serde(value))
}

/// A value that came out of an expression.
pub(crate) fn to_json(value: &Item) -> Result<Value, String> {
    serde_json::to_value(value).map_err(|error| error.to_string())
}

/// A value inside a text. Lists, maps and nothing have no single form, so they must say which is meant.
pub(crate) fn to_text(value: &Item) -> Result<String, String> {
    match value.kind() {
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number | ValueKind::String => Ok(value.to_string()),
        ValueKind::None | ValueKind::Undefined => {
            Err("it is null, which a text cannot hold; say what to use with `| default('…', true)`".into())
        }
        ValueKind::Map => Err("it is a map; write it as JSON with `| tojson`, or take one field".into()),
        ValueKind::Seq | ValueKind::Iterable => Err("it is a list; use `| join(',')`, or `| tojson`".into()),
        other => Err(format!("a {other} cannot stand in a text")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use runbook_steps::expression::MOST_OPERATORS;
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Result<Value, Fault> {
        let names = from_json(&json!({
            "inputs": {"zone": "europe-west4-a", "n": 3, "on": true, "nothing": null},
            "object": {"status": {"conditions": [{"type": "Ready", "status": "False"}]}},
        }));
        eval(text, &check(text).map_err(|mut faults| faults.remove(0))?, &names).map(|value| to_json(&value).unwrap())
    }

    #[test]
    fn expressions_have_values() {
        for (text, expected) in [
            ("inputs.n + 1", json!(4)),
            ("inputs.zone | region_of_zone", json!("europe-west4")),
            ("duration('6m') > 300", json!(true)),
            ("cond(object, 'Ready') == 'False'", json!(true)),
            ("'a/b/c.yaml' | basename", json!("c.yaml")),
            ("inputs.missing | default('x')", json!("x")),
            ("'hello' | b64", json!("aGVsbG8=")),
            ("'aGVsbG8=' | b64decode", json!("hello")),
            ("inputs.zone is matching('^europe-')", json!(true)),
            ("{'a': [1, 2]} | tojson", json!("{\"a\":[1,2]}")),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_missing_name_is_named_with_its_place() {
        let fault = value("inputs.n + inputs.m").unwrap_err();
        assert_eq!((fault.message.as_str(), fault.span), ("`inputs.m` has no value", Some(11..19)));
    }

    #[test]
    fn unknown_filters_are_suggested() {
        assert_eq!(value("inputs.zone | base64").unwrap_err().message, "unknown filter `base64`");
        assert_eq!(value("inputs.zone | uper").unwrap_err().help.as_deref(), Some("did you mean `upper`?"));
    }

    /// Expressions of one operator after the other, of every kind that goes down a level for each.
    fn chains(operators: usize) -> Vec<String> {
        let after = [
            "+1", "-n", " and n", " or z", "~n", "**1", "//1", "|d", "|list", "|reverse", " is odd", ".a", "[0]", "[:]",
        ];
        let before = ["not ", "-", "n if z else "];
        // These are two operators each.
        let twice =
            ["|zip(l)", "|chain(l)", "|batch(1)", "()()"].map(|word| format!("l{}", word.repeat(operators / 2 - 1)));
        let nested = ["-", "not "].map(|word| {
            let inner = word.repeat(operators / 70 - 1);
            format!("{}n{}", format!("{inner}(").repeat(70), ")".repeat(70))
        });
        let after = after.map(|word| format!("n{}", word.repeat(operators)));
        let before = before.map(|word| format!("{}n", word.repeat(operators)));
        let glued = format!("{}n", "1or ".repeat(operators / 2));
        after.into_iter().chain([glued]).chain(before).chain(twice).chain(nested).collect()
    }

    #[test]
    fn the_longest_chains_have_a_value_or_an_error_on_a_threads_stack() {
        let all = || {
            let names = from_json(&json!({"n": 3, "z": 0, "l": [1, 2]}));
            for text in chains(MOST_OPERATORS) {
                assert_eq!(too_long(&text), None, "{text}");
                let _ = check(&text);
                let _ = eval(&text, &scan::mentions(&text), &names);
            }
        };
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(all).expect("a thread");
        thread.join().expect("no panic");
    }

    #[test]
    fn what_is_too_long_is_refused_with_a_way_out() {
        for operators in [MOST_OPERATORS * 2, 100_000] {
            for text in chains(operators) {
                let fault = value(&text).unwrap_err();
                assert!(fault.message.contains("too long") && fault.help.is_some(), "{fault:?}");
                assert!(eval(&text, &Mentions::default(), &from_json(&json!({}))).is_err());
            }
        }
        let wide = format!("{{{}}}", "'key': 'a value', ".repeat(400));
        assert!(value(&wide).is_ok(), "wide is not deep");
    }

    #[test]
    fn endless_lists_are_refused() {
        assert!(value("range(1000000000) | length").is_err());
    }

    #[test]
    fn every_listed_name_exists() {
        for name in filters() {
            let test = ENVIRONMENT.compile_expression_owned(format!("'{name}' is filter")).unwrap();
            assert!(test.eval(()).unwrap().is_true(), "{name}");
        }
        for name in TESTS {
            let test = ENVIRONMENT.compile_expression_owned(format!("'{name}' is test")).unwrap();
            assert!(test.eval(()).unwrap().is_true(), "{name}");
        }
    }

    /// What stands under a heading of the language's description.
    fn section(heading: &str) -> impl Iterator<Item = &'static str> {
        let text = include_str!("../../../plans/LANGUAGE.md");
        let begins = text.split_once(&format!("\n### {heading}\n")).expect("a heading").1;
        let ends = begins.find("\n#").unwrap_or(begins.len());
        begins[..ends].lines()
    }

    #[test]
    fn every_expression_of_the_description_has_the_value_that_it_says() {
        let mut seen = 0;
        for heading in ["Operators and values", "Functions", "Filters", "Tests"] {
            for (text, expected) in section(heading).filter_map(|line| line.split_once(" → ")) {
                let found = check(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
                let item =
                    eval(text, &found, &from_json(&json!({}))).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
                let expected: Value = serde_json::from_str(expected).expect("JSON");
                assert_eq!(to_json(&item), Ok(expected), "{text}");
                seen += 1;
            }
        }
        assert!(seen > 70, "{seen} expressions are described");
    }

    #[test]
    fn the_description_has_every_function_filter_and_test() {
        type Names = fn(&Mentions) -> &Vec<Used>;
        let all_filters: Vec<&str> = filters().collect();
        let cases: [(&str, &[&str], Names); 3] = [
            ("Functions", &FUNCTIONS, |found| &found.functions),
            ("Filters", &all_filters, |found| &found.filters),
            ("Tests", &TESTS, |found| &found.tests),
        ];
        for (heading, known, names) in cases {
            let lines = section(heading).filter_map(|line| line.split_once(" → "));
            let used: Vec<Mentions> = lines.map(|(text, _)| scan::mentions(text)).collect();
            let described: BTreeSet<&str> = used.iter().flat_map(names).map(|used| used.name.as_str()).collect();
            assert_eq!(described, known.iter().copied().collect(), "{heading}");
        }
    }

    #[test]
    fn texts_hold_scalars_only() {
        assert_eq!(to_text(&from_json(&json!(true))).unwrap(), "true");
        assert!(to_text(&from_json(&json!([1]))).unwrap_err().contains("join"));
        assert!(to_text(&from_json(&json!(null))).unwrap_err().contains("default"));
    }
}
