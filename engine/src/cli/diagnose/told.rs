//! How a diagnosis is told: most likely first, with the line that shows it and what to do.

use std::path::Path;

use runbook_steps::tools::quote;
use serde_json::json;

use crate::cli::Session;
use crate::hints::findings::{Finding, Look};
use crate::plan::{Plan, StepId};
use crate::report::layout;
use crate::report::words::{brief, count, list};

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
    /// What leads to the deployment's cluster.
    pub(super) kubeconfig: &'a Path,
}

impl Told<'_> {
    pub(super) fn text(&self, session: &Session) -> String {
        let paint = session.ui.paint;
        let (troubles, remarks): (Vec<&Finding<'_>>, Vec<_>) =
            self.found.iter().partition(|finding| finding.is_trouble(self.concern));
        let mut out =
            format!("\n{} · diagnosis · {}\n", paint.bold(self.name), self.headline(troubles.len(), remarks.len()));
        let mut number = 0;
        let mut tell = |finding| {
            number += 1;
            format!("\n{}\n", self.finding(number, finding, session))
        };
        out.extend(troubles.iter().copied().map(&mut tell));
        out.push_str(&self.others(session, troubles.is_empty()));
        if !remarks.is_empty() {
            let head = if self.is_well(troubles.len()) { "worth knowing:" } else { "may have to do with it:" };
            out.push_str(&format!("\n{}\n", paint.dim(head)));
            out.extend(remarks.into_iter().map(tell));
        }
        let looks = self.found.iter().map(|finding| finding.look.sighting.command.as_str());
        if let Some(export) = way_to_cluster(looks, self.kubeconfig) {
            out.push_str(&format!("\n{} {export}\n", paint.dim("kubectl and helm reach its cluster with:")));
        }
        if !self.unseen.is_empty() {
            out.push_str(&format!("\n{}\n", paint.dim("could not be looked at:")));
            out.extend(self.unseen.iter().map(|line| format!("  {}\n", brief(line, LONGEST))));
        }
        out
    }

    /// Whether neither a step nor anything that was looked at is in trouble.
    fn is_well(&self, troubles: usize) -> bool {
        troubles == 0 && self.concern.is_empty() && self.rest.is_empty()
    }

    fn headline(&self, troubles: usize, remarks: usize) -> String {
        let about = match self.concern {
            [] => "no step has failed or is running".to_owned(),
            steps => format!("about {}", list(steps)),
        };
        match troubles {
            0 if self.is_well(troubles) => {
                format!("nothing is wrong: {about}, and all that was looked at is as wanted")
            }
            0 => format!("no known trouble was found; {about}"),
            number => {
                let order = if number > 1 { ", most likely first" } else { "" };
                let more =
                    if remarks > 0 { format!(", {remarks} more that may have to do with it") } else { String::new() };
                format!("{}{order}{more}; {about}", count(number, "finding"))
            }
        }
    }

    fn finding(&self, number: usize, finding: &Finding<'_>, session: &Session) -> String {
        let paint = session.ui.paint;
        let mut rows = vec![
            ("fix", finding.hint.whole_fix()),
            ("seen", brief(&finding.evidence, LONGEST)),
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

    fn others(&self, session: &Session, alone: bool) -> String {
        if self.rest.is_empty() {
            return String::new();
        }
        let head = if alone { "not as wanted:" } else { "also not as wanted:" };
        let mut out = format!("\n{}\n", session.ui.paint.dim(head));
        let lines = self.rest.iter().take(MOST_REST).map(|look| brief(&look.sighting.text, LONGEST));
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
                        "step": finding.look.step, "remedy": self.remedy(finding),
                        "trouble": finding.is_trouble(self.concern) })
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

/// What is typed before commands of which some look into a cluster: a user's own kubeconfig may lead to another.
fn way_to_cluster<'c>(mut commands: impl Iterator<Item = &'c str>, kubeconfig: &Path) -> Option<String> {
    let asks = |command: &str| ["kubectl ", "helm "].iter().any(|program| command.starts_with(program));
    commands.any(asks).then(|| format!("export KUBECONFIG={}", quote(&kubeconfig.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_cluster_is_told_where_a_command_looks_into_it() {
        let way =
            |command| way_to_cluster(["runbook status d", command].into_iter(), Path::new("/my state/kubeconfig"));
        assert_eq!(way("kubectl get all -A").as_deref(), Some("export KUBECONFIG='/my state/kubeconfig'"));
        assert_eq!(way("gcloud compute health-checks list"), None);
    }
}
