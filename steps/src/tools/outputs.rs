//! The files in a deployment's folder that programs write to, or read from, for the engine: outputs, and scratch. Knows nothing of what
//! is in them.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::process::test_kill_process;

use super::absolute;
use super::orphans::{pid, start_of};
use crate::context::Context;
use crate::failure::Failure;

/// What the files begin with that programs write outputs to. The id of the process follows whose they are, then when it was started: in a
/// container the next one has the same id. Each is removed when its program has ended.
const OUTPUTS: &str = ".outputs-";

/// What the names of this process's files begin with.
static OWN: LazyLock<String> = LazyLock::new(|| {
    let pid = std::process::id();
    format!("{OUTPUTS}{pid}-{}-", start_of(pid).unwrap_or_default())
});

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
        Self { path: absolute(state_dir).join(format!("{}{number}", *OWN)), absent: false }
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
    let made = tempfile::Builder::new().prefix(OWN.as_str()).suffix(".yaml").tempfile_in(absolute(&cx.state_dir));
    made.map_err(|error| Failure::permanent(format!("cannot make a file in `{}`: {error}", cx.state_dir.display())))
}

/// Removes the output files that a killed engine left in a deployment's folder. Those of one that runs stay: who only looks holds no lock.
pub fn sweep(state_dir: &Path) {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_forsaken(&entry.file_name().to_string_lossy())) {
        remove(&entry.path());
    }
}

/// Whether it is a file of a process that is gone.
fn is_forsaken(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(OUTPUTS) else { return false };
    let (owner, rest) = rest.split_once('-').unwrap_or_default();
    let started = rest.split_once('-').map(|(started, _)| started.parse().unwrap_or_default());
    owner.parse().map_or(true, |owner| is_gone(owner) || is_another(owner, started))
}

fn is_gone(owner: u32) -> bool {
    pid(owner).is_none_or(|owner| test_kill_process(owner) == Err(Errno::SRCH))
}

/// Whether the process that has the id now is another than the one that had it. An older release did not write when that was started: of
/// such a file it is only known that it is none of this process's, and what another may have is left for a later sweep.
fn is_another(owner: u32, started: Option<u64>) -> bool {
    started.map_or(owner == std::process::id(), |started| start_of(owner).unwrap_or_default() != started)
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
        let (own, gone) = (std::process::id(), i32::MAX);
        let started = start_of(own).expect("this process lives");
        let names = [
            (format!(".outputs-{own}-{started}-0"), true),
            (format!(".outputs-{own}-{started}-x2.yaml"), true),
            (format!(".outputs-{own}-{}-0", started - 1), false),
            (format!(".outputs-{own}-{}-x2.yaml", started - 1), false),
            (format!(".outputs-{gone}-{started}-0"), false),
            ("journal".to_owned(), true),
        ];
        assert_eq!(left_of(&names, dir.path()), names);
    }

    /// An older release did not write when the process was started, whose files these are.
    #[test]
    fn what_an_older_release_left_is_swept_too() {
        let dir = tempfile::tempdir().expect("a folder");
        let (own, other, gone) = (std::process::id(), 1, i32::MAX);
        let names = [
            (format!(".outputs-{other}-0"), true),
            (format!(".outputs-{other}-x2.yaml"), true),
            (format!(".outputs-{own}-0"), false),
            (format!(".outputs-{own}-x2.yaml"), false),
            (format!(".outputs-{gone}-0"), false),
            (".outputs-x2.yaml".to_owned(), false),
        ];
        assert_eq!(left_of(&names, dir.path()), names);
    }

    #[test]
    fn what_another_process_with_the_same_id_has_written_is_not_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = std::process::id();
        let began = [String::new(), format!("{}-", start_of(own).expect("this process lives") - 1)];
        let names = began.iter().flat_map(|began| (0..99).map(move |number| format!(".outputs-{own}-{began}{number}")));
        names.for_each(|name| std::fs::write(dir.path().join(name), "ip=10.0.0.2").expect("written"));
        assert_eq!(OutputFile::new(dir.path()).read().expect("readable"), "");
    }

    /// Which of these files a sweep leaves.
    fn left_of(names: &[(String, bool)], dir: &Path) -> Vec<(String, bool)> {
        names.iter().for_each(|(name, _)| std::fs::write(dir.join(name), "").expect("written"));
        sweep(dir);
        names.iter().map(|(name, _)| (name.clone(), dir.join(name).exists())).collect()
    }
}
