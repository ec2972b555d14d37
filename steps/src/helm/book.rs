//! Helm's book of one release, and what to do about a revision that nobody finishes. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// Which deployment works on a release.
const DEPLOYMENT: &str = "runbook.dev/deployment";
/// The revision that was there before that deployment began; 0 where it installed the release.
const BEFORE: &str = "runbook.dev/before";
/// The digest of a chart from a folder, whose version does not tell that a template was changed.
const CHART: &str = "runbook.dev/chart";

/// What helm knows of one release.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Book {
    /// The oldest first; helm keeps ten.
    pub(crate) revisions: Vec<Revision>,
    /// Our labels on the newest.
    pub(crate) marks: Marks,
}

/// One revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Revision {
    pub(crate) number: u64,
    /// `deployed`, `failed`, `superseded`, `pending-install`, …
    pub(crate) status: String,
    /// Name and version: `demo-0.1.0`.
    pub(crate) chart: String,
    pub(crate) app_version: String,
    pub(crate) description: String,
    pub(crate) updated: Option<Timestamp>,
}

impl Revision {
    fn read(row: &Value) -> Self {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        Self {
            number: row["revision"].as_u64().unwrap_or(0),
            status: text("status"),
            chart: text("chart"),
            app_version: text("app_version"),
            description: text("description"),
            updated: text("updated").parse().ok(),
        }
    }

    /// Whether somebody works on it, or was killed over it.
    pub(crate) fn is_pending(&self) -> bool {
        self.status.starts_with("pending") || self.status == "uninstalling"
    }
}

impl Book {
    /// From what `helm history` prints as JSON.
    pub(crate) fn read(history: &Value) -> Self {
        let mut revisions: Vec<Revision> = history.as_array().into_iter().flatten().map(Revision::read).collect();
        revisions.sort_by_key(|it| it.number);
        Self { revisions, marks: Marks::default() }
    }

    /// The newest revision, unless the release was uninstalled and only its history kept.
    pub(crate) fn last(&self) -> Option<&Revision> {
        self.revisions.last().filter(|it| it.status != "uninstalled")
    }

    /// The revision that runs.
    pub(crate) fn deployed(&self) -> Option<&Revision> {
        self.revisions.iter().rev().find(|it| it.status == "deployed")
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.revisions.iter().any(|it| it.number == number)
    }

    /// The marks that the next revision gets: who made it, and what was there before that one began.
    pub(crate) fn next_marks(&self, deployment: &str, chart: Option<String>) -> Marks {
        let ours = self.last().is_some() && self.marks.deployment.as_deref() == Some(deployment);
        let found = self.deployed().map_or(0, |it| it.number);
        let before = if ours { self.marks.before.unwrap_or(found) } else { found };
        Marks { deployment: Some(deployment.to_owned()), before: Some(before), chart }
    }
}

/// Our labels on a revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Marks {
    pub(crate) deployment: Option<String>,
    pub(crate) before: Option<u64>,
    pub(crate) chart: Option<String>,
}

impl Marks {
    pub(crate) fn read(labels: &Value) -> Self {
        let text = |key: &str| labels[key].as_str().map(ToOwned::to_owned);
        Self {
            deployment: text(DEPLOYMENT),
            before: text(BEFORE).and_then(|text| text.parse().ok()),
            chart: text(CHART).filter(|it| !it.is_empty()),
        }
    }

    /// What `helm upgrade --labels` takes. Labels go on to the next revision, so one that has no meaning any more is unset.
    pub(crate) fn argument(&self) -> String {
        let chart = self.chart.as_deref().unwrap_or("null");
        let (deployment, before) = (self.deployment.as_deref().unwrap_or_default(), self.before.unwrap_or(0));
        format!("{DEPLOYMENT}={deployment},{BEFORE}={before},{CHART}={chart}")
    }
}

/// What to do about a pending revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cure {
    /// Somebody may still be at it: look again, and after this time no more.
    Wait(Duration),
    /// Back to the revision that runs.
    RollBack(u64),
    /// There is none: away with what was begun.
    Uninstall,
}

/// What a pending revision needs; nothing where none is pending. Helm writes down no holder, so one that is not `abandoned` for sure
/// counts as held for as long as `patience` since it was begun.
pub(crate) fn cure(book: &Book, abandoned: bool, now: Timestamp, patience: Duration) -> Option<Cure> {
    let last = book.last().filter(|it| it.is_pending())?;
    let age = last.updated.map_or(patience, |begun| now.duration_since(begun).try_into().unwrap_or(Duration::ZERO));
    if !abandoned && age < patience {
        return Some(Cure::Wait(patience - age));
    }
    match book.deployed().filter(|_| last.status != "uninstalling") {
        Some(deployed) => Some(Cure::RollBack(deployed.number)),
        None => Some(Cure::Uninstall),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn book(statuses: &[&str]) -> Book {
        let row = |(index, status): (usize, &&str)| json!({ "revision": index + 1, "status": status, "chart": "demo-0.1.0", "updated": "2026-01-01T00:00:00Z" });
        Book::read(&statuses.iter().enumerate().map(row).collect())
    }

    fn at(seconds: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().expect("a time") + jiff::SignedDuration::from_secs(seconds)
    }

    #[test]
    fn a_pending_revision_is_left_while_somebody_may_be_at_it() {
        let patience = Duration::from_secs(300);
        let cases = [
            (&["pending-install"][..], false, 10, Some(Cure::Wait(Duration::from_secs(290)))),
            (&["pending-install"], false, 300, Some(Cure::Uninstall)),
            (&["pending-install"], true, 10, Some(Cure::Uninstall)),
            (&["superseded", "deployed", "pending-upgrade"], true, 10, Some(Cure::RollBack(2))),
            (&["deployed", "failed", "pending-rollback"], true, 10, Some(Cure::RollBack(1))),
            (&["superseded", "uninstalling"], true, 10, Some(Cure::Uninstall)),
            (&["failed", "pending-upgrade"], true, 10, Some(Cure::Uninstall)),
            (&["superseded", "deployed"], true, 10, None),
            (&["failed"], true, 10, None),
            (&[], true, 10, None),
        ];
        for (statuses, abandoned, age, wanted) in cases {
            assert_eq!(cure(&book(statuses), abandoned, at(age), patience), wanted, "{statuses:?} after {age} s");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_revision_old() {
        let wait = Some(Cure::Wait(Duration::from_secs(300)));
        assert_eq!(cure(&book(&["pending-install"]), false, at(-50), Duration::from_secs(300)), wait);
    }

    #[test]
    fn what_was_there_before_is_remembered_from_revision_to_revision() {
        let fresh = Book::default().next_marks("d", None);
        assert_eq!(fresh.before, Some(0));
        let theirs = book(&["superseded", "deployed"]);
        assert_eq!(theirs.next_marks("d", None).before, Some(2));
        let ours = Book { marks: fresh, ..book(&["superseded", "deployed"]) };
        assert_eq!(ours.next_marks("d", None).before, Some(0));
        assert_eq!(ours.next_marks("other", None).before, Some(2));
    }

    #[test]
    fn labels_are_written_and_read() {
        let marks = Marks { deployment: Some("d".to_owned()), before: Some(3), chart: None };
        assert_eq!(marks.argument(), "runbook.dev/deployment=d,runbook.dev/before=3,runbook.dev/chart=null");
        assert_eq!(Marks::read(&json!({ DEPLOYMENT: "d", BEFORE: "3", "owner": "helm" })), marks);
    }

    #[test]
    fn a_kept_history_is_no_release() {
        assert_eq!(book(&["superseded", "uninstalled"]).last(), None);
    }
}
