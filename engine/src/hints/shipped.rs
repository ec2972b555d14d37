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

static HINTS: LazyLock<Vec<Hint>> = LazyLock::new(|| read(Origin::Shipped, &mut Vec::new()));

fn read(origin: Origin, problems: &mut Vec<Problem>) -> Vec<Hint> {
    let read = |(name, text): &File| {
        let source = Arc::new(Source::new(format!("hints/{name}"), *text));
        hints::read_file(&source, origin, problems)
    };
    FILES.iter().flat_map(read).collect()
}

/// All of them. They are read when they are first needed: a run in which nothing goes wrong never does.
pub fn hints() -> &'static [Hint] {
    &HINTS
}

/// All of them with their triggers, read as if they stood beside a plan, and what is wrong with them: for tests.
pub fn checked() -> (Vec<Hint>, Vec<Problem>) {
    let mut problems = Vec::new();
    let hints = read(Origin::Folder, &mut problems);
    (hints, problems)
}

/// Whether a text is one of these files as it is.
pub(super) fn is_shipped(text: &str) -> bool {
    FILES.iter().any(|(_, known)| *known == text)
}
