//! A disk in memory: a journal's file, which part of it is safe, and everything that can go wrong with it.
//!
//! What is written survives the death of the process; only what is synced survives that of the machine.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runbook::state::raw::RawFile;
use runbook::state::record::Entry;
use runbook::state::storage::{FileStorage, Storage};
use tokio::sync::Notify;

use super::medium::{Medium, is_room};
use super::notes;
use super::random::Random;

/// Where in an operation something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    Before,
    Within,
    After,
}

/// What goes wrong in one life of the process; the numbers count its operations from 1. To make room is a write as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// The process dies at this write.
    pub(crate) dies_at_write: Option<(u32, Moment)>,
    /// The process dies at this sync.
    pub(crate) dies_at_sync: Option<(u32, Moment)>,
    /// This write fails; `Within` leaves a part of it in the file.
    pub(crate) write_fails: Option<(u32, Moment)>,
    /// And it cannot be taken back.
    pub(crate) truncate_fails: bool,
    /// This sync fails.
    pub(crate) sync_fails: Option<u32>,
}

/// The disk. Outlives processes.
pub(crate) struct Disk {
    medium: Medium,
    /// The whole lines of the file, each with where it ends.
    entries: Vec<(usize, Entry)>,
    random: Random,
    faults: Faults,
    process: u32,
    dead: bool,
    /// A fault was met by this process.
    met: bool,
    /// A sync failed: nothing more may be believed.
    distrusted: bool,
    writes: u32,
    syncs: u32,
    died: Arc<Notify>,
    hash: u64,
    at_write: Option<AtWrite>,
}

/// Told of each line before it is written.
type AtWrite = Box<dyn FnMut() + Send>;

/// A disk that several hold.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    pub(crate) fn new(random: Random) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            medium: Medium::default(),
            entries: Vec::new(),
            random,
            faults: Faults::default(),
            process: 0,
            dead: false,
            met: false,
            distrusted: false,
            writes: 0,
            syncs: 0,
            died: Arc::new(Notify::new()),
            hash: 0,
            at_write: None,
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle for a new process, for which these things go wrong.
    pub(crate) fn open(&self, faults: Faults) -> Arc<dyn Storage> {
        let mut disk = self.lock();
        if disk.distrusted {
            disk.forget();
        }
        disk.process += 1;
        (disk.dead, disk.met, disk.distrusted) = (false, false, false);
        (disk.writes, disk.syncs) = (0, 0);
        disk.faults = faults;
        disk.died = Arc::new(Notify::new());
        disk.parse();
        let process = disk.process;
        drop(disk);
        let file = Handle { disk: self.clone(), process };
        Arc::new(FileStorage::over(file).expect("nothing goes wrong with looking"))
    }
}

/// The disk as one process sees it.
struct Handle {
    disk: Shared,
    process: u32,
}

impl Handle {
    /// The disk, unless the process that has this handle is dead: then nothing that it does has any effect.
    fn alive(&self) -> Option<MutexGuard<'_, Disk>> {
        Some(self.disk.lock()).filter(|disk| !disk.dead && disk.process == self.process)
    }
}

impl RawFile for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().medium.bytes().len() as u64)
    }

    fn read_at(&self, piece: &mut [u8], from: u64) -> io::Result<usize> {
        Ok(self.disk.lock().medium.read(piece, place(from)))
    }

    fn write_at(&self, bytes: &[u8], from: u64) -> io::Result<()> {
        self.alive().map_or(Ok(()), |mut disk| disk.write(bytes, place(from)))
    }

    fn append(&self, _bytes: &[u8]) -> io::Result<()> {
        Err(io::Error::other("nobody else writes here"))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.alive().map_or(Ok(()), |mut disk| disk.truncate(place(length)))
    }

    fn sync(&self) -> io::Result<()> {
        self.alive().map_or(Ok(()), |mut disk| disk.sync())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// A place in a file as one in memory.
fn place(at: u64) -> usize {
    usize::try_from(at).expect("a length of memory")
}

impl Disk {
    /// What is in the file, without the room behind it.
    pub(crate) fn file(&self) -> &[u8] {
        self.medium.written()
    }

    /// Replaces all by something safe, as one who cuts a journal by hand.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.medium = Medium::holding(bytes);
        self.entries.clear();
        self.parse();
    }

    /// The whole lines, with where each ends.
    pub(crate) fn entries(&self) -> &[(usize, Entry)] {
        &self.entries
    }

    pub(crate) fn is_safe(&self, end: usize) -> bool {
        end <= self.medium.safe()
    }

    pub(crate) fn all_is_safe(&self) -> bool {
        self.is_safe(self.file().len())
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Whether a fault has reached this process.
    pub(crate) fn met_a_fault(&self) -> bool {
        self.met
    }

    /// Whether a sync has failed, so that nobody knows what will be read again.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.distrusted
    }

    /// Depends on every byte that was ever written or lost.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Somebody wants to look at the world at each write.
    pub(crate) fn look_at_writes(&mut self, look: Option<AtWrite>) {
        self.at_write = look;
    }

    /// Tells when the process dies.
    pub(crate) fn died(&self) -> Arc<Notify> {
        Arc::clone(&self.died)
    }

    /// The process ends here and now. What it wrote stays.
    pub(crate) fn die(&mut self) {
        notes::say(|| format!("  ** dies after {} writes and {} syncs", self.writes, self.syncs));
        self.dead = true;
        self.died.notify_one();
    }

    /// The power goes: of what is not safe, the disk may have taken any part.
    pub(crate) fn forget(&mut self) {
        let before = self.file().len();
        self.medium.cut(&mut self.random);
        notes::say(|| format!("  ** of {before} bytes {} are left", self.file().len()));
        self.entries.clear();
        self.mix(self.file().len() as u64);
        self.parse();
    }

    fn write(&mut self, bytes: &[u8], from: usize) -> io::Result<()> {
        if self.distrusted {
            notes::wrong("something is written after a sync failed");
        }
        self.writes += 1;
        self.at_write.as_mut().filter(|_| !is_room(bytes)).into_iter().for_each(|look| look());
        for (at, moment) in [self.faults.dies_at_write, self.faults.write_fails].into_iter().flatten() {
            if at == self.writes {
                let part = self.random.index(bytes.len());
                self.put_at(
                    from,
                    match moment {
                        Moment::Before => &[],
                        Moment::Within => &bytes[..part],
                        Moment::After => bytes,
                    },
                );
            }
        }
        if self.faults.dies_at_write.is_some_and(|(at, _)| at == self.writes) {
            self.die();
            return Ok(());
        }
        if self.faults.write_fails.is_some_and(|(at, _)| at == self.writes) {
            notes::say(|| "  ** a write fails");
            self.met = true;
            return Err(io::Error::from(ErrorKind::StorageFull));
        }
        self.put_at(from, bytes);
        Ok(())
    }

    fn put_at(&mut self, from: usize, bytes: &[u8]) {
        let line = if is_room(bytes) { &[] } else { bytes };
        line.iter().for_each(|byte| self.mix(u64::from(*byte)));
        self.mix(bytes.len() as u64);
        self.medium.write(from, bytes);
        self.parse();
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.distrusted {
            notes::wrong("a second sync is believed after one failed");
        }
        self.syncs += 1;
        if let Some((_, moment)) = self.faults.dies_at_sync.filter(|(at, _)| *at == self.syncs) {
            if moment == Moment::After {
                self.medium.sync();
            }
            self.die();
            return Ok(());
        }
        if self.faults.sync_fails == Some(self.syncs) {
            notes::say(|| "  ** a sync fails");
            (self.met, self.distrusted) = (true, true);
            return Err(io::Error::other("input/output error"));
        }
        self.medium.sync();
        Ok(())
    }

    fn truncate(&mut self, length: usize) -> io::Result<()> {
        if self.met && self.faults.truncate_fails {
            return Err(io::Error::other("input/output error"));
        }
        self.medium.set_length(length);
        self.entries.retain(|(end, _)| *end <= length);
        Ok(())
    }

    /// Reads what has become whole, in the journal's form: a checksum, a space, the record.
    fn parse(&mut self) {
        let file = self.medium.written();
        self.entries.retain(|(end, _)| *end <= file.len());
        let mut from = self.entries.last().map_or(0, |(end, _)| *end);
        while let Some(length) = file[from..].iter().position(|byte| *byte == b'\n') {
            let line = &file[from..from + length];
            let Some(entry) = entry(line) else { return };
            from += length + 1;
            self.entries.push((from, entry));
        }
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
    }
}

fn entry(line: &[u8]) -> Option<Entry> {
    let (sum, body) = line.split_at_checked(9)?;
    let whole = sum == format!("{:08x} ", crc32fast::hash(body)).as_bytes();
    whole.then(|| serde_json::from_slice(body).ok()).flatten()
}
