//! `manual`: what only a person can do.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Class, Failure};
use crate::kind::{Effect, Kind, Reach, ReadError, schema_of};
use crate::secret::Redactor;
use crate::step::{Outputs, Standing, Step};

/// The kind `manual`.
pub(super) static KIND: Kind = Kind {
    name: "manual",
    summary: "Asks a person to do something, and for what came of it",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Changes(Reach::Anything),
    observes: false,
    idempotent: true,
    outputs: &[],
    open_outputs: true,
    schema: schema_of::<Manual>,
    read,
};

const DOCS: &str = "\
A step that a person does. It needs an answer for each of its `outputs`, or, where it has none, the answer `done=true`.

- **observe**: cannot look; where a `check` of the cluster holds when the step begins, it is done, and nobody is asked.
- **perform**: gives the answers as outputs. Without them it fails with the class `needs-person` and says what to answer.
- **undo**: nothing.

Answers are given with `--answer STEP.NAME=value`. They are journaled: never ask for a secret.
";

const EXAMPLE: &str = "\
quota:
  manual:
    ask: Ask for 8 TPU v6e chips in europe-west4, and wait for the answer.
    outputs:
      chips: { type: int, about: how many chips were granted }
";

/// The answer that a step without outputs waits for.
const DONE: &str = "done";

/// What to ask, and what has been answered.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Manual {
    /// What the person is to do.
    ask: String,
    /// What the person is to tell, by name.
    #[serde(default)]
    outputs: BTreeMap<String, Question>,
    /// What the person has told. Filled in by the engine.
    #[serde(default)]
    answers: BTreeMap<String, Value>,
}

/// One thing to tell.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Question {
    /// What sort of value it is.
    r#type: Type,
    /// What it is, for the person.
    about: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Type {
    #[default]
    String,
    Int,
    Float,
    Bool,
}

fn read(with: Value) -> Result<Box<dyn Step>, ReadError> {
    let manual: Manual = crate::kind::read_with(with)?;
    ReadError::all(manual.refusals())?;
    Ok(Box::new(manual))
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Int => "int",
            Type::Float => "float",
            Type::Bool => "bool",
        }
    }

    /// A value of this type, as one types it.
    fn example(self) -> &'static str {
        match self {
            Type::String => "VALUE",
            Type::Int => "3",
            Type::Float => "0.5",
            Type::Bool => "true",
        }
    }

    /// An answer as this type. From the command line all answers come as text.
    fn take(self, answer: &Value) -> Option<Value> {
        let text = answer.as_str().map(str::trim);
        match self {
            Type::String => text.map(Value::from).or_else(|| (!answer.is_null()).then(|| answer.to_string().into())),
            Type::Int => answer.as_i64().or_else(|| text?.parse().ok()).map(Value::from),
            Type::Float => answer.as_f64().or_else(|| text?.parse().ok()).map(Value::from),
            Type::Bool => answer.as_bool().or_else(|| text?.parse().ok()).map(Value::from),
        }
    }

    /// Why an answer cannot be taken, if it cannot.
    fn refusal(self, answer: &Value) -> Option<String> {
        let refused = self.take(answer).is_none();
        refused.then(|| format!("{answer} is not of the type {}, such as {}", self.name(), self.example()))
    }
}

impl Manual {
    fn questions(&self) -> BTreeMap<String, Question> {
        if self.outputs.is_empty() {
            return BTreeMap::from([(DONE.to_owned(), Question { r#type: Type::Bool, about: None })]);
        }
        self.outputs.clone()
    }

    /// The answers that cannot be taken, and why.
    fn refusals(&self) -> Vec<ReadError> {
        let questions = self.questions();
        let refused = |(name, answer): (&String, &Value)| {
            let message = match questions.get(name) {
                None => format!("nothing asks for `{name}`"),
                Some(question) => question.r#type.refusal(answer)?,
            };
            Some(ReadError { path: format!("answers.{name}"), message })
        };
        self.answers.iter().filter_map(refused).collect()
    }

    fn answered(&self, step: &str, redactor: &Redactor) -> Result<Outputs, Failure> {
        let questions = self.questions();
        if questions.keys().any(|name| !self.answers.contains_key(name)) {
            return Err(self.waiting_for(step, &questions, redactor));
        }
        let outputs: Outputs = questions
            .iter()
            .map(|(name, question)| self.take(name, question).map(|value| (name.clone(), value)))
            .collect::<Result<_, _>>()?;
        if self.outputs.is_empty() && outputs.get(DONE) != Some(&Value::Bool(true)) {
            return Err(Failure::permanent("a person said that it is not done").detail(&*self.ask));
        }
        Ok(if self.outputs.is_empty() { Outputs::new() } else { outputs })
    }

    fn take(&self, name: &str, question: &Question) -> Result<Value, Failure> {
        let answer = &self.answers[name];
        question.r#type.take(answer).ok_or_else(|| {
            let why = question.r#type.refusal(answer).unwrap_or_default();
            Failure::new(Class::NeedsPerson, format!("the answer `{name}`: {why}"))
        })
    }

    /// What is still to be answered, and the flags that answer it together with what was answered already: answers are given at once.
    fn waiting_for(&self, step: &str, questions: &BTreeMap<String, Question>, redactor: &Redactor) -> Failure {
        let missing: Vec<_> = questions.iter().filter(|(name, _)| !self.answers.contains_key(*name)).collect();
        let line = |(name, question): &(&String, &Question)| {
            let about = question.about.as_deref().map(|about| format!(" – {about}")).unwrap_or_default();
            format!("  {name} ({}){about}", question.r#type.name())
        };
        let names: Vec<_> = missing.iter().map(|(name, _)| format!("`{name}`")).collect();
        let flags: Vec<_> =
            questions.iter().map(|(name, question)| self.flag(step, name, question, redactor)).collect();
        Failure::new(Class::NeedsPerson, format!("a person is needed: {}", crate::tools::shorten(&self.ask, 200)))
            .detail(format!(
                "{}\n\nstill to answer:\n{}",
                self.ask.trim(),
                missing.iter().map(line).collect::<Vec<_>>().join("\n")
            ))
            .cause(format!("no answer yet for {}", names.join(", ")))
            .fix(format!("do that, then continue with `{}`", flags.join(" ")))
    }

    /// The flag that answers a question: as it was answered, where that is no secret.
    fn flag(&self, step: &str, name: &str, question: &Question, redactor: &Redactor) -> String {
        let given = self.answers.get(name).and_then(Value::as_str).filter(|text| redactor.mask(text) == *text);
        match given {
            Some(text) => format!("--answer {}", crate::tools::quote(&format!("{step}.{name}={text}"))),
            None => format!("--answer {step}.{name}={}", placeholder(name, question)),
        }
    }
}

fn placeholder(name: &str, question: &Question) -> &'static str {
    match question.r#type {
        Type::Bool if name == DONE => "true",
        Type::Bool => "true|false",
        Type::Int | Type::Float => "NUMBER",
        Type::String => "VALUE",
    }
}

impl Step for Manual {
    fn intent(&self) -> Vec<String> {
        self.ask.lines().map(|line| format!("# {line}")).collect()
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(async { self.answered(&cx.step, &cx.redactor) })
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manual(with: Value) -> Manual {
        serde_json::from_value(with).unwrap()
    }

    #[test]
    fn what_is_missing_is_named_with_its_flag() {
        let manual = manual(
            json!({ "ask": "Get chips.", "outputs": { "chips": { "type": "int" }, "who": {} }, "answers": { "who": "me" } }),
        );
        let failure = manual.answered("quota", &Redactor::default()).expect_err("missing");
        assert_eq!((failure.class, failure.what.as_str()), (Class::NeedsPerson, "a person is needed: Get chips."));
        assert_eq!(
            failure.fix.as_deref(),
            Some("do that, then continue with `--answer quota.chips=NUMBER --answer quota.who=me`")
        );
    }

    #[test]
    fn answers_from_the_command_line_get_their_type() {
        let manual = manual(json!({
            "ask": "?", "outputs": { "n": { "type": "int" }, "b": { "type": "bool" }, "s": {} }, "answers": { "n": "8", "b": "true", "s": 5 },
        }));
        assert_eq!(
            Value::from(manual.answered("x", &Redactor::default()).unwrap()),
            json!({ "b": true, "n": 8, "s": "5" })
        );
    }

    #[test]
    fn a_wrong_answer_needs_the_person_again() {
        let manual = manual(json!({ "ask": "?", "outputs": { "n": { "type": "int" } }, "answers": { "n": "many" } }));
        assert_eq!(
            manual.answered("x", &Redactor::default()).expect_err("text").what,
            "the answer `n`: \"many\" is not of the type int, such as 3"
        );
    }

    #[test]
    fn without_outputs_it_asks_whether_it_is_done() {
        let done = |answer: &str| {
            manual(json!({ "ask": "?", "answers": { "done": answer } })).answered("x", &Redactor::default())
        };
        assert_eq!(done("true"), Ok(Outputs::new()));
        assert_eq!(done("false").expect_err("not done").class, Class::Permanent);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_refused() {
        let error = read(json!({ "ask": "?", "answers": { "x": 1 } })).expect_err("unknown");
        assert_eq!((error.path.as_str(), error.message.as_str()), ("answers.x", "nothing asks for `x`"));
        let with = json!({ "ask": "?", "outputs": { "n": { "type": "int" } }, "answers": { "n": "many" } });
        let error = read(with).expect_err("no number");
        assert_eq!(error.message, "\"many\" is not of the type int, such as 3");
    }
}
