//! Whether a rehearsal ended as its scenario says.

use regex::Regex;
use runbook_fixtures::ledger::Ledger;
use runbook_fixtures::scenario::{AfterDestroy, Asked, Expect, Shown};
use runbook_fixtures::stage::Info;
use serde_json::Value;

use super::stage;
use crate::cli::Environment;
use crate::cli::deployment::Outcome;
use crate::cli::destroy::Destroyed;
use crate::plan::StepId;
use crate::report::tracker::standing;
use crate::state::fold::{Status, StepState};

/// Everything that is not as expected, one sentence each.
pub(super) fn complaints(expect: &Expect, outcome: &Outcome, info: &Info) -> Vec<String> {
    let mut out = Vec::new();
    let exit = outcome.exit as u8;
    if i32::from(exit) != expect.exit {
        out.push(format!("exit code {exit}, expected {}", expect.exit));
    }
    out.extend(outcomes(expect, outcome));
    let said = |text: &&String| outcome.text.contains(text.as_str());
    out.extend(expect.hint.0.iter().filter(|text| !said(text)).map(|text| format!("nobody said `{text}`")));
    out.extend(expect.no_hint.0.iter().filter(said).map(|text| format!("somebody said `{text}`")));
    out.extend(expect.outputs.iter().filter_map(|(name, wanted)| output(name, wanted, outcome)));
    out.extend(asked(&expect.ledger, info));
    out
}

/// Everything that is not as expected after all was undone.
pub(super) fn after_destroy(
    expect: &AfterDestroy,
    destroyed: &Destroyed,
    env: &Environment,
    info: &Info,
) -> Vec<String> {
    let mut out = Vec::new();
    let exit = destroyed.exit as u8;
    if i32::from(exit) != expect.exit {
        out.push(format!("exit code {exit} of destroy, expected {}", expect.exit));
    }
    let stays = |id: &&String| *destroyed.state.status(&StepId::from(id.as_str())) != Status::Undone;
    out.extend(expect.undone.iter().filter(stays).map(|id| format!("`{id}` is not undone")));
    let unsaid = expect.says.0.iter().filter(|text| !destroyed.text.contains(text.as_str()));
    out.extend(unsaid.map(|text| format!("nobody said `{text}` of what is left")));
    out.extend(expect.world.iter().filter_map(|shown| world(shown, env, info)));
    out.extend(asked(&expect.ledger, info));
    out
}

fn world(shown: &Shown, env: &Environment, info: &Info) -> Option<String> {
    let mut wanted = shown.prints.clone();
    wanted.sort();
    match stage::ask(&shown.run, env, info) {
        Ok(lines) if lines == wanted => None,
        Ok(lines) => Some(format!("`{}` shows {lines:?}, expected {wanted:?}", shown.run)),
        Err(why) => Some(why),
    }
}

fn outcomes(expect: &Expect, outcome: &Outcome) -> Vec<String> {
    let state = outcome.journal.state();
    let words = expect.outcomes.iter().filter_map(|(id, wanted)| {
        let found = standing(state.status(&StepId::from(id.as_str()))).word();
        (found != wanted).then(|| format!("`{id}` is {found}, expected {wanted}"))
    });
    let attempts = expect.attempts.iter().filter_map(|(id, wanted)| {
        let found = state.step(&StepId::from(id.as_str())).map_or(0, StepState::attempts);
        (found != *wanted).then(|| format!("`{id}` was tried {found} times, expected {wanted}"))
    });
    words.chain(attempts).collect()
}

fn output(name: &str, wanted: &Value, outcome: &Outcome) -> Option<String> {
    let of_step = name
        .rsplit_once('.')
        .and_then(|(step, output)| outcome.journal.state().step(&StepId::from(step))?.outputs()?.get(output).cloned());
    let found = outcome.outputs.get(name).cloned().or(of_step).unwrap_or(Value::Null);
    let matches = match wanted.as_str().and_then(|text| text.strip_prefix('~')) {
        Some(pattern) => Regex::new(pattern).is_ok_and(|regex| found.as_str().is_some_and(|text| regex.is_match(text))),
        None => found == *wanted,
    };
    (!matches).then(|| format!("the output `{name}` is {found}, expected {wanted}"))
}

fn asked(wanted: &[Asked], info: &Info) -> Vec<String> {
    if wanted.is_empty() {
        return Vec::new();
    }
    match Ledger::read(&info.ledger) {
        Ok(entries) => wanted.iter().filter_map(|asked| asked.complaint(&entries)).collect(),
        Err(error) => vec![format!("the world's ledger cannot be read: {error}")],
    }
}
