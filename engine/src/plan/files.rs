//! What stands where a step looks for its files. Looks, and opens nothing: opening a pipe waits until somebody writes to it.

use std::fs::FileType;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// Something that a step names as a file of its own and that is neither a file nor a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Odd {
    /// The file as named.
    pub(crate) file: PathBuf,
    what: &'static str,
}

impl Odd {
    /// The first of some files that is one; relative ones start from `dir`. What is not there, or cannot be looked at, is none: the
    /// step itself will say so better.
    pub(crate) fn among(files: &[PathBuf], dir: &Path) -> Option<Self> {
        files.iter().find_map(|file| {
            let found = dir.join(file).metadata().ok()?.file_type();
            Some(Self { file: file.clone(), what: what(found)? })
        })
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

fn what(found: FileType) -> Option<&'static str> {
    match found {
        found if found.is_file() || found.is_dir() => None,
        found if found.is_fifo() => Some("a named pipe"),
        found if found.is_socket() => Some("a socket"),
        found if found.is_char_device() || found.is_block_device() => Some("a device"),
        _ => Some("neither a file nor a folder"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_sockets_and_devices_are_odd_also_behind_a_link() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, rustix::fs::Mode::RWXU, 0).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("made");
        std::os::unix::fs::symlink("pipe", at("link")).expect("made");
        std::fs::write(at("file"), "x").expect("made");
        let odd = |name: &str| Odd::among(&["file".into(), ".".into(), "none".into(), name.into()], dir.path());
        let said = |name: &str| odd(name).map(|odd| odd.message()).unwrap_or_default();
        for (name, what) in
            [("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket"), ("/dev/null", "a device")]
        {
            assert_eq!(said(name), format!("`{name}` is {what}, and a step reads only files and folders"));
        }
        assert_eq!(odd("file"), None);
    }
}
