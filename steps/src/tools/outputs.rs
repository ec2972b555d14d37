//! The files in a deployment's folder that programs write to, or read from, for the engine: outputs, and scratch. Knows nothing of what
//! is in them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::test_kill_process;

use super::absolute;
use super::orphans::pid;
use crate::context::Context;
use crate::failure::Failure;

/// What the files begin with that programs write outputs to; the id of the process follows whose they are, and a dash. Each is removed when
/// its program has ended.
const OUTPUTS: &str = ".outputs-";

/// What the names of this process's files begin with.
fn own() -> String {
    format!("{OUTPUTS}{}-", std::process::id())
}

/// A path in the deployment's folder that one program may write its outputs to. There is no file before it does: most never do, and
/// making one for each was half of the engine's time in a plan of short steps.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    /// Whether it was looked for in vain.
    absent: bool,
}

impl OutputFile {
    pub(crate) fn new(state_dir: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { path: absolute(state_dir).join(format!("{}{number}", own())), absent: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What was written; nothing if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, is no text, or holds more than outputs may.
    pub(crate) fn read(&mut self) -> std::io::Result<String> {
        match crate::files::open(&self.path) {
            // Where its folder was moved away, what the program wrote went with it.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && self.path.parent().is_some_and(Path::is_dir) =>
            {
                self.absent = true;
                Ok(String::new())
            }
            file => bounded_text(file?),
        }
    }
}

/// The most that one program may write for outputs: they are journaled, and held in memory as long as the run.
pub(crate) const MOST_OUTPUT: usize = 64 << 10;

fn bounded_text(file: std::fs::File) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    file.take(MOST_OUTPUT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MOST_OUTPUT {
        return Err(std::io::Error::other(format!("it holds more than {} KiB", MOST_OUTPUT >> 10)));
    }
    String::from_utf8(bytes).map_err(|_| std::io::Error::other("it is not UTF-8"))
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if !self.absent {
            remove(&self.path);
        }
    }
}

/// A file for its owner only that a program reads or writes. It goes when this is dropped, or with the next run's sweep.
pub(crate) fn scratch(cx: &Context) -> Result<tempfile::NamedTempFile, Failure> {
    let made = tempfile::Builder::new().prefix(&own()).suffix(".yaml").tempfile_in(absolute(&cx.state_dir));
    made.map_err(|error| Failure::permanent(format!("cannot make a file in `{}`: {error}", cx.state_dir.display())))
}

/// Removes the output files that a killed engine left in a deployment's folder. Those of one that runs stay: who only looks holds no lock.
pub fn sweep(state_dir: &Path) {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_forsaken(&entry.file_name().to_string_lossy())) {
        remove(&entry.path());
    }
}

/// Whether it is a file of a process that is gone. Where another has its id by now, the file is left for a later sweep.
fn is_forsaken(name: &str) -> bool {
    let Some(owner) = name.strip_prefix(OUTPUTS) else { return false };
    let owner = owner.split_once('-').and_then(|(owner, _)| pid(owner.parse().ok()?));
    owner.is_none_or(|owner| test_kill_process(owner) == Err(Errno::SRCH))
}

/// What cannot be removed does no harm: the next attempt has a file of its own. A program may have made a folder there.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_any_more_is_swept() {
        let dir = tempfile::tempdir().expect("a folder");
        let (alive, gone) = (std::process::id(), i32::MAX);
        let names = [
            format!(".outputs-{alive}-0"),
            format!(".outputs-{alive}-x2.yaml"),
            format!(".outputs-{gone}-0"),
            ".outputs-x2.yaml".to_owned(),
            "journal".to_owned(),
        ];
        names.iter().for_each(|name| std::fs::write(dir.path().join(name), "").expect("written"));
        sweep(dir.path());
        let left: Vec<bool> = names.iter().map(|name| dir.path().join(name).exists()).collect();
        assert_eq!(left, [true, true, false, false, true], "{names:?}");
    }
}
