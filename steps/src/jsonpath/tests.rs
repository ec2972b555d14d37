//! Against the table that the real kubectl made.

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Deserialize)]
struct Table {
    object: Value,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    path: String,
    prints: Option<String>,
    error: Option<String>,
    /// Why we do otherwise, on purpose.
    differs: Option<String>,
    /// What we print then; nothing where we refuse.
    ours: Option<String>,
}

fn table() -> Table {
    serde_yaml::from_str(include_str!("kubectl.yaml")).expect("the table")
}

#[test]
fn paths_print_what_kubectl_prints() {
    let table = table();
    let mut wrong = Vec::new();
    for case in table.cases.iter().filter(|case| case.prints.is_some()) {
        let expected = if case.differs.is_some() { case.ours.as_ref() } else { case.prints.as_ref() };
        let ours = JsonPath::read(&case.path).map(|read| read.print(&table.object));
        if ours.as_ref().ok() != expected {
            wrong.push(format!("{}: {ours:?}, not {expected:?}", case.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(table.cases.len() >= 90);
}

/// What kubectl cannot read we refuse; where it fails on this object it may come to be otherwise, and there is nothing yet.
#[test]
fn what_is_an_error_to_kubectl_is_refused_or_leads_to_nothing() {
    let table = table();
    for Case { path, error, .. } in &table.cases {
        let Some(error) = error else { continue };
        let never = ["error parsing", "nothing to end", "step must be"].iter().any(|part| error.contains(part));
        match JsonPath::read(path) {
            Ok(_) if never => panic!("{path} was read, but {error}"),
            Ok(read) => assert_eq!(read.value(&table.object), None, "{path}: {error}"),
            Err(_) => assert!(never, "{path} was refused, but {error}"),
        }
    }
}

#[test]
fn values_keep_their_types_and_braces_may_be_left_out() {
    let object = table().object;
    let value = |path: &str| JsonPath::read(path).expect(path).value(&object).unwrap_or(Value::Null);
    let cases = [
        (".spec.replicas", json!(3)),
        ("spec.replicas", json!(3)),
        ("{.spec.ports[*].port}", json!([80, 443, 9090])),
        ("{.spec.ports[0]['name']}", json!("http")),
        ("{.spec.ports[0][\"name\"]}", json!("http")),
        ("{.spec.paused}", json!(false)),
        ("{.spec.empty}", Value::Null),
        ("{.spec.none}", Value::Null),
        ("{range .spec.ports[*]}{.name} {end}", json!("http https metrics ")),
        ("{range .spec.missing[*]}{.name} {end}", Value::Null),
    ];
    for (path, expected) in cases {
        assert_eq!(value(path), expected, "{path}");
    }
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("", "a path is missing"),
        ("{.a", "is not closed"),
        ("{.a[0}", "a `[` of the path `.a[0` is not closed"),
        ("{.a[?(@.b=='c)]}", "is not closed"),
        ("{range .a[*]}{.b}", "a `{range}` without its `{end}`"),
        ("{.a[?(@.b==1 || @.c)]}", "one comparison"),
        ("{.a[?(@.b==c)]}", "neither a path such as `@.type` nor a text in quotes"),
        ("{.a[?(@.b=\"c\")]}", "has none of =="),
        ("{.a[one]}", "`[one]` is no index"),
        ("{.a)}", "`)` is not expected"),
    ];
    for (path, part) in cases {
        let error = JsonPath::read(path).expect_err(path);
        assert!(error.contains(part), "{path}: {error}");
    }
}
