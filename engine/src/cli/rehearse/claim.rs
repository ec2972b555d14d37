//! Asking the locks of a rehearsal before its world is touched: a run that is under way keeps its world.

use std::path::Path;

use crate::cli::Session;
use crate::cli::deployment::{absolute, held, holder, state_fatal};
use crate::cli::exit::Fatal;
use crate::state::{Home, Lock};

/// The locks of a rehearsal, held while its world is ended or started.
pub(super) struct Claim {
    #[expect(dead_code, reason = "a lock is held for as long as it is there")]
    locks: Vec<Lock>,
}

impl Claim {
    /// Takes the locks of all that was ever rehearsed in this folder, whatever its name: they share one world.
    pub(super) fn all(root: &Path, name: &str, session: &Session) -> Result<Self, Fatal> {
        let root = absolute(root);
        let mut homes = Home::list(&root).map_err(state_fatal)?;
        let own = Home::new(&root, name).map_err(state_fatal)?;
        if own.lock_path().exists() && !homes.contains(&own) {
            homes.push(own);
        }
        let locks = homes.iter().map(|home| take(home, &root, session)).collect::<Result<_, _>>()?;
        Ok(Self { locks })
    }

    /// Takes the lock of a deployment that need not be there yet.
    pub(super) fn one(root: &Path, name: &str, session: &Session) -> Result<Self, Fatal> {
        let root = absolute(root);
        let home = Home::new(&root, name).map_err(state_fatal)?;
        Ok(Self { locks: vec![take(&home, &root, session)?] })
    }
}

fn take(home: &Home, root: &Path, session: &Session) -> Result<Lock, Fatal> {
    let holder = holder("rehearse", &session.env);
    home.lock(holder).map_err(|error| held(error, session, root))
}
