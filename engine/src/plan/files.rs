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
    use crate::plan::load::odd_thing;

    #[test]
    fn pipes_sockets_and_devices_are_odd_also_behind_a_link() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, rustix::fs::Mode::RWXU, 0).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("made");
        std::os::unix::fs::symlink("pipe", at("link")).expect("made");
        std::fs::write(at("file"), "x").expect("made");
        let odd =
            |name: &str| Odd::among(&["file".into(), ".".into(), "none".into(), name.into()], dir.path(), odd_thing);
        let said = |name: &str| odd(name).map(|odd| odd.message()).unwrap_or_default();
        for (name, what) in
            [("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket"), ("/dev/null", "a device")]
        {
            assert_eq!(said(name), format!("`{name}` is {what}, and a step reads only files and folders"));
        }
        assert_eq!(odd("file"), None);
    }
}
