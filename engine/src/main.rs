//! The program `runbook`.

/// Starting a program means copying an environment of some fifty variables several times over: with the system's allocator that is a third
/// of what a step costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    runbook::cli::main()
}
