//! Which files of the plan's own folder a program plainly is, or reads: they decide what a step does as much as its words.
//!
//! Goes by the words alone: a path is plain where it is relative, stays below the plan's folder and has no expansion left in it.
//! What is not plain is no part of the fingerprint.

use std::path::{Component, Path, PathBuf};

/// Programs whose first argument is the script that they run.
const INTERPRETERS: [&str; 6] = ["bash", "sh", "dash", "zsh", "python3", "python"];

/// The local script that a program with its arguments is. `dir` is where it runs, relative to the plan.
pub(super) fn local_script<'w>(dir: Option<&Path>, words: impl IntoIterator<Item = &'w str>) -> Option<PathBuf> {
    let mut words = words.into_iter();
    let program = words.next()?;
    if INTERPRETERS.contains(&program) {
        // `bash -c …` names no file, and what follows other flags may be their value.
        return words.next().filter(|word| !word.starts_with('-')).and_then(|word| below(dir, word));
    }
    if program.contains('/') { below(dir, program) } else { None }
}

/// The same for a shell script that is one plain command.
pub(super) fn script_of_line(dir: Option<&Path>, line: &str) -> Option<PathBuf> {
    let plain = |letter: char| letter.is_alphanumeric() || " ./_-=:,@+%".contains(letter);
    line.chars().all(plain).then(|| local_script(dir, line.split_whitespace()))?
}

/// The Makefile of a folder of the plan.
pub(super) fn makefile(dir: &Path) -> Option<PathBuf> {
    below(Some(dir), "Makefile")
}

/// A file below the plan's folder, as a path from there.
fn below(dir: Option<&Path>, file: &str) -> Option<PathBuf> {
    let path = dir.map_or_else(|| PathBuf::from(file), |dir| dir.join(file));
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let plain = !path.to_string_lossy().contains(['~', '$', '*', '{', '«']);
    (inside && plain).then(|| path.components().filter(|part| *part != Component::CurDir).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(dir: Option<&str>, words: &[&str]) -> Option<String> {
        local_script(dir.map(Path::new), words.iter().copied()).map(|path| path.display().to_string())
    }

    #[test]
    fn a_relative_program_and_the_argument_of_an_interpreter_are_scripts() {
        assert_eq!(found(None, &["./deploy.sh", "x"]).as_deref(), Some("deploy.sh"));
        assert_eq!(found(None, &["bash", "tools/a.sh", "b.sh"]).as_deref(), Some("tools/a.sh"));
        assert_eq!(found(Some("sub"), &["python3", "a.py"]).as_deref(), Some("sub/a.py"));
    }

    #[test]
    fn what_is_not_plain_is_none() {
        for words in [&["bash", "-c", "x"][..], &["make"], &["/bin/true"], &["../up.sh"], &["bash", "~/a.sh"], &[]] {
            assert_eq!(found(None, words), None, "{words:?}");
        }
        assert_eq!(found(Some("/elsewhere"), &["./a.sh"]), None);
        assert_eq!(script_of_line(None, "./a.sh \"$X\""), None);
        assert_eq!(script_of_line(None, "./a.sh --now"), Some(PathBuf::from("a.sh")));
    }

    #[test]
    fn a_makefile_counts_where_its_folder_is_the_plans() {
        assert_eq!(makefile(Path::new("infra")), Some(PathBuf::from("infra/Makefile")));
        assert_eq!(makefile(Path::new("/clones/infra")), None);
    }
}
