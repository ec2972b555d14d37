//! The program `runbook`.

/// Starting a program means copying an environment of some forty variables several times over: with the system's allocator, allocation
/// was a third of the instructions that the engine spent on a short step.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    runbook::cli::main()
}
