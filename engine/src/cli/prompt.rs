//! Reading a line from a terminal, which may be told not to show it. The terminal is as it was before, however the reading ends.

use std::io::{self, BufRead, Read as _, Stdin};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

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
    /// They rather want to stop.
    Stop,
}

/// A terminal that a line is read from, until this is dropped.
///
/// The keys that ask to stop are characters meanwhile, which end the line as Enter does, so that they are heard at once: a program that
/// ends here would leave its user's shell with a terminal that shows nothing, and one that has run steps before listens to signals, so
/// that they would do nothing.
pub(super) struct Prompt {
    stdin: Stdin,
    before: Termios,
    hidden: bool,
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
        let mut changed = before.clone();
        change(&mut changed);
        changed.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        changed.special_codes[SpecialCodeIndex::VEOL2] = QUIT;
        tcsetattr(&stdin, OptionalActions::Now, &changed).ok()?;
        Some(Self { stdin, before, hidden })
    }

    /// Whether what is typed is not shown, the end of the line neither.
    pub(super) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// Waits for a line.
    pub(super) fn line(&self) -> Typed {
        line(&mut self.stdin.lock())
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
            Ok(INTERRUPT | QUIT) => return Typed::Stop,
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
            assert_eq!(line(&mut stopped.as_bytes()), Typed::Stop, "{stopped:?}");
        }
        assert_eq!(line(&mut "a\x1ab\n".as_bytes()), Typed::Nothing);
    }
}
