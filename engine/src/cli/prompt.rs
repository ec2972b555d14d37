//! Reading a line from a terminal, which may be told not to show it. The terminal is as it was before, however the reading ends.

use std::io::{self, BufRead, Read as _, Stdin};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::runtime::Runtime;

use crate::run::{Interrupts, Signal};

/// Ctrl-C.
const INTERRUPT: u8 = 0x03;
/// Ctrl-Z.
const SUSPEND: u8 = 0x1a;
/// Ctrl-\.
const QUIT: u8 = 0x1c;

/// What `special_codes` hold for a key that does not exist.
const NO_KEY: u8 = 0;

/// What somebody has typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// A line.
    Line(String),
    /// What is no line: half of one, or bytes that are no text.
    Nothing,
    /// They rather want to stop, or somebody else wants it.
    Stop(Signal),
}

/// A terminal that a line is read from, until this is dropped.
///
/// A program that ends here would leave its user's shell with a terminal that shows nothing. So signals are listened to meanwhile, and the
/// keys that ask to stop are characters, which end the line as Enter does.
pub(super) struct Prompt {
    stdin: Stdin,
    before: Termios,
    hidden: bool,
    runtime: Runtime,
    interrupts: Interrupts,
}

impl Prompt {
    /// Shows what is typed; `None` if that cannot be had.
    pub(super) fn shown() -> Option<Self> {
        Self::begin(false, |modes| {
            modes.special_codes[SpecialCodeIndex::VINTR] = NO_KEY;
            modes.special_codes[SpecialCodeIndex::VQUIT] = NO_KEY;
        })
    }

    /// Hides what is typed; `None` if that cannot be had. Nobody can suspend the program meanwhile either.
    pub(super) fn hidden() -> Option<Self> {
        Self::begin(true, |modes| modes.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG))
    }

    fn begin(hidden: bool, change: impl FnOnce(&mut Termios)) -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        // From before the terminal is changed, a signal no longer ends the program.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let interrupts = runtime.block_on(async { Interrupts::from_system() }).ok()?;
        let mut changed = before.clone();
        change(&mut changed);
        changed.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        changed.special_codes[SpecialCodeIndex::VEOL2] = QUIT;
        tcsetattr(&stdin, OptionalActions::Now, &changed).ok()?;
        Some(Self { stdin, before, hidden, runtime, interrupts })
    }

    /// Whether what is typed is not shown, the end of the line neither.
    pub(super) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Waits for a line, or for a signal.
    pub(super) fn line(&mut self) -> Typed {
        let (sender, typed) = tokio::sync::oneshot::channel();
        // After a signal it reads on, but whoever stops here ends the program, and this with it.
        std::thread::spawn(move || sender.send(line(&mut io::stdin().lock())));
        let Self { runtime, interrupts, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                signal = interrupts.next() => Typed::Stop(signal),
                typed = typed => typed.unwrap_or(Typed::Nothing),
            }
        })
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.stdin, OptionalActions::Now, &self.before);
    }
}

fn line(input: &mut impl BufRead) -> Typed {
    let mut line = Vec::new();
    for byte in input.bytes() {
        match byte {
            Ok(INTERRUPT | QUIT) => return Typed::Stop(Signal::Interrupt),
            Ok(b'\n') => break,
            Ok(byte) => line.push(byte),
            Err(_) => return Typed::Nothing,
        }
    }
    let line = String::from_utf8(line).ok().filter(|line| !line.bytes().any(|byte| byte == SUSPEND));
    line.map_or(Typed::Nothing, |line| Typed::Line(line.trim_end_matches('\r').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_enter_and_is_nobody_s_after_ctrl_c() {
        assert_eq!(line(&mut "abc\r\nnext".as_bytes()), Typed::Line("abc".to_owned()));
        assert_eq!(line(&mut "".as_bytes()), Typed::Line(String::new()));
        for stopped in ["\x03", "abc\x03def\n", "abc\x1c"] {
            assert_eq!(line(&mut stopped.as_bytes()), Typed::Stop(Signal::Interrupt), "{stopped:?}");
        }
        assert_eq!(line(&mut "a\x1ab\n".as_bytes()), Typed::Nothing);
    }
}
