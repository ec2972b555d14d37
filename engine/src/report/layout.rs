//! Makes text fit a terminal: lines are wrapped at words, and go on under the column that they were in. What is to be copied stays in
//! one piece: a command, and short code between backticks. Pure text, colours and all; elsewhere than on a terminal nothing is wrapped.

use std::borrow::Cow;

use runbook_steps::printable;

use super::words::{clip, columns};

/// Where nothing has to fit.
pub(crate) const ANY: usize = usize::MAX;

/// Keeps a command in one piece: its blanks are no-break spaces until [`fit`] writes it.
pub(crate) fn command(text: &str) -> String {
    text.replace(' ', NO_BREAK)
}

/// A title, which nobody misses the end of, cut to what is left of a width; nothing where that is too little to say anything.
pub(crate) fn title(text: &str, used: usize, width: usize) -> String {
    let room = width.saturating_sub(used);
    if room < SHORTEST_TITLE && columns(text) > room { String::new() } else { clip(text, room) }
}

/// The text in lines of a width at most, as far as it has blanks to be wrapped at. Of what a terminal obeys, only colours are left:
/// somebody else's words stand in much that is said.
pub(crate) fn fit(text: &str, width: usize) -> Cow<'_, str> {
    let text = coloured(text);
    if width == ANY && !text.contains(NO_BREAK) {
        return text;
    }
    let lines: Vec<String> = text.split('\n').map(|line| fit_line(line, width)).collect();
    lines.join("\n").replace(NO_BREAK, " ").into()
}

/// The text without anything that a terminal obeys but colours.
fn coloured(text: &str) -> Cow<'_, str> {
    if !text.contains(|letter: char| letter.is_control() && letter != '\n') {
        return Cow::Borrowed(text);
    }
    let mut pieces = text.split('\u{1b}');
    let mut out = printable(pieces.next().unwrap_or_default()).into_owned();
    for piece in pieces {
        match colour_ends(piece) {
            Some(end) => out.push_str(&format!("\u{1b}{}{}", &piece[..end], printable(&piece[end..]))),
            None => out.push_str(&printable(&format!("\u{1b}{piece}"))),
        }
    }
    out.into()
}

/// Where a colour ends that a piece behind ESC begins with: it is set by `[`, numbers, and `m`.
fn colour_ends(piece: &str) -> Option<usize> {
    let numbers = piece.strip_prefix('[')?;
    let end = numbers.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    numbers[end..].starts_with('m').then_some(end + 2)
}

const NO_BREAK: &str = "\u{a0}";

const SHORTEST_TITLE: usize = 12;

/// Longer code between backticks is wrapped like words.
const LONGEST_CODE: usize = 40;

/// What follows the program's name where it is a command, and not a sentence about the program.
pub(crate) const COMMANDS: [&str; 16] = [
    "apply",
    "check",
    "completions",
    "destroy",
    "diagnose",
    "graph",
    "kinds",
    "log",
    "plan",
    "rehearse",
    "resume",
    "schema",
    "settle",
    "status",
    "unlock",
    "verify",
];

/// Some words that stay together, with the blanks before them.
#[derive(Debug, PartialEq, Eq)]
struct Chunk {
    gap: usize,
    text: String,
}

impl Chunk {
    fn width(&self) -> usize {
        visible(&self.text)
    }
}

fn fit_line(line: &str, width: usize) -> String {
    if visible(line) <= width || is_drawn(line) {
        return line.to_owned();
    }
    let (hang, lead) = (hanging(line, width), line.len() - line.trim_start_matches(' ').len());
    let mut out = String::new();
    let mut column = 0;
    for chunk in chunks(line) {
        let (gap, long) = (chunk.gap, chunk.width());
        if column + gap + long <= width || column <= lead.min(hang) {
            out.push_str(&" ".repeat(gap));
            column += gap + long;
        } else {
            // What is too long even so gets all the room that there is.
            let indent = if hang + long <= width { hang } else { lead };
            out.push_str(&format!("\n{}", " ".repeat(indent)));
            column = indent + long;
        }
        out.push_str(&chunk.text);
    }
    out
}

/// What is of no use in pieces: the rows of a Markdown table, and lines of a file with their numbers and marks.
fn is_drawn(line: &str) -> bool {
    let text = printable(line);
    let text = text.trim_start();
    let behind = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    text.starts_with('|') || text.starts_with("·  ") || (behind.len() < text.len() && behind.starts_with(" │"))
}

/// The column that a line goes on in: that of its last column, if there is room for words, or of the text behind its bullet.
fn hanging(line: &str, width: usize) -> usize {
    let words = words(line);
    let lead = words.first().map_or(0, |word| word.gap);
    let bullet = words.first().filter(|word| is_bullet(&printable(&word.text)));
    let mut hang = bullet.map_or(lead, |bullet| lead + bullet.width() + 1);
    let mut column = 0;
    for (number, word) in words.iter().enumerate() {
        column += word.gap;
        if number > 0 && word.gap > 1 && column <= width * 3 / 4 {
            hang = column;
        }
        column += word.width();
    }
    hang
}

/// What stands before the first line of something: a mark, or a number.
fn is_bullet(word: &str) -> bool {
    let number = word.strip_suffix('.').is_some_and(|number| number.parse::<u16>().is_ok());
    number || ["-", "│", "⊘", "✗", "?", "!"].contains(&word)
}

/// The words of a line, those that belong together in one.
fn chunks(line: &str) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut rest = words(line);
    while !rest.is_empty() {
        let whole = in_one_piece(&rest);
        let mut taken = rest.drain(..whole);
        let Some(mut chunk) = taken.next() else { break };
        taken.for_each(|word| chunk.text.push_str(&format!("{}{}", " ".repeat(word.gap), word.text)));
        out.push(chunk);
    }
    out
}

/// How many of the first words belong together.
fn in_one_piece(words: &[Chunk]) -> usize {
    let first = printable(&words[0].text);
    match first.trim_start_matches('(').strip_prefix('`') {
        Some(code) => code_ends(code, words).unwrap_or(1),
        None if is_program(&first) => command_ends(words).unwrap_or(1),
        None => 1,
    }
}

/// How many words code between backticks has, if it is to stay together.
fn code_ends(first: &str, words: &[Chunk]) -> Option<usize> {
    let end = if first.contains('`') { 0 } else { 1 + words[1..].iter().position(|word| word.text.contains('`'))? };
    let long: usize = words[..=end].iter().map(|word| word.gap + word.width()).sum();
    (long <= LONGEST_CODE || is_program(first)).then_some(end + 1)
}

fn is_program(word: &str) -> bool {
    word == "runbook" || word.ends_with("/runbook")
}

/// How many words a command of this program has: up to what cannot be one of its arguments.
fn command_ends(words: &[Chunk]) -> Option<usize> {
    let next = printable(&words.get(1)?.text);
    let is_command = next.starts_with("--") || COMMANDS.contains(&next.trim_end_matches([',', ';', '.', ')']));
    let ends_after = |word: &Chunk| printable(&word.text).ends_with([',', ';', ')']);
    let no_argument = |word: &Chunk| word.gap > 1 || ["·", "or", "and", "then", "#"].contains(&word.text.as_str());
    let end = (1..words.len()).find(|&at| no_argument(&words[at]) || ends_after(&words[at - 1])).unwrap_or(words.len());
    is_command.then_some(end)
}

fn words(line: &str) -> Vec<Chunk> {
    let mut out = Vec::new();
    let mut gap = 0;
    for piece in line.split(' ') {
        if piece.is_empty() {
            gap += 1;
        } else {
            out.push(Chunk { gap: if out.is_empty() { gap } else { gap + 1 }, text: piece.to_owned() });
            gap = 0;
        }
    }
    out
}

/// How many columns a text takes.
pub(crate) fn visible(text: &str) -> usize {
    columns(&printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, width: usize) -> Vec<String> {
        fit(text, width).lines().map(str::to_owned).collect()
    }

    #[test]
    fn prose_is_wrapped_at_words_and_goes_on_under_itself() {
        assert_eq!(lines("  fix  make a subnet of it", 18), ["  fix  make a", "       subnet of", "       it"]);
        assert_eq!(lines("- one two three", 9), ["- one two", "  three"]);
        assert_eq!(lines("12. one two three", 11), ["12. one two", "    three"]);
        assert_eq!(lines("it all fits", 11), ["it all fits"]);
        assert_eq!(lines("日本 日本 日本", 11), ["日本 日本", "日本"]);
    }

    #[test]
    fn a_command_is_never_broken() {
        let told = "continue with: runbook resume a --input b=c";
        assert_eq!(lines(told, 30), ["continue with:", "runbook resume a --input b=c"]);
        assert_eq!(
            lines(told, 20),
            ["continue with:", "runbook resume a --input b=c"],
            "it is longer than the terminal is wide"
        );
        let two = "look in: runbook log a · runbook graph p.yaml";
        assert_eq!(lines(two, 26), ["look in: runbook log a ·", "runbook graph p.yaml"]);
        assert_eq!(lines("see what `runbook log some_step` says", 20), ["see what", "`runbook log some_step`", "says"]);
        let marked = format!("look  {}", command("kubectl get pods -A"));
        assert_eq!(lines(&marked, 20), ["look", "kubectl get pods -A"]);
        assert_eq!(fit(&marked, ANY), "look  kubectl get pods -A");
    }

    #[test]
    fn a_sentence_about_the_program_is_one() {
        assert_eq!(lines("runbook has never seen it", 14), ["runbook has", "never seen it"]);
    }

    #[test]
    fn lines_of_a_file_stay_as_they_are() {
        for line in [" 12 │ key: a long value", "    ·      ─────────────", "| a | b | c | d | e |"]
        {
            assert_eq!(lines(line, 10), [line]);
        }
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(lines("\u{1b}[31mred and\u{1b}[0m so on", 13), ["\u{1b}[31mred and\u{1b}[0m so on"]);
        assert_eq!(lines("\u{1b}[31mred and\u{1b}[0m so on", 10), ["\u{1b}[31mred and\u{1b}[0m so", "on"]);
    }

    #[test]
    fn only_colours_are_obeyed() {
        let told = "\u{1b}[2Ja \u{1b}[1m\u{1b}[31mred\u{1b}[0m\u{1b}]0;owned\u{7} b\u{7} \u{1b}]8;;x\u{1b}\\c\tand\nd\u{1b}[1A";
        assert_eq!(fit(told, ANY), "a \u{1b}[1m\u{1b}[31mred\u{1b}[0m b c\tand\nd");
        assert_eq!(fit("a\tb\nc", ANY), "a\tb\nc");
    }

    #[test]
    fn a_title_never_makes_a_line_longer_than_it_may_be() {
        let cut = |used| title("the cluster of the gateway", used, 40);
        assert_eq!(
            [cut(0), cut(20), cut(30)],
            ["the cluster of the gateway", "the cluster of the …", ""].map(str::to_owned)
        );
        assert_eq!(title("short", 35, 40), "short");
    }

    #[test]
    fn a_last_column_without_room_for_words_is_not_held() {
        assert_eq!(lines("a        b c d e f", 10), ["a        b", "c d e f"]);
    }
}
