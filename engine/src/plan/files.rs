//! What is wrong with what a step names as a file of its own. Does not look itself: whoever asks says how.

use std::path::{Path, PathBuf};

/// Looks for the first odd thing among the files of a step.
pub(crate) type LookForOdd<'l> = &'l (dyn Fn(&[PathBuf]) -> Option<Odd> + Sync);

/// Something that a step names as a file of its own and that is neither a file nor a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Odd {
    /// The file as named.
    pub(crate) file: PathBuf,
    what: &'static str,
}

impl Odd {
    /// The first of some files that is one; relative ones start from `dir`. `what` says of a path what odd thing is there, if one is.
    pub(crate) fn among(files: &[PathBuf], dir: &Path, what: fn(&Path) -> Option<&'static str>) -> Option<Self> {
        files.iter().find_map(|file| Some(Self { file: file.clone(), what: what(&dir.join(file))? }))
    }

    /// What is wrong, in one line.
    pub(crate) fn message(&self) -> String {
        format!("`{}` is {}, and a step reads only files and folders", self.file.display(), self.what)
    }

    /// What to do about it.
    pub(crate) fn fix(&self) -> String {
        format!("name a file or a folder; what `{}` gives can be saved to a file first", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_odd_thing_is_named_as_the_step_names_it() {
        let what = |path: &Path| path.starts_with("/plans/odd").then_some("a named pipe");
        let among = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            Odd::among(&files, Path::new("/plans"), what).map(|odd| odd.message())
        };
        let said = |name: &str| Some(format!("`{name}` is a named pipe, and a step reads only files and folders"));
        assert_eq!(among(&["a", "odd/first", "odd/second"]), said("odd/first"));
        assert_eq!(among(&["/plans/odd"]), said("/plans/odd"));
        assert_eq!(among(&["a", "/odd"]), None);
    }
}
