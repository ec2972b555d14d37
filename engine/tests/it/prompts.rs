//! Questions on a terminal: ctrl-C at any of them ends the program with 130, and gives the terminal back as it was.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Child;

use rustix::termios::{LocalModes, tcgetattr};

use crate::sandbox::Sandbox;

/// A person at one end of a terminal, and the program at the other.
struct Talk {
    person: File,
    program: File,
    engine: Child,
    shown: String,
}

impl Talk {
    fn begin(sandbox: &Sandbox, args: &[&str]) -> Self {
        use rustix::fs::{Mode, OFlags};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("granted");
        unlockpt(&person).expect("unlocked");
        let name = ptsname(&person, Vec::new()).expect("a name");
        let program = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the other end");
        let (person, program) = (File::from(person), File::from(program));
        let end = || program.try_clone().expect("a copy");
        let engine = sandbox.command(args).stdin(end()).stderr(end()).spawn().expect("starts");
        Self { person, program, engine, shown: String::new() }
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.program).expect("modes").local_modes.contains(LocalModes::ECHO)
    }

    /// All that the terminal is set to.
    fn modes(&self) -> String {
        let now = tcgetattr(&self.program).expect("modes");
        format!("{:?} {:?}", now.local_modes, now.special_codes)
    }

    /// Reads until a text is shown.
    fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let mut some = [0; 256];
            let read = self.person.read(&mut some).expect("more");
            self.shown.push_str(&String::from_utf8_lossy(&some[..read]));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.person.write_all(keys).expect("typed");
    }
}

/// A terminal that shows no moving picture: nobody reads what is shown after the question, so it must not be much.
fn sandbox(plan: &str) -> Sandbox {
    let sandbox = Sandbox::new().env("TERM", "dumb");
    sandbox.write("plan.yaml", plan);
    sandbox
}

/// Presses ctrl-C at a question, and then a key that would answer it.
#[track_caller]
fn ctrl_c(sandbox: &Sandbox, args: &[&str], question: &str, echoes: bool) {
    let mut talk = Talk::begin(sandbox, args);
    let before = talk.modes();
    talk.until(question);
    assert_eq!(talk.echoes(), echoes, "whether what is typed is shown");
    talk.types(b"a\x03n\n");
    assert_eq!(talk.engine.wait().expect("ended").code(), Some(130), "{}", talk.shown);
    assert_eq!(talk.modes(), before);
}

#[test]
fn at_a_secret() {
    let sandbox = sandbox(
        "runbook: 1\nname: asks\nsecrets:\n  token: { from: [{ prompt: The token }] }\nsteps:\n  \
         use: { run: 'true', env: { TOKEN: '${{ secrets.token }}' } }\n",
    );
    ctrl_c(&sandbox, &["apply", "plan.yaml"], "The token: ", false);
    assert!(!sandbox.path(".runbook").exists(), "nothing has begun");
    let mut talk = Talk::begin(&sandbox, &["apply", "plan.yaml"]);
    talk.until("The token: ");
    talk.types(b"\n");
    assert_eq!(talk.engine.wait().expect("ended").code(), Some(7), "nobody answered");
}

#[test]
fn a_signal_at_a_secret_ends_as_ctrl_c_does() {
    use rustix::process::{Pid, Signal, kill_process};
    let sandbox = sandbox(
        "runbook: 1\nname: asks\nsecrets:\n  token: { from: [{ prompt: The token }] }\nsteps:\n  \
         use: { run: 'true', env: { TOKEN: '${{ secrets.token }}' } }\n",
    );
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut talk = Talk::begin(&sandbox, &["apply", "plan.yaml"]);
        let before = talk.modes();
        talk.until("The token: ");
        talk.types(b"half");
        kill_process(Pid::from_child(&talk.engine), signal).expect("it lives");
        assert_eq!(talk.engine.wait().expect("ended").code(), Some(code), "{}", talk.shown);
        assert_eq!(talk.modes(), before);
        assert!(!sandbox.path(".runbook").exists(), "nothing has begun");
    }
}

#[test]
fn at_a_question_whether_stale_steps_run_again() {
    let plan = "runbook: 1\nname: stale\nsteps: { a: { run: echo one } }\n";
    let sandbox = sandbox(plan);
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    sandbox.write("plan.yaml", &plan.replace("one", "two"));
    ctrl_c(&sandbox, &["apply", "plan.yaml"], "run it again? [y/N]: ", true);
    let mut talk = Talk::begin(&sandbox, &["apply", "plan.yaml"]);
    talk.until("run it again? [y/N]: ");
    talk.types(b"y\n");
    assert_eq!(talk.engine.wait().expect("ended").code(), Some(0));
}

/// By then a run has ended, and what it listened to signals with is still there.
#[test]
fn at_a_remedy_that_is_offered() {
    let sandbox = sandbox(
        "runbook: 1\nname: ill\nsteps:\n  works:\n    run: test -e healed || { echo 'it is ill' >&2; exit 1; }\n    \
         hints: [{ match: { error: it is ill }, cause: It is ill., fix: Heal it., remedy: heal }]\n  \
         heal: { on_demand: true, run: touch healed }\n",
    );
    ctrl_c(&sandbox, &["apply", "plan.yaml"], "run `heal` now? [y/N]: ", true);
    assert!(!sandbox.path("healed").exists());
}

#[test]
fn at_the_name_of_what_is_undone() {
    let sandbox = sandbox("runbook: 1\nname: gone\nsteps: { a: { run: touch a, undo: { run: rm a } } }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0);
    ctrl_c(&sandbox, &["destroy"], "type `gone` to undo this: ", true);
    assert!(sandbox.path("a").exists());
}
