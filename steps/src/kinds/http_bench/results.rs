//! What was measured: as a value, a table and files, and against the last good run.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::options::Bench;
use crate::bench::baseline::{self, Kept};
use crate::bench::load::TAKEN;
use crate::bench::table;
use crate::context::Context;
use crate::failure::Failure;

/// The figures of a run.
pub(super) struct Results {
    /// As expressions see them.
    pub(super) bench: Value,
    /// As people read them.
    pub(super) table: String,
    now: Kept,
    /// The last good run, where this one may be held against it.
    last: Option<Kept>,
    changes: Map<String, Value>,
}

impl Results {
    pub(super) async fn of(bench: &Bench, mut figures: Map<String, Value>, cx: &Context) -> Self {
        let simulated = cx.world.simulated.is_some();
        let rows = figures.iter().filter(|(name, _)| !TAKEN.contains(&name.as_str()));
        let scenarios: Map<String, Value> = rows.map(|(name, row)| (name.clone(), row.clone())).collect();
        let when = cx.clock().now().to_string();
        let now = Kept { when, simulated, digest: bench.digest(), scenarios };
        let last = Kept::read(&kept_at(cx)).await.filter(|last| last.compares(&now));
        let changes = last.as_ref().map(|last| baseline::changes(&last.scenarios, &now.scenarios)).unwrap_or_default();
        if let Some(last) = &last {
            figures.insert("since".to_owned(), json!({ "when": last.when, "changes": changes }));
        }
        let mut table = table::text(&now.scenarios, &changes);
        if let Some(cache) = figures.get("cache") {
            table.push_str(&format!("\n{}", table::cache(cache)));
        }
        if simulated {
            table.push_str("simulated: these figures are the rehearsal's, not a model's\n");
        }
        Self { bench: Value::Object(figures), table, now, last, changes }
    }

    /// Writes the files; where they are.
    pub(super) async fn write(&self, bench: &Bench, cx: &Context) -> Result<Value, Failure> {
        let folder = match &bench.results {
            Some(folder) => cx.plan_path(folder),
            None => own_folder(cx),
        };
        let stem: String = self.now.when.chars().take(19).filter(char::is_ascii_alphanumeric).collect();
        let stem = format!("{}_{stem}Z", plain(&cx.step));
        let pretty = serde_json::to_string_pretty(&self.bench).unwrap_or_default();
        let contents = [
            ("json", pretty),
            ("csv", table::csv(&self.now.scenarios, self.now.simulated)),
            ("txt", self.table.clone()),
        ];
        let mut files = Map::new();
        for (ending, content) in contents {
            let path = folder.join(format!("{stem}.{ending}"));
            write(&path, &content).await?;
            let name = if ending == "txt" { "text" } else { ending };
            files.insert(name.to_owned(), json!(path.display().to_string()));
        }
        Ok(Value::Object(files))
    }

    /// Fails where a figure is worse than the last good run's by more than the plan tolerates.
    pub(super) fn hold_against_last(&self, bench: &Bench) -> Result<(), Failure> {
        let Some(last) = &self.last else { return Ok(()) };
        let worse = baseline::worse(&self.changes, &bench.baseline, &last.scenarios, &self.now.scenarios);
        let Some((first, rest)) = worse.split_first() else { return Ok(()) };
        Err(Failure::permanent(format!("worse than the last good run, of {}: {first}", last.when))
            .detail([rest.join("\n"), self.table.clone()].join("\n").trim_start().to_owned())
            .fix("look for what changed since; to take these figures as the new normal, run it once with a wider `baseline`"))
    }

    /// Keeps this run as the last good one.
    pub(super) async fn keep(&self, cx: &Context) -> Result<(), Failure> {
        let path = kept_at(cx);
        make_folder(&path).await?;
        self.now.write(&path).await
    }
}

fn own_folder(cx: &Context) -> PathBuf {
    cx.state_dir.join("bench").join(plain(&cx.step))
}

fn kept_at(cx: &Context) -> PathBuf {
    own_folder(cx).join("last-good.json")
}

/// A step's name as part of a file's: items have brackets and slashes in theirs.
fn plain(step: &str) -> String {
    step.chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect()
}

async fn make_folder(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent() else { return Ok(()) };
    tokio::fs::create_dir_all(folder)
        .await
        .map_err(|error| Failure::permanent(format!("cannot make the folder `{}`: {error}", folder.display())))
}

async fn write(path: &Path, content: &str) -> Result<(), Failure> {
    make_folder(path).await?;
    tokio::fs::write(path, content)
        .await
        .map_err(|error| Failure::permanent(format!("cannot write the results to `{}`: {error}", path.display())))
}
