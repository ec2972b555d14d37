//! Draws the live picture at the bottom of a terminal.

use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// A block of lines that is drawn over itself.
pub(crate) struct Canvas {
    bar: ProgressBar,
    /// How the terminal was before.
    before: Option<Termios>,
}

impl Canvas {
    /// An empty canvas at the cursor.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(12));
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well-formed"));
        Self { bar, before: keep_quiet() }
    }

    /// Draws lines in place of those before.
    pub(crate) fn draw(&self, lines: &[String]) {
        self.bar.set_message(lines.join("\n"));
        self.bar.tick();
    }

    /// Puts a line above, where it scrolls away with what came before.
    pub(crate) fn above(&self, line: &str) {
        self.bar.println(line);
    }

    /// Takes the picture away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stderr(), OptionalActions::Now, before);
        }
    }
}

/// Lets the terminal not show what is typed: it would move the picture, and leave a line of it behind.
fn keep_quiet() -> Option<Termios> {
    let before = tcgetattr(io::stderr()).ok()?;
    // Whoever changes the terminal from the background is stopped.
    if tcgetpgrp(io::stderr()).ok()? != rustix::process::getpgrp() {
        return None;
    }
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHOCTL);
    tcsetattr(io::stderr(), OptionalActions::Now, &quiet).ok()?;
    Some(before)
}
