//! The files of hints beside a plan: `hints/*.yaml` in the plan's folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{Hint, Origin};
use super::shipped;
use crate::plan::Problem;
use crate::plan::hints;
use crate::plan::model::Source;

/// Reads the hints beside a plan. Files that came with the program as they are count as that, and are not read again.
pub(crate) fn beside(dir: &Path, problems: &mut Vec<Problem>) -> Vec<Hint> {
    files(&dir.join("hints")).iter().flat_map(|file| read(file, problems)).collect()
}

/// The files, in the order of their names.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_data = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let mut files: Vec<PathBuf> = entries.filter(is_data).collect();
    files.sort();
    files
}

fn read(file: &Path, problems: &mut Vec<Problem>) -> Vec<Hint> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("the hints in `{}` cannot be read: {error}", file.display());
            problems.push(Problem::bare("hints::unreadable", message));
            return Vec::new();
        }
    };
    if shipped::is_shipped(&text) {
        return Vec::new();
    }
    hints::read_file(&Arc::new(Source::new(file.display().to_string(), text)), Origin::Folder, problems)
}
