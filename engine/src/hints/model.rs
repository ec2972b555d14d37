//! The shape of a hint.

use std::sync::OnceLock;

use regex::Regex;
use runbook_steps::Class;
use runbook_steps::jsonpath::JsonPath;

use crate::plan::model::Expression;

/// Where a hint comes from; of hints that fit equally well, the one from the nearest place counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It comes with the program.
    Shipped,
    /// It comes with the program, for the steps of one kind.
    Kind,
    /// It stands in `hints/` beside the plan.
    Folder,
    /// It stands in the step itself.
    Step,
}

impl Origin {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Shipped => "shipped",
            Origin::Kind => "kind",
            Origin::Folder => "folder",
            Origin::Step => "step",
        }
    }
}

/// A hint: what to say when something known goes wrong.
#[derive(Clone, Debug)]
pub struct Hint {
    /// Its name, where it stands in a file of hints.
    pub id: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// The kind of step that it speaks of; any where there is none.
    pub kind: Option<String>,
    /// What it applies to; all that are given must match.
    pub matches: HintMatch,
    /// An expression over what was seen that must hold besides.
    pub when: Option<Expression>,
    /// Why it happens.
    pub cause: String,
    /// What to do.
    pub fix: String,
    /// Where to read more.
    pub docs: Option<String>,
    /// Overrides the failure's class.
    pub class: Option<Class>,
    /// The step of the plan that puts it right.
    pub remedy: Option<String>,
    /// What was once recorded and must be recognised by it: its own test.
    pub triggers: Vec<super::trigger::Trigger>,
}

impl Hint {
    /// A hint of a step with a cause and a fix, for tests and as a start.
    pub fn new(matches: HintMatch, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            id: None,
            origin: Origin::Step,
            kind: None,
            matches,
            when: None,
            cause: cause.into(),
            fix: fix.into(),
            docs: None,
            class: None,
            remedy: None,
            triggers: Vec::new(),
        }
    }

    /// The fix, with where to read more.
    pub fn whole_fix(&self) -> String {
        match &self.docs {
            Some(docs) => format!("{} (more: {docs})", self.fix),
            None => self.fix.clone(),
        }
    }
}

/// What a hint looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HintMatch {
    /// The failure's line, detail, standard error or standard output.
    pub error: Option<Pattern>,
    /// Standard output only.
    pub stdout: Option<Pattern>,
    /// A container's log.
    pub log: Option<Pattern>,
    /// An event, `Reason: message`.
    pub event: Option<Pattern>,
    /// A condition's type.
    pub condition_type: Option<Pattern>,
    /// A condition's status.
    pub condition_status: Option<Pattern>,
    /// A condition's reason.
    pub condition_reason: Option<Pattern>,
    /// A condition's message.
    pub condition_message: Option<Pattern>,
    /// An HTTP status.
    pub http_status: Option<u16>,
    /// An HTTP body.
    pub http_body: Option<Pattern>,
    /// An object that was looked at.
    pub object: Option<ObjectMatch>,
    /// The failure's class.
    pub class: Option<Class>,
}

/// A Kubernetes object, or an answer of a cloud, that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMatch {
    /// Its kind, such as `Gateway`; any where there is none.
    pub kind: Option<Pattern>,
    /// A path in it, in kubectl's dialect; it must lead somewhere.
    pub path: Option<String>,
    /// What one of the values there must match.
    pub matches: Option<Pattern>,
    /// The path must lead nowhere.
    pub absent: bool,
}

impl ObjectMatch {
    /// Its path; checked when the hint was read.
    pub(crate) fn json_path(&self) -> Option<JsonPath> {
        self.path.as_deref().and_then(|path| JsonPath::read(path).ok())
    }
}

/// A regular expression that is compiled when it is first needed: most of a plan's hints never are.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// A pattern that was checked, or is a constant.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is found in a text. In nothing, nothing is found.
    pub fn is_in(&self, text: &str) -> bool {
        !text.is_empty() && self.regex().is_some_and(|regex| regex.is_match(text))
    }

    /// The first line of a text that it is found in.
    pub fn line_in<'t>(&self, text: &'t str) -> Option<&'t str> {
        let found = self.regex()?.find(text)?;
        let start = text[..found.start()].rfind('\n').map_or(0, |at| at + 1);
        text[start..].lines().next()
    }

    fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(&self.text).ok()).as_ref()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}
