//! The streams: data goes to stdout, talk to stderr. The only printer besides the reports.

use std::io::{self, BufRead as _, ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::sync::OnceLock;

use runbook_steps::printable;

use super::exit::{Exit, Fatal};
use super::prompt::{Prompt, Typed};
use crate::report::layout;
use crate::report::words::Paint;

/// Why data could not be written, if it could not. The stream is the process's, and so is this.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// A longer line of a file is shown in pieces.
const LONGEST_LINE: u64 = 64 * 1024;

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Color {
    /// If stderr is a terminal and neither NO_COLOR nor CI is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to speak with whoever started us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ui {
    /// Colours.
    pub(crate) paint: Paint,
    /// Whether stderr is a terminal.
    terminal: bool,
    /// Whether stderr shows moving pictures.
    pub(crate) live: bool,
    /// Whether somebody can be asked.
    pub(crate) asks: bool,
}

impl Ui {
    /// Looks at the streams and at what the environment says of them.
    pub(crate) fn new(color: Color, env: &super::Environment) -> Self {
        let terminal = io::stderr().is_terminal();
        let plain = env.has("NO_COLOR") || env.has("CI") || env.is("TERM", "dumb");
        let on = match color {
            Color::Auto => terminal && !plain,
            Color::Always => true,
            Color::Never => false,
        };
        let live = terminal && !env.has("CI") && !env.is("TERM", "dumb");
        let asks = io::stdin().is_terminal() && terminal && !env.has("CI");
        Self { paint: Paint { on }, terminal, live, asks }
    }

    /// Columns and rows, as they are now.
    pub(crate) fn size(self) -> (usize, usize) {
        size()
    }

    /// How many columns a text to stderr has to fit in: all that there are where it is no terminal.
    pub(crate) fn columns(self) -> usize {
        if self.terminal { size().0 } else { layout::ANY }
    }

    /// The same for a text to stdout.
    pub(crate) fn page_columns(self) -> usize {
        if io::stdout().is_terminal() { columns(io::stdout()) } else { layout::ANY }
    }

    /// Data for a person to read, to stdout, wrapped where that is a terminal.
    pub(crate) fn page(self, text: &str) {
        self.data(&layout::fit(text, self.page_columns()));
    }

    /// Data, to stdout.
    pub(crate) fn data(self, text: &str) {
        self.wrote(write(text.as_bytes()));
    }

    /// A file that programs wrote, to stdout, however long: as it is, unless a terminal would obey it. The error is that it cannot be
    /// read.
    pub(crate) fn copy(self, path: &std::path::Path) -> io::Result<()> {
        let file = std::fs::File::open(path)?;
        if io::stdout().is_terminal() { self.copy_lines(file) } else { self.copy_bytes(file) }
    }

    fn copy_lines(self, file: std::fs::File) -> io::Result<()> {
        let (mut file, mut line) = (io::BufReader::new(file), Vec::new());
        while (&mut file).take(LONGEST_LINE).read_until(b'\n', &mut line)? > 0 {
            let written = write(printable(&String::from_utf8_lossy(&line)).as_bytes());
            if written.is_err() {
                self.wrote(written);
                return Ok(());
            }
            line.clear();
        }
        Ok(())
    }

    fn copy_bytes(self, mut file: std::fs::File) -> io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let written = match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => write(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
                Err(error) => return Err(error),
            };
            if written.is_err() {
                self.wrote(written);
                return Ok(());
            }
        }
    }

    /// Keeps the first failure for the end. A reader that went away is no error of ours.
    fn wrote(self, written: io::Result<()>) {
        if let Some(error) = written.err().filter(|error| error.kind() != ErrorKind::BrokenPipe) {
            let _ = UNWRITTEN.set(error);
        }
    }

    /// Whether all data was written. Asked when there is no more.
    pub(crate) fn all_is_written(self) -> Result<(), Fatal> {
        let why = |error: &io::Error| Fatal::new(Exit::Unexpected, format!("cannot write to standard output: {error}"));
        UNWRITTEN.get().map_or(Ok(()), |error| Err(why(error)))
    }

    /// Talk, to stderr, with a line end, wrapped where that is a terminal.
    pub(crate) fn say(self, text: &str) {
        let text = layout::fit(text, self.columns());
        // In one piece: what others write must not come between a line and its end.
        let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
    }

    /// An error that ends the program.
    pub(crate) fn fatal(self, fatal: &Fatal) {
        if !fatal.message.is_empty() {
            self.say(&format!("{} {}", self.paint.bad("error:"), fatal.message));
        }
        for hint in &fatal.hints {
            self.say(&format!("{} {hint}", self.paint.busy("hint:")));
        }
    }

    /// Asks a question whose usual answer is no.
    pub(crate) fn confirm(self, question: &str) -> Result<bool, Fatal> {
        let answer = self.ask(&format!("{question} [y/N]"))?.unwrap_or_default();
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }

    /// Asks for a line. `None` when nobody answers.
    pub(crate) fn ask(self, question: &str) -> Result<Option<String>, Fatal> {
        self.typed(question, Prompt::shown)
    }

    /// Asks for a secret without showing it. `None` when nobody answers.
    pub(crate) fn ask_secret(self, question: &str) -> Result<Option<String>, Fatal> {
        let answer = self.typed(question, Prompt::hidden)?;
        Ok(answer.filter(|answer| !answer.is_empty()))
    }

    /// What is typed at a prompt; an error where somebody rather wants to stop.
    fn typed(self, question: &str, begin: fn() -> Option<Prompt>) -> Result<Option<String>, Fatal> {
        let Some(mut prompt) = self.asks.then(begin).flatten() else { return Ok(None) };
        let _ = write!(io::stderr(), "{question}: ");
        let typed = prompt.line();
        if prompt.is_hidden() || matches!(typed, Typed::Stop(_)) {
            self.say("");
        }
        match typed {
            Typed::Line(line) => Ok(Some(line)),
            Typed::Nothing => Ok(None),
            Typed::Stop(signal) => Err(Fatal::interrupted(signal)),
        }
    }
}

fn write(data: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(data)?;
    stdout.flush()
}

fn size() -> (usize, usize) {
    let rows = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_row));
    (columns(io::stderr()), if rows < 8 { 40 } else { rows })
}

fn columns(stream: impl rustix::fd::AsFd) -> usize {
    let found = rustix::termios::tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
    if found < 40 { 100 } else { found }
}
