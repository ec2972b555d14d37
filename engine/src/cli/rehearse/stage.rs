//! Starting, finding, killing and ending the processes of a rehearsal: its world, and an engine that is to be killed.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use runbook_fixtures::scenario::{Kill, KillAfterRecord, KillAtStep};
use runbook_fixtures::stage::Info;
use runbook_steps::Clock;
use runbook_steps::tools::start_of;
use rustix::process::{Pid, Signal, kill_process};

use super::Rehearsal;
use crate::cli::deployment::{absolute, state_fatal};
use crate::cli::exit::{Exit, Fatal};
use crate::cli::{Environment, Session};
use crate::plan::StepId;
use crate::report::tracker::between;
use crate::state::fold::Status;
use crate::state::{Home, journal};

/// How long a world may take to end when it is told to.
const GENTLE: Duration = Duration::from_secs(3);
/// The same when it is killed.
const FORCED: Duration = Duration::from_secs(5);

/// A world that is up.
pub(super) struct Stage {
    info: Info,
    /// The process, if this one started it.
    child: Option<Child>,
    kept: bool,
}

impl Stage {
    /// Starts a world and waits until it is ready.
    pub(super) fn open(rehearsal: &Rehearsal, real_gcloud: bool) -> Result<Self, Fatal> {
        let dir = world_dir(&rehearsal.root);
        make_private(&dir)?;
        let log = File::create(dir.join("world.log"))?;
        let mut world = start(&world_arguments(rehearsal, &dir, real_gcloud), log.try_clone()?.into(), log.into())?;
        let info = until_ready(&mut world, &dir)?;
        Ok(Self { info, child: world.release(), kept: false })
    }

    /// A world that another process started.
    pub(super) fn attached(info: Info) -> Self {
        Self { info, child: None, kept: false }
    }

    /// Where everything is.
    pub(super) fn info(&self) -> &Info {
        &self.info
    }

    /// Leaves the world up.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    /// Ends the world, whoever started it.
    pub(super) fn close(self) {
        end(&self.info);
    }
}

/// After an error, a world that was there before is left as it was.
impl Drop for Stage {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Some(child) = &mut self.child {
            end(&self.info);
            let _ = child.wait();
        }
    }
}

/// A process that is killed when nobody holds on to it any more, however that comes about: a [`Child`] that is dropped lives on.
struct Leashed {
    child: Option<Child>,
}

impl Leashed {
    fn has_ended(&mut self) -> io::Result<bool> {
        self.child.as_mut().map_or(Ok(true), |child| child.try_wait().map(|ended| ended.is_some()))
    }

    /// Waits until it has ended by itself.
    fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.as_mut().expect("it is given away only with all of this").wait()
    }

    /// Lets it live on.
    fn release(mut self) -> Option<Child> {
        self.child.take()
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a world is ready.
fn until_ready(world: &mut Leashed, dir: &Path) -> Result<Info, Fatal> {
    let began = Instant::now();
    loop {
        if let Some(info) = Info::read(dir)? {
            return Ok(info);
        }
        if world.has_ended()? || began.elapsed() > Duration::from_secs(20) {
            let log = std::fs::read_to_string(dir.join("world.log")).unwrap_or_default();
            let what = format!("the simulated world did not start\n{}", log.trim_end());
            return Err(Fatal::new(Exit::Unexpected, what));
        }
        pause(Duration::from_millis(5));
    }
}

/// The world of a rehearsal, if its process lives.
pub(super) fn live(root: &Path) -> Option<Info> {
    Info::read(&world_dir(root)).ok().flatten().filter(is_up)
}

/// Ends what is left of an earlier rehearsal and removes its folder.
pub(super) fn clear(root: &Path, live: Option<Info>) -> Result<(), Fatal> {
    if let Some(info) = live {
        end(&info);
    }
    match std::fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Fatal::new(Exit::State, format!("cannot remove `{}`: {error}", root.display())))
        }
        _ => Ok(()),
    }
}

/// Tells a world that nothing goes wrong any more.
pub(super) fn lift(info: &Info) {
    if let Some(pid) = i32::try_from(info.pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::USR1);
    }
}

/// Tells a world to end, and waits until it has.
fn end(info: &Info) {
    let Some(pid) = i32::try_from(info.pid).ok().and_then(Pid::from_raw) else { return };
    let began = Instant::now();
    // What SIGKILL does not end hangs in the system itself, and nobody can wait for that.
    while is_up(info) && began.elapsed() < GENTLE + FORCED {
        let signal = if began.elapsed() > GENTLE { Signal::KILL } else { Signal::TERM };
        let _ = kill_process(pid, signal);
        pause(Duration::from_millis(10));
    }
}

/// Whether the process of a world lives, which one that nobody has waited for yet does not.
fn is_up(info: &Info) -> bool {
    start_of(info.pid) == Some(info.pid_started)
}

/// Runs an engine of its own on the world, and has it killed (SIGKILL) as the scenario says.
pub(super) fn kill_engine(
    arguments: Vec<OsString>,
    kill: &Kill,
    home: &Home,
    info: &Info,
    session: &Session,
) -> Result<(), Fatal> {
    let place = match kill {
        Kill::Step(kill) => kill_at_step(&arguments, kill, home, info)?,
        Kill::Record(kill) => die_after_record(arguments, kill)?,
    };
    session.ui.say(&format!("\nthe engine was killed (SIGKILL) {place}; starting it again\n"));
    Ok(())
}

/// Runs an engine that kills itself at a record of its journal.
fn die_after_record(mut arguments: Vec<OsString>, kill: &KillAfterRecord) -> Result<String, Fatal> {
    arguments.extend(["--die-after-record".into(), kill.after_record.to_string().into()]);
    arguments.extend(kill.torn.then(|| "--torn".into()));
    let ended = start(&arguments, Stdio::null(), Stdio::inherit())?.wait()?;
    let number = kill.after_record;
    if std::os::unix::process::ExitStatusExt::signal(&ended) != Some(9) {
        let what =
            format!("the engine ended ({ended}) before it had written record {number}, so it could not die there");
        return Err(Fatal::new(Exit::Unexpected, what));
    }
    Ok(if kill.torn { format!("in the middle of record {}", number + 1) } else { format!("after record {number}") })
}

/// Runs an engine, and kills it when a step has run for a while.
fn kill_at_step(arguments: &[OsString], kill: &KillAtStep, home: &Home, info: &Info) -> Result<String, Fatal> {
    let step = StepId::from(kill.at_step.as_str());
    let clock = Clock::scaled(info.epoch_ms, info.speed);
    let mut engine = start(arguments, Stdio::null(), Stdio::inherit())?;
    loop {
        let state = journal::read(home).map_err(state_fatal)?.state;
        if let Status::Running { since, .. } | Status::Undoing { since, .. } = state.status(&step)
            && between(*since, clock.now()) >= kill.after.0
        {
            break;
        }
        if engine.has_ended()? {
            let what = format!(
                "the engine ended before `{step}` had run for {:?}, so it could not be killed there",
                kill.after.0
            );
            return Err(Fatal::new(Exit::Unexpected, what));
        }
        pause(Duration::from_millis(5));
    }
    drop(engine);
    Ok(format!("while `{step}` was running"))
}

/// What a user's own tool shows of the world: its lines, sorted.
#[expect(clippy::disallowed_methods, reason = "it is a user's program, not a step's")]
pub(super) fn ask(command: &str, env: &Environment, info: &Info) -> Result<Vec<String>, String> {
    let mut words = command.split_whitespace();
    let name = words.next().unwrap_or_default();
    let program = info.path_prepend.join(name);
    let output = Command::new(&program)
        .args(words)
        .env_clear()
        .envs(&env.0)
        .env("KUBECONFIG", &info.kubeconfig)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{}` cannot be started: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("`{command}` failed: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
    }
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}

fn world_arguments(rehearsal: &Rehearsal, dir: &Path, real_gcloud: bool) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["__world".into(), "--dir".into(), absolute(dir).into()];
    args.extend(["--speed".into(), rehearsal.speed.to_string().into()]);
    if let Some(file) = &rehearsal.scenario_file {
        args.extend(["--scenario".into(), absolute(file).into()]);
    }
    if real_gcloud {
        args.push("--real-gcloud".into());
    }
    args
}

/// Starts this program again, in a process group of its own: a Ctrl-C is meant for the engine, not for the world.
#[expect(
    clippy::disallowed_methods,
    reason = "the world and the engine that is to be killed are this program itself, not a step's"
)]
fn start(arguments: &[OsString], out: Stdio, err: Stdio) -> Result<Leashed, Fatal> {
    use std::os::unix::process::CommandExt as _;
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
    Ok(Leashed { child: Some(command.spawn()?) })
}

#[expect(clippy::disallowed_methods, reason = "waits for processes, on the machine's clock")]
fn pause(span: Duration) {
    std::thread::sleep(span);
}

fn world_dir(root: &Path) -> PathBuf {
    root.join("world")
}

fn make_private(dir: &Path) -> Result<(), Fatal> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| Fatal::new(Exit::State, format!("cannot make `{}`: {error}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any process that would live on will do")]
    fn a_process_that_nobody_holds_on_to_is_killed_and_one_that_is_released_lives() {
        let sleep = || Leashed { child: Some(Command::new("sleep").arg("60").spawn().expect("started")) };
        let killed = sleep();
        let pid = killed.child.as_ref().expect("held").id();
        assert!(start_of(pid).is_some());
        drop(killed);
        assert!(start_of(pid).is_none());
        let mut released = sleep().release().expect("held");
        assert!(released.try_wait().expect("looked").is_none());
        released.kill().expect("killed");
        released.wait().expect("ended");
    }
}
