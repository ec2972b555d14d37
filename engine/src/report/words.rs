//! How figures and marks are written. Pure text; the meaning is in the symbols, colour only helps.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use runbook_steps::{Failure, printable};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A span for people: `0.4s`, `12s`, `5m 02s`, `1h 03m`.
pub(crate) fn span(span: Duration) -> String {
    let (seconds, tenths) = (span.as_secs(), (span.as_millis() + 50) / 100);
    match seconds {
        0..10 if tenths % 10 > 0 => format!("{}.{}s", tenths / 10, tenths % 10),
        0..10 => format!("{}s", tenths / 10),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A span for programs, in seconds: what is below a millisecond says nothing.
pub(crate) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What the clock of a rehearsal shows.
pub(crate) const MODEL_TIME: &str = "model time";

/// What stands behind a deployment's name where it is rehearsed.
pub(crate) fn label(simulated: Option<&str>) -> &'static str {
    simulated.map_or("", |_| " · rehearsal")
}

/// How long a run took; of a rehearsal also by the machine's clock.
pub(crate) fn lasted(elapsed: Duration, real: Duration, simulated: Option<&str>) -> String {
    match simulated {
        Some(_) => format!("{} {MODEL_TIME} ({} real)", span(elapsed), span(real)),
        None => span(elapsed),
    }
}

/// A span that is only an estimate: `~4m`, `~40s`.
pub(crate) fn about(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..90 => format!("~{}s", seconds.max(1)),
        90..5400 => format!("~{}m", (seconds + 30) / 60),
        _ => format!("~{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `1 step`, `3 steps`.
pub(crate) fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// `1 step holds`, `3 steps hold`.
pub(crate) fn hold(number: usize) -> String {
    if number == 1 { "1 step holds".to_owned() } else { format!("{number} steps hold") }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list<T: std::fmt::Display>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        [only] => only.to_string(),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(ToString::to_string).collect();
            format!("{} and {last}", most.join(", "))
        }
    }
}

/// The first few of a list: `a, b and 3 more`.
pub(crate) fn some<T: std::fmt::Display>(items: &[T], most: usize) -> String {
    if items.len() <= most.saturating_add(1) {
        return list(items);
    }
    let shown: Vec<String> = items[..most].iter().map(ToString::to_string).collect();
    format!("{} and {} more", shown.join(", "), items.len() - most)
}

/// A failure as it can be shown: programs have a say in its words.
pub(crate) fn told(failure: &Failure) -> Failure {
    let shown = |text: &str| printable(text).into_owned();
    Failure {
        what: shown(&failure.what),
        detail: shown(&failure.detail),
        cause: failure.cause.as_deref().map(shown),
        fix: failure.fix.as_deref().map(shown),
        ..failure.clone()
    }
}

/// How many columns a text without colours takes: some letters take two, and some none.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

/// How many columns the widest of some texts takes.
pub(crate) fn widest<'t>(texts: impl Iterator<Item = &'t str>) -> usize {
    texts.map(columns).max().unwrap_or(0)
}

/// Cuts a line to so many columns, with an ellipsis.
pub(crate) fn clip(line: &str, width: usize) -> String {
    if columns(line) <= width {
        return line.to_owned();
    }
    let (mut out, mut left) = (String::new(), width.saturating_sub(1));
    for letter in line.chars() {
        let Some(still) = left.checked_sub(letter.width().unwrap_or(0)) else { break };
        left = still;
        out.push(letter);
    }
    out.push('…');
    out
}

/// A text in one line of at most so many columns.
pub(crate) fn brief(text: &str, width: usize) -> String {
    clip(&text.split_whitespace().collect::<Vec<_>>().join(" "), width)
}

/// A text of a program or a cluster in one line.
pub(crate) fn line(text: &str) -> String {
    brief(&printable(text), usize::MAX)
}

/// Pads to so many columns.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Whether and how text is coloured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    /// Whether at all.
    pub(crate) on: bool,
}

impl Paint {
    fn with(self, style: Style, text: &str) -> String {
        // Around nothing, a style would be something at the end of a line.
        if self.on && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with(Style::new().dimmed(), text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn busy(self, text: &str) -> String {
        self.with(AnsiColor::Cyan.on_default(), text)
    }

    pub(crate) fn warn(self, text: &str) -> String {
        self.with(AnsiColor::Yellow.on_default(), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        let cases = [(0, "0s"), (59_000, "59s"), (302_000, "5m 02s"), (3_780_000, "1h 03m"), (400, "0.4s")];
        let same =
            [(40, "0s"), (990, "1s"), (1_000, "1s"), (1_010, "1s"), (1_100, "1.1s"), (9_970, "10s"), (10_000, "10s")];
        for (millis, text) in cases.into_iter().chain(same) {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn nothing_is_not_coloured() {
        assert_eq!(Paint { on: true }.dim(""), "");
        assert_ne!(Paint { on: true }.dim("a"), "a");
    }

    #[test]
    fn long_lines_are_clipped_by_columns() {
        assert_eq!(clip("größer als gedacht", 7), "größer…");
        assert_eq!(clip("kurz", 7), "kurz");
        assert_eq!(brief(" zwei\n  Zeilen ", 7), "zwei Z…");
        assert_eq!([4, 5, 6].map(|width| clip("日本語x", width)), ["日…", "日本…", "日本…"]);
        assert_eq!(clip("日本語x", 7), "日本語x");
        assert_eq!(clip("cafe\u{301} noir", 6), "cafe\u{301} …");
    }

    #[test]
    fn columns_are_counted_as_terminals_do() {
        for (text, wide) in [("abc", 3), ("größer", 6), ("日本", 4), ("🎉!", 3), ("e\u{301}", 1), ("✓ ◐ · …", 7)]
        {
            assert_eq!(columns(text), wide, "{text}");
            assert_eq!(columns(&pad(text, 9)), 9, "{text}");
        }
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
