//! Where the relative paths of a plan start from, as the way to there from the deployment's folder: that stays the same when both are
//! moved together. Knows nothing of what stands at such a path.

use std::path::{Component, Path, PathBuf};

use crate::plan::Plan;
use crate::state::RunState;

/// The way from a deployment's folder to that of a plan.
pub(super) fn way(home: &Path, dir: &Path) -> Option<String> {
    between(&home.canonicalize().ok()?, &dir.canonicalize().ok()?).into_os_string().into_string().ok()
}

/// Where a way leads, if there still is a folder.
pub(super) fn found(home: &Path, way: &str) -> Option<PathBuf> {
    home.canonicalize().ok()?.join(way).canonicalize().ok().filter(|dir| dir.is_dir())
}

/// What is to be said if the plan was elsewhere in the last run, and the deployment's folder has not moved with it.
pub(super) fn moved(plan: &Plan, state: &RunState, home: &Path) -> Option<String> {
    let last = &state.current()?.opened;
    let (was, had) = (Path::new(&last.file).parent()?, Path::new(&last.home));
    let (is, has) = (std::path::absolute(&plan.dir).ok()?, std::path::absolute(home).ok()?);
    let elsewhere = had.is_absolute() && was.is_absolute() && between(had, was) != between(&has, &is);
    elsewhere.then(|| {
        let (was, is) = (was.display(), is.display());
        format!(
            "relative paths start from `{is}` now, and started from `{was}` in the last run: what steps made by such paths is not \
             looked for here, and `destroy` takes it back there"
        )
    })
}

fn between(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_the_same_wherever_both_ends_are_moved_together() {
        for place in ["/srv/shop", "/home/me/other/shop"] {
            let at = |path: &str| Path::new(place).join(path);
            assert_eq!(between(&at(".runbook/p"), &at("")), Path::new("../.."));
            assert_eq!(between(&at(".runbook/p"), &at("plans/eu")), Path::new("../../plans/eu"));
        }
        assert_eq!(between(Path::new("/state/p"), Path::new("/srv/shop")), Path::new("../../srv/shop"));
    }

    #[test]
    fn a_way_leads_back_as_long_as_there_is_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let (home, dir) = (folder.path().join("state/p"), folder.path().join("plans"));
        [&home, &dir].into_iter().for_each(|path| std::fs::create_dir_all(path).expect("made"));
        let way = way(&home, &dir).expect("a way");
        assert_eq!(found(&home, &way), dir.canonicalize().ok());
        std::fs::remove_dir(&dir).expect("there");
        assert_eq!(found(&home, &way), None);
    }
}
