//! What Google Cloud's refusals mean for a person.

use crate::failure::{Class, Failure};

/// Adds the cause and the fix to a failure whose words are known.
pub(crate) fn explain(failure: Failure) -> Failure {
    let failure = in_words(failure);
    let said = failure.facts.stderr.to_lowercase();
    let explained = match KNOWN.iter().find(|known| known.applies(&failure, &said)) {
        Some(known) => known.add(failure),
        None => return failure,
    };
    match disabled_service(&said) {
        Some(service) => {
            explained.fix(format!("enable it with `gcloud services enable {service}`, wait a minute, and continue"))
        }
        None => explained,
    }
}

/// The API that is not enabled: `…/apis/api/SERVICE/overview`.
fn disabled_service(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("/apis/api/")?;
    rest.split(['/', '?', ' ']).next().filter(|service| service.ends_with(".googleapis.com"))
}

/// Some commands print an error as the API gave it, as JSON over several lines: its message is what matters.
fn in_words(mut failure: Failure) -> Failure {
    let Some(start) = failure.what.strip_suffix('{') else { return failure };
    let lines = failure.facts.stderr.lines().map(str::trim);
    let message = lines
        .filter_map(|line| line.strip_prefix("\"message\": "))
        .find_map(|text| serde_json::from_str::<String>(text.trim_end_matches(',')).ok());
    if let Some(message) = message {
        failure.what = format!("{start}{message}");
    }
    failure
}

/// What to say, and when.
struct Known {
    /// Words of which one must be there; none for all failures of the class.
    words: &'static [&'static str],
    class: Option<Class>,
    becomes: Option<Class>,
    cause: &'static str,
    fix: &'static str,
}

impl Known {
    fn applies(&self, failure: &Failure, said: &str) -> bool {
        let worded = self.words.is_empty() || self.words.iter().any(|words| said.contains(words));
        worded && self.class.is_none_or(|class| class == failure.class)
    }

    fn add(&self, failure: Failure) -> Failure {
        let class = self.becomes.unwrap_or(failure.class);
        Failure { class, ..failure.cause(self.cause).fix(self.fix) }
    }
}

const KNOWN: &[Known] = &[
    Known {
        words: &[
            "service_disabled",
            "has not been used in project",
            "accessnotconfigured",
            "it is disabled. enable it",
        ],
        class: None,
        becomes: Some(Class::Invalid),
        cause: "an API that this needs is not enabled in the project",
        fix: "enable it with `gcloud services enable container.googleapis.com compute.googleapis.com`, wait a minute, and continue",
    },
    Known {
        // Compute says so without a code.
        words: &["missing required authentication credential", "had invalid authentication credential"],
        class: None,
        becomes: Some(Class::AuthExpired),
        cause: "the credentials of gcloud are missing or too old",
        fix: "sign in with `gcloud auth login`, then continue",
    },
    Known {
        words: &["do not currently have this command group installed"],
        class: None,
        becomes: Some(Class::Invalid),
        cause: "a part of the Google Cloud SDK is not installed",
        fix: "install it with `gcloud components install beta`, or with the system's package of the same name",
    },
    Known {
        words: &["unsupported tpu configuration"],
        class: None,
        becomes: Some(Class::Invalid),
        cause: "GKE has no such TPU machines in this zone, or not in this topology",
        fix: "choose a zone that has them: `gcloud compute machine-types list --filter=name:ct6e`",
    },
    Known {
        words: &[],
        class: Some(Class::AuthExpired),
        becomes: None,
        cause: "the credentials of gcloud are missing or too old",
        fix: "sign in with `gcloud auth login`, then continue",
    },
    Known {
        words: &[],
        class: Some(Class::Quota),
        becomes: None,
        cause: "the project's quota is too small for this; waiting does not help",
        fix: "ask for more at https://console.cloud.google.com/iam-admin/quotas (it takes 15 minutes to 2 days), or use less",
    },
    Known {
        words: &[],
        class: Some(Class::Stockout),
        becomes: None,
        cause: "the zone has no such machines free now",
        fix: "use another zone, a reservation, `spot` or `flex_start`, or try again later",
    },
    Known {
        words: &["permission_denied", "code=403", "required \"", "does not have permission"],
        class: Some(Class::Permanent),
        becomes: None,
        cause: "the signed-in account may not do this",
        fix: "have `roles/container.admin`, `roles/compute.admin` and `roles/iam.serviceAccountUser` granted to it, or sign in with another",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Facts;

    fn explained(class: Class, said: &str) -> Failure {
        explain(Failure::new(class, "x").facts(Facts { stderr: said.to_owned(), ..Facts::default() }))
    }

    #[test]
    fn a_disabled_api_is_no_matter_of_permissions() {
        let failure = explained(
            Class::Permanent,
            "code=403, message=Kubernetes Engine API has not been used in project p before",
        );
        assert_eq!(failure.class, Class::Invalid);
        assert!(failure.fix.unwrap().contains("services enable"));
    }

    #[test]
    fn the_api_that_is_not_enabled_is_named() {
        let said = "Cloud TPU API has not been used in project p before or it is disabled. Enable it by visiting \
                    https://console.developers.google.com/apis/api/tpu.googleapis.com/overview?project=p then retry.";
        let failure = explained(Class::Permanent, said);
        assert_eq!(
            failure.fix.as_deref(),
            Some("enable it with `gcloud services enable tpu.googleapis.com`, wait a minute, and continue")
        );
    }

    #[test]
    fn an_expired_token_says_how_to_sign_in() {
        assert!(explained(Class::AuthExpired, "code=401").fix.unwrap().contains("gcloud auth login"));
    }

    #[test]
    fn an_error_in_json_is_told_in_its_words() {
        let said = "ERROR: (gcloud.compute.tpus.tpu-vm.create) {\n  \"code\": 8,\n  \"message\": \"There is no more capacity in the zone \\\"a\\\"\"\n}";
        let failure = Failure::new(Class::Stockout, "`gcloud` failed with exit code 1: {");
        let failure = explain(failure.facts(Facts { stderr: said.to_owned(), ..Facts::default() }));
        assert_eq!(failure.what, "`gcloud` failed with exit code 1: There is no more capacity in the zone \"a\"");
    }

    #[test]
    fn what_is_not_known_is_left_as_it_is() {
        assert_eq!(
            explained(Class::Permanent, "boom"),
            Failure::permanent("x").facts(Facts { stderr: "boom".to_owned(), ..Facts::default() })
        );
    }
}
