//! What sort of failure a program's last words tell of.
//!
//! One catalogue for gcloud, kubectl, helm, make and git. Order matters: the first family that knows the text wins, because the
//! particular (a quota) is often wrapped into the general (a 403, a 429, `RESOURCE_EXHAUSTED`).

use crate::failure::Class;
use crate::printable::printable;

/// The class that a text tells of, if it tells of any. Case does not matter.
pub(crate) fn classify(text: &str) -> Option<Class> {
    let text = text.to_lowercase();
    CATALOGUE.iter().find(|(_, phrases)| phrases.iter().any(|phrase| occurs(&text, phrase))).map(|(class, _)| *class)
}

/// A phrase occurs where all its parts (separated by `*`) stand in one line, in order.
fn occurs(text: &str, phrase: &str) -> bool {
    if !phrase.contains('*') {
        return text.contains(phrase);
    }
    text.lines().any(|line| {
        let mut rest = line;
        phrase.split('*').all(|part| rest.find(part).map(|at| rest = &rest[at + part.len()..]).is_some())
    })
}

/// Phrases in lower case.
const CATALOGUE: &[(Class, &[&str])] = &[
    // A quota on requests per minute heals by itself; a quota on chips does not.
    (
        Class::Throttled,
        &[
            "quota exceeded for quota metric*per minute",
            "rate_limit_exceeded",
            "ratelimitexceeded",
            "rate limit exceeded",
            "too many requests",
            "toomanyrequests",
            "code=429",
            "http 429",
            "httperror 429",
            "client rate limiter",
        ],
    ),
    (
        Class::Quota,
        &[
            "quota_exceeded",
            "quotaexceeded",
            "quota '*' exceeded",
            "quota \"*\" exceeded",
            "quota exceeded",
            "exceeded quota",
            "insufficient regional quota",
            "insufficient quota",
            "gce quota",
        ],
    ),
    (
        Class::Stockout,
        &[
            "gce_stockout",
            "stockout",
            "zone_resource_pool_exhausted",
            "resource_exhausted",
            "does not have enough resources",
            "no more capacity",
            "out of capacity",
            "insufficient capacity",
            "no more resources",
            "not enough resources available",
            "does not currently have sufficient capacity",
        ],
    ),
    (
        Class::WebhookNotReady,
        &[
            "failed calling webhook",
            "failed calling admission webhook",
            "conversion webhook for*failed",
            "no endpoints available for service",
        ],
    ),
    (
        Class::AuthExpired,
        &[
            "reauthentication failed",
            "reauthentication required",
            "problem refreshing your current auth tokens",
            "you do not currently have an active account",
            "invalid_grant",
            // Not the bare word: gcloud says so of every refusal when its credentials are disabled.
            "code = unauthenticated",
            "status: unauthenticated",
            "(unauthenticated)",
            "invalid authentication credentials",
            "you must be logged in to the server",
            "the server has asked for the client to provide credentials",
            "could not find default credentials",
            "code=401",
            "401 unauthorized",
            "status code 401",
            "could not read username",
            "authentication failed for",
        ],
    ),
    // Wrong and wrong again, whatever else the text mentions.
    (
        Class::Invalid,
        &[
            "unrecognized arguments",
            "invalid choice",
            "gwcer104",
            "unsupported tpu configuration",
            "field is immutable",
            "validatingadmissionpolicy",
            "invalid_argument",
            "unknown command",
            "unknown flag",
            "no rule to make target",
            "couldn't find remote ref",
        ],
    ),
    (
        Class::Conflict,
        &[
            "is currently in progress",
            "operation operation-*is currently",
            "currently operating on cluster",
            "is currently creating cluster",
            "operation is in progress",
            "cluster_already_has_operation",
            "cluster is running incompatible operation",
            "another operation (install/upgrade/rollback) is in progress",
            "the object has been modified; please apply your changes to the latest version",
            "operation cannot be fulfilled on",
            "resourceinusebyanotherresource",
            "resourcenotready",
            "failed_precondition*operation",
            "aborted: *retry",
            "code=409",
        ],
    ),
    (
        Class::Transient,
        &[
            "context deadline exceeded",
            "deadline exceeded",
            "deadline_exceeded",
            "connection refused",
            "connection reset",
            "connection timed out",
            "connection aborted",
            "remote end closed connection",
            "broken pipe",
            "i/o timeout",
            "tls handshake timeout",
            "operation timed out",
            "read timed out",
            "request timed out",
            "timed out waiting for the condition",
            "unexpected eof",
            "early eof",
            "the remote end hung up unexpectedly",
            "rpc failed",
            "goaway",
            "http2: client connection lost",
            "server closed idle connection",
            "no such host",
            "temporary failure in name resolution",
            "could not resolve host",
            "name or service not known",
            "network is unreachable",
            "no route to host",
            "internalerror",
            "internal error",
            "internal server error",
            "service unavailable",
            "bad gateway",
            "gateway timeout",
            "server is currently unable to handle the request",
            "backenderror",
            "backend error",
            "is currently unavailable",
            "httperror 5",
            "code=500",
            "code=502",
            "code=503",
            "code=504",
            "status code: 503",
            "the requested url returned error: 5",
            "leader changed",
            "etcdserver: request timed out",
            "leader election lost",
            "no matches for kind",
            "ensure crds are installed first",
        ],
    ),
    (Class::NotFound, &["code=404", "(notfound)", "was not found", "not_found", "repository not found"]),
    (Class::Invalid, &["code=400"]),
    (
        Class::Permanent,
        &[
            "permission_denied",
            "permission denied",
            "required '*' permission",
            "code=403",
            "httperror 403",
            "forbidden",
        ],
    ),
];

/// The line that says best what went wrong: the last one with an error in it, or else the last one that is not a closing remark.
pub(crate) fn telling_line(text: &str) -> Option<String> {
    let lines: Vec<String> =
        text.lines().map(|line| printable(line).trim().replace('\t', " ")).filter(|line| !is_noise(line)).collect();
    let line = lines.iter().rev().take(10).find(|line| names_an_error(line)).or(lines.last())?;
    Some(without_preamble(line).to_owned())
}

/// gcloud names the command first, which whoever reads on knows already: `ERROR: (gcloud.container.clusters.create) …`.
fn without_preamble(line: &str) -> &str {
    let said =
        line.strip_prefix("ERROR: (gcloud.").and_then(|rest| rest.split_once(") ")).map_or(line, |(_, said)| said);
    said.strip_prefix("ResponseError: ").unwrap_or(said)
}

/// What programs print after the line that matters.
fn is_noise(line: &str) -> bool {
    let closing = [
        "make: ***",
        "make: Leaving",
        "make: Entering",
        "make[",
        "gmake: ***",
        "For detailed information on this",
        "To search the help",
    ];
    !line.chars().any(char::is_alphanumeric)
        || closing.iter().any(|start| line.starts_with(start)) && !line.contains("No rule to make")
}

fn names_an_error(line: &str) -> bool {
    let line = line.to_lowercase();
    ["error", "fatal", "failed", "cannot", "denied", "not found", "refused", "no rule to make", "invalid"]
        .iter()
        .any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real last words of real programs.
    const SAID: &[(&str, Option<Class>)] = &[
        (
            "ResponseError: code=400, message=Operation operation-1-a is currently creating a node pool in cluster c. Please wait",
            Some(Class::Conflict),
        ),
        (
            "ResponseError: code=404, message=Not found: clusters/c. This command is unauthenticated because the \
             [auth/disable_credentials] property is True.",
            Some(Class::NotFound),
        ),
        (
            "ERROR: (gcloud.container.clusters.create) ResponseError: code=409, message=Already exists: projects/p/zones/z/clusters/c.",
            Some(Class::Conflict),
        ),
        (
            "ERROR: (gcloud.container.node-pools.create) ResponseError: code=400, message=Cluster is running incompatible operation operation-1.",
            Some(Class::Conflict),
        ),
        (
            "ERROR: (gcloud.container.clusters.update) ResponseError: code=400, message=Operation operation-1 is currently in progress on cluster c.",
            Some(Class::Conflict),
        ),
        (
            "ERROR: (gcloud.container.clusters.create) ResponseError: code=503, message=The service is currently unavailable.",
            Some(Class::Transient),
        ),
        (
            "ERROR: (gcloud.container.clusters.create) unrecognized arguments: --kubernetes-version",
            Some(Class::Invalid),
        ),
        ("Quota 'TPUS_PER_TPU_FAMILY' exceeded.  Limit: 0.0 in region europe-west4. code=403", Some(Class::Quota)),
        (
            "[GCE_STOCKOUT]: Instance creation failed: The zone does not have enough resources available",
            Some(Class::Stockout),
        ),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", Some(Class::Stockout)),
        (
            "code=429, message=Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute'",
            Some(Class::Throttled),
        ),
        (
            "There was a problem refreshing your current auth tokens: Reauthentication failed. cannot prompt during non-interactive execution.",
            Some(Class::AuthExpired),
        ),
        (
            "Error from server (InternalError): failed calling webhook \"webhook.cert-manager.io\": no endpoints available",
            Some(Class::WebhookNotReady),
        ),
        ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", Some(Class::Conflict)),
        (
            "fatal: unable to access 'https://github.com/x/y/': Could not resolve host: github.com",
            Some(Class::Transient),
        ),
        (
            "fatal: unable to access 'https://github.com/x/y/': The requested URL returned error: 503",
            Some(Class::Transient),
        ),
        ("error: resource mapping not found: no matches for kind \"LLMInferenceService\"", Some(Class::Transient)),
        ("make: *** No rule to make target 'deploy-everything'.  Stop.", Some(Class::Invalid)),
        (
            "ERROR: (gcloud.container.clusters.describe) ResponseError: code=404, message=Not found: projects/p/zones/z/clusters/c.",
            Some(Class::NotFound),
        ),
        ("ERROR: code=403, message=Required \"container.clusters.create\" permission(s)", Some(Class::Permanent)),
        ("Unsupported TPU configuration", Some(Class::Invalid)),
        ("segmentation fault", None),
        ("", None),
    ];

    #[test]
    fn real_last_words_are_classed() {
        for (text, class) in SAID {
            assert_eq!(classify(text), *class, "{text}");
        }
    }

    #[test]
    fn phrases_are_written_in_lower_case() {
        for phrase in CATALOGUE.iter().flat_map(|(_, phrases)| phrases.iter()) {
            assert_eq!(*phrase, phrase.to_lowercase());
        }
    }

    #[test]
    fn parts_of_a_phrase_stand_in_one_line_in_order() {
        assert!(occurs("quota 'cpus' exceeded", "quota '*' exceeded"));
        assert!(!occurs("exceeded quota 'cpus'", "quota '*' exceeded"));
        assert!(!occurs("quota 'cpus'\n' exceeded", "quota '*' exceeded"));
    }

    #[test]
    fn the_line_before_the_closing_remark_of_make_is_telling() {
        let said = "helm: pulling\nError: chart not found\nmake[1]: *** [Makefile:3: x] Error 1\nmake: *** [Makefile:9: y] Error 2\n";
        assert_eq!(telling_line(said).as_deref(), Some("Error: chart not found"));
    }

    #[test]
    fn escapes_and_overwritten_text_are_not_told() {
        assert_eq!(telling_line("10%\r50%\r\u{1b}[31mfatal: no\u{1b}[0m\r\n").as_deref(), Some("fatal: no"));
    }

    #[test]
    fn the_command_is_not_named_twice() {
        let said = "ERROR: (gcloud.container.clusters.create) ResponseError: code=403, message=Quota 'CPUS' exceeded.";
        assert_eq!(telling_line(said).as_deref(), Some("code=403, message=Quota 'CPUS' exceeded."));
    }

    #[test]
    fn silence_tells_nothing() {
        assert_eq!(telling_line("\n  \n----\n"), None);
    }
}
