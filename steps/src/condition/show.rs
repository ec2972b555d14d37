//! Conditions as a person would say them, for intents and messages.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use super::{Amount, Condition, Expected, Form, Target, Test, Wanted, Which};

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Form::Object(wanted) => write!(f, "{wanted}"),
            Form::Webhook(name) => write!(f, "webhook {name} answers"),
            Form::Endpoints(wanted) => write!(f, "{wanted}"),
            Form::Log(wanted) => write!(f, "{wanted}"),
            Form::Event(wanted) => write!(f, "{wanted}"),
            Form::Any(any) => write_joined(f, any, " or "),
            Form::All(all) => write_joined(f, all, " and "),
        }
    }
}

fn write_joined(f: &mut Formatter<'_>, all: &[Condition], word: &str) -> std::fmt::Result {
    let told: Vec<String> = all.iter().map(ToString::to_string).collect();
    f.write_str(&told.join(word))
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match &self.which {
            Which::Named(name) => write!(f, "{}/{name}", self.kind)?,
            Which::Selected(selector) if selector.text().is_empty() => write!(f, "{}", self.kind)?,
            Which::Selected(selector) => write!(f, "{} -l {}", self.kind, selector.text())?,
        }
        if self.namespace.is_empty() { Ok(()) } else { write!(f, " -n {}", self.namespace) }
    }
}

impl Display for Wanted {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.target)?;
        self.test.say(f)?;
        match self.amount {
            Amount::All => Ok(()),
            Amount::Count(count) => write!(f, " (exactly {count})"),
            Amount::Min(min) => write!(f, " (at least {min})"),
        }
    }
}

impl Test {
    fn say(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Test::Exists => f.write_str("exists"),
            Test::Deleted => f.write_str("is deleted"),
            Test::Ready => f.write_str("is ready"),
            Test::Condition { kind, status } => write!(f, "has {kind}={status}"),
            Test::Path { path, value } => match value {
                Expected::Present => write!(f, "has {path}"),
                Expected::Absent => write!(f, "has no {path}"),
                Expected::Equals(text) => write!(f, "has {path} = {text}"),
                Expected::NotEquals(text) => write!(f, "has {path} other than {text}"),
            },
            Test::Custom(custom) => write!(f, "is such that {}", custom.ready.text()),
            Test::Age { over, under } => {
                let bound = |word: &str, span: &Option<Duration>| span.map(|span| format!("{word} than {span:?}"));
                let told: Vec<String> = [bound("older", over), bound("younger", under)].into_iter().flatten().collect();
                write!(f, "is {}", told.join(" and "))
            }
        }
    }
}
