//! The hints that come with the program: the files of `plans/hints/`, compiled in, so that they are there wherever the program is.

use std::sync::{Arc, LazyLock};

use super::model::{Hint, Origin};
use crate::plan::Problem;
use crate::plan::hints;
use crate::plan::model::Source;

/// A file with its name.
type File = (&'static str, &'static str);

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../plans/hints/", $name)))),*]
    };
}

/// Every file, by name. A test holds the list against the folder.
pub const FILES: &[File] = files![
    "cloud.yaml"
    "cluster.yaml"
    "gateway.yaml"
    "gke.node_pool.yaml"
    "helm.yaml"
    "kserve.yaml"
    "load-balancer.yaml"
    "model.yaml"
    "network.yaml"
    "requests.yaml"
];

static HINTS: LazyLock<(Vec<Hint>, Vec<Problem>)> = LazyLock::new(|| {
    let mut problems = Vec::new();
    let read = |(name, text): &File| {
        let source = Arc::new(Source::new(format!("hints/{name}"), *text));
        hints::read_file(&source, Origin::Shipped, &mut problems)
    };
    (FILES.iter().flat_map(read).collect(), problems)
});

/// All of them. They are read when they are first needed: a run in which nothing goes wrong never does.
pub fn hints() -> &'static [Hint] {
    &HINTS.0
}

/// What is wrong with them; a test sees to it that this is nothing.
pub fn problems() -> &'static [Problem] {
    &HINTS.1
}

/// Whether a text is one of these files as it is.
pub(super) fn is_shipped(text: &str) -> bool {
    FILES.iter().any(|(_, known)| *known == text)
}
