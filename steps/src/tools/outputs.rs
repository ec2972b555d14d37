//! The files in a deployment's folder that programs write to, or read from, for the engine: outputs, and scratch. Knows nothing of what
//! is in them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::absolute;
use crate::context::Context;
use crate::failure::Failure;

/// What the files begin with that programs write outputs to; each is removed when its program has ended.
const OUTPUTS: &str = ".outputs-";

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
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { path: absolute(state_dir).join(format!("{OUTPUTS}{process}-{number}")), absent: false }
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
    let made = tempfile::Builder::new().prefix(OUTPUTS).suffix(".yaml").tempfile_in(absolute(&cx.state_dir));
    made.map_err(|error| Failure::permanent(format!("cannot make a file in `{}`: {error}", cx.state_dir.display())))
}

/// Removes the output files that a killed engine left in a deployment's folder. Only for whoever holds its lock.
pub fn sweep(state_dir: &Path) {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(OUTPUTS)) {
        remove(&entry.path());
    }
}

/// What cannot be removed does no harm: the next attempt has a file of its own. A program may have made a folder there.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
}
