//! The arrows between the parts, held against the source.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(dir);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{dir} has sources");
    found
}

/// The part of a file that is not its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

fn offenders(dir: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources(dir) {
        let name = path.to_string_lossy().replace('\\', "/");
        if allowed.iter().any(|ending| name.contains(ending)) {
            continue;
        }
        for (number, line) in code(&text).lines().enumerate() {
            let line = line.split("//").next().unwrap_or("");
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_rehearsal_reaches_the_fixtures() {
    let allowed = ["cli/rehearse", "cli/world.rs", "cli/tool.rs"];
    assert_eq!(offenders("engine/src", &["runbook_fixtures"], &allowed), Vec::<String>::new());
}

#[test]
fn the_leaves_do_not_know_the_others() {
    assert_eq!(offenders("fixtures/src", &["runbook_steps", "runbook::"], &[]), Vec::<String>::new());
    assert_eq!(offenders("steps/src", &["runbook_fixtures", "runbook::"], &[]), Vec::<String>::new());
}

#[test]
fn plans_are_pure() {
    let words = ["tokio::", "std::env", "SystemTime", "Instant", "std::process", "fs::"];
    assert_eq!(offenders("engine/src/plan", &words, &["plan/load.rs"]), Vec::<String>::new());
}

#[test]
fn the_scheduler_and_the_fold_decide_and_do_nothing_else() {
    let words = ["tokio::", "std::env", "SystemTime", "Instant", "std::fs", "std::io", "Clock", "tracing::"];
    let all_but = |keep: &'static str| move |offender: &String| offender.contains(keep);
    let schedule: Vec<_> =
        offenders("engine/src/run", &words, &[]).into_iter().filter(all_but("run/schedule")).collect();
    let fold: Vec<_> = offenders("engine/src/state", &words, &[]).into_iter().filter(all_but("state/fold")).collect();
    assert_eq!((schedule, fold), (Vec::new(), Vec::new()));
}

#[test]
fn programs_start_in_one_place() {
    let words = ["Command::new", "duct::cmd"];
    assert_eq!(offenders("steps/src", &words, &["steps/src/tools"]), Vec::<String>::new());
    assert_eq!(offenders("engine/src", &words, &["cli/rehearse/stage.rs"]), Vec::<String>::new());
}

#[test]
fn files_begin_with_what_they_own() {
    let bare: Vec<String> = ["engine/src", "steps/src", "fixtures/src"]
        .iter()
        .flat_map(|dir| sources(dir))
        .filter(|(_, text)| !text.lines().any(|line| line.starts_with("//!")))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert_eq!(bare, Vec::<String>::new());
}
