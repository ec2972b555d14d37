//! What is seen on a terminal: the moving picture, and text of programs.

use std::fs::File;
use std::io::Read as _;

use rustix::termios::{Winsize, tcsetwinsize};

use crate::sandbox::Sandbox;

/// Its step prints what a terminal would obey: a title, a clean screen, a bell, progress.
fn rude() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("rude", "one\n\u{1b}]0;owned\u{7}\u{1b}[2J10%\r20%\ntwo\u{1b}[31m \u{7}red\n");
    sandbox.write("plan.yaml", "runbook: 1\nname: rude\nsteps:\n  a: { run: cat rude >&2; exit 1 }\n");
    sandbox
}

/// A terminal with a program at its other end.
struct Terminal {
    person: File,
    shown: String,
    engine: std::process::Child,
}

impl Terminal {
    fn begin(sandbox: &Sandbox, args: &[&str]) -> Self {
        use rustix::fs::{Mode, OFlags};
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&person).expect("granted");
        unlockpt(&person).expect("unlocked");
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&person, size).expect("a size");
        let name = ptsname(&person, Vec::new()).expect("a name");
        let program = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("the other end");
        let program = File::from(program);
        let end = || program.try_clone().expect("a copy");
        let engine = sandbox.command(args).env("TERM", "xterm").stdout(end()).stderr(end()).spawn().expect("starts");
        Self { person: File::from(person), shown: String::new(), engine }
    }

    /// Reads until a text is shown.
    #[track_caller]
    fn until(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let last: String = self.shown.chars().rev().take(2000).collect::<Vec<_>>().into_iter().rev().collect();
            assert!(self.read(), "`{text}` is not shown: …{last}");
        }
    }

    fn read(&mut self) -> bool {
        let mut some = [0; 4096];
        // Where nobody is left at the other end, Linux says that it cannot be read.
        let read = self.person.read(&mut some).unwrap_or(0);
        self.shown.push_str(&String::from_utf8_lossy(&some[..read]));
        read > 0
    }

    /// All that was shown to the end.
    fn all(mut self) -> String {
        while self.read() {}
        self.engine.wait().expect("ended");
        self.shown
    }
}

#[test]
fn what_a_terminal_would_obey_is_not_shown() {
    let sandbox = rude();
    let ran = sandbox.run(&["apply", "plan.yaml"]).exits(4);
    assert!(!ran.err.contains(|letter: char| letter.is_control() && letter != '\n'), "{:?}", ran.err);
    let ran = ran.says("exit code 1: two red").says("  │ one\n  │ 20%\n  │ two red\n");
    assert!(!ran.err.contains("owned"), "{}", ran.err);
    let shown = Terminal::begin(&sandbox, &["apply", "plan.yaml"]).all();
    for rude in ["owned", "\u{7}", "\u{1b}[2J", "10%", "\u{1b}[31m "] {
        assert!(!shown.contains(rude), "{rude:?} in {shown:?}");
    }
}

#[test]
fn a_log_is_fit_for_a_terminal_and_whole_elsewhere() {
    let sandbox = rude();
    sandbox.run(&["apply", "plan.yaml"]).exits(4);
    let out = sandbox.run(&["log", "a"]).exits(0).out;
    assert!(out.contains(&sandbox.read("rude")), "{out:?}");
    let shown = Terminal::begin(&sandbox, &["log", "a"]).all();
    assert!(shown.contains("\r\none\r\n20%\r\ntwo red\r\n"), "{shown:?}");
}

#[test]
fn a_pause_before_the_next_attempt_is_shown_as_it_passes() {
    let sandbox = Sandbox::new();
    let retry = "{ attempts: 3, backoff: { initial: 4s } }";
    let plan = format!("runbook: 1\nname: p\nsteps:\n  a: {{ run: echo no >&2; exit 1, retry: {retry} }}\n");
    sandbox.write("plan.yaml", &plan);
    let mut terminal = Terminal::begin(&sandbox, &["apply", "plan.yaml"]);
    terminal.until("failed with exit code 1: no");
    terminal.until("retrying in 2s (attempt 2 of 3)");
    terminal.until("retrying in 1s (attempt 2 of 3)");
    terminal.engine.kill().expect("killed");
    terminal.all();
}

#[test]
fn a_run_that_was_told_to_stop_says_so_while_it_does() {
    use rustix::process::{Pid, Signal, kill_process};
    let sandbox = Sandbox::new();
    let plan = "runbook: 1\nname: p\nsteps:\n  a: { run: \"trap '' TERM; touch begun; sleep 60\" }\n  \
                b: { needs: [a], run: 'true' }\n";
    sandbox.write("plan.yaml", plan);
    let mut terminal = Terminal::begin(&sandbox, &["apply", "plan.yaml"]);
    terminal.until("b  waits for a");
    while !sandbox.path("begun").exists() {
        std::thread::yield_now();
    }
    let pid = Pid::from_child(&terminal.engine);
    kill_process(pid, Signal::INT).expect("it lives");
    terminal.until("SIGINT: stopping; programs have 10s to end; another ctrl-C kills them");
    terminal.until("1 will not start: b");
    kill_process(pid, Signal::INT).expect("it lives");
    terminal.until("interrupted by SIGINT");
    terminal.all();
}

#[test]
fn wide_letters_leave_the_picture_in_its_place() {
    use unicode_width::UnicodeWidthStr as _;
    let sandbox = Sandbox::new().env("NO_COLOR", "1");
    let run = "echo 準備中です、しばらくお待ちください 🎉; sleep 2";
    let plan = format!(
        "runbook: 1\nname: p\nsteps:\n  a: {{ run: '{run}', idempotent: true }}\n  b: {{ needs: [a], run: 'true' }}\n"
    );
    sandbox.write("plan.yaml", &plan);
    let mut terminal = Terminal::begin(&sandbox, &["apply", "plan.yaml"]);
    terminal.until("しばらく");
    let row = terminal.shown.rfind("◐ a").expect("its row");
    terminal.shown.drain(..row);
    terminal.until("· b");
    let row = terminal.shown.split("· b").next().expect("all up to the next");
    assert_eq!(row.width(), 100, "the next row stands under it: {row:?}");
    terminal.all();
}
