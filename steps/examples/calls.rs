//! What running programs costs by the system calls alone that the engine's promises need, through the package that starts its programs:
//! `engine/benches/table` has it beside the engine, so that it is seen what the engine's own code adds.
//!
//! `calls COUNT THREADS FILE [synced]` runs so many of `/bin/true`. For each it writes three lines into the file (a start, a process, an
//! end), gives the program its whole environment, a process group of its own and two pipes, waits on a descriptor of the process so that
//! the wait could have a limit, and asks whether anything of the group lives. With `synced` each start is safe on the disk first;
//! otherwise a thread syncs the file every 25 ms.
#![expect(
    clippy::disallowed_methods,
    reason = "it measures what the engine's own way of starting programs costs without the engine"
)]

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use duct::Handle;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process_group};

/// As long as the usual record.
const LINE: [u8; 170] = [b'.'; 170];

struct Calls {
    file: File,
    end: AtomicU64,
    synced: bool,
    environment: Vec<(OsString, OsString)>,
}

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (count, threads, path, synced) = match arguments.as_slice() {
        [count, threads, path] => (count, threads, path, false),
        [count, threads, path, word] if word == "synced" => (count, threads, path, true),
        _ => return Err(usage()),
    };
    let (count, threads): (usize, usize) = (count.parse().map_err(|_| usage())?, threads.parse().map_err(|_| usage())?);
    let environment = std::env::vars_os().collect();
    let calls = Calls { file: File::create(path)?, end: AtomicU64::new(0), synced, environment };
    let taken = AtomicUsize::new(0);
    let behind = calls.file.try_clone()?;
    if !synced {
        thread::spawn(move || sync_now_and_then(&behind));
    }
    thread::scope(|scope| {
        let work = || (0..).take_while(|_| taken.fetch_add(1, Ordering::Relaxed) < count).try_for_each(|_| calls.one());
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })
}

fn usage() -> io::Error {
    io::Error::other("usage: calls COUNT THREADS FILE [synced]")
}

fn sync_now_and_then(file: &File) {
    while file.sync_data().is_ok() {
        thread::sleep(Duration::from_millis(25));
    }
}

impl Calls {
    fn one(&self) -> io::Result<()> {
        self.write()?;
        if self.synced {
            self.file.sync_data()?;
        }
        let (child, out, err) = self.start()?;
        self.write()?;
        wait(&child)?;
        for mut pipe in [out, err] {
            pipe.read_to_end(&mut Vec::new())?;
        }
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        // The engine asks by the same call whether its lock still stands.
        self.file.metadata()?;
        self.file.write_all_at(&LINE, self.end.fetch_add(LINE.len() as u64, Ordering::Relaxed))
    }

    fn start(&self) -> io::Result<(Handle, PipeReader, PipeReader)> {
        let ((out, out_end), (err, err_end)) = (io::pipe()?, io::pipe()?);
        let (streams, environment) = (Mutex::new(Some((out_end, err_end))), self.environment.clone());
        let expression = duct::cmd("/bin/true", std::iter::empty::<OsString>())
            .full_env(std::iter::empty::<(OsString, OsString)>())
            .unchecked()
            .before_spawn(move |command| {
                let (out, err) = streams.lock().expect("unbroken").take().expect("one program is started");
                command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
                command.envs(environment.iter().map(|(name, value)| (name, value)));
                Ok(())
            });
        Ok((expression.start()?, out, err))
    }
}

fn wait(child: &Handle) -> io::Result<()> {
    let pid = child.pids().first().and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)).expect("a process");
    let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None)?;
    child.wait()?;
    // Nearly always nobody is left.
    let _ = test_kill_process_group(pid);
    Ok(())
}
