//! What is wrong with a plan, as data: where, why, and what to do about it.
//!
//! Owns the shape of a problem and its three forms (a report with carets, JSON, a one-line summary); does not know what can be wrong.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use super::model::{Place, Source};
pub(crate) use runbook_steps::nearest;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The plan cannot be used.
    Error,
    /// The plan can be used, but probably does not mean what it says.
    Warning,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// A marked stretch of the source, perhaps with a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Byte offsets.
    pub span: Range<usize>,
    /// What to say below the caret; may be empty.
    pub text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Stable name, such as `plan::unknown-key`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; the first is the main one. All lie in `source`.
    pub labels: Vec<Label>,
    /// What to do about it.
    pub help: Option<String>,
    /// The file; none where there is no text to point into.
    pub source: Option<Arc<Source>>,
}

impl Problem {
    /// A problem without a place: a file that cannot be read, an input that is missing.
    pub fn bare(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, severity: Severity::Error, message: message.into(), labels: Vec::new(), help: None, source: None }
    }

    /// A problem at a place, with a remark below the caret.
    pub fn at(code: &'static str, place: &Place, message: impl Into<String>, remark: impl Into<String>) -> Self {
        Self { source: Some(place.source.clone()), ..Self::bare(code, message) }.and(place.span.clone(), remark)
    }

    /// Marks one more stretch of the same source.
    #[must_use]
    pub fn and(mut self, span: Range<usize>, remark: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: remark.into() });
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Where it is: `file:line:column`.
    pub fn location(&self) -> Option<String> {
        let (source, label) = (self.source.clone()?, self.labels.first()?);
        Some(Place { source, span: label.span.clone() }.location())
    }

    /// As data, for machines.
    pub fn to_json(&self) -> Value {
        let (line, column) = self.line_and_column().unzip();
        json!({
            "file": self.source.as_ref().map(|source| source.name.clone()),
            "line": line,
            "column": column,
            "severity": self.severity.name(),
            "code": self.code,
            "message": self.message,
            "remark": self.labels.first().map(|label| label.text.clone()).filter(|text| !text.is_empty()),
            "help": self.help,
        })
    }

    fn line_and_column(&self) -> Option<(usize, usize)> {
        let (source, label) = (self.source.as_ref()?, self.labels.first()?);
        Some(source.line_and_column(label.span.start))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty()).then(|| Box::new(self.labels.iter().map(labeled)) as Box<dyn Iterator<Item = _>>)
    }
}

fn labeled(label: &Label) -> LabeledSpan {
    let text = (!label.text.is_empty()).then(|| label.text.clone());
    LabeledSpan::new(text, label.span.start, label.span.len())
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.text.as_bytes().read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}

/// Everything that is wrong with a plan; holds at least one error.
#[derive(Clone, Debug)]
pub struct Problems {
    /// In the order of the file, as far as they have a place.
    pub list: Vec<Problem>,
    /// The plan, as given.
    pub file: PathBuf,
}

impl Problems {
    /// A single problem.
    pub fn one(file: &Path, problem: Problem) -> Self {
        Self { list: vec![problem], file: file.to_owned() }
    }

    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|problem| problem.severity == Severity::Error).count()
    }

    /// As data, for machines.
    pub fn to_json(&self) -> Value {
        Value::Array(self.list.iter().map(Problem::to_json).collect())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.errors();
        write!(f, "{}: {errors} problem{}", self.file.display(), if errors == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Problems {}

/// More than this is not read by anybody.
const SHOWN: usize = 50;

/// The problems for a person: a summary line, then each with its place, its caret and what to do.
pub fn report(problems: &Problems, color: bool, width: usize) -> String {
    let mut text = format!("{problems}\n\n");
    text.push_str(&report_list(&problems.list, color, width));
    text
}

/// Some problems or warnings for a person, without the summary line.
pub fn report_list(list: &[Problem], color: bool, width: usize) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false);
    let mut text = String::new();
    for problem in list.iter().take(SHOWN) {
        if handler.render_report(&mut text, problem).is_err() {
            text.push_str(&format!("  {}\n", problem.message));
        }
        text.push('\n');
    }
    if list.len() > SHOWN {
        text.push_str(&format!("  … and {} more\n", list.len() - SHOWN));
    }
    text
}

/// `did you mean …?`, or nothing.
pub(crate) fn did_you_mean<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(written, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// `a`, `b`, `c` for a message.
pub(crate) fn quoted_list<'c>(names: impl IntoIterator<Item = &'c str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised() {
        assert_eq!(nearest("neds", ["needs", "name", "env"]), Some("needs"));
        assert_eq!(nearest("gatewayclass", ["gateway", "gateway_class"]), Some("gateway_class"));
        assert_eq!(nearest("timeuot", ["timeout", "retry"]), Some("timeout"));
    }

    #[test]
    fn something_else_is_not_suggested() {
        assert_eq!(nearest("colour", ["needs", "run", "env"]), None);
    }

    #[test]
    fn a_problem_says_where() {
        let source = Arc::new(Source::new("p.yaml", "a: 1\nbé: 2\n"));
        let place = Place { source, span: 10..11 };
        assert_eq!(Problem::at("x", &place, "m", "").location().as_deref(), Some("p.yaml:2:5"));
    }
}
