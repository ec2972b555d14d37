//! Programs: the only place of this crate that starts them.
//!
//! A program runs in a process group of its own, with the [`World`]'s environment and nothing besides. Its output is
//! streamed to the step's log with secrets masked, and only bounded tails stay in memory. Whatever ends the wait – the program,
//! a cancellation, a timeout that drops the future – the whole group is gone afterwards, but for what even SIGKILL does not end: the failure
//! names that. What the programs mean is not known here.

mod classify;
mod group;
mod install;
mod leader;
mod linger;
mod obstacle;
mod orphans;
mod output;
mod outputs;
mod waited;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use tokio::net::unix::pipe;

use crate::context::{Child, Context};
use crate::failure::{Class, Facts, Failure};
use crate::secret::{Secret, mentions_secret};
use crate::world::{World, is_program};

pub(crate) use classify::{classify, telling_line};
pub use group::{GRACE, UNKILLABLE};
pub use install::install_hint;
pub use linger::lingering;
pub use obstacle::beside;
pub use orphans::{Mark, Orphan, RUN, end_marked, marked, start_of};
pub use outputs::sweep;
pub(crate) use outputs::{MOST_OUTPUT, OutputFile, scratch};

use group::{Ending, Group};
use output::{Keep, Outlet, Pump};

/// A program to run. Nothing happens before [`Program::run`].
#[derive(Clone, Debug, Default)]
pub struct Program {
    name: String,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    without: Vec<String>,
    dir: Option<PathBuf>,
    stdin: Option<String>,
    title: Option<String>,
    capture: bool,
    confidential: bool,
    quiet: bool,
    unchecked: bool,
}

/// What a program left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// Its whole standard output where `capture` asked for it (up to 1 MiB), masked; else empty.
    pub stdout: String,
    /// Whether the output was longer than what was captured.
    pub truncated: bool,
    /// The last lines of its standard output, masked.
    pub stdout_tail: String,
    /// The last lines of its standard error, masked.
    pub stderr_tail: String,
}

impl Program {
    /// A program by its name on PATH, or by a path.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Adds arguments. They must not hold secrets.
    #[must_use]
    pub fn args<T: Into<String>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable over the world's environment. Secret markers become their values.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Sets several variables.
    #[must_use]
    pub fn envs<'e>(self, variables: impl IntoIterator<Item = (&'e String, String)>) -> Self {
        variables.into_iter().fold(self, |program, (name, value)| program.env(name, value))
    }

    /// Leaves a variable of the world's environment out.
    #[must_use]
    pub fn without_env(mut self, name: impl Into<String>) -> Self {
        self.without.push(name.into());
        self
    }

    /// Runs it in a folder; otherwise it runs in the plan's.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Gives it a text to read; otherwise it reads nothing. Secret markers become their values.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// Keeps the standard output as a whole, up to 1 MiB.
    #[must_use]
    pub fn capture(mut self, capture: bool) -> Self {
        self.capture = capture;
        self
    }

    /// Keeps the standard output as a whole and as it is, for the step alone: it may hold secrets that this run does not know, so that
    /// nothing of it is logged, shown or kept as a tail.
    #[must_use]
    pub(crate) fn confidential(mut self) -> Self {
        self.confidential = true;
        self
    }

    /// Does not show its lines in the live view: they are for us, not for people. They are logged all the same.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Accepts any exit code.
    #[must_use]
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// What to call it in messages, instead of its command line.
    #[must_use]
    pub fn called(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// The command as a person would type it.
    pub(crate) fn command_line(&self) -> String {
        std::iter::once(&self.name).chain(&self.args).map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// A program that is not there, cannot start, ends by a signal or (unless unchecked) with a code other than 0, and a
    /// cancellation. In each case nothing that it started is left running, in its process group or outside of that; what cannot be ended is
    /// in the failure.
    pub async fn run(&self, cx: &Context) -> Result<Finished, Failure> {
        if cx.cancel.asked() {
            return Err(Failure::cancelled());
        }
        let prepared = self.prepare(cx)?;
        cx.note(&format!("$ {}", self.command_line()));
        let (group, outlets) = prepared.start(cx, self)?;
        let mut pump = Pump::new(cx, outlets, self.keep(), self.quiet);
        let (ending, alive) = group.watch(cx, &mut pump).await;
        tracing::debug!(step = %cx.step, program = %self.name, ?ending, ?alive, "a program has ended");
        pump.drain();
        self.conclude(ending, pump).map_err(|failure| goes_on(failure, alive))
    }

    fn keep(&self) -> Keep {
        match (self.confidential, self.capture) {
            (true, _) => Keep::Apart,
            (false, true) => Keep::Whole,
            (false, false) => Keep::Tail,
        }
    }

    fn prepare(&self, cx: &Context) -> Result<Prepared, Failure> {
        self.refuse_secrets_in_arguments()?;
        let dir = self.dir.as_deref().map_or_else(|| cx.plan_dir.to_path_buf(), |dir| cx.plan_path(dir));
        let dir = absolute(&dir);
        let program = self.locate(cx, &dir)?;
        Ok(Prepared { program, dir, env: self.environment(cx)?.into(), stdin: self.input(cx)? })
    }

    /// Why it did not start. Only now is it looked at what is there: nearly always all is.
    fn not_started(&self, dir: &Path, program: &Path, error: &std::io::Error) -> Failure {
        if !dir.is_dir() {
            let what = format!("cannot run `{}`: the folder `{}` does not exist", self.title(), dir.display());
            return Failure::new(Class::NotFound, what);
        }
        match self.name.contains('/') {
            _ if is_program(program) => not_started(&self.title(), error),
            true => no_program_at(program, &self.name),
            false => missing(&self.name),
        }
    }

    fn refuse_secrets_in_arguments(&self) -> Result<(), Failure> {
        if !self.args.iter().chain([&self.name]).any(|word| mentions_secret(word)) {
            return Ok(());
        }
        let what = format!(
            "a secret must not stand in the arguments of `{}`: every user of the machine can read them",
            self.name
        );
        Err(Failure::invalid(what).fix("give it through `env` or `stdin`, and let the program read it from there"))
    }

    fn locate(&self, cx: &Context, dir: &Path) -> Result<PathBuf, Failure> {
        if self.name.contains('/') {
            return Ok(dir.join(&self.name));
        }
        match cx.world.find_program(&self.name) {
            Some(found) => Ok(absolute(&found)),
            None if !dir.is_dir() => Ok(dir.join(&self.name)),
            None => Err(missing(&self.name)),
        }
    }

    fn environment(&self, cx: &Context) -> Result<Environment, Failure> {
        let mut over = BTreeMap::from([
            (OsString::from(orphans::STEP), OsString::from(cx.step.as_ref())),
            ("RUNBOOK_DEPLOYMENT".into(), cx.deployment.as_ref().into()),
        ]);
        for (name, value) in &self.env {
            over.insert(name.into(), reveal(cx, value)?.expose().into());
        }
        Ok(Environment { world: Arc::clone(&cx.world), without: self.without.clone(), over })
    }

    fn input(&self, cx: &Context) -> Result<Option<Secret>, Failure> {
        self.stdin.as_deref().map(|text| reveal(cx, text)).transpose()
    }

    fn title(&self) -> String {
        self.title.clone().unwrap_or_else(|| shorten(&self.command_line(), 120))
    }

    fn conclude(&self, ending: Ending, pump: Pump) -> Result<Finished, Failure> {
        let finished = pump.finish();
        match ending {
            Ending::Code(code) if code == 0 || self.unchecked => Ok(Finished { code, ..finished }),
            Ending::Code(code) => Err(self.failed(code, &finished)),
            Ending::Signal(signal) => Err(self.killed(signal, &finished)),
            Ending::Cancelled => {
                Err(Failure::new(Class::Cancelled, format!("`{}` was stopped", self.title()))
                    .detail(finished.last_lines()))
            }
            Ending::Lost(error) => Err(Failure::transient(format!("lost sight of `{}`: {error}", self.title()))),
        }
    }

    fn failed(&self, code: i32, finished: &Finished) -> Failure {
        let said = finished.telling().map(|line| format!(": {line}")).unwrap_or_default();
        let class = classify(&finished.last_lines()).unwrap_or(Class::Permanent);
        let what = format!("`{}` failed with exit code {code}{said}", self.title());
        Failure::new(class, what).detail(finished.last_lines()).facts(finished.facts(Some(code)))
    }

    fn killed(&self, signal: i32, finished: &Finished) -> Failure {
        let name = group::signal_name(signal);
        let what = format!("`{}` was ended by {name}", self.title());
        let failure = Failure::permanent(what).detail(finished.last_lines()).facts(finished.facts(None));
        if name == "SIGKILL" { failure.cause("somebody killed it, or the machine ran out of memory") } else { failure }
    }
}

impl Finished {
    /// Its standard output read as JSON.
    ///
    /// # Errors
    /// Output that is not JSON, or was too long to be kept.
    pub fn json(&self, program: &str) -> Result<serde_json::Value, Failure> {
        if self.truncated {
            return Err(Failure::permanent(format!("the output of `{program}` is longer than 1 MiB")));
        }
        serde_json::from_str(&self.stdout).map_err(|error| {
            Failure::permanent(format!("the output of `{program}` is not JSON: {error}"))
                .detail(last(&self.stdout_tail, 20))
        })
    }

    /// The last lines of what it said: standard error, or standard output where that is empty.
    fn last_lines(&self) -> String {
        let text = if self.stderr_tail.trim().is_empty() { &self.stdout_tail } else { &self.stderr_tail };
        last(text, 20)
    }

    fn telling(&self) -> Option<String> {
        telling_line(&self.stderr_tail).or_else(|| telling_line(&self.stdout_tail)).map(|line| shorten(&line, 300))
    }

    pub(crate) fn facts(&self, exit_code: Option<i32>) -> Facts {
        Facts {
            exit_code,
            stdout: last(&self.stdout_tail, 50),
            stderr: last(&self.stderr_tail, 50),
            ..Facts::default()
        }
    }
}

/// A program with everything found and revealed that it needs to start.
struct Prepared {
    program: PathBuf,
    dir: PathBuf,
    env: Arc<Environment>,
    stdin: Option<Secret>,
}

/// What a program gets as its environment. The world's, which is large, is not copied before the kernel wants it.
struct Environment {
    world: Arc<World>,
    without: Vec<String>,
    over: BTreeMap<OsString, OsString>,
}

impl Environment {
    fn give(&self, command: &mut std::process::Command) {
        let wanted = |name: &OsString| self.without.iter().all(|other| name != other.as_str());
        command.envs(self.world.env.iter().filter(|(name, _)| wanted(name))).envs(&self.over);
    }
}

impl Prepared {
    /// Starts it, here and now: the kernel is done with it in a fraction of a millisecond, and handing it to another thread and waiting for
    /// the answer would only add to that.
    fn start(&self, cx: &Context, program: &Program) -> Result<(Group, Outlet), Failure> {
        let earliest = orphans::tick();
        let not_entered_yet = waited::starting();
        let launched = self.launch(&program.args);
        let (input, pipes) = launched.map_err(|error| program.not_started(&self.dir, &self.program, &error))?;
        let group = Group::new(pipes.handle, (program.name.clone(), program.unchecked), earliest);
        drop(not_entered_yet);
        cx.observer.spawned(group.child());
        tracing::debug!(step = %cx.step, program = %program.name, pid = group.child().pid, "a program was started");
        Ok((group, Outlet { out: pipes.out, err: pipes.err, feed: input }))
    }

    /// A script that was written a moment ago may still be open for writing in a child that another thread is just starting ("text file
    /// busy"); that is over in no time.
    fn launch(&self, args: &[String]) -> std::io::Result<(Option<Feed>, Pipes)> {
        for _ in 0..20 {
            match self.launch_once(args) {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
                other => return other,
            }
        }
        self.launch_once(args)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts programs")]
    fn launch_once(&self, args: &[String]) -> std::io::Result<(Option<Feed>, Pipes)> {
        use std::os::unix::process::CommandExt as _;
        let (out, out_end) = std::io::pipe()?;
        let (err, err_end) = std::io::pipe()?;
        let (feed, input) = self.feed()?;
        // An expression would keep a copy of each for as long as it lives.
        let streams = Mutex::new(Some((input, out_end, err_end)));
        let env = Arc::clone(&self.env);
        let expression = duct::cmd(&self.program, args)
            .dir(&self.dir)
            .full_env(std::iter::empty::<(OsString, OsString)>())
            .unchecked()
            // Not `pre_exec`: this keeps the cheap posix_spawn path.
            .before_spawn(move |command| {
                let streams = streams.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (input, out, err) = streams.expect("an expression of one program starts one");
                command.stdin(input).stdout(out).stderr(err).process_group(0);
                env.give(command);
                Ok(())
            });
        Ok((feed, Pipes { handle: expression.start()?, out: out.into(), err: err.into() }))
    }

    /// What it reads from, and what we write to it there.
    fn feed(&self) -> std::io::Result<(Option<Feed>, Stdio)> {
        let Some(text) = self.stdin.clone() else { return Ok((None, nothing()?.into())) };
        let (read, write) = std::io::pipe()?;
        Ok((Some(Feed { pipe: write.into(), text }), read.into()))
    }
}

/// `/dev/null`, which is opened once.
fn nothing() -> std::io::Result<std::fs::File> {
    static NOTHING: std::sync::OnceLock<std::fs::File> = std::sync::OnceLock::new();
    if let Some(file) = NOTHING.get() {
        return file.try_clone();
    }
    let file = std::fs::File::open("/dev/null")?;
    NOTHING.get_or_init(|| file).try_clone()
}

/// What a program is to read, and through what.
struct Feed {
    pipe: OwnedFd,
    text: Secret,
}

struct Pipes {
    handle: duct::Handle,
    out: OwnedFd,
    err: OwnedFd,
}

impl Feed {
    fn open(self) -> std::io::Result<(pipe::Sender, Secret)> {
        Ok((pipe::Sender::from_owned_fd(self.pipe)?, self.text))
    }
}

fn reveal(cx: &Context, text: &str) -> Result<Secret, Failure> {
    cx.secrets.reveal(text).map_err(|problem| Failure::new(Class::NeedsPerson, problem))
}

/// To try again would be to run beside what cannot be ended.
fn goes_on(failure: Failure, alive: Vec<Child>) -> Failure {
    if alive.is_empty() {
        return failure;
    }
    let names = alive.iter().map(|child| format!("`{}` (pid {})", child.program, child.pid)).collect::<Vec<_>>();
    let what = format!("{}, and even SIGKILL does not end {}", failure.what, names.join(", "));
    beside(Failure { class: Class::NeedsPerson, what, ..failure }, alive)
}

/// The failure for a program that is not on PATH.
pub fn missing(name: &str) -> Failure {
    Failure::invalid(format!("the program `{name}` was not found")).fix(install_hint(name))
}

/// The same for a path: where PATH leads does not matter.
fn no_program_at(path: &Path, name: &str) -> Failure {
    // Without the `./` in its middle.
    let path: PathBuf = path.components().collect();
    match path.metadata() {
        Ok(found) if found.is_dir() => Failure::invalid(format!("`{name}` is a folder, not a program")),
        Ok(_) => Failure::invalid(format!("the program `{name}` is not executable"))
            .fix(format!("chmod +x {}", quote(&path.to_string_lossy()))),
        Err(_) => Failure::invalid(format!("the program `{name}` was not found"))
            .cause(format!("there is no file `{}`", path.display()))
            .fix("correct the path, which starts from the folder that the step runs in, or make the file in a step before"),
    }
}

fn not_started(title: &str, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind as Kind;
    let class = match error.kind() {
        Kind::WouldBlock | Kind::OutOfMemory | Kind::ExecutableFileBusy | Kind::Interrupted => Class::Transient,
        _ if matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE)) => Class::Transient,
        _ => Class::Invalid,
    };
    let failure = Failure::new(class, format!("cannot start `{title}`: {error}"));
    if error.kind() == Kind::NotFound {
        return failure.cause("the interpreter that its first line names is probably not there");
    }
    failure
}

/// A path that means the same from any folder: programs run in other folders than we do.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A word as a shell would need it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A text in one line of at most so many characters.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The last lines of a text, at most 8 KiB of them.
fn last(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    let kept = all[all.len().saturating_sub(lines)..].join("\n");
    let start = (kept.len().saturating_sub(8 << 10)..=kept.len()).find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
    kept[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed() {
        let program = Program::new("git").args(["commit", "-m", "it's done", ""]);
        assert_eq!(program.command_line(), r"git commit -m 'it'\''s done' ''");
    }

    #[test]
    fn what_the_machine_has_too_little_of_now_it_may_have_later() {
        let class = |errno: Errno| not_started("it", &errno.into()).class;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            assert_eq!(class(errno), Class::Transient, "{errno}");
        }
        assert_eq!([Errno::NOEXEC, Errno::ACCESS].map(class), [Class::Invalid; 2]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(shorten("äöü äöü", 5), "äöü …");
        assert_eq!(shorten("a\n  b", 5), "a b");
    }

    #[test]
    fn only_the_last_lines_are_told() {
        assert_eq!(last("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last(&"ä".repeat(10_000), 2).len(), 8192);
    }

    #[test]
    fn output_that_is_no_json_names_the_program() {
        let finished = Finished { stdout: "WARNING".to_owned(), ..Finished::default() };
        let failure = finished.json("gcloud").expect_err("not JSON");
        assert!(failure.what.starts_with("the output of `gcloud` is not JSON"), "{failure}");
    }

    #[test]
    fn a_signal_is_named() {
        let failure = Program::new("make").args(["all"]).killed(9, &Finished::default());
        assert_eq!(failure.what, "`make all` was ended by SIGKILL");
        assert!(failure.cause.expect("a cause").contains("memory"));
    }

    #[test]
    fn what_cannot_be_ended_is_left_to_a_person() {
        let alive = [7, 11].map(|pid| Child { pid, started: 1, program: "dd".to_owned() }).to_vec();
        let failure = goes_on(Failure::new(Class::Cancelled, "`make all` was stopped"), alive.clone());
        assert_eq!((failure.class, &failure.facts.alive), (Class::NeedsPerson, &alive));
        let what = "`make all` was stopped, and even SIGKILL does not end `dd` (pid 7), `dd` (pid 11)";
        assert_eq!(failure.what, what);
        assert_eq!(goes_on(Failure::cancelled(), Vec::new()), Failure::cancelled());
    }

    #[test]
    fn words_survive_a_shell() {
        let cases =
            [("who=world", "who=world"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$HOME", "'$HOME'")];
        for (word, quoted) in cases {
            assert_eq!(quote(word), quoted);
        }
        assert_eq!(quote("{a,b}"), "'{a,b}'", "a shell would make two of it");
    }
}
