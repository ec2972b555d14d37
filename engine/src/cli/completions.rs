//! `runbook completions`: a script for the shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::exit::Exit;
use super::{Cli, Session};

/// Print a shell completion script
#[derive(Args, Debug)]
#[command(after_help = "Example: runbook completions bash > /etc/bash_completion.d/runbook")]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, session: &Session) -> Exit {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "runbook", &mut script);
        session.ui.data(&String::from_utf8_lossy(&script));
        Exit::Holds
    }
}
