//! Where a deployment's state lives: folders, names and permissions. Does not know what is in the files.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::error::StateError;
use super::heartbeat::Trust;
use super::lock::{self, Holder, Lock, LockId, Note};
use crate::plan::StepId;
use crate::plan::model::names_deployment;

/// The folder of one deployment. Making the value touches nothing; [`Home::lock`] makes the folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    deployment: String,
}

/// One attempt's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogFile {
    /// The run.
    pub run: u32,
    /// The attempt in it.
    pub attempt: u32,
    /// The file.
    pub path: PathBuf,
}

impl Home {
    /// The home of a deployment below a root, which is `.runbook` in most cases.
    pub fn new(root: &Path, deployment: &str) -> Result<Self, StateError> {
        if !names_deployment(deployment) {
            return Err(StateError::BadName(deployment.to_owned()));
        }
        Ok(Self { path: root.join(deployment), deployment: deployment.to_owned() })
    }

    /// The deployments below a root, by name. A root that does not exist has none, and a folder whose name no deployment can have, such
    /// as a copy, is none.
    pub fn list(root: &Path) -> Result<Vec<Home>, StateError> {
        let is_one = |name: &String| names_deployment(name) && is_there(&root.join(name).join("journal.jsonl"));
        let mut names: Vec<String> = entries(root)?.into_iter().filter(is_one).collect();
        names.sort();
        names.iter().map(|name| Home::new(root, name)).collect()
    }

    /// The deployment's name.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a journal.
    pub fn exists(&self) -> bool {
        is_there(&self.journal_path())
    }

    /// The journal's file.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// The lock's file.
    pub fn lock_path(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The folder of what older runs wrote to the journal, whole, once the journal itself holds a snapshot in its place.
    pub fn archive_dir(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// The folder of the logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The log of one attempt; there is no file if it printed nothing.
    pub fn log_path(&self, step: &StepId, run: u32, attempt: u32) -> PathBuf {
        self.logs_dir().join(format!("{}.{run}-{attempt}.log", step.file_name()))
    }

    /// The logs of a step that exist, oldest first.
    pub fn logs(&self, step: &StepId) -> Result<Vec<LogFile>, StateError> {
        let prefix = format!("{}.", step.file_name());
        let mut logs: Vec<LogFile> = entries(&self.logs_dir())?
            .iter()
            .filter_map(|name| {
                let (run, attempt) = name.strip_prefix(&prefix)?.strip_suffix(".log")?.split_once('-')?;
                let path = self.logs_dir().join(name);
                Some(LogFile { run: run.parse().ok()?, attempt: attempt.parse().ok()?, path })
            })
            .collect();
        logs.sort();
        Ok(logs)
    }

    /// The newest log of a step.
    pub fn latest_log(&self, step: &StepId) -> Result<Option<LogFile>, StateError> {
        Ok(self.logs(step)?.pop())
    }

    /// Takes the deployment for this process, making its folders. Fails with [`StateError::Held`] while another process has it.
    pub fn lock(&self, holder: Holder) -> Result<Lock, StateError> {
        self.make_folders()?;
        lock::take(self, holder, Trust::of(&self.path))
    }

    /// The same where the caller says how far the file system's lock is to be trusted.
    pub fn lock_trusting(&self, holder: Holder, trust: Trust) -> Result<Lock, StateError> {
        self.make_folders()?;
        lock::take(self, holder, trust)
    }

    fn make_folders(&self) -> Result<(), StateError> {
        [&self.path, &self.logs_dir()].into_iter().try_for_each(|dir| make_private(dir))
    }

    /// Who holds the deployment now, if a live process does.
    pub fn holder(&self) -> Result<Option<Note>, StateError> {
        lock::holder(self, &this_host(), Trust::of(&self.path))
    }

    /// Takes the lock away from whoever has it. Wants its id, so that it cannot hit one that was taken since. A process that is known
    /// to live keeps its lock, unless `force`.
    pub fn unlock(&self, id: &LockId, force: bool) -> Result<(), StateError> {
        lock::break_it(self, id, &this_host(), Trust::of(&self.path), force)
    }
}

/// This machine's name.
pub fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn make_private(dir: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(StateError::io("make the folder", dir))
}

/// The names in a folder that are text; there are none where it does not exist.
fn entries(dir: &Path) -> Result<Vec<String>, StateError> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StateError::io("list", dir)(error)),
    };
    let names: io::Result<Vec<_>> = read.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let names = names.map_err(StateError::io("list", dir))?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Whether a file is there; also one that may not be looked at, which is then said where it is read.
fn is_there(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(file) => file.is_file(),
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "-x", "ä", &"x".repeat(65)] {
            assert!(matches!(Home::new(Path::new("r"), bad), Err(StateError::BadName(_))), "{bad}");
        }
        assert!(Home::new(Path::new("r"), "native-gateway_2.1").is_ok());
    }

    #[test]
    fn a_folder_whose_name_no_deployment_has_is_no_deployment() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["b", "a", "a (copy)", ".hidden"] {
            fs::create_dir(dir.path().join(name)).expect("made");
            fs::write(dir.path().join(name).join("journal.jsonl"), "").expect("written");
        }
        let homes = Home::list(dir.path()).expect("listed");
        assert_eq!(homes.iter().map(Home::deployment).collect::<Vec<_>>(), ["a", "b"]);
        assert!(Home::list(&dir.path().join("a/journal.jsonl")).is_err());
    }

    #[test]
    fn the_newest_log_is_found_by_numbers_not_by_letters() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = Home::new(dir.path(), "d").expect("a name");
        fs::create_dir_all(home.logs_dir()).expect("made");
        let step = StepId::from("a");
        for (step, run, attempt) in [("a", 2, 1), ("a", 10, 2), ("a", 9, 3), ("a.b", 11, 1), ("a[x]", 12, 1)] {
            fs::write(home.log_path(&StepId::from(step), run, attempt), "").expect("written");
        }
        let latest = home.latest_log(&step).expect("listed").expect("there");
        assert_eq!((latest.run, latest.attempt), (10, 2));
        assert_eq!(home.logs(&step).expect("listed").len(), 3);
    }
}
