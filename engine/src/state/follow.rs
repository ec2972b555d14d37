//! Reading a journal on while another process writes it. Takes no lock and writes nothing.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::dir::Home;
use super::error::StateError;
use super::fold::RunState;
use super::lines;
use super::record::{Entry, Format};

/// Where a reader of a growing journal is.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    state: RunState,
    later: Option<Format>,
    /// The number of the last record that was told.
    told: u64,
    /// The file as it was opened; another one takes its place when the journal is compacted.
    file: Option<File>,
    /// How much of it was read, in whole lines: the beginning of one that is not whole may yet be cut off.
    offset: u64,
    /// How many lines that was.
    lines: u64,
}

impl Follower {
    /// A reader that has read nothing yet.
    pub fn new(home: &Home) -> Self {
        let (path, state) = (home.journal_path(), RunState::default());
        Self { path, state, later: None, told: 0, file: None, offset: 0, lines: 0 }
    }

    /// What follows from all that was read.
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// A newer minor format that it is written in: shown, but some records may not be understood.
    pub fn later(&self) -> Option<Format> {
        self.later
    }

    /// Reads what is new and calls `each` with every record, after it has been folded in.
    pub fn read_on(&mut self, mut each: impl FnMut(&Entry, &RunState)) -> Result<(), StateError> {
        for line in self.fresh()?.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            let entry = lines::entry(&line[..line.len() - 1], self.lines, &self.path)?;
            self.later = lines::later(&entry, &self.path)?.or(self.later);
            self.state.apply(&entry)?;
            // A file that took the place of another tells again what was told.
            if entry.seq > self.told {
                self.told = entry.seq;
                each(&entry, &self.state);
            }
        }
        Ok(())
    }

    /// The lines that were added, whole; from the beginning if the file is another one now.
    fn fresh(&mut self) -> Result<Vec<u8>, StateError> {
        let path = self.path.clone();
        self.look_again().map_err(StateError::io("open", &path))?;
        let bytes = self.file.as_ref().map_or(Ok(Vec::new()), |file| read_from(file, self.offset));
        let mut bytes = bytes.map_err(StateError::io("read", &path))?;
        bytes.truncate(whole(&bytes));
        self.offset += bytes.len() as u64;
        Ok(bytes)
    }

    /// Begins anew if another file has the path now, or a part of what was read is gone. The open one keeps its number from being given
    /// to another.
    fn look_again(&mut self) -> io::Result<()> {
        let known = self.file.as_ref().map(File::metadata).transpose()?;
        let now = self.path.metadata()?;
        let same = known.is_some_and(|known| (known.dev(), known.ino()) == (now.dev(), now.ino()));
        if !same || now.len() < self.offset {
            self.file = Some(File::open(&self.path)?);
            (self.state, self.offset, self.lines) = (RunState::default(), 0, 0);
        }
        Ok(())
    }
}

fn read_from(mut file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How long the whole lines are that some bytes begin with. From the first zero on there is room, or what was being written just then.
fn whole(bytes: &[u8]) -> usize {
    let known = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    known.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}
