//! What helmfile prints, and what its words mean. Pure.

use serde_json::Value;

use crate::failure::{Class, Failure};
use crate::helm;
use crate::tools::Finished;

/// A release of a state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) namespace: String,
}

/// The releases in what `helmfile list --output json` prints; those that are switched off are left out.
pub(super) fn listed(list: &Value) -> Vec<Listed> {
    let wanted = |row: &&Value| row["enabled"] != false && row["installed"] != false;
    let text = |value: &Value, usual: &str| value.as_str().filter(|it| !it.is_empty()).unwrap_or(usual).to_owned();
    let rows = list.as_array().into_iter().flatten().filter(wanted);
    rows.map(|row| Listed { name: text(&row["name"], ""), namespace: text(&row["namespace"], "default") }).collect()
}

/// The first change that `helmfile diff` tells of, and how many there are.
pub(super) fn first_change(diff: &str) -> String {
    let is_change =
        |line: &&str| ["has been added", "has changed", "has been removed"].iter().any(|words| line.contains(words));
    let changes: Vec<&str> = diff.lines().filter(is_change).map(|line| line.trim().trim_end_matches(':')).collect();
    match changes.as_slice() {
        [] => "helmfile finds changes".to_owned(),
        [only] => (*only).to_owned(),
        [first, rest @ ..] => format!("{first}, and {} more", rest.len()),
    }
}

/// Phrases, what sort of failure they are, why, and what to do.
const SAID: &[(&[&str], Class, &str, &str)] = &[
    (
        &[
            "plugin \"diff\" not found",
            "unknown command \"diff\"",
            "\"diff\" exited with non-zero status:\n\nerror: plugin",
        ],
        Class::Invalid,
        "`helmfile apply` and `helmfile diff` cannot run without the helm plugin `diff`",
        "run `helm plugin install https://github.com/databus23/helm-diff`",
    ),
    (
        &["containers/auth.json: no such file"],
        Class::Invalid,
        "the charts take the registry's login from ~/.config/containers/auth.json, and a rootless `podman login` writes elsewhere",
        "run `podman login registry.redhat.io --authfile ~/.config/containers/auth.json`",
    ),
    (
        &["no state file found", "specified state file"],
        Class::NotFound,
        "there is no state file of this name",
        "check `file`",
    ),
    (
        &["no releases found that matches"],
        Class::Invalid,
        "the selectors choose no release of the state file",
        "look at the labels with `helmfile list`, and change `selectors`",
    ),
    (
        &["is not defined\" in", "environment values", "no releases found for environment", "environment \""],
        Class::Invalid,
        "the state file has no such environment",
        "look at `environments` in the state file, and change `environment`",
    ),
    (
        &["no such file or directory", "does not exist"],
        Class::NotFound,
        "the state file names a file that is not there; its name is often made of an environment or a postfix",
        "look at `values` in the state file, and copy or rename the file",
    ),
];

/// A failure of helmfile with its class, its cause and what to do. Most of what it says is helm's.
pub(super) fn explain(mut failure: Failure) -> Failure {
    if failure.class == Class::Cancelled {
        return failure;
    }
    let text = format!("{}\n{}", failure.what, failure.facts.stderr).to_lowercase();
    match SAID.iter().find(|(phrases, ..)| phrases.iter().any(|phrase| text.contains(phrase))) {
        Some((_, class, cause, fix)) => {
            failure.class = *class;
            failure.cause(*cause).fix(*fix)
        }
        None => helm::explain(failure, "RELEASE"),
    }
}

/// Whether no release of the state file was chosen.
pub(super) fn chooses_nothing(failure: &Failure) -> bool {
    failure.facts.stderr.contains("no releases found that match")
}

/// The failure of a `helmfile diff` that ended with neither of its good codes.
pub(super) fn failed(found: &Finished, code: i32) -> Failure {
    let said = crate::tools::telling_line(&found.stderr_tail).map(|line| format!(": {line}")).unwrap_or_default();
    let class = crate::tools::classify(&found.stderr_tail).unwrap_or(Class::Permanent);
    let what = format!("`helmfile diff` failed with exit code {code}{said}");
    explain(Failure::new(class, what).facts(found.facts(Some(code))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Facts;
    use serde_json::json;

    #[test]
    fn releases_are_listed_without_those_that_are_off() {
        let list = json!([
            { "name": "a", "namespace": "n", "enabled": true, "installed": true, "labels": "", "chart": "./x", "version": "1" },
            { "name": "b", "namespace": "", "enabled": true, "installed": true },
            { "name": "c", "namespace": "n", "enabled": true, "installed": false },
        ]);
        let of = |name: &str, namespace: &str| Listed { name: name.to_owned(), namespace: namespace.to_owned() };
        assert_eq!(listed(&list), [of("a", "n"), of("b", "default")]);
    }

    #[test]
    fn changes_are_counted() {
        let diff = "Comparing release=web\ndefault, web, Deployment (apps) has been added:\n+ x\ndefault, web, Service (v1) has changed:\n";
        assert_eq!(first_change(diff), "default, web, Deployment (apps) has been added, and 1 more");
        assert_eq!(first_change(""), "helmfile finds changes");
    }

    #[test]
    fn helmfiles_last_words_are_classed() {
        for (words, class) in [
            ("Error: plugin \"diff\" not found", Class::Invalid),
            (
                "Error: failed parsing --set-file data: open /home/me/.config/containers/auth.json: no such file or directory",
                Class::Invalid,
            ),
            ("err: no state file found. It must be named helmfile.d/*.{yaml,yml}", Class::NotFound),
            (
                "err: no releases found that matches specified selector(name=x) and environment(default), in any helmfile",
                Class::Invalid,
            ),
            ("in ./helmfile.yaml.gotmpl: open pattern2-overrides.yaml: no such file or directory", Class::NotFound),
            ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", Class::Conflict),
        ] {
            let facts = Facts { stderr: words.to_owned(), ..Facts::default() };
            assert_eq!(explain(Failure::permanent("`helmfile apply` failed").facts(facts)).class, class, "{words}");
        }
    }
}
