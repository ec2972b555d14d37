//! A folder of its own, and the program run in it with an environment of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Fails with everything that was printed unless the exit code is this.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// Fails unless stderr holds a text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "`{text}` is not in stderr:\n{}", self.err);
        self
    }
}

/// A temporary folder to run in.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder"), env: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An engine in the middle of the only step of the deployment `busy`, which takes a minute.
    pub(crate) fn busy(&self) -> std::process::Child {
        let step = "{ run: 'touch begun; exec sleep 60', idempotent: true }";
        self.write("plan.yaml", &format!("runbook: 1\nname: busy\nsteps:\n  long: {step}\n"));
        let mut engine =
            self.command(&["apply", "plan.yaml"]).stderr(std::process::Stdio::null()).spawn().expect("starts");
        while !self.path("begun").exists() {
            assert!(engine.try_wait().expect("its status").is_none(), "the engine ended by itself");
            std::thread::yield_now();
        }
        engine
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The program with arguments, ready to start.
    #[expect(clippy::disallowed_methods, reason = "the program under test, and the PATH that it is found by")]
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runbook"));
        command.args(args).current_dir(self.dir.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").expect("a PATH"));
        command
            .env("HOME", self.dir.path())
            .env("USER", "tester")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().expect("the program starts"))
    }

    /// The program under a shell's limits.
    #[expect(clippy::disallowed_methods, reason = "only a shell can set them")]
    pub(crate) fn limited(&self, limits: &str, args: &[&str]) -> Ran {
        let inner = self.command(args);
        let mut command = Command::new("bash");
        command
            .arg("-c")
            .arg(format!("{limits}; exec \"$@\""))
            .arg("bash")
            .arg(inner.get_program())
            .args(inner.get_args());
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        ran(&command.output().expect("bash is on PATH"))
    }

    /// Every file below the folder, as text.
    pub(crate) fn everything(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() => {
                        let bytes = std::fs::read(&path).unwrap_or_default();
                        found.push((path, String::from_utf8_lossy(&bytes).into_owned()));
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
