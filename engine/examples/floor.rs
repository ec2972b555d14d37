//! The least that running programs can cost: so many of `/bin/true`, by `posix_spawn` over so many threads, with no engine.
//!
//! `floor COUNT THREADS` spawns and waits. `floor COUNT THREADS FILE` first appends a line of 200 bytes to the file and syncs it, as
//! an engine must that may not lose the start of a step. `benches/table` measures everything against this.
#![expect(
    clippy::disallowed_methods,
    reason = "it measures what the engine's own way of starting programs is built on"
)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What an engine would write: as long as the record of a start.
const LINE: &[u8; 200] = &{
    let mut line = [b'.'; 200];
    line[199] = b'\n';
    line
};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|text| text.parse().ok()).ok_or_else(usage);
    let (count, threads): (usize, usize) = (number()?, number()?);
    let file = arguments.next().map(|path| OpenOptions::new().append(true).create(true).open(path)).transpose()?;
    let taken = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(count, &taken, file.as_ref()))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

fn usage() -> io::Error {
    io::Error::other("usage: floor COUNT THREADS [FILE]")
}

/// Takes one after another until all are taken.
fn work(count: usize, taken: &AtomicUsize, file: Option<&File>) -> io::Result<()> {
    while taken.fetch_add(1, Ordering::Relaxed) < count {
        if let Some(mut file) = file {
            file.write_all(LINE)?;
            file.sync_data()?;
        }
        // Nothing here but a path: the standard library takes `posix_spawn` then, and no fork of this address space.
        let status = Command::new("/bin/true").status()?;
        if !status.success() {
            return Err(io::Error::other(format!("`/bin/true` ended with {status}")));
        }
    }
    Ok(())
}
