//! Server-sent events, and what those of a language model say: the tokens, when they came, and whether the answer was whole.
//!
//! Pure: bytes in, events out; times are handed in.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The longest line or event, and the most text that is kept. A model's events have a few hundred bytes.
const LONGEST: usize = 1 << 20;

/// Takes a stream of events apart, however it is cut into pieces.
#[derive(Debug, Default)]
pub(crate) struct Events {
    rest: Vec<u8>,
    data: String,
    /// Whether something was too long; nothing is taken after that.
    overlong: bool,
}

impl Events {
    /// Takes a piece, and calls `each` with the data of every event that is now whole.
    pub(crate) fn feed(&mut self, piece: &[u8], mut each: impl FnMut(&str)) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            if self.overlong || self.rest.len() + self.data.len() + part.len() > LONGEST {
                *self = Self { overlong: true, ..Self::default() };
                return;
            }
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.end_line(&mut each);
            }
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(&str)) {
        let line = self.rest.strip_suffix(b"\n").unwrap_or(&self.rest);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() && !self.data.is_empty() {
            each(&std::mem::take(&mut self.data));
        } else if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            if !self.data.is_empty() {
                self.data.push('\n');
            }
            self.data.push_str(&String::from_utf8_lossy(data));
        }
        self.rest.clear();
    }
}

/// What a model's answer counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Usage {
    #[serde(default)]
    pub(crate) prompt_tokens: u64,
    #[serde(default)]
    pub(crate) completion_tokens: u64,
}

/// The parts of an answer, or of one event of it, that count.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(default, borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    reasoning_content: Option<Cow<'a, str>>,
}

impl Choice<'_> {
    fn text(&self) -> &str {
        let delta = self.delta.as_ref();
        let content = delta.and_then(|delta| delta.content.as_deref().or(delta.reasoning_content.as_deref()));
        self.text.as_deref().or(content).unwrap_or_default()
    }
}

/// The usage in a whole answer, where it has one.
pub(crate) fn usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Whole {
        usage: Option<Usage>,
    }
    serde_json::from_slice::<Whole>(body).ok()?.usage
}

/// An answer that comes event by event.
#[derive(Debug, Default)]
pub(crate) struct Streamed {
    events: Events,
    /// How many events there were.
    pub(crate) count: u64,
    /// When the first event came.
    pub(crate) first_event: Option<Instant>,
    /// When the first and the newest text came.
    texts: Option<(Instant, Instant)>,
    /// How many events had text.
    pieces: u64,
    /// What the server counted.
    pub(crate) usage: Option<Usage>,
    /// Whether it said that this is all.
    pub(crate) done: bool,
    /// What it said went wrong.
    pub(crate) error: Option<String>,
    /// The text, or the start of a long one, where it is kept.
    pub(crate) text: Option<String>,
    /// Whether it is a model's answer.
    model: bool,
}

impl Streamed {
    /// One that also keeps the text.
    pub(crate) fn keeping() -> Self {
        Self { text: Some(String::new()), ..Self::default() }
    }

    /// Takes a piece that came at that time.
    pub(crate) fn feed(&mut self, piece: &[u8], at: Instant) {
        let mut events = std::mem::take(&mut self.events);
        events.feed(piece, |data| self.event(data, at));
        self.events = events;
    }

    fn event(&mut self, data: &str, at: Instant) {
        self.count += 1;
        self.first_event.get_or_insert(at);
        if data.trim() == "[DONE]" {
            self.done = true;
            return;
        }
        let Ok(piece) = serde_json::from_str::<Piece<'_>>(data) else { return };
        self.usage = piece.usage.or(self.usage);
        if let Some(error) = piece.error.filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
            self.error = Some(message.unwrap_or_else(|| error.to_string()));
        }
        self.model |= piece.choices.is_some();
        for choice in piece.choices.iter().flatten().filter(|choice| !choice.text().is_empty()) {
            self.pieces += 1;
            self.texts = Some((self.texts.map_or(at, |(first, _)| first), at));
            if let Some(kept) = &mut self.text {
                keep(kept, choice.text());
            }
        }
    }

    /// Whether nothing more of it can be understood.
    pub(crate) fn is_broken(&self) -> bool {
        self.events.overlong
    }

    /// How many tokens were written: as the server counted, or else one for each piece of text.
    pub(crate) fn tokens(&self) -> u64 {
        self.usage.map(|usage| usage.completion_tokens).filter(|count| *count > 0).unwrap_or(self.pieces)
    }

    /// The time to the first token of a request that was sent then; of other streams, to the first event.
    pub(crate) fn first_after(&self, sent: Instant) -> Option<Duration> {
        let first = if self.model { self.texts.map(|(first, _)| first) } else { self.first_event };
        first.map(|first| first.saturating_duration_since(sent))
    }

    /// The time for each token after the first.
    pub(crate) fn each_token(&self) -> Option<Duration> {
        let (first, last) = self.texts?;
        let after = self.tokens().checked_sub(1).filter(|after| *after > 0)?;
        Some(last.saturating_duration_since(first).div_f64(after as f64))
    }

    /// Why the stream is not what it should be, now that it has ended.
    pub(crate) fn fault(&self) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("the stream says: {error}"));
        }
        if self.is_broken() {
            return Some(format!("the stream has an event of more than {LONGEST} bytes"));
        }
        (self.model && !self.done).then(|| "the stream ended without `[DONE]`".to_owned())
    }
}

fn keep(kept: &mut String, text: &str) {
    let room = LONGEST - kept.len();
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    kept.push_str(&text[..end.unwrap_or_default()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut found) = (Events::default(), Vec::new());
        for piece in pieces {
            events.feed(piece, |data| found.push(data.to_owned()));
        }
        found
    }

    #[test]
    fn events_are_whole_however_they_are_cut() {
        let text = b": a comment\ndata: one\n\nevent: x\ndata:two\r\ndata: three\r\n\r\ndata: four\n\n";
        let expected = ["one", "two\nthree", "four"];
        assert_eq!(events(&[text]), expected);
        for cut in 0..text.len() {
            assert_eq!(events(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_or_an_event_without_end_takes_no_memory() {
        for (begin, piece) in [("data: ", "x".repeat(10_000)), ("", format!("data: {}\n", "x".repeat(10_000)))] {
            let (mut streamed, at) = (Streamed::keeping(), Instant::now());
            streamed.feed(begin.as_bytes(), at);
            for _ in 0..200 {
                streamed.feed(piece.as_bytes(), at);
                assert!(streamed.events.rest.len() + streamed.events.data.len() <= LONGEST);
            }
            streamed.feed(b"\n\ndata: [DONE]\n\n", at);
            assert!(streamed.fault().is_some_and(|fault| fault.contains("1048576 bytes")), "{:?}", streamed.fault());
            assert_eq!(streamed.count, 0);
        }
    }

    #[test]
    fn the_start_of_a_long_text_is_kept() {
        let word = "ä".repeat(1000);
        let event = format!(r#"{{"choices":[{{"text":"{word}"}}]}}"#);
        let (streamed, _) = streamed(&vec![(1, event.as_str()); 600]);
        assert_eq!((streamed.count, streamed.text.map(|text| text.len())), (600, Some(LONGEST)));
    }

    #[test]
    fn an_event_that_is_not_whole_is_none() {
        assert!(events(&[b"data: never ended\n"]).is_empty());
    }

    fn streamed(events: &[(u64, &str)]) -> (Streamed, Instant) {
        let (sent, mut streamed) = (Instant::now(), Streamed::keeping());
        for (at, data) in events {
            streamed.feed(format!("data: {data}\n\n").as_bytes(), sent + Duration::from_millis(*at));
        }
        (streamed, sent)
    }

    #[test]
    fn the_first_token_is_the_first_text_and_not_the_role() {
        let (streamed, sent) = streamed(&[
            (10, r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#),
            (40, r#"{"choices":[{"delta":{"content":"Ku"}}]}"#),
            (50, r#"{"choices":[{"delta":{"content":"ber"}}]}"#),
            (60, r#"{"choices":[{"delta":{"content":"netes"}}]}"#),
            (61, r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}"#),
            (62, "[DONE]"),
        ]);
        assert_eq!(streamed.first_after(sent), Some(Duration::from_millis(40)));
        assert_eq!(streamed.tokens(), 5);
        assert_eq!(streamed.each_token(), Some(Duration::from_millis(5)));
        assert_eq!(streamed.text.as_deref(), Some("Kubernetes"));
        assert_eq!(streamed.fault(), None);
    }

    #[test]
    fn without_usage_each_piece_is_a_token() {
        let (streamed, _) = streamed(&[(5, r#"{"choices":[{"text":"a"}]}"#), (9, r#"{"choices":[{"text":"b"}]}"#)]);
        assert_eq!((streamed.tokens(), streamed.each_token()), (2, Some(Duration::from_millis(4))));
    }

    #[test]
    fn a_stream_that_breaks_off_or_says_an_error_is_at_fault() {
        let (cut, _) = streamed(&[(5, r#"{"choices":[{"text":"a"}]}"#)]);
        assert_eq!(cut.fault().as_deref(), Some("the stream ended without `[DONE]`"));
        let (failed, _) = streamed(&[(5, r#"{"error":{"message":"engine is dead","code":500}}"#)]);
        assert_eq!(failed.fault().as_deref(), Some("the stream says: engine is dead"));
        let (other, sent) = streamed(&[(3, "tick")]);
        assert_eq!((other.fault(), other.first_after(sent)), (None, Some(Duration::from_millis(3))));
    }
}
