//! The log of one attempt: all that it printed, redacted, on disk; in memory never more than one long line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use runbook_steps::{Log, Redactor, Stream};

/// A line longer than this is written in pieces.
const LONGEST: usize = 64 * 1024;

/// What is kept back of a piece, so that a secret across its end is masked with the next.
const OVERLAP: usize = 4 * 1024;

/// Who wants to see whole lines as they come.
pub type OnLine = Box<dyn Fn(Stream, &str) + Send + Sync>;

/// Who is told that nothing more can be written, and why.
pub type OnLost = Box<dyn Fn(&io::Error) + Send + Sync>;

/// The log of one attempt. There is no file as long as there is nothing but the command that is run: making a file is dear
/// beside a short step, and the plan has the command too. With anything else the note is written as well.
pub struct StepLog {
    path: PathBuf,
    redactor: Arc<Redactor>,
    on_line: Option<OnLine>,
    on_lost: Option<OnLost>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    file: Option<File>,
    failed: bool,
    /// The first note, if it is a command.
    held: Option<Vec<u8>>,
    begun: bool,
    pending: [Vec<u8>; 3],
}

impl StepLog {
    /// A log that will be at a path.
    pub fn new(path: PathBuf, redactor: Arc<Redactor>, on_line: Option<OnLine>) -> Self {
        Self { path, redactor, on_line, on_lost: None, inner: Mutex::default() }
    }

    /// The same, with somebody who is told at most once that nothing more can be written.
    pub fn telling(mut self, on_lost: OnLost) -> Self {
        self.on_lost = Some(on_lost);
        self
    }

    /// Writes what is still held back of lines without an end.
    pub fn finish(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, slot) in [(Stream::Out, 0), (Stream::Err, 1), (Stream::Note, 2)] {
            let mut rest = std::mem::take(&mut inner.pending[slot]);
            if !rest.is_empty() {
                rest.push(b'\n');
                self.put(&mut inner, stream, &rest);
            }
        }
    }

    /// Takes whole lines.
    fn put(&self, inner: &mut Inner, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Note && !inner.begun && bytes.starts_with(b"$ ") {
            inner.begun = true;
            inner.held = Some(bytes.to_vec());
            return;
        }
        self.put_held(inner);
        self.put_out(inner, stream, bytes);
    }

    fn put_held(&self, inner: &mut Inner) {
        inner.begun = true;
        if let Some(held) = inner.held.take() {
            self.put_out(inner, Stream::Note, &held);
        }
    }

    /// Masks whole lines and puts them out.
    fn put_out(&self, inner: &mut Inner, stream: Stream, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let masked = self.redactor.mask(&text);
        self.store(inner, masked.as_bytes());
        if let Some(on_line) = &self.on_line {
            masked.lines().for_each(|line| on_line(stream, line));
        }
    }

    /// A log that cannot be written must not fail the step: what matters is in the journal.
    fn store(&self, inner: &mut Inner, bytes: &[u8]) {
        if inner.failed {
            return;
        }
        if let Err(error) = self.append(inner, bytes) {
            inner.failed = true;
            self.on_lost.iter().for_each(|on_lost| on_lost(&error));
        }
    }

    fn append(&self, inner: &mut Inner, bytes: &[u8]) -> io::Result<()> {
        let mut file = match inner.file.take() {
            Some(file) => file,
            None => OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?,
        };
        file.write_all(bytes)?;
        inner.file = Some(file);
        Ok(())
    }

    /// A line without end: masks all of it, writes most, keeps the rest for the next piece.
    fn put_piece(&self, inner: &mut Inner, slot: usize) {
        self.put_held(inner);
        let mut whole = std::mem::take(&mut inner.pending[slot]);
        let rest = whole.split_off(whole.len() - begun_character(&whole));
        let text = String::from_utf8_lossy(&whole);
        let masked = self.redactor.mask(&text).into_owned();
        let mut keep = masked.len().saturating_sub(OVERLAP);
        while !masked.is_char_boundary(keep) {
            keep -= 1;
        }
        self.store(inner, &masked.as_bytes()[..keep]);
        inner.pending[slot] = [&masked.as_bytes()[keep..], &rest].concat();
    }
}

/// How many bytes at the end of a text are the beginning of a character.
fn begun_character(bytes: &[u8]) -> usize {
    let is_begun = |end: &[u8]| {
        std::str::from_utf8(end).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(|count| is_begun(&bytes[bytes.len() - count..])).unwrap_or(0)
}

impl Log for StepLog {
    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match stream {
            Stream::Out => 0,
            Stream::Err => 1,
            Stream::Note => 2,
        };
        let split = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if split > 0 {
            let mut lines = std::mem::take(&mut inner.pending[slot]);
            lines.extend_from_slice(&bytes[..split]);
            self.put(&mut inner, stream, &lines);
        }
        for piece in bytes[split..].chunks(LONGEST) {
            inner.pending[slot].extend_from_slice(piece);
            if inner.pending[slot].len() > LONGEST {
                self.put_piece(&mut inner, slot);
            }
        }
    }
}

impl Drop for StepLog {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use runbook_steps::{Secret, Secrets};

    use super::*;

    fn redactor() -> Arc<Redactor> {
        Arc::new(Secrets::new(BTreeMap::from([("t".to_owned(), Secret::new("hunter2hunter2"))])).redactor())
    }

    #[test]
    fn a_secret_split_over_writes_is_masked() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        let log = StepLog::new(path.clone(), redactor(), None);
        log.write(Stream::Out, b"token hunter2");
        log.write(Stream::Err, b"other\n");
        log.write(Stream::Out, b"hunter2!\nend");
        drop(log);
        assert_eq!(std::fs::read_to_string(path).expect("written"), "other\ntoken [redacted]!\nend\n");
    }

    #[test]
    fn a_secret_across_the_pieces_of_an_endless_line_is_masked() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        let log = StepLog::new(path.clone(), redactor(), None);
        log.write(Stream::Out, "x".repeat(LONGEST - 7).as_bytes());
        log.write(Stream::Out, b"hunter2hunter2");
        log.write(Stream::Out, "y".repeat(LONGEST).as_bytes());
        drop(log);
        let text = std::fs::read_to_string(path).expect("written");
        assert!(!text.contains("hunter2") && text.contains("xx[redacted]yy"));
    }

    #[test]
    fn a_character_across_the_pieces_of_an_endless_line_stays_one() {
        let dir = tempfile::tempdir().expect("a folder");
        for before in 0..4 {
            let path = dir.path().join(format!("{before}.log"));
            let log = StepLog::new(path.clone(), redactor(), None);
            let text = format!("{}{}", "x".repeat(before), "€".repeat(LONGEST));
            log.write(Stream::Out, text.as_bytes());
            drop(log);
            assert!(std::fs::read_to_string(path).expect("written").starts_with(&text), "{before}");
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_says_so_once() {
        let dir = tempfile::tempdir().expect("a folder");
        for path in [dir.path().join("no/such/folder.log"), PathBuf::from("/dev/full")] {
            let said = Arc::new(Mutex::new(Vec::new()));
            let hears = Arc::clone(&said);
            let on_lost: OnLost = Box::new(move |error| hears.lock().expect("whole").push(error.kind()));
            let log = StepLog::new(path.clone(), redactor(), None).telling(on_lost);
            log.write(Stream::Note, b"$ echo\n");
            assert!(said.lock().expect("whole").is_empty(), "nothing was to be written yet");
            (0..3).for_each(|_| log.write(Stream::Out, b"hello\nthere"));
            drop(log);
            assert_eq!(said.lock().expect("whole").len(), 1, "{}", path.display());
        }
    }

    #[test]
    fn a_silent_attempt_makes_no_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        drop(StepLog::new(path.clone(), redactor(), None));
        assert!(!path.exists());
    }

    #[test]
    fn a_command_that_prints_nothing_makes_no_file_and_one_that_prints_comes_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.log");
        let log = StepLog::new(path.clone(), redactor(), None);
        log.write(Stream::Note, b"$ true\n");
        drop(log);
        assert!(!path.exists());
        let log = StepLog::new(path.clone(), redactor(), None);
        log.write(Stream::Note, b"$ echo\n");
        log.write(Stream::Out, b"hello");
        drop(log);
        assert_eq!(std::fs::read_to_string(path).expect("written"), "$ echo\nhello\n");
    }
}
