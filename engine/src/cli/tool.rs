//! `runbook __tool NAME ARGS…`: the other end of the shims that a rehearsal puts on PATH.
//!
//! Looked for before anything else: all that follows the name belongs to the program that is played, `--help` and `--version` too.

use std::ffi::OsString;
use std::process::ExitCode;

/// Answers as a program of the simulated world, if that is what was asked.
pub(super) fn answer(mut args: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let asked = args.nth(1).is_some_and(|first| first == "__tool");
    let name = args.next().filter(|_| asked)?;
    Some(runbook_fixtures::tools::main(&name.to_string_lossy(), &args.collect::<Vec<_>>()))
}
