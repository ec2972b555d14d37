//! Releases that a plan's own program makes: what its killed helm left of them is taken back before the program runs again.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Healing, left_behind, patience};
use crate::context::Context;
use crate::failure::Failure;
use crate::scalar::Scalar;
use crate::span::Span;

/// A release that the program installs with helm.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// Its name.
    release: Scalar,
    /// The namespace that it is kept in.
    namespace: Scalar,
    /// For how long a pending revision of somebody else counts as being worked on.
    #[serde(default = "patience")]
    stuck_after: Span,
}

/// The releases of one step.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Releases(Vec<Release>);

impl Releases {
    /// Puts right what an earlier helm left of them. A release that is not there, or not pending, is left alone.
    pub(crate) async fn heal(&self, cx: &Context) -> Result<(), Failure> {
        for Release { release, namespace, stuck_after: Span(patience) } in &self.0 {
            let healing =
                Healing { name: &release.0, namespace: &namespace.0, patience: *patience, timeout: *patience };
            healing.heal(left_behind, cx).await?;
        }
        Ok(())
    }

    /// What healing needs on PATH.
    pub(crate) fn programs(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| "helm".to_owned())
    }
}
