//! Secrets: values that may be used, but never shown, stored or put into an argument list.
//!
//! A plan's `${{ secrets.NAME }}` renders to a marker, never to the value, so rendered plans, fingerprints, journals and errors
//! cannot hold a secret. [`Secrets::reveal`] turns markers into values; it is called at the sinks that may have them: the
//! environment and standard input of a program, HTTP requests, and the data of a Kubernetes Secret. [`Redactor`] masks the values
//! in whatever comes back; `forms` says which spellings of them it knows, and which it does not.

mod forms;

use std::collections::BTreeMap;
use std::fmt;

use forms::{Form, Found};

/// A value that has neither `Debug` nor `Serialize` nor `Display` that would show it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for a sink.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

const OPEN: &str = "«secret:";
const CLOSE: char = '»';

/// The marker that stands for a secret in rendered text.
pub fn marker(name: &str) -> String {
    format!("{OPEN}{name}{CLOSE}")
}

/// Whether a text mentions a secret.
pub fn mentions_secret(text: &str) -> bool {
    text.contains(OPEN)
}

/// The names of the secrets that a text mentions, each as often as it does.
pub fn markers(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, name, after) = next_marker(rest)?;
        rest = after;
        Some(name)
    })
}

/// What stands before the first marker of a text, its name, and what follows.
fn next_marker(text: &str) -> Option<(&str, &str, &str)> {
    let (before, after) = text.split_once(OPEN)?;
    let (name, after) = after.split_once(CLOSE)?;
    Some((before, name, after))
}

/// The secrets of one run, by name.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

impl Secrets {
    /// Secrets by name.
    pub fn new(values: BTreeMap<String, Secret>) -> Self {
        Self(values)
    }

    /// The secrets that are too short to be masked: among so few letters half of every log would be. Empty ones have nothing to
    /// be masked.
    pub fn too_short(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, secret)| is_too_short(secret)).map(|(name, _)| name.as_str())
    }

    /// A text with every marker replaced by its value. The error names the secret that this run does not have, or that is so
    /// short that it could not be masked in what comes back.
    pub fn reveal(&self, text: &str) -> Result<Secret, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, name, after)) = next_marker(rest) {
            let secret = self.0.get(name).ok_or_else(|| format!("secret `{name}` was not given"))?;
            if is_too_short(secret) {
                return Err(format!(
                    "secret `{name}` has fewer than {SHORTEST} characters: so short a value cannot be kept out of logs, and is most likely a mistake"
                ));
            }
            out.push_str(before);
            out.push_str(secret.expose());
            rest = after;
        }
        out.push_str(rest);
        Ok(Secret(out))
    }

    /// What masks these secrets.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(forms::of(self.0.values().map(Secret::expose)))
    }
}

/// Shorter values would mask half of every log.
const SHORTEST: usize = 4;

fn is_too_short(secret: &Secret) -> bool {
    (1..SHORTEST).contains(&secret.expose().trim().len())
}

/// Masks secret values in text.
#[derive(Clone, Default)]
pub struct Redactor {
    /// By their first byte, so that at most bytes of a text there is nothing to look for; among them the longest first. Empty where
    /// there is nothing to mask.
    forms: Vec<Vec<Form>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} forms)", self.forms.iter().map(Vec::len).sum::<usize>())
    }
}

impl Redactor {
    /// What stands in place of a secret.
    pub const MASK: &'static str = "[redacted]";

    fn new(longest_first: Vec<Form>) -> Self {
        let mut forms = Vec::new();
        for form in longest_first {
            forms.resize(256, Vec::new());
            forms[usize::from(form.first())].push(form);
        }
        Self { forms }
    }

    /// Whether there is nothing to mask.
    pub fn is_idle(&self) -> bool {
        self.forms.is_empty()
    }

    /// The text with every secret value masked. Borrows where there is none.
    pub fn mask<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        let bytes = text.as_bytes();
        if self.is_idle() || !(0..bytes.len()).any(|at| self.secret_at(&bytes[at..]).is_some()) {
            return text.into();
        }
        let (masked, _) = self.mask_bytes(bytes, false);
        // A whole value begins and ends where a character does.
        String::from_utf8_lossy(&masked).into_owned().into()
    }

    /// A part of a stream masked, and how much of it that is: where `more` may follow, what may be the start of a secret waits
    /// for it. Bytes, not text: output need not be UTF-8, and a part may end inside a character.
    ///
    /// One look from left to right, longest value first. What is masked before the rest of it has come would no longer be seen
    /// to belong to a longer value.
    pub(crate) fn mask_bytes(&self, text: &[u8], more: bool) -> (Vec<u8>, usize) {
        let (mut masked, mut at) = (Vec::with_capacity(text.len()), 0);
        while at < text.len() && !(more && self.may_begin(&text[at..])) {
            if let Some(length) = self.secret_at(&text[at..]) {
                masked.extend_from_slice(Self::MASK.as_bytes());
                at += length;
            } else {
                masked.push(text[at]);
                at += 1;
            }
        }
        (masked, at)
    }

    /// Whether all of a text is the start of a longer value.
    fn may_begin(&self, text: &[u8]) -> bool {
        self.candidates(text).iter().any(|form| form.look(text) == Found::Start)
    }

    /// The length of the longest value that a text starts with.
    fn secret_at(&self, text: &[u8]) -> Option<usize> {
        self.candidates(text).iter().find_map(|form| match form.look(text) {
            Found::Whole(length) => Some(length),
            Found::Nothing | Found::Start => None,
        })
    }

    fn candidates(&self, text: &[u8]) -> &[Form] {
        text.first().and_then(|byte| self.forms.get(usize::from(*byte))).map_or(&[], Vec::as_slice)
    }

    /// Masks every text inside a value, keys too.
    pub fn mask_value(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => {
                if let std::borrow::Cow::Owned(masked) = self.mask(text) {
                    *text = masked;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_value(item)),
            Value::Object(map) => {
                for (key, mut item) in std::mem::take(map) {
                    self.mask_value(&mut item);
                    map.insert(self.mask(&key).into_owned(), item);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets::new(BTreeMap::from([("token".to_owned(), Secret::new("hf_abcdef\n"))]))
    }

    #[test]
    fn a_marker_becomes_its_value() {
        let text = format!("Bearer {}!", marker("token"));
        assert_eq!(secrets().reveal(&text).expect("known").expose(), "Bearer hf_abcdef\n!");
    }

    #[test]
    fn an_unknown_secret_is_named() {
        assert_eq!(secrets().reveal(&marker("other")).expect_err("unknown"), "secret `other` was not given");
    }

    #[test]
    fn what_cannot_be_masked_is_not_used() {
        let named = [("pin", "123\n"), ("none", ""), ("good", "1234")]
            .map(|(name, value)| (name.to_owned(), Secret::new(value)));
        let secrets = Secrets::new(named.into());
        assert_eq!(secrets.too_short().collect::<Vec<_>>(), ["pin"]);
        assert!(
            secrets.reveal(&marker("pin")).expect_err("short").starts_with("secret `pin` has fewer than 4 characters")
        );
        assert!(secrets.reveal(&marker("good")).is_ok() && secrets.reveal(&marker("none")).is_ok());
    }

    #[test]
    fn the_value_and_its_base64_are_masked() {
        let redactor = secrets().redactor();
        assert_eq!(redactor.mask("x hf_abcdef y aGZfYWJjZGVmCg== z"), "x [redacted] y [redacted] z");
    }

    #[test]
    fn other_spellings_are_masked() {
        let secrets = Secrets::new(BTreeMap::from([("key".to_owned(), Secret::new("p/ss+w0rd&\"more"))]));
        let redactor = secrets.redactor();
        for text in ["p%2Fss%2Bw0rd%26%22more", "p/ss+w0rd&\\\"more"] {
            assert_eq!(redactor.mask(text), Redactor::MASK);
        }
        let quoted = Secrets::new(BTreeMap::from([("key".to_owned(), Secret::new("ends in \"quotes\""))])).redactor();
        assert_eq!(quoted.mask(r#"["ends in \"quotes\""]"#), format!("[\"{}\"]", Redactor::MASK));
        use base64::Engine as _;
        for before in ["", "x", "xy", "xyz"] {
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}p/ss+w0rd&\"more"));
            assert!(redactor.mask(&text).contains(Redactor::MASK), "{before}: {text}");
        }
    }

    fn redactor(values: &[&str]) -> Redactor {
        let named = values.iter().map(|value| ((*value).to_owned(), Secret::new(*value)));
        Secrets::new(named.collect()).redactor()
    }

    #[test]
    fn the_longest_value_is_masked_and_a_mask_is_not_masked_again() {
        let redactor = redactor(&["hunter2", "hunter2longer", "redacted"]);
        assert_eq!(redactor.mask("hunter2longer hunter2 é"), "[redacted] [redacted] é");
    }

    /// A token of 76 bytes.
    const LONG: &str = "eyJhbGciOiJSUzI1NiJ9.q0-3v_8Zk1xW5tYb7uNcP2mR4sE6gH9jKdLfAoQiVzXwCyTrUpM0n.a";

    /// What `base64` prints.
    fn wrapped(text: &str, columns: usize) -> Vec<String> {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(text);
        text.as_bytes().chunks(columns).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }

    #[test]
    fn base64_that_was_broken_into_lines_is_masked() {
        let redactor = redactor(&[LONG]);
        for (columns, newline) in [(76, ""), (76, "\n"), (64, ""), (64, "\n"), (57, "\n")] {
            let lines = wrapped(&format!("{LONG}{newline}"), columns);
            assert_eq!(redactor.mask(&format!("{}\n", lines.join("\n"))), "[redacted]\n", "{columns} columns");
            assert_eq!(redactor.mask(&format!("tls: |\n  {}\n", lines.join("\n  "))), "tls: |\n  [redacted]\n");
        }
        for before in ["x", "xy", "user:", "a longer text that stands before it:"] {
            let text = wrapped(&format!("{before}{LONG}\n"), 76).join("\r\n");
            let masked = redactor.mask(&text);
            assert!(masked.contains(Redactor::MASK) && masked.len() < before.len() * 2 + 20, "{masked}");
        }
    }

    #[test]
    fn each_line_of_base64_is_masked_by_itself() {
        let redactor = redactor(&[LONG]);
        for columns in [76, 64] {
            for text in [LONG.to_owned(), format!("{LONG}\n")] {
                for line in wrapped(&text, columns) {
                    assert_eq!(redactor.mask(&line), Redactor::MASK, "{columns} columns");
                }
            }
            for before in ["x", "xy"] {
                let lines = wrapped(&format!("{before}{LONG}\n"), columns);
                assert_eq!(redactor.mask(&lines[0]), format!("{}{}", &lines[0][..4], Redactor::MASK), "{columns}");
                assert_eq!(redactor.mask(&lines[1]), Redactor::MASK, "{columns} columns");
            }
        }
    }

    #[test]
    fn broken_base64_is_masked_however_it_comes_in_pieces() {
        let (redactor, text) = (redactor(&[LONG]), format!("a {}\nb", wrapped(LONG, 76).join("\n")));
        for cut in 0..text.len() {
            let (mut masked, seen) = redactor.mask_bytes(&text.as_bytes()[..cut], true);
            masked.extend(redactor.mask_bytes(&text.as_bytes()[seen..], false).0);
            assert_eq!(String::from_utf8_lossy(&masked), "a [redacted]\nb", "cut at {cut}");
        }
    }

    #[test]
    fn a_telling_line_of_a_secret_is_masked_alone() {
        let redactor = redactor(&["admin\nhunter2!"]);
        assert_eq!(redactor.mask("is hunter2! admin's?"), "is [redacted] admin's?");
        assert_eq!(redactor.mask("admin\nhunter2!"), Redactor::MASK);
    }

    #[test]
    fn the_newline_of_echo_does_not_uncover_the_end() {
        // Ten bytes: the last one is in a group with the newline.
        assert_eq!(redactor(&["0123456789"]).mask("MDEyMzQ1Njc4OQo="), Redactor::MASK);
    }

    #[test]
    fn the_secrets_that_a_text_mentions_are_named() {
        let text = format!("{}:{}@{} «secret:open", marker("user"), marker("pass word"), marker("user"));
        assert_eq!(markers(&text).collect::<Vec<_>>(), ["user", "pass word", "user"]);
        assert_eq!(markers("nothing").count(), 0);
    }

    #[test]
    fn keys_are_masked_too() {
        let mut value = serde_json::json!({ "hf_abcdef": ["hf_abcdef"] });
        secrets().redactor().mask_value(&mut value);
        assert_eq!(value, serde_json::json!({ "[redacted]": ["[redacted]"] }));
    }

    #[test]
    fn a_secret_does_not_debug() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }
}
