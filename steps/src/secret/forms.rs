//! How a secret may turn up in a text, and where in a text it does. Does not know what is done about it.
//!
//! Covered are the value without the blanks around it, percent-encoded as in a URL, and escaped as in JSON; each of its lines that is
//! [telling](is_telling), as it is; and its base64 in both alphabets, with and without the newline that `echo` adds, also as a part of
//! something longer, and broken into lines of whatever length where all of them come one after the other. Of base64 that `base64` (76
//! columns) or `openssl` (64) has broken into lines, each line is known by itself too: where at most two bytes stand before the value,
//! and the line has at least eight of its letters.
//!
//! Not covered is what else a program can make of a value: hexadecimal and other alphabets, base64 of a part of it, a line of broken
//! base64 by itself where more stands before the value, an escape that escapes more than it has to, compression, encryption.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::SHORTEST;

/// Lines of this length are masked whatever they hold.
const LONG_LINE: usize = 12;
/// The columns at which programs break base64.
const COLUMNS: [usize; 2] = [76, 64];
/// The fewest letters of a line of base64 that is masked by itself: fewer may well be a word.
const FEWEST_LETTERS: usize = 8;

/// One way to write a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    text: String,
    /// Whether line breaks, and the blanks that indent the next line, mean nothing in it.
    breaks: bool,
}

/// How much of a form stands at the beginning of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is not there.
    Nothing,
    /// The text ends before it does.
    Start,
    /// It is there, and takes so many bytes.
    Whole(usize),
}

impl Form {
    pub(super) fn first(&self) -> u8 {
        self.text.as_bytes()[0]
    }

    pub(super) fn look(&self, text: &[u8]) -> Found {
        let mut at = 0;
        for wanted in self.text.bytes() {
            if self.breaks && at > 0 {
                at += break_at(&text[at..]);
            }
            match text.get(at) {
                None => return Found::Start,
                Some(byte) if *byte == wanted => at += 1,
                Some(_) => return Found::Nothing,
            }
        }
        Found::Whole(at)
    }
}

/// The length of a line break that a text begins with, and of the indentation after it.
fn break_at(text: &[u8]) -> usize {
    let broken = matches!(text.first(), Some(b'\r' | b'\n'));
    if broken { text.iter().take_while(|byte| byte.is_ascii_whitespace()).count() } else { 0 }
}

/// All forms of some secrets, the longest first.
pub(super) fn of<'v>(values: impl Iterator<Item = &'v str>) -> Vec<Form> {
    let mut forms: Vec<Form> = values.flat_map(of_one).filter(|form| form.text.len() >= SHORTEST).collect();
    forms.sort_by(|one, other| (other.text.len(), &other.text).cmp(&(one.text.len(), &one.text)));
    forms.dedup();
    forms
}

fn of_one(value: &str) -> Vec<Form> {
    let trimmed = value.trim();
    let mut plain = vec![trimmed.to_owned(), percent_encoded(trimmed), json_escaped(trimmed)];
    plain.extend(trimmed.lines().map(str::trim).filter(|line| is_telling(line)).map(ToOwned::to_owned));
    let mut forms: Vec<Form> = plain.into_iter().map(|text| Form { text, breaks: false }).collect();
    for written in [value, trimmed, &format!("{trimmed}\n")] {
        forms.extend(base64_forms(written));
    }
    forms
}

/// Whether a line of a secret is masked where it stands alone: a long one is, and a short one that has a word such as no everyday text
/// has. `admin`, `default: true` and `port: 8080` are everyday text.
fn is_telling(line: &str) -> bool {
    line.len() >= LONG_LINE || line.split_whitespace().any(is_telling_word)
}

/// Letters and something besides, where that is no punctuation around a word.
fn is_telling_word(word: &str) -> bool {
    let word = word.trim_matches(|letter: char| r#""'`:,;.{}[]()<>-#=/"#.contains(letter));
    word.len() >= SHORTEST && word.chars().any(char::is_alphabetic) && !word.chars().all(char::is_alphabetic)
}

/// The value in base64, also as a part of something longer: what stands before it shifts it by none, one or two bytes, and the
/// letters at either end then mix with the neighbours'.
fn base64_forms(value: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    for shift in 0..3 {
        let shifted = [&b"\0\0"[..shift], value.as_bytes()].concat();
        let first = if shift == 0 { 0 } else { 4 };
        for encoded in [STANDARD.encode(&shifted), URL_SAFE.encode(&shifted)] {
            // With something after the value, its last letters are others.
            for end in [encoded.len(), shifted.len() / 3 * 4] {
                forms.extend(encoded.get(first..end).map(|text| Form { text: text.to_owned(), breaks: true }));
                forms.extend(COLUMNS.iter().flat_map(|columns| broken_lines(&encoded[..end], first, *columns)));
            }
        }
    }
    forms
}

/// The lines of base64 that is broken at a column, without the letters before `first`. Nothing where it is all one line.
fn broken_lines(encoded: &str, first: usize, columns: usize) -> impl Iterator<Item = Form> {
    let starts = (0..encoded.len()).step_by(columns).filter(move |_| encoded.len() > columns);
    let lines = starts.map(move |start| &encoded[start.max(first)..encoded.len().min(start + columns)]);
    let long = lines.filter(|line| line.len() >= FEWEST_LETTERS);
    long.map(|line| Form { text: line.to_owned(), breaks: false })
}

fn percent_encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyday_lines_are_not_telling() {
        let telling = ["hunter2!", "p4ss", "pass!word", "user: a1b2", "ends-here!", "a long enough line"];
        let everyday =
            ["admin", "true", "default", "users:", "- name", "\"type\",", "port: 8080", "{", "8080", "k: v1"];
        for (lines, expected) in [(&telling[..], true), (&everyday[..], false)] {
            lines.iter().for_each(|line| assert_eq!(is_telling(line), expected, "{line}"));
        }
    }

    #[test]
    fn a_form_is_found_whole_or_begun_over_line_breaks() {
        let form = Form { text: "abcdef".to_owned(), breaks: true };
        assert_eq!(form.look(b"abcdef\n"), Found::Whole(6));
        assert_eq!(form.look(b"abc\r\n  def"), Found::Whole(10));
        assert_eq!(form.look(b"abc\n  "), Found::Start);
        assert_eq!(form.look(b"abc def"), Found::Nothing);
        let strict = Form { breaks: false, ..form };
        assert_eq!(strict.look(b"abc\ndef"), Found::Nothing);
    }
}
