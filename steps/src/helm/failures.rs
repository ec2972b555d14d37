//! What helm's words mean, and what to do about it.

use crate::failure::{Class, Failure};

/// Phrases of helm, in lower case; the first that fits counts. The fix may name the `RELEASE`.
const SAID: &[Said] = &[
    Said {
        phrases: &["cannot be imported into the current release", "invalid ownership metadata"],
        class: Class::Invalid,
        cause: "an object that the chart makes is there already, and is not this release's: kubectl, kustomize or another release made it",
        fix: "delete it, or take such objects over with `take_ownership: true`; one by one: `kubectl label KIND NAME \
              app.kubernetes.io/managed-by=Helm` and `kubectl annotate KIND NAME meta.helm.sh/release-name=RELEASE \
              meta.helm.sh/release-namespace=NAMESPACE`",
    },
    Said {
        phrases: &["another operation (install/upgrade/rollback) is in progress"],
        class: Class::Conflict,
        cause: "another helm works on the release, or was killed while it did",
        fix: "wait for it; if nobody works on it: `helm history RELEASE`, then `helm rollback RELEASE REVISION` to the last deployed \
              revision, or `helm uninstall RELEASE` where there is none",
    },
    Said {
        phrases: &["data: too long", "must have at most 1048576", "request is too large", "request entity too large"],
        class: Class::Invalid,
        cause: "helm keeps the whole chart in one Secret, which holds 1 MB; most often CRDs inside the chart make it too large",
        fix: "take the CRDs out of the chart and apply them in an earlier step (`kubectl.apply`)",
    },
    Said {
        phrases: &["has no deployed releases"],
        class: Class::Conflict,
        cause: "no revision of the release ever came up, and helm does not know what to upgrade from",
        fix: "`helm uninstall RELEASE`, then run this step again",
    },
    Said {
        phrases: &["conflict with \"", "conflicts with \""],
        class: Class::Conflict,
        cause: "fields that the chart sets belong to another field manager (helm 4 applies on the server's side)",
        fix: "take the fields over with `extra_args: [--force-conflicts]`",
    },
    Said {
        phrases: &["failed calling webhook", "no endpoints available for service"],
        class: Class::WebhookNotReady,
        cause: "an admission webhook cannot answer yet",
        fix: "wait for it in an earlier step: `{webhook: NAME, for: answers}`",
    },
    Said {
        phrases: &["values don't meet the specifications of the schema"],
        class: Class::Invalid,
        cause: "the chart's schema refuses the values",
        fix: "change `values` as the message says",
    },
    Said {
        phrases: &["timed out waiting for the condition", "context deadline exceeded", "not ready. status:"],
        class: Class::Timeout,
        cause: "what the chart makes did not become ready in time",
        fix: "look at its pods (`kubectl get pods`, `kubectl describe pod`), or raise `timeout`",
    },
    Said {
        phrases: &["context canceled"],
        class: Class::Cancelled,
        cause: "helm was told to stop",
        fix: "run this step again",
    },
    Said {
        phrases: &["namespaces \"*\" not found"],
        class: Class::NotFound,
        cause: "the namespace does not exist",
        fix: "make it in an earlier step, or set `create_namespace: true`",
    },
    Said {
        phrases: &["repo * not found", "no repositories", "no cached repo found", "no repo named"],
        class: Class::NotFound,
        cause: "the repository was not added for this deployment",
        fix: "add it in an earlier step with `helm.repo`, or give its address in `repo`",
    },
    Said {
        phrases: &["401 unauthorized", "403 forbidden", "unauthorized: ", "denied: "],
        class: Class::AuthExpired,
        cause: "the registry or repository refuses these credentials",
        fix: "log in with `helm.repo` in an earlier step",
    },
    Said {
        phrases: &[": 404 not found"],
        class: Class::NotFound,
        cause: "there is no repository at this address: it has no index.yaml",
        fix: "check `url`; charts in a registry (`oci://`) need no repository",
    },
    Said {
        phrases: &["unable to build kubernetes objects", "error validating data", "execution error at ("],
        class: Class::Invalid,
        cause: "the chart does not render to objects that the cluster takes",
        fix: "change `values` as the message says, or take another version of the chart",
    },
    Said {
        phrases: &["chart \"* not found", "path \"* not found", "manifest unknown", ": not found"],
        class: Class::NotFound,
        cause: "there is no such chart, or not in this version",
        fix: "check `chart` and `version`",
    },
];

struct Said {
    phrases: &'static [&'static str],
    class: Class,
    cause: &'static str,
    fix: &'static str,
}

/// A failure of helm with its class, its cause and what to do.
pub(crate) fn explain(mut failure: Failure, release: &str) -> Failure {
    if failure.class == Class::Cancelled {
        return failure;
    }
    let text = format!("{}\n{}", failure.what, failure.facts.stderr).to_lowercase();
    // A server that cannot be reached says nothing about the release.
    if text.contains("kubernetes cluster unreachable") {
        failure.class = crate::tools::classify(&text).filter(|it| *it != Class::Permanent).unwrap_or(Class::Transient);
        return failure;
    }
    let Some(said) = SAID.iter().find(|said| said.phrases.iter().any(|phrase| occurs(&text, phrase))) else {
        return failure;
    };
    failure.class = said.class;
    failure.cause(said.cause).fix(said.fix.replace("RELEASE", release))
}

/// A star stands for anything within one line.
fn occurs(text: &str, phrase: &str) -> bool {
    match phrase.split_once('*') {
        None => text.contains(phrase),
        Some((before, after)) => {
            text.lines().any(|line| line.split_once(before).is_some_and(|(_, rest)| rest.contains(after)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Last words of helm 3.17 and 4.1.
    const WORDS: &[(&str, Class)] = &[
        (
            "Error: Unable to continue with install: ConfigMap \"o-settings\" in namespace \"default\" exists and cannot be imported into \
             the current release: invalid ownership metadata; label validation error: missing key \"app.kubernetes.io/managed-by\"",
            Class::Invalid,
        ),
        ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", Class::Conflict),
        (
            "Error: create: failed to create: Secret \"sh.helm.release.v1.k.v1\" is invalid: data: Too long: may not be more than 1048576 bytes",
            Class::Invalid,
        ),
        ("Error: UPGRADE FAILED: \"k\" has no deployed releases", Class::Conflict),
        ("Error: UPGRADE FAILED: context deadline exceeded", Class::Timeout),
        (
            "Error: UPGRADE FAILED: resource Deployment/default/web not ready. status: InProgress, message: Replicas: 0/1\ncontext deadline exceeded",
            Class::Timeout,
        ),
        ("Error: create: failed to create: namespaces \"absent\" not found", Class::NotFound),
        ("Error: repo nope not found", Class::NotFound),
        ("Error: path \"./nope\" not found", Class::NotFound),
        (
            "Error: failed to do request: Head \"https://127.0.0.1:1/v2/x/manifests/1\": dial tcp 127.0.0.1:1: connect: connection refused",
            Class::Transient,
        ),
        (
            "Error: Kubernetes cluster unreachable: Get \"https://10.0.0.1/version\": context deadline exceeded",
            Class::Transient,
        ),
        (
            "Error: UPGRADE FAILED: conflict occurred while applying object default/s: Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.k",
            Class::Conflict,
        ),
    ];

    #[test]
    fn helms_last_words_are_classed() {
        for (words, class) in WORDS {
            let failure = Failure::new(crate::tools::classify(words).unwrap_or(Class::Permanent), *words);
            assert_eq!(explain(failure, "r").class, *class, "{words}");
        }
    }

    #[test]
    fn the_fix_names_the_release() {
        let failure = explain(Failure::permanent("\"web\" has no deployed releases"), "web");
        assert_eq!(failure.fix.as_deref(), Some("`helm uninstall web`, then run this step again"));
    }
}
