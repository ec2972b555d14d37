//! `runbook __world`: the process that a rehearsal's world lives in, so that killing the engine leaves it standing.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use runbook_fixtures::stage::{self, Options};

use super::Session;
use super::exit::{Exit, Fatal};

/// A world that nobody ended, because its engine was killed and never continued, ends by itself.
const LONGEST: Duration = Duration::from_secs(3600);

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
        let runtime = super::runtime()?;
        match runtime.block_on(async { tokio::time::timeout(LONGEST, stage::serve(options)).await }) {
            Ok(Err(error)) => Err(Fatal::new(Exit::Unexpected, error.to_string())),
            Ok(Ok(())) | Err(_) => Ok(Exit::Holds),
        }
    }
}
