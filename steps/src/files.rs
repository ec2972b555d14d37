//! Reading what a plan names as a file, without ever waiting for somebody to write it: a pipe, a socket or a device in its place is
//! refused by what it is. Knows nothing of what is in files.

use std::fs::{File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What stands at a path, if it is neither a file nor a folder. What is not there, or cannot be looked at, is nothing odd: whoever needs
/// it will say so better. Opens nothing: opening a pipe waits until somebody writes to it.
pub fn odd_thing(path: &Path) -> Option<&'static str> {
    odd_type(path.metadata().ok()?.file_type())
}

fn odd_type(found: FileType) -> Option<&'static str> {
    match found {
        found if found.is_file() || found.is_dir() => None,
        found if found.is_fifo() => Some("a named pipe"),
        found if found.is_socket() => Some("a socket"),
        found if found.is_char_device() || found.is_block_device() => Some("a device"),
        _ => Some("neither a file nor a folder"),
    }
}

/// Opens a file to read it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    no_odd_thing(path)?;
    // It may have become a pipe since.
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(without_waiting).open(path)?;
    refused(odd_type(file.metadata()?.file_type()))?;
    Ok(file)
}

/// An error that says what odd thing stands at a path, if one does.
pub(crate) fn no_odd_thing(path: &Path) -> io::Result<()> {
    refused(odd_thing(path))
}

fn refused(odd: Option<&str>) -> io::Result<()> {
    let error =
        |what| io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, and a step reads only files"));
    odd.map_or(Ok(()), |what| Err(error(what)))
}

/// What a file holds.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text that a file holds.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// What a file holds, read where nobody else has to wait for its disk.
pub(crate) async fn read_aside(path: &Path) -> io::Result<Vec<u8>> {
    let path: PathBuf = path.to_owned();
    tokio::task::spawn_blocking(move || read(&path)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_waited_for_is_refused_by_what_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), fifo, rustix::fs::Mode::RWXU, 0).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("made");
        std::os::unix::fs::symlink("pipe", at("link")).expect("made");
        std::fs::write(at("file"), "x").expect("made");
        let said = |name: &str| read(&at(name)).map_err(|error| error.to_string());
        for (name, what) in
            [("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket"), ("/dev/null", "a device")]
        {
            assert_eq!(said(name), Err(format!("it is {what}, and a step reads only files")));
        }
        assert_eq!(said("file"), Ok(b"x".to_vec()));
        assert_eq!([at("file"), dir.path().to_owned(), at("none")].map(|path| odd_thing(&path)), [None; 3]);
        assert_eq!(read(&at("none")).expect_err("nothing there").kind(), io::ErrorKind::NotFound);
    }
}
