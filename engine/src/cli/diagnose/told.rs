//! How a diagnosis is told: most likely first, with the line that shows it and what to do.

use serde_json::json;

use crate::cli::Session;
use crate::hints::findings::{Finding, Look};
use crate::plan::{Plan, StepId};
use crate::report::layout;
use crate::report::words::{clip, count, list};

/// Longer evidence is cut on the screen; `-o json` has it whole.
const LONGEST: usize = 240;

/// So many sights that nobody explains are enough on a screen.
const MOST_REST: usize = 12;

/// What is told.
pub(super) struct Told<'a> {
    pub(super) name: &'a str,
    pub(super) next: &'a str,
    pub(super) plan: &'a Plan,
    pub(super) concern: &'a [StepId],
    pub(super) found: &'a [Finding<'a>],
    pub(super) rest: &'a [&'a Look],
    pub(super) unseen: &'a [String],
}

impl Told<'_> {
    pub(super) fn text(&self, session: &Session) -> String {
        let paint = session.ui.paint;
        let mut out = format!("\n{} · diagnosis · {}\n", paint.bold(self.name), self.headline());
        for (number, finding) in self.found.iter().enumerate() {
            out.push_str(&format!("\n{}\n", self.finding(number + 1, finding, session)));
        }
        out.push_str(&self.others(session));
        if !self.unseen.is_empty() {
            out.push_str(&format!("\n{}\n", paint.dim("could not be looked at:")));
            out.extend(self.unseen.iter().map(|line| format!("  {}\n", clip(line, LONGEST))));
        }
        out
    }

    fn headline(&self) -> String {
        let about = match self.concern {
            [] => "no step has failed or is running".to_owned(),
            steps => format!("about {}", list(steps)),
        };
        match self.found.len() {
            0 => format!("nothing known was found; {about}"),
            number => format!("{}, most likely first; {about}", count(number, "finding")),
        }
    }

    fn finding(&self, number: usize, finding: &Finding<'_>, session: &Session) -> String {
        let paint = session.ui.paint;
        let mut rows = vec![
            ("fix", finding.hint.whole_fix()),
            ("seen", clip(&one_line(&finding.evidence), LONGEST)),
            ("look", layout::command(&finding.look.sighting.command)),
        ];
        if let Some(step) = &finding.look.step {
            rows.push(("step", step.to_string()));
        }
        if let Some(remedy) = self.remedy(finding) {
            rows.push(("remedy", format!("{} --only {remedy}", self.next)));
        }
        let head = format!("{} {}", paint.bold(&format!("{number}.")), finding.hint.cause);
        let lines = rows.iter().map(|(word, said)| format!("   {}  {said}", paint.busy(&format!("{word:<6}"))));
        std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
    }

    /// The step that puts it right, if this plan has it to offer.
    fn remedy(&self, finding: &Finding<'_>) -> Option<&StepId> {
        let index = self.plan.step(finding.hint.remedy.as_deref()?)?;
        Some(&self.plan.steps[index]).filter(|step| step.on_demand).map(|step| &step.id)
    }

    fn others(&self, session: &Session) -> String {
        if self.rest.is_empty() {
            return String::new();
        }
        let head = if self.found.is_empty() { "not as wanted:" } else { "also not as wanted:" };
        let mut out = format!("\n{}\n", session.ui.paint.dim(head));
        let lines = self.rest.iter().take(MOST_REST).map(|look| clip(&one_line(&look.sighting.text), LONGEST));
        out.extend(lines.map(|line| format!("  {line}\n")));
        if self.rest.len() > MOST_REST {
            out.push_str(&format!("  … {} more; -o json has them all\n", self.rest.len() - MOST_REST));
        }
        out
    }

    pub(super) fn json(&self) -> String {
        let found: Vec<_> = self
            .found
            .iter()
            .map(|finding| {
                json!({ "hint": finding.hint.id, "from": finding.hint.origin.word(), "cause": finding.hint.cause,
                        "fix": finding.hint.fix, "docs": finding.hint.docs, "seen": finding.evidence,
                        "subject": finding.look.sighting.subject, "look": finding.look.sighting.command,
                        "step": finding.look.step, "remedy": self.remedy(finding) })
            })
            .collect();
        let rest: Vec<_> = self
            .rest
            .iter()
            .map(|look| json!({ "subject": look.sighting.subject, "text": look.sighting.text, "step": look.step }))
            .collect();
        let value = json!({ "deployment": self.name, "about": self.concern, "findings": found, "others": rest,
                            "unseen": self.unseen });
        format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
