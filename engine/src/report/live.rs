//! Draws the live picture at the bottom of a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A block of lines that is drawn over itself.
pub(crate) struct Canvas {
    bar: ProgressBar,
}

impl Canvas {
    /// An empty canvas at the cursor.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(12));
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well-formed"));
        Self { bar }
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
    }
}
