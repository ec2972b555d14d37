//! A disk under the journal whose calls fail as a test wants it, and whose power may go.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runbook::state::raw::RawFile;
use runbook::state::storage::FileStorage;
use rustix::io::Errno;

use crate::cut::medium::{Medium, is_room};

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call {
    Line,
    Room,
    Length,
    Sync,
    Replace,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    Done,
    /// So many bytes of it are written.
    Fails(Errno, usize),
}

type Fates = Box<dyn FnMut(Call) -> Fate + Send>;

/// What is on the disk, and what was asked of it.
pub(crate) struct Inner {
    pub(crate) medium: Medium,
    /// All lines of which a part was written, in order.
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) calls: Vec<Call>,
    /// What each sync made safe that was not safe before.
    pub(crate) groups: Vec<Vec<Vec<u8>>>,
    fates: Fates,
    /// How many lines are in some group.
    grouped: usize,
}

impl Inner {
    /// How many lines a sync has covered.
    pub(crate) fn synced(&self) -> usize {
        self.grouped
    }

    /// The lines after so many were never written, and the others are safe if this is said of them.
    pub(crate) fn keep(&mut self, lines: usize, safe: bool) {
        self.lines.truncate(lines);
        self.grouped = if safe { lines } else { self.grouped.min(lines) };
    }

    /// A line that was taken back, and that is safe, was never written.
    fn forget_taken_back(&mut self) {
        let (length, mut end) = (self.medium.bytes().len(), 0);
        let there = self.lines.iter().take_while(|line| {
            end += line.len();
            end <= length
        });
        self.lines.truncate(there.count());
    }

    fn ask(&mut self, call: Call) -> Fate {
        self.calls.push(call);
        (self.fates)(call)
    }

    fn write(&mut self, bytes: &[u8], at: usize) -> io::Result<()> {
        let call = if is_room(bytes) { Call::Room } else { Call::Line };
        let fate = self.ask(call);
        let part = if let Fate::Fails(_, part) = fate { part.min(bytes.len()) } else { bytes.len() };
        if part > 0 {
            self.medium.write(at, &bytes[..part]);
            self.lines.extend((call == Call::Line).then(|| bytes.to_vec()));
        }
        done(fate)
    }
}

fn done(fate: Fate) -> io::Result<()> {
    match fate {
        Fate::Done => Ok(()),
        Fate::Fails(error, _) => Err(error.into()),
    }
}

/// The disk.
#[derive(Clone)]
pub(crate) struct Drive {
    inner: Arc<Mutex<Inner>>,
    shared: bool,
}

impl Drive {
    /// One on which others may write too, or not.
    pub(crate) fn new(shared: bool) -> Self {
        let inner = Inner {
            medium: Medium::default(),
            lines: Vec::new(),
            calls: Vec::new(),
            groups: Vec::new(),
            fates: Box::new(|_| Fate::Done),
            grouped: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), shared }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that failed while it looked has said so; the journal still comes to its end.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides from now on what becomes of each call.
    pub(crate) fn meets(&self, fates: impl FnMut(Call) -> Fate + Send + 'static) {
        self.lock().fates = Box::new(fates);
    }

    /// What a run has of it.
    pub(crate) fn storage(&self) -> io::Result<FileStorage<Self>> {
        FileStorage::over(self.clone())
    }

    /// Another disk: what may be left of this one, see [`Medium::leave`].
    pub(crate) fn after_power_cut(&self, length: usize, taken: impl FnMut(usize) -> usize) -> Self {
        let other = Self::new(self.shared);
        let inner = self.lock();
        let mut left = other.lock();
        (left.medium, left.lines) = (inner.medium.clone(), inner.lines.clone());
        left.medium.leave(length, taken);
        drop(left);
        other
    }

    /// The same disk where others may write too.
    pub(crate) fn shared(self) -> Self {
        Self { shared: true, ..self }
    }

    /// All that is in the file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().medium.bytes().to_vec()
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("small")
}

impl RawFile for Drive {
    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().medium.bytes().len() as u64)
    }

    fn read_at(&self, piece: &mut [u8], from: u64) -> io::Result<usize> {
        Ok(self.lock().medium.read(piece, place(from)))
    }

    fn write_at(&self, bytes: &[u8], from: u64) -> io::Result<()> {
        assert!(!self.shared, "where others write too all is appended");
        self.lock().write(bytes, place(from))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let end = inner.medium.bytes().len();
        inner.write(bytes, end)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut inner = self.lock();
        let fate = inner.ask(Call::Length);
        if fate == Fate::Done {
            inner.medium.set_length(place(length));
        }
        done(fate)
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        let fate = inner.ask(Call::Sync);
        if fate == Fate::Done {
            inner.medium.sync();
            inner.forget_taken_back();
            let group = inner.lines[inner.grouped..].to_vec();
            inner.groups.push(group);
            inner.grouped = inner.lines.len();
        }
        done(fate)
    }

    fn is_shared(&self) -> bool {
        self.shared
    }

    fn replace(&self, bytes: &[u8], _may: &dyn Fn() -> bool) -> io::Result<Self> {
        let mut inner = self.lock();
        let fate = inner.ask(Call::Replace);
        if fate == Fate::Done {
            inner.medium = Medium::holding(bytes);
        }
        done(fate).map(|()| self.clone())
    }
}
