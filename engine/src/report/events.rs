//! The events as JSON lines, for programs. Each line has `event`; facts carry the journal's record under `entry`.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use runbook_steps::Stream;
use serde_json::{Value, json};

use crate::event::Event;

/// A file that events are written to.
pub(crate) struct Events {
    path: PathBuf,
    /// Nothing once it could not be written.
    out: Option<BufWriter<File>>,
}

impl Events {
    /// Opens the file, for its owner only: afresh, or behind what is in it.
    pub(crate) fn open(path: &Path, goes_on: bool) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file =
            File::options().write(true).append(goes_on).create(true).truncate(!goes_on).mode(0o600).open(path)?;
        Ok(Self { path: path.to_owned(), out: Some(BufWriter::new(file)) })
    }

    /// Writes an event. What cannot be written is lost, and all behind it, because events are no state. The first time that is to be
    /// said, in these words.
    pub(crate) fn write(&mut self, event: &Event) -> Option<String> {
        let out = self.out.as_mut()?;
        let line = as_json(event);
        let error = writeln!(out, "{line}").and_then(|()| out.flush()).err()?;
        self.out = None;
        let what = format!("cannot write events to `{}`: {error}", self.path.display());
        Some(format!("{what}; nothing more is written to it, and the run goes on"))
    }
}

fn as_json(event: &Event) -> Value {
    match event {
        Event::Recorded(entry) => json!({ "event": "recorded", "entry": entry }),
        Event::Progress { step, text, advice, stage, .. } => {
            let advice = advice.as_ref().map(|advice| json!({ "cause": advice.cause, "fix": advice.fix }));
            let stage = stage.as_ref().map(|stage| json!({ "number": stage.stage + 1, "since": stage.since }));
            json!({ "event": "progress", "step": step, "text": text, "hint": advice, "stage": stage })
        }
        Event::Output { step, stream, line } => {
            json!({ "event": "output", "step": step, "stream": name(*stream), "line": line })
        }
        Event::Notice(text) => json!({ "event": "notice", "text": text }),
    }
}

/// A stream as programs read it.
fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Out => "out",
        Stream::Err => "err",
        Stream::Note => "note",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepId;

    #[test]
    fn a_line_of_output_names_its_stream() {
        for (stream, name) in [(Stream::Out, "out"), (Stream::Err, "err"), (Stream::Note, "note")] {
            let event = Event::Output { step: StepId::from("a"), stream, line: "l".into() };
            assert_eq!(as_json(&event), json!({ "event": "output", "step": "a", "stream": name, "line": "l" }));
        }
    }
}
