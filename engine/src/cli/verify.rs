//! `runbook verify`: look at everything again and change nothing. Takes no lock: it also works while another process has it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use runbook_steps::Cancel;
use serde_json::json;

use super::check::Output;
use super::deployment::{Deployment, state_fatal};
use super::exit::{Exit, Fatal};
use super::{Inputs, Session, apply, resume, secrets, status};
use crate::plan::duration;
use crate::plan::{Plan, StepId};
use crate::report::words::{count, hold, list, pad};
use crate::run::verify::{Found, Verification, verify};
use crate::run::{Fate, Interrupts, only_reads, orphans, preflight};
use crate::state::{RunState, journal};

/// Look at everything again, change nothing, and say what differs
///
/// Every `check`, `wait` and look-up of the steps that hold, what their kinds can observe, and every step that only reads.
/// Exit code 0: all that can be seen holds; 8: something differs; 4: something could not be looked at.
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook verify native-gateway")]
pub(super) struct Verify {
    /// The deployment; may be left out if there is only one
    deployment: Option<String>,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    how: HowToLook,
}

/// How to look.
#[derive(Args, Clone, Debug)]
pub(super) struct HowToLook {
    /// How many steps may be looked at at once
    #[arg(long, short = 'j', default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) parallel: u16,
    /// How long looking at one step may take; longer for steps that are expected to take longer
    #[arg(long, value_name = "SPAN", default_value = "1m", value_parser = limit)]
    pub(super) limit: Duration,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub(super) output: Output,
}

/// How long a look may take where nobody says.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

fn limit(text: &str) -> Result<Duration, String> {
    duration::parse(text)
}

impl Verify {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Fatal> {
        let named = self.deployment.as_deref().or(self.inputs.name.as_deref());
        let home = status::choose(session, named)?;
        let last = resume::last_run(&home)?;
        if last.opened.simulated.is_some() {
            let why = format!("`{}` is a rehearsal, and `verify` is for real", home.deployment());
            let hint = status::rehearsing(session, &home, &last.opened, Some("--verify"));
            return Err(Fatal::new(Exit::Usage, why).hint(hint));
        }
        let plan = resume::plan_of_last_run(session, &home, &last.opened, self.inputs.values())?;
        let name = home.deployment().to_owned();
        apply::for_real(plan, name, "verify", session).verify(&self.how, session)
    }
}

impl Deployment {
    /// Looks at every step that holds, and says what differs.
    pub(super) fn verify(self, how: &HowToLook, session: &Session) -> Result<Exit, Fatal> {
        let home = self.home()?;
        let journal::Reading { state, later } = journal::read(&home).map_err(state_fatal)?;
        status::note_later(session, later);
        if let Some(note) = home.holder().map_err(state_fatal)? {
            let held = status::held_by(&home, &note, &state);
            session
                .ui
                .say(&format!("{} {held}; what is under way may look like drift", session.ui.paint.warn("note:")));
        }
        for words in super::block_on(async { Ok(orphans::end_looks(&home, self.clock).await) })? {
            session.ui.say(&words);
        }
        let world = Arc::new(self.world(&home));
        let secrets = Arc::new(self.get_ready_to_look(&state, &world, session)?);
        let plan = self.plan;
        let cancel = Cancel::default();
        let verification = Verification {
            plan: plan.clone(),
            state: state.clone(),
            world,
            secrets: secrets.clone(),
            home,
            parallel: how.parallel.into(),
            limit: how.limit,
            cancel: cancel.clone(),
        };
        let found = look(verification, &cancel)?;
        let told = Told { name: &self.name, plan: &plan, next: &self.next, found: &found };
        match how.output {
            Output::Json => session.ui.data(&told.json()),
            Output::Text => session.ui.page(&told.text(session)),
        }
        Ok(told.exit())
    }

    /// What looking needs: the programs and secrets of the steps that hold.
    fn get_ready_to_look(
        &self,
        state: &RunState,
        world: &runbook_steps::World,
        session: &Session,
    ) -> Result<runbook_steps::Secrets, Fatal> {
        let steps =
            self.plan.steps.iter().filter(|step| state.step(&step.id).is_some_and(|step| step.done().is_some()));
        let steps: Vec<_> = steps.collect();
        let needed = preflight::secrets_to_look(&self.plan, steps.iter().copied(), state);
        let seen = steps.iter().filter(|step| preflight::starts_programs_to_look(step));
        let fates: Vec<(StepId, Fate)> = seen.map(|step| (step.id.clone(), Fate::New)).collect();
        super::deployment::refuse_missing(&preflight::missing_programs(&self.plan, world, state, &fates))?;
        let places = secrets::Places { given: self.secrets.as_ref(), env: &self.env, ui: session.ui };
        secrets::resolve(&self.plan, &needed, &places)
    }
}

/// Looks until all is seen or somebody interrupts.
fn look(verification: Verification, cancel: &Cancel) -> Result<Vec<(StepId, Found)>, Fatal> {
    super::block_on(async {
        let mut interrupts = Interrupts::from_system()?;
        tokio::select! {
            found = verify(verification) => Ok(found),
            signal = interrupts.next() => {
                // A look that is dropped ends its programs; it gets a moment for that.
                cancel.soft.cancel();
                cancel.hard.cancel();
                Err(Fatal::interrupted(signal))
            }
        }
    })
}

/// What is said of what was found.
struct Told<'a> {
    name: &'a str,
    plan: &'a Plan,
    next: &'a str,
    found: &'a [(StepId, Found)],
}

impl Told<'_> {
    fn having(&self, wanted: fn(&Found) -> bool) -> Vec<&StepId> {
        self.found.iter().filter(|(_, found)| wanted(found)).map(|(id, _)| id).collect()
    }

    /// What differs is known for sure, so it weighs more than what could not be seen.
    fn exit(&self) -> Exit {
        if !self.having(|found| matches!(found, Found::Drift(_))).is_empty() {
            Exit::Drift
        } else if !self.having(|found| matches!(found, Found::Unseen(_))).is_empty() {
            Exit::StepFailed
        } else {
            Exit::Holds
        }
    }

    fn text(&self, session: &Session) -> String {
        let paint = session.ui.paint;
        let names = self.found.iter().map(|(id, _)| id.as_str().chars().count()).max().unwrap_or(0);
        let mut out = String::from("\n");
        for (id, found) in self.found {
            let (mark, why) = (mark(found), why(found));
            let word = pad(word(found), 8);
            let (mark, word) = match found {
                Found::Holds => (paint.good(mark), paint.good(&word)),
                Found::Drift(_) => (paint.bad(mark), paint.bad(&word)),
                Found::Unseen(_) => (paint.warn(mark), paint.warn(&word)),
                Found::Blind | Found::NotDone(_) | Found::Skipped(_) => (paint.dim(mark), paint.dim(&word)),
            };
            let first = why.first().cloned().unwrap_or_default();
            out.push_str(format!("  {mark} {}  {word}  {first}", pad(id.as_str(), names)).trim_end());
            out.push('\n');
            for line in why.iter().skip(1) {
                out.push_str(&format!("    {}  {}  {line}\n", pad("", names), pad("", 8)));
            }
        }
        out.push_str(&format!("\n{}\n", self.headline(session)));
        out.extend(self.advice());
        out
    }

    fn headline(&self, session: &Session) -> String {
        let paint = session.ui.paint;
        let number = |wanted| self.having(wanted).len();
        let drift = number(|found| matches!(found, Found::Drift(_)));
        let unseen = number(|found| matches!(found, Found::Unseen(_)));
        let holds = number(|found| *found == Found::Holds);
        let blind = number(|found| *found == Found::Blind);
        let verdict = match (drift, unseen) {
            (0, 0) if holds == 0 => paint.warn("nothing that can be looked at"),
            (0, 0) => paint.good("no drift"),
            (0, _) => paint.warn("not all could be looked at"),
            _ => paint.bad(&format!("drift: {}", count(drift, "step"))),
        };
        let mut parts = vec![format!("{} · verify · {verdict} · {}", paint.bold(self.name), hold(holds))];
        let skipped = number(|found| matches!(found, Found::Skipped(_)));
        let not_done = number(|found| matches!(found, Found::NotDone(_)));
        let rest = [
            (unseen, "could not be looked at"),
            (blind, "cannot be seen"),
            (not_done, "not done"),
            (skipped, "skipped"),
        ];
        parts.extend(rest.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}")));
        parts.join(", ")
    }

    /// What puts it right: a step that holds by the journal runs again only when that is asked for.
    fn advice(&self) -> Option<String> {
        let drift = self.having(|found| matches!(found, Found::Drift(_)));
        if drift.is_empty() {
            return None;
        }
        // What only waits or asks does not put anything right; what it waits for was made by a step before it.
        let makes = |id: &&&StepId| self.plan.step(id.as_str()).is_some_and(|at| !only_reads(&self.plan.steps[at]));
        let makers: Vec<&StepId> = drift.iter().filter(makes).copied().collect();
        if makers.is_empty() {
            let what = "what they stand on was changed outside of this plan";
            let perhaps = self.needed(&drift);
            let redo = format!("; if {} made it: {} {}", list(&perhaps), self.next, flags(&perhaps));
            let redo = if perhaps.is_empty() { String::new() } else { redo };
            return Some(format!("only steps that look differ ({}): {what}{redo}\n", list(&drift)));
        }
        Some(format!("put it right: {} {}\n", self.next, flags(&makers)))
    }

    /// The steps that these need and that make something of which nobody can see whether it is still there.
    fn needed(&self, drift: &[&StepId]) -> Vec<&StepId> {
        let needs = drift.iter().filter_map(|id| self.plan.step(id.as_str())).flat_map(|at| &self.plan.graph.needs[at]);
        let needed: BTreeSet<usize> = needs.map(|edge| edge.step).collect();
        let blind = self.having(|found| *found == Found::Blind);
        let makes = |id: &&StepId| self.plan.step(id.as_str()).is_some_and(|at| needed.contains(&at));
        blind.into_iter().filter(makes).collect()
    }

    fn json(&self) -> String {
        let steps: Vec<_> = self
            .found
            .iter()
            .map(|(id, found)| json!({ "step": id, "found": word(found).replace(' ', "_"), "why": why(found) }))
            .collect();
        let value = json!({ "deployment": self.name, "drift": self.exit() == Exit::Drift, "steps": steps });
        format!("{}\n", serde_json::to_string_pretty(&value).expect("a JSON value has a text"))
    }
}

/// What asks for steps again.
fn flags(steps: &[&StepId]) -> String {
    steps.iter().map(|id| format!("--redo {id}")).collect::<Vec<_>>().join(" ")
}

fn word(found: &Found) -> &'static str {
    match found {
        Found::Holds => "holds",
        Found::Drift(_) => "drift",
        Found::Unseen(_) => "unseen",
        Found::Blind => "blind",
        Found::NotDone(_) => "not done",
        Found::Skipped(_) => "skipped",
    }
}

fn mark(found: &Found) -> &'static str {
    match found {
        Found::Holds => "✓",
        Found::Drift(_) => "✗",
        Found::Unseen(_) => "?",
        Found::Blind | Found::NotDone(_) => "·",
        Found::Skipped(_) => "-",
    }
}

fn why(found: &Found) -> Vec<String> {
    match found {
        Found::Holds => Vec::new(),
        Found::Drift(lines) => lines.clone(),
        Found::Unseen(why) => vec![why.clone()],
        Found::Blind => vec!["what it did cannot be seen; a `check` would show it".to_owned()],
        Found::NotDone(why) => vec![(*why).to_owned()],
        Found::Skipped(why) => vec![why.clone()],
    }
}
