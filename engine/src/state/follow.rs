//! Reading a journal on while another process writes it. Takes no lock and writes nothing.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::dir::Home;
use super::error::StateError;
use super::fold::RunState;
use super::lines;
use super::record::Entry;

/// Where a reader of a growing journal is.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    state: RunState,
    /// The file as it was opened; another one takes its place when the journal is compacted.
    inode: u64,
    /// How much of it was read, in whole lines: the beginning of one that is not whole may yet be cut off.
    offset: u64,
    /// How many lines that was.
    lines: u64,
}

impl Follower {
    /// A reader that has read nothing yet.
    pub fn new(home: &Home) -> Self {
        Self { path: home.journal_path(), state: RunState::default(), inode: 0, offset: 0, lines: 0 }
    }

    /// What follows from all that was read.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Reads what is new and calls `each` with every record, after it has been folded in.
    pub fn read_on(&mut self, mut each: impl FnMut(&Entry, &RunState)) -> Result<(), StateError> {
        for line in self.fresh()?.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            let entry = lines::entry(&line[..line.len() - 1], self.lines, &self.path)?;
            // A file that took the place of another tells again what was told.
            if entry.seq > self.state.seq() {
                self.state.apply(&entry)?;
                each(&entry, &self.state);
            }
        }
        Ok(())
    }

    /// The lines that were added, whole; from the beginning if the file is another one now.
    fn fresh(&mut self) -> Result<Vec<u8>, StateError> {
        let io = |doing| StateError::io(doing, &self.path);
        let mut file = File::open(&self.path).map_err(io("open"))?;
        let meta = file.metadata().map_err(io("read"))?;
        if meta.ino() != self.inode || meta.len() < self.offset {
            (self.inode, self.offset, self.lines) = (meta.ino(), 0, 0);
        }
        let mut bytes = Vec::new();
        let io = |doing| StateError::io(doing, &self.path);
        file.seek(SeekFrom::Start(self.offset)).map_err(io("read"))?;
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        bytes.truncate(whole(&bytes));
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }
}

/// How long the whole lines are that some bytes begin with. From the first zero on there is room, or what was being written just then.
fn whole(bytes: &[u8]) -> usize {
    let known = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    known.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}
