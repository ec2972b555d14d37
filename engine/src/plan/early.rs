//! What can be evaluated before anything runs is: an expression that has no value now will have none in the run either.
//!
//! Reports what the run would end with. Does not evaluate what a run may never come to: a step that is not wanted, or that waits to be
//! asked for.

use super::error::Problem;
use super::eval::EvalError;
use super::model::{Expression, Place, Step, Template};
use super::scan;
use super::template::{self, Before, Reach};

/// What has no value, or not the right one.
pub(crate) fn problems(step: &Step) -> Vec<Problem> {
    if step.on_demand {
        return Vec::new();
    }
    let early = Early(Before { units: &step.scope.units, unit: step.scope.unit, each: &step.scope.each });
    let mut found: Vec<Problem> = conditions(step).filter_map(never_bool).collect();
    match step.when.as_ref().map(|when| early.holds(when)) {
        Some(Held::Wrong(problem)) => found.push(*problem),
        Some(Held::No | Held::Later) => {}
        Some(Held::Yes) | None => {
            found.extend(step.require.iter().filter_map(|requirement| early.wrong(&requirement.assert)));
            templates(step).for_each(|template| early.template(template, &mut found));
        }
    }
    found
}

/// What must be true or false.
fn conditions(step: &Step) -> impl Iterator<Item = &Expression> {
    step.when.iter().chain(step.require.iter().map(|requirement| &requirement.assert)).chain(&step.assert)
}

/// What is rendered as soon as the step may start.
fn templates(step: &Step) -> impl Iterator<Item = &Template> {
    let undo = step.undo.as_ref().and_then(|undo| undo.work.as_ref());
    let works = step.work.iter().chain(undo).map(|work| &work.with);
    works.chain(&step.locks).chain(&step.check).chain(&step.wait)
}

/// Whether a condition holds, as far as that is known.
enum Held {
    Yes,
    No,
    Later,
    Wrong(Box<Problem>),
}

struct Early<'a>(Before<'a>);

impl Early<'_> {
    fn holds(&self, expression: &Expression) -> Held {
        if self.0.reach(&scan::mentions(&expression.text).references) != Reach::Now {
            return Held::Later;
        }
        match self.0.with_known(|sight| sight.holds(expression)) {
            Ok(true) => Held::Yes,
            Ok(false) => Held::No,
            Err(error) => Held::Wrong(Box::new(problem(error, &expression.place))),
        }
    }

    fn wrong(&self, expression: &Expression) -> Option<Problem> {
        match self.holds(expression) {
            Held::Wrong(problem) => Some(*problem),
            Held::Yes | Held::No | Held::Later => None,
        }
    }

    fn template(&self, template: &Template, found: &mut Vec<Problem>) {
        template::texts(template, &mut |text, place| {
            if let Some(Err(error)) = self.0.text(text, place) {
                found.push(problem(error, place));
            }
        });
    }
}

fn problem(error: EvalError, place: &Place) -> Problem {
    let place = error.place.unwrap_or_else(|| place.clone());
    let help = "it is known before anything runs, and would end the step: put it right here, or give other inputs";
    Problem::at("expr::value", &place, error.message, "").help(help)
}

/// A condition that comes to a number, a text or a list, whatever its names stand for.
fn never_bool(expression: &Expression) -> Option<Problem> {
    let filter = scan::last_filter(&expression.text).filter(|filter| NEVER_BOOL.contains(&filter.as_str()))?;
    let text = expression.text.trim();
    let message = format!("`{text}` must be true or false, but `{filter}` gives neither");
    let help = match filter.as_str() {
        "length" | "count" => format!("compare it: `{text} > 0`"),
        _ => format!("compare it: `{text} == …`"),
    };
    Some(Problem::at("expr::value", &expression.place, message, "").help(help))
}

/// Filters whose values are never true or false.
const NEVER_BOOL: [&str; 26] = [
    "abs",
    "b64",
    "b64decode",
    "basename",
    "capitalize",
    "count",
    "dictsort",
    "dirname",
    "float",
    "indent",
    "int",
    "items",
    "join",
    "length",
    "lines",
    "list",
    "lower",
    "replace",
    "round",
    "sort",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
];
