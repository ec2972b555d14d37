//! What a user types next about a step of a deployment. Knows the commands' words, not what they do.

use std::fmt::Display;

/// The commands about the steps of one deployment.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    /// The program, with the flags that find the same state.
    program: String,
    deployment: String,
    /// Whether there are no others to tell it from.
    alone: bool,
}

impl Commands {
    /// For a deployment, alone where its state is or not.
    pub(crate) fn new(program: String, deployment: &str, alone: bool) -> Self {
        Self { program, deployment: deployment.to_owned(), alone }
    }

    fn about(&self, verb: &str, step: impl Display, flag: &str) -> String {
        let name = if self.alone { String::new() } else { format!(" --name {}", self.deployment) };
        format!("{} {verb} {step}{flag}{name}", self.program)
    }

    /// What shows how the deployment stands.
    pub(crate) fn status(&self) -> String {
        format!("{} status {}", self.program, self.deployment)
    }

    /// What shows the newest log of a step.
    pub(crate) fn log(&self, step: impl Display) -> String {
        self.about("log", step, "")
    }

    /// The two that say what became of a step.
    pub(crate) fn ways_to_settle(&self, step: impl Display) -> String {
        format!("{}, or {}", self.about("settle", &step, " --done"), self.about("settle", &step, " --redo"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_is_named_where_there_are_others() {
        let program = "runbook --state s".to_owned();
        let alone = Commands::new(program.clone(), "d", true);
        assert_eq!(alone.log("a"), "runbook --state s log a");
        assert_eq!(alone.status(), "runbook --state s status d");
        let ways = "runbook --state s settle a --done --name d, or runbook --state s settle a --redo --name d";
        assert_eq!(Commands::new(program, "d", false).ways_to_settle("a"), ways);
    }
}
