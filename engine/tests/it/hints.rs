//! The hints that come with the program: each is the best for what it was written for, and the table of them is true.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use runbook::hints::{Hint, Origin, best, shipped};
use runbook::plan::error::report_list;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn id(hint: &Hint) -> &str {
    hint.id.as_deref().unwrap_or_default()
}

/// The hints that a step of a kind sees.
fn seen_by<'h>(kind: &'h str) -> impl Iterator<Item = &'h Hint> {
    shipped::hints().iter().filter(move |hint| hint.kind.as_deref().is_none_or(|wanted| wanted == kind))
}

#[test]
fn they_are_well_formed() {
    assert_eq!(report_list(shipped::problems(), false, 120), "");
}

#[test]
fn each_has_a_name_of_its_own_and_a_trigger() {
    let mut names = BTreeSet::new();
    for hint in shipped::hints() {
        assert!(names.insert(id(hint)), "two hints are called `{}`", id(hint));
        assert!(!hint.triggers.is_empty(), "`{}` has no trigger", id(hint));
        assert!(hint.origin < Origin::Folder, "`{}`", id(hint));
    }
}

#[test]
fn each_is_the_best_for_its_own_triggers() {
    let mut wrong = Vec::new();
    for hint in shipped::hints() {
        for (number, trigger) in hint.triggers.iter().enumerate() {
            let facts = trigger.facts();
            let found = best::best(seen_by(trigger.kind()), trigger.seen(&facts));
            if found.map(id) != Some(id(hint)) {
                wrong.push(format!("trigger {number} of `{}` is recognised by {:?}", id(hint), found.map(id)));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
