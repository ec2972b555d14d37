//! A program's output: to the log as it comes, masked, with bounded memory.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;

use super::linger::MOMENT;
use super::{Feed, Finished, shorten};
use crate::context::{Context, Stream};
use crate::printable::printable;
use crate::secret::{Redactor, Secret};

const TAIL_BYTES: usize = 64 << 10;
const TAIL_LINES: usize = 200;
const CAPTURE_BYTES: usize = 1 << 20;
const CHUNK: usize = 16 << 10;
/// What a finished program may still have in its pipes, and a bit; a survivor that writes for ever is cut off here.
const DRAIN_BYTES: usize = 2 << 20;
/// The live view is not told of lines more often than this (real time).
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a program's standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It is logged, and its end is kept.
    Tail,
    /// Besides, it is kept as a whole.
    Whole,
    /// It is kept as a whole, as it is, and goes nowhere else.
    Apart,
}

/// Our ends of a program's pipes.
pub(super) struct Outlet {
    pub(super) out: OwnedFd,
    pub(super) err: OwnedFd,
    pub(super) feed: Option<Feed>,
}

/// Moves a program's output to where it belongs.
pub(super) struct Pump {
    out: Channel,
    err: Channel,
    feed: Option<Feed>,
    news: News,
    /// Whether the program's first moments are over.
    late: bool,
}

impl Pump {
    pub(super) fn new(cx: &Context, outlet: Outlet, keep: Keep, quiet: bool) -> Self {
        Self {
            out: Channel::new(cx, Stream::Out, outlet.out, keep),
            err: Channel::new(cx, Stream::Err, outlet.err, Keep::Tail),
            feed: outlet.feed,
            news: News::new(cx, quiet),
            late: false,
        }
    }

    /// Whether there is nothing to do for it before it has run for a moment.
    pub(super) fn can_wait(&self) -> bool {
        self.feed.is_none() && !self.late
    }

    /// The program's first moments are over.
    pub(super) fn hurry(&mut self) {
        self.late = true;
    }

    /// Until both streams have ended. May be dropped and be followed by [`Pump::drain`].
    ///
    /// # Errors
    /// The system cannot watch the pipes; then nothing more is known of the program.
    pub(super) async fn run(&mut self) -> std::io::Result<()> {
        if self.can_wait() {
            self.news.clock.sleep(self.news.clock.model_span(MOMENT)).await;
        }
        let feed = self.feed.take().map(Feed::open).transpose()?;
        self.out.listen()?;
        self.err.listen()?;
        let feeding = feed_all(feed);
        tokio::pin!(feeding);
        let mut fed = false;
        while self.out.open() || self.err.open() {
            tokio::select! {
                () = self.out.read(), if self.out.open() => self.news.heard(self.out.lines.take()),
                () = self.err.read(), if self.err.open() => self.news.heard(self.err.lines.take()),
                () = &mut feeding, if !fed => fed = true,
                () = self.news.due() => self.news.tell(),
            }
        }
        Ok(())
    }

    /// Takes what is in the pipes and nothing that comes later: somebody else may hold them open for ever.
    pub(super) fn drain(&mut self) {
        self.out.drain();
        self.err.drain();
        self.news.heard(self.out.lines.take());
        self.news.heard(self.err.lines.take());
        self.news.tell();
    }

    pub(super) fn finish(self) -> Finished {
        let capture = self.out.capture.unwrap_or_default();
        Finished {
            code: 0,
            stdout: String::from_utf8_lossy(&capture.bytes).into_owned(),
            truncated: capture.truncated,
            stdout_tail: self.out.tail.text(),
            stderr_tail: self.err.tail.text(),
        }
    }
}

/// A program that does not want to read is no failure of ours: it says so itself, or does not care.
async fn feed_all(feed: Option<(pipe::Sender, Secret)>) {
    if let Some((mut sender, text)) = feed {
        let _ = sender.write_all(text.expose().as_bytes()).await;
    }
}

#[derive(Default)]
struct Capture {
    bytes: Vec<u8>,
    truncated: bool,
}

/// Our end of one pipe.
enum Pipe {
    /// Nobody is told when something comes.
    Unwatched(OwnedFd),
    Watched(pipe::Receiver),
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Pipe::Unwatched(fd) => fd.as_fd(),
            Pipe::Watched(pipe) => pipe.as_fd(),
        }
    }
}

/// One of a program's two streams.
struct Channel {
    stream: Stream,
    log: Arc<dyn crate::context::Log>,
    pipe: Option<Pipe>,
    mask: Mask,
    tail: Tail,
    capture: Option<Capture>,
    apart: bool,
    lines: LastLine,
}

impl Channel {
    fn new(cx: &Context, stream: Stream, pipe: OwnedFd, keep: Keep) -> Self {
        Self {
            stream,
            log: cx.log.clone(),
            pipe: Some(Pipe::Unwatched(pipe)),
            mask: Mask::new(cx.redactor.clone()),
            tail: Tail::default(),
            capture: (keep != Keep::Tail).then(Capture::default),
            apart: keep == Keep::Apart,
            lines: LastLine::default(),
        }
    }

    fn open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Has it watched from now on. Must be called inside the runtime.
    fn listen(&mut self) -> std::io::Result<()> {
        if let Some(Pipe::Unwatched(fd)) = self.pipe.take_if(|pipe| matches!(pipe, Pipe::Unwatched(_))) {
            self.pipe = Some(Pipe::Watched(pipe::Receiver::from_owned_fd(fd)?));
        }
        Ok(())
    }

    /// One chunk. Nothing is lost when it is dropped in between: it takes bytes only when it ends.
    async fn read(&mut self) {
        let Some(Pipe::Watched(pipe)) = &self.pipe else { return };
        if pipe.readable().await.is_err() {
            return self.close();
        }
        let mut buffer = [0; CHUNK];
        match pipe.try_read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.close(),
            Ok(count) => self.take(&buffer[..count]),
        }
    }

    /// Takes what is there, without waiting for more.
    fn drain(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let mut drained = 0;
        while drained < DRAIN_BYTES {
            let waiting = rustix::io::ioctl_fionread(&pipe).unwrap_or(0);
            if waiting == 0 {
                break;
            }
            let mut buffer = [0; CHUNK];
            match rustix::io::read(&pipe, &mut buffer[..]) {
                Ok(count) if count > 0 => {
                    self.take(&buffer[..count]);
                    drained += count;
                }
                Err(rustix::io::Errno::INTR) => {}
                _ => break,
            }
        }
        self.close();
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.apart {
            return self.keep(bytes);
        }
        let masked = self.mask.push(bytes);
        self.emit(&masked);
    }

    fn close(&mut self) {
        self.pipe = None;
        let rest = self.mask.finish();
        self.emit(&rest);
    }

    fn emit(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.log.write(self.stream, bytes);
        self.tail.push(bytes);
        self.lines.push(bytes);
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if let Some(capture) = &mut self.capture {
            let room = CAPTURE_BYTES - capture.bytes.len();
            capture.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
            capture.truncated |= bytes.len() > room;
        }
    }
}

/// Masks secrets in a stream, those too that come in two pieces: the end of a piece is held back while it may be the start of one.
struct Mask {
    redactor: Arc<Redactor>,
    held: Vec<u8>,
}

impl Mask {
    fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, held: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.redactor.is_idle() {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        let (masked, seen) = self.redactor.mask_bytes(&self.held, true);
        self.held.drain(..seen);
        masked
    }

    fn finish(&mut self) -> Vec<u8> {
        self.redactor.mask_bytes(&std::mem::take(&mut self.held), false).0
    }
}

/// The end of a stream.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(TAIL_BYTES);
        self.bytes.drain(..surplus);
        self.bytes.extend(bytes);
    }

    fn text(self) -> String {
        let bytes = Vec::from(self.bytes);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

/// The last line with something in it.
#[derive(Default)]
struct LastLine {
    part: Vec<u8>,
    line: Option<String>,
}

impl LastLine {
    /// Longer lines are not shown whole anyway.
    const MOST: usize = 4 << 10;

    fn push(&mut self, bytes: &[u8]) {
        // Only the end matters: whole lines before the last two need not be looked at.
        let bytes = &bytes[bytes.len().saturating_sub(2 * Self::MOST)..];
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let room = Self::MOST - self.part.len();
            self.part.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let part = std::mem::take(&mut self.part);
        let line = shorten(&printable(&String::from_utf8_lossy(&part)), 200);
        if line.chars().any(char::is_alphanumeric) {
            self.line = Some(line);
        }
    }

    fn take(&mut self) -> Option<String> {
        self.line.take()
    }
}

/// Tells the observer of the last line, but not of each one.
struct News {
    observer: Arc<dyn crate::context::Observer>,
    clock: crate::clock::Clock,
    quiet: bool,
    waiting: Option<String>,
    told: Option<Instant>,
}

impl News {
    fn new(cx: &Context, quiet: bool) -> Self {
        Self { observer: cx.observer.clone(), clock: cx.clock(), quiet, waiting: None, told: None }
    }

    fn heard(&mut self, line: Option<String>) {
        self.waiting = line.filter(|_| !self.quiet).or(self.waiting.take());
    }

    /// When there is something to tell and the last time is long enough ago.
    async fn due(&self) {
        if self.waiting.is_none() {
            return std::future::pending().await;
        }
        let pause = self.told.map_or(Duration::ZERO, |told| PROGRESS_PAUSE.saturating_sub(told.elapsed()));
        if !pause.is_zero() {
            self.clock.sleep(self.clock.model_span(pause)).await;
        }
    }

    fn tell(&mut self) {
        if let Some(line) = self.waiting.take() {
            self.observer.progress(crate::context::Progress::text(line));
            self.told = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secrets;

    fn mask(secret: &str) -> Mask {
        mask_all(&[secret])
    }

    fn mask_all(values: &[&str]) -> Mask {
        let named = values.iter().map(|value| ((*value).to_owned(), Secret::new(*value)));
        Mask::new(Arc::new(Secrets::new(named.collect()).redactor()))
    }

    fn through(mask: &mut Mask, pieces: &[&str]) -> Vec<String> {
        let mut out: Vec<_> = pieces.iter().map(|piece| mask.push(piece.as_bytes())).collect();
        out.push(mask.finish());
        out.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn a_secret_in_two_pieces_is_masked() {
        assert_eq!(through(&mut mask("hunter2"), &["x hun", "ter2 y"]), ["x ", "[redacted] y", ""]);
    }

    #[test]
    fn a_secret_byte_by_byte_is_masked() {
        assert_eq!(through(&mut mask("abab"), &["a", "b", "a", "b", "a"]).concat(), "[redacted]a");
    }

    #[test]
    fn of_two_secrets_that_begin_alike_the_longer_is_masked_however_it_is_cut() {
        let text = "hunter2longer, hunter2 hunter2long: unter2 hunter";
        let expected = "[redacted], [redacted] [redacted]long: unter2 hunter";
        for cut in 0..=text.len() {
            let mut mask = mask_all(&["hunter2", "hunter2longer", "2 hunting"]);
            assert_eq!(through(&mut mask, &[&text[..cut], &text[cut..]]).concat(), expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_only_looks_like_a_start_comes_late_but_whole() {
        assert_eq!(through(&mut mask("hunter2"), &["the hunt", "ing"]), ["the ", "hunting", ""]);
    }

    #[test]
    fn other_text_is_not_held_back() {
        assert_eq!(through(&mut mask("hunter2"), &["Waiting…"]), ["Waiting…", ""]);
    }

    #[test]
    fn a_tail_is_bounded_in_bytes_and_lines() {
        let mut tail = Tail::default();
        (0..1000).for_each(|_| tail.push(&[b'x'; 1024]));
        assert_eq!(tail.bytes.len(), TAIL_BYTES);
        let mut tail = Tail::default();
        (0..1000).for_each(|number| tail.push(format!("{number}\n").as_bytes()));
        let text = tail.text();
        assert_eq!((text.lines().count(), text.lines().next()), (TAIL_LINES, Some("800")));
    }

    #[test]
    fn the_last_line_with_words_counts() {
        let mut lines = LastLine::default();
        lines.push(b"Installing\n10%\rReady no");
        assert_eq!(lines.take().as_deref(), Some("10%"));
        lines.push(b"w\n\n---\n");
        assert_eq!(lines.take().as_deref(), Some("Ready now"));
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut lines = LastLine::default();
        (0..1000).for_each(|_| lines.push(&[b'x'; 8192]));
        assert!(lines.part.len() <= LastLine::MOST);
    }
}
