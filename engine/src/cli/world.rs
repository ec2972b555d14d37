//! `runbook __world`: the process that a rehearsal's world lives in, so that killing the engine leaves it standing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use runbook_fixtures::stage::{self, Options};
use runbook_steps::Clock;

use super::Session;
use super::exit::{Exit, Fatal};

/// A world that nobody ended, because its engine was killed and never continued, ends by itself.
const LONGEST: Duration = Duration::from_secs(3600);

/// How often it is looked whether a world's folder is still there.
const LOOK: Duration = Duration::from_secs(5);

/// The simulated world of a rehearsal
#[derive(Args, Debug)]
pub(super) struct World {
    /// Where it lives
    #[arg(long)]
    dir: PathBuf,
    /// The scenario
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// How many times faster than real time
    #[arg(long)]
    speed: f64,
    /// Leave `gcloud` to the real one
    #[arg(long)]
    real_gcloud: bool,
}

impl World {
    pub(super) fn run(&self, _session: &Session) -> Result<Exit, Fatal> {
        let options = Options {
            dir: self.dir.clone(),
            scenario: self.scenario.clone(),
            speed: self.speed,
            runbook: std::env::current_exe()?,
            real_gcloud: self.real_gcloud,
            keep: true,
            project: None,
        };
        let clock = Clock::real();
        super::block_on(async {
            tokio::select! {
                served = stage::serve(options) => {
                    served.map_err(|error| Fatal::new(Exit::Unexpected, error.to_string()))?;
                }
                () = clock.sleep(LONGEST) => {}
                () = gone(&self.dir, clock) => {}
            }
            Ok(Exit::Holds)
        })
    }
}

/// Until nobody can come back to a world, because its folder was removed.
async fn gone(dir: &Path, clock: Clock) {
    while dir.exists() {
        clock.sleep(LOOK).await;
    }
}
