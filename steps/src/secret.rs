//! Secrets: values that may be used, but never shown, stored or put into an argument list.
//!
//! A plan's `${{ secrets.NAME }}` renders to a marker, never to the value, so rendered plans, fingerprints, journals and errors
//! cannot hold a secret. [`Secrets::reveal`] turns markers into values; it is called at the sinks that may have them: the
//! environment and standard input of a program, HTTP requests, and the data of a Kubernetes Secret. [`Redactor`] masks the values
//! in whatever comes back.

use std::collections::BTreeMap;
use std::fmt;

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
        while let Some((before, after)) = rest.split_once(OPEN) {
            let Some((name, after)) = after.split_once(CLOSE) else { break };
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
        let mut values: Vec<String> =
            self.0.values().flat_map(|secret| forms(secret.expose())).filter(|form| form.len() >= SHORTEST).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Redactor { first: FirstBytes::of(&values), values }
    }
}

/// Shorter values would mask half of every log.
const SHORTEST: usize = 4;

fn is_too_short(secret: &Secret) -> bool {
    (1..SHORTEST).contains(&secret.expose().trim().len())
}

/// How a secret may turn up: as it is, line by line, in base64, in a URL, inside JSON.
fn forms(value: &str) -> Vec<String> {
    let trimmed = value.trim();
    let mut forms = vec![trimmed.to_owned(), percent_encoded(trimmed), json_escaped(trimmed)];
    forms.extend(trimmed.lines().map(|line| line.trim().to_owned()).filter(|line| line.len() >= 12));
    forms.extend([value, trimmed].into_iter().flat_map(base64_forms));
    forms
}

/// The value in base64, also as a part of something longer: what stands before it shifts it by none, one or two bytes, and the
/// letters at either end then mix with the neighbours'.
fn base64_forms(value: &str) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let mut forms = vec![STANDARD.encode(value), URL_SAFE.encode(value)];
    for shift in 0..3 {
        let shifted = [&b"\0\0"[..shift], value.as_bytes()].concat();
        let whole = shifted.len() / 3 * 4;
        let first = if shift == 0 { 0 } else { 4 };
        for engine in [&STANDARD, &URL_SAFE] {
            forms.extend(engine.encode(&shifted).get(first..whole).map(ToOwned::to_owned));
        }
    }
    forms
}

fn percent_encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Masks secret values in text.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first.
    values: Vec<String>,
    first: FirstBytes,
}

/// What values begin with: most bytes of a text need no other look.
#[derive(Clone, Default)]
struct FirstBytes([u128; 2]);

impl FirstBytes {
    fn of(values: &[String]) -> Self {
        let mut bits = [0; 2];
        for byte in values.iter().filter_map(|value| value.bytes().next()) {
            bits[usize::from(byte >> 7)] |= 1 << (byte & 127);
        }
        Self(bits)
    }

    fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 7)] >> (byte & 127) & 1 == 1
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

impl Redactor {
    /// What stands in place of a secret.
    pub const MASK: &'static str = "[redacted]";

    /// Whether there is nothing to mask.
    pub fn is_idle(&self) -> bool {
        self.values.is_empty()
    }

    /// The text with every secret value masked. Borrows where there is none.
    pub fn mask<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        if !self.values.iter().any(|value| text.contains(value.as_str())) {
            return text.into();
        }
        let (masked, _) = self.mask_bytes(text.as_bytes(), false);
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
        let mut longer = self.candidates(text).iter().take_while(|value| value.len() > text.len());
        longer.any(|value| value.as_bytes().starts_with(text))
    }

    /// The length of the longest value that a text starts with.
    fn secret_at(&self, text: &[u8]) -> Option<usize> {
        let found = self.candidates(text).iter().find(|value| text.starts_with(value.as_bytes()));
        found.map(String::len)
    }

    fn candidates(&self, text: &[u8]) -> &[String] {
        if text.first().is_some_and(|byte| self.first.contains(*byte)) { &self.values } else { &[] }
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
