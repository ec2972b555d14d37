//! Reading a line from a terminal that does not show it. The terminal is as it was before, however the reading ends.

use std::io::{self, BufRead, Read as _, Stdin};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Ctrl-C.
const INTERRUPT: u8 = 0x03;
/// Ctrl-Z.
const SUSPEND: u8 = 0x1a;
/// Ctrl-\.
const QUIT: u8 = 0x1c;

/// A terminal that shows nothing of what is typed, until this is dropped.
///
/// The keys that would end or suspend the program are characters meanwhile: a program that ends here leaves its user's shell without
/// echo. Those that ask to stop end the line as Enter does, so that they are heard at once.
pub(super) struct Hidden {
    stdin: Stdin,
    before: Termios,
}

impl Hidden {
    /// Hides what is typed from now on; `None` if that cannot be had.
    pub(super) fn begin() -> Option<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        hidden.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        hidden.special_codes[SpecialCodeIndex::VEOL2] = QUIT;
        tcsetattr(&stdin, OptionalActions::Now, &hidden).ok()?;
        Some(Self { stdin, before })
    }

    /// A line; `None` if somebody rather wants to stop.
    pub(super) fn line(&self) -> Option<String> {
        line(&mut self.stdin.lock())
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.stdin, OptionalActions::Now, &self.before);
    }
}

fn line(input: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    for byte in input.bytes() {
        match byte.ok()? {
            INTERRUPT | QUIT => return None,
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let line = String::from_utf8(line).ok().filter(|line| !line.bytes().any(|byte| byte == SUSPEND))?;
    Some(line.trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_with_enter_and_is_nobody_s_after_ctrl_c() {
        assert_eq!(line(&mut "abc\r\nnext".as_bytes()).as_deref(), Some("abc"));
        assert_eq!(line(&mut "".as_bytes()).as_deref(), Some(""));
        for stopped in ["\x03", "abc\x03def\n", "abc\x1c", "a\x1ab\n"] {
            assert_eq!(line(&mut stopped.as_bytes()), None, "{stopped:?}");
        }
    }
}
