//! What readiness is, kind by kind: the tables of `docs/readiness.md` against the rules, and the cases in `cases/`.

mod kstatus;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;

use super::*;
use crate::failure::Class;

const DOCS: &str = include_str!("../../docs/readiness.md");

/// An object, and what is around it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    object: Value,
    #[serde(default)]
    events: Vec<Value>,
    #[serde(default)]
    pods: Vec<Value>,
    #[serde(default)]
    parents: Vec<String>,
    expected: Option<crate::span::Span>,
    now: Option<Timestamp>,
    watched: Option<Timestamp>,
    #[serde(default = "yes")]
    has_status: bool,
}

fn yes() -> bool {
    true
}

impl Case {
    fn judged(&self) -> Readiness {
        let shared = |objects: &[Value]| objects.iter().cloned().map(Arc::new).collect::<Vec<_>>();
        let (events, pods) = (shared(&self.events), shared(&self.pods));
        let around = Around {
            has_status: self.has_status,
            events: &events,
            pods: &pods,
            parents: &self.parents,
            expected: self.expected.map(|span| span.0),
            now: self.now,
            watched: self.watched,
            held: None,
        };
        judge(&self.object, &around)
    }
}

/// All cases, as `file/name`.
fn cases() -> BTreeMap<String, Case> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/readiness/cases");
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("the cases") {
        let path = entry.expect("an entry").path();
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a file");
        let cases: BTreeMap<String, Case> =
            serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        found.extend(cases.into_iter().map(|(name, case)| (format!("{file}/{name}"), case)));
    }
    found
}

/// The rows of the table below a heading, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = DOCS.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let section = rest.split("\n## ").next().expect("a section");
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |line: &str| {
        let inner = line.trim().trim_matches('|').replace("\\|", "\u{1}");
        inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
    };
    lines.map(cells).collect()
}

/// `ready`, `progressing: why`, `failed: why`, `gone`.
fn said(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Ready => "ready".to_owned(),
        Readiness::Progressing(why) => format!("progressing: {why}"),
        Readiness::Failed(why) => format!("failed: {why}"),
        Readiness::Gone => "gone".to_owned(),
    }
}

/// Whether a verdict is the one that the table gives, whose reason may be a part of the real one.
fn fits(said: &str, table: &str) -> bool {
    match table.split_once(": ") {
        Some((word, part)) => said.split_once(": ").is_some_and(|(own, why)| own == word && why.contains(part)),
        None => said.split(':').next() == Some(table),
    }
}

#[test]
fn every_case_is_judged_as_the_table_says() {
    let (cases, rows) = (cases(), table("Cases"));
    let mut wrong = Vec::new();
    for row in &rows {
        let [kind, name, _, peers, ours] = row.as_slice() else { panic!("{row:?}") };
        let name = name.trim_matches('`');
        let case = cases.get(name).unwrap_or_else(|| panic!("there is no case `{name}`"));
        assert_eq!(kind, kind_of(&case.object), "{name}");
        let judged = said(&case.judged());
        if !fits(&judged, ours) {
            wrong.push(format!("{name}: {judged}, but the table has {ours}"));
        }
        let by_kstatus = kstatus::status(&case.object);
        if by_kstatus != peers.trim_matches('*') {
            wrong.push(format!("{name}: kstatus says {by_kstatus}, but the table has {peers}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let named: BTreeSet<&str> = rows.iter().map(|row| row[1].trim_matches('`')).collect();
    let missing: Vec<_> = cases.keys().filter(|name| !named.contains(name.as_str())).collect();
    assert!(missing.is_empty() && named.len() == rows.len(), "not in the table, or there twice: {missing:?}");
}

/// Where kstatus differs, the table says so by bold letters, and only there.
#[test]
fn where_kstatus_differs_is_marked() {
    for row in table("Cases") {
        let same = match row[4].split(':').next().expect("a word") {
            "ready" => "Current",
            "progressing" => "InProgress",
            "failed" => "Failed",
            _ => "Terminating",
        };
        assert_eq!(row[3].starts_with("**"), row[3].trim_matches('*') != same, "{}", row[1]);
    }
}

#[test]
fn every_kind_with_a_rule_is_in_the_table_and_no_other() {
    let ruled: BTreeSet<(String, String)> =
        RULES.iter().map(|(group, kind, _)| ((*group).to_owned(), (*kind).to_owned())).collect();
    let mut told = BTreeSet::new();
    for row in table("Kinds") {
        let [groups, kinds, rule, source] = row.as_slice() else { panic!("{row:?}") };
        assert!(!rule.is_empty() && !source.is_empty(), "{row:?}");
        let bare = |text: &str| text.trim().trim_matches('`').to_owned();
        for group in groups.split(',').map(bare) {
            let group = if group == "core" { String::new() } else { group };
            told.extend(kinds.split(',').map(|kind| (group.clone(), bare(kind))));
        }
    }
    assert_eq!(ruled, told);
}

#[test]
fn the_important_kinds_have_at_least_three_cases() {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases().values() {
        *count.entry(kind_of(&case.object).to_owned()).or_default() += 1;
    }
    let few = ["ResourceQuota", "Event", "NetworkPolicy", "ReferenceGrant"];
    let exists: fn(&Value, &Around<'_>) -> Readiness = resources::exists;
    let shared =
        ["TLSRoute", "TCPRoute", "UDPRoute", "IstioCNI", "IstioRevision", "ZTunnel", "MutatingWebhookConfiguration"];
    for (_, kind, rule) in RULES.iter().filter(|rule| !few.contains(&rule.1) && !shared.contains(&rule.1)) {
        let trivial = std::ptr::fn_addr_eq(*rule, exists);
        assert!(trivial || count.get(*kind).copied().unwrap_or(0) >= 3, "{kind}");
    }
}

fn pod(status: &Value) -> Value {
    serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "n" }, "status": status })
}

#[test]
fn an_autoscaler_that_gave_up_is_a_failure_of_its_own_class() {
    let condition = serde_json::json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no fit" });
    let pod = pod(&serde_json::json!({ "phase": "Pending", "conditions": [condition] }));
    let event =
        |reason: &str, message: &str| serde_json::json!({ "type": "Normal", "reason": reason, "message": message });
    let of = |events: &[&Value]| trouble_of(&pod, events).expect("a trouble").class;
    let stockout = event("FailedScaleUp", "GCE out of resources");
    let none = event("NotTriggerScaleUp", "1 in backoff after failed scale-up");
    assert_eq!(of(&[&stockout]), Class::Stockout);
    assert_eq!(of(&[&event("FailedScaleUp", "GCE quota exceeded")]), Class::Quota);
    assert_eq!(of(&[&none]), Class::Stockout);
    assert_eq!(of(&[&none, &event("FailedScaleUp", "GCE quota exceeded")]), Class::Quota);
    assert_eq!(of(&[&event("NotTriggerScaleUp", "1 max node group size reached")]), Class::Permanent);
}

#[test]
fn restarts_are_counted_as_people_do() {
    let of = |times: u64| {
        let container = serde_json::json!({ "name": "main", "restartCount": times, "state": { "waiting": { "reason": "CrashLoopBackOff" } } });
        let pod = pod(&serde_json::json!({ "containerStatuses": [container] }));
        trouble_of(&pod, &[]).expect("a trouble").line("", None)
    };
    for (times, expected) in
        [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (113, "113th")]
    {
        assert_eq!(of(times), format!("main · waiting CrashLoopBackOff ({expected} restart)"));
    }
}
