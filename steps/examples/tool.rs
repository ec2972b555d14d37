//! The other end of the shims in this crate's tests: `tool NAME ARGUMENTS…` answers as the stand-in for the program NAME.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    runbook_fixtures::tools::main(&name.to_string_lossy(), &rest)
}
