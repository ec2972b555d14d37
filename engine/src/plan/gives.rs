//! What a step can give: the names of its outputs, as far as they are known before it runs.
//!
//! Knows which kinds say in their `with` what else they give. Evaluates nothing.

use serde_json::Value;

use super::model::{Step, Work};

/// What a kind gives beyond the outputs that every step of it has.
enum More {
    Names(Vec<String>),
    /// Only the run can tell: a program may write anything into `$RUNBOOK_OUTPUT`.
    Unknown,
}

/// Programs that never write outputs by themselves.
const QUIET: [&str; 21] = [
    "[", "cat", "cp", "cut", "date", "echo", "exit", "grep", "head", "ls", "mkdir", "mv", "printf", "pwd", "rm",
    "sleep", "tail", "test", "touch", "tr", "wc",
];

/// Whether a step may have an output of this name when it has ended.
pub(crate) fn may_give(step: &Step, name: &str) -> bool {
    step.outputs.contains_key(name) || kind_may_give(step, name)
}

/// The same without the outputs that the plan adds.
pub(crate) fn kind_may_give(step: &Step, name: &str) -> bool {
    let Some(work) = &step.work else { return false };
    work.kind.outputs.iter().any(|output| output.name == name)
        || match more(work) {
            More::Unknown => true,
            More::Names(names) => names.iter().any(|known| known == name),
        }
}

/// The names that are known.
pub(crate) fn names(step: &Step) -> Vec<String> {
    let mut names: Vec<String> = step.outputs.keys().cloned().collect();
    if let Some(work) = &step.work {
        names.extend(work.kind.outputs.iter().map(|output| output.name.to_owned()));
        if let More::Names(more) = more(work) {
            names.extend(more);
        }
    }
    names
}

fn more(work: &Work) -> More {
    if !work.kind.open_outputs {
        return More::Names(Vec::new());
    }
    let with = work.with.as_written();
    let known = match work.kind.name {
        "http.probe" => captured(&with),
        "manual" => keys(&with["outputs"]),
        "command" => with["argv"][0].as_str().filter(|program| QUIET.contains(program)).map(|_| Vec::new()),
        "run" => with["script"].as_str().filter(|script| is_quiet(script)).map(|_| Vec::new()),
        _ => None,
    };
    known.map_or(More::Unknown, More::Names)
}

/// The names that a probe captures; none where expressions decide.
fn captured(with: &Value) -> Option<Vec<String>> {
    let mut names = keys(&with["capture"])?;
    let requests = match &with["requests"] {
        Value::Null => &[][..],
        Value::Array(requests) => requests,
        _ => return None,
    };
    for request in requests {
        names.extend(keys(request.is_object().then_some(&request["capture"])?)?);
    }
    Some(names)
}

fn keys(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Object(map) => Some(map.keys().cloned().collect()),
        _ => None,
    }
}

/// Whether all that a script runs is known to write no outputs. What is not plain counts as if it might.
fn is_quiet(script: &str) -> bool {
    let hidden = ["RUNBOOK_OUTPUT", "$(", "`", "<(", ">("].iter().any(|part| script.contains(part));
    let mut commands = script.split(['\n', ';', '&', '|']).filter_map(|command| command.split_whitespace().next());
    !hidden && commands.all(|program| QUIET.contains(&program) || program.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_is_quiet_only_where_all_of_it_is_plain() {
        for quiet in ["echo", "echo hi; test -f x && cat x | wc -l", "# nothing\necho\n\nexit 3"] {
            assert!(is_quiet(quiet), "{quiet}");
        }
        for open in [
            "./deploy.sh",
            "echo a=1 >> \"$RUNBOOK_OUTPUT\"",
            "echo $(./deploy.sh)",
            "echo `./deploy.sh`",
            "make x",
            "$PROGRAM",
            "cat <<END\nip=1\nEND",
            "tee >(./deploy.sh)",
        ] {
            assert!(!is_quiet(open), "{open}");
        }
    }

    #[test]
    fn what_expressions_decide_is_not_known() {
        assert_eq!(captured(&json!({ "url": "x" })), Some(Vec::new()));
        let several = json!({ "capture": { "a": "x" }, "requests": [{ "capture": { "b": "y" } }, { "url": "z" }] });
        assert_eq!(captured(&several), Some(vec!["a".to_owned(), "b".to_owned()]));
        for with in
            [json!({ "capture": "${{ x }}" }), json!({ "requests": "${{ x }}" }), json!({ "requests": ["${{ x }}"] })]
        {
            assert_eq!(captured(&with), None, "{with}");
        }
    }
}
