//! Text of programs, fit to be shown: without anything that a terminal would obey. Knows neither programs nor screens.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

/// What a terminal would show of a text in the end: what colours, moves or sets something is gone, and of a line that was written over
/// itself the last state is left. Line ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    // A sequence never goes beyond its line: one without an end must not swallow the rest.
    let lines: Vec<String> = text.split('\n').map(Line::read).collect();
    lines.join("\n").into()
}

fn is_obeyed(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\n' | '\t')
}

/// A line as it is written.
#[derive(Default)]
struct Line {
    shown: String,
    /// What it was before it was last begun anew.
    before: String,
}

impl Line {
    fn read(text: &str) -> String {
        let mut line = Self::default();
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            line.take(letter, &mut letters);
        }
        line.begin_anew();
        line.before
    }

    fn take(&mut self, letter: char, behind: &mut Peekable<Chars>) {
        match letter {
            '\u{1b}' => skip_escape(behind),
            '\u{9b}' => skip_control(behind),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(behind),
            '\r' => self.begin_anew(),
            '\u{8}' => drop(self.shown.pop()),
            letter if is_obeyed(letter) => {}
            letter => self.shown.push(letter),
        }
    }

    /// Progress is written over itself; what is only wiped out then was the last state.
    fn begin_anew(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if self.before.is_empty() || !shown.trim().is_empty() {
            self.before = shown;
        }
    }
}

/// What follows ESC.
fn skip_escape(behind: &mut Peekable<Chars>) {
    match behind.peek() {
        Some('[') => {
            behind.next();
            skip_control(behind);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(behind),
        _ => {
            while behind.next_if(|letter| (' '..='/').contains(letter)).is_some() {}
            behind.next_if(|letter| ('0'..='~').contains(letter));
        }
    }
}

/// The numbers and the letter that set or move something.
fn skip_control(behind: &mut Peekable<Chars>) {
    while behind.next_if(|letter| (' '..='?').contains(letter)).is_some() {}
    behind.next_if(|letter| ('@'..='~').contains(letter));
}

/// A title, a link, or something else with a text of its own, up to its end or what cuts it short.
fn skip_string(behind: &mut Peekable<Chars>) {
    while let Some(letter) = behind.next_if(|letter| *letter != '\u{1b}') {
        if matches!(letter, '\u{7}' | '\u{9c}' | '\u{18}' | '\u{1a}') {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_gone_whole() {
        for (text, shown) in [
            ("plain\ttext\nin lines\n", "plain\ttext\nin lines\n"),
            ("\u{1b}[1;31mred\u{1b}[0m and \u{1b}[38:2::1:2:3mmore\u{1b}[m", "red and more"),
            ("\u{1b}[2J\u{1b}[H\u{1b}[?25lgone\u{1b}[?1049h\u{1b}[15~", "gone"),
            ("\u{1b}]0;owned\u{7}ERR \u{1b}]8;;https://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "ERR link"),
            ("\u{1b}P1$r\u{1b}\\a\u{1b}_b\u{1b}\\c\u{1b}Xd\u{1b}\\e\u{1b}^f\u{9c}g", "aceg"),
            ("\u{9b}2Ja\u{9d}0;owned\u{9c}b\u{90}c\u{9c}d", "abd"),
            ("\u{1b}ca\u{1b}(Bb\u{1b}7c\u{1b}#8d\u{1b}", "abcd"),
            ("bell\u{7} nul\0 del\u{7f} so\u{e}", "bell nul del so"),
            ("größer 日本 🎉", "größer 日本 🎉"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
            assert!(!printable(text).contains(is_obeyed), "{text:?}");
        }
    }

    #[test]
    fn a_line_that_is_written_over_keeps_its_last_state() {
        for (text, shown) in [
            ("10%\r20%\r30%", "30%"),
            ("10%\r20%\r\nnext\r\n", "20%\nnext\n"),
            ("Pulling\r\u{1b}[K", "Pulling"),
            ("\r\u{1b}[2Kdone\r          \r", "done"),
            ("a|\u{8}/\u{8}-", "a-"),
            ("\u{8}\r", ""),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_sequence_without_an_end_swallows_no_other_line() {
        assert_eq!(printable("a\u{1b}]0;title\nb\u{1b}[31\nc\u{1b}\nd"), "a\nb\nc\nd");
        assert_eq!(printable("\u{1b}]0;a\u{1b}[31mb"), "b");
    }
}
