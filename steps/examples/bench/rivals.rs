//! Other load generators, as a person would run them, and the one figure of theirs that is compared.
#![expect(clippy::disallowed_methods, reason = "this is no step: it starts programs to compare with")]

use tokio::process::Command;

/// ApacheBench, with connections kept alive, for three seconds.
pub(super) async fn ab(program: &str, url: &str, concurrency: u32) -> Option<f64> {
    let concurrency = concurrency.to_string();
    let told = output(program, &["-q", "-k", "-t", "3", "-n", "100000000", "-c", &concurrency, url]).await?;
    figure(&told, "Requests per second:")
}

/// wrk, with a thread for each core, for three seconds.
pub(super) async fn wrk(program: &str, url: &str, concurrency: u32) -> Option<f64> {
    let threads = concurrency.min(2).to_string();
    let concurrency = concurrency.to_string();
    let told = output(program, &["-t", &threads, "-c", &concurrency, "-d", "3s", url]).await?;
    figure(&told, "Requests/sec:")
}

async fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let ended = Command::new(program).args(arguments).output().await.ok()?;
    Some(String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn figure(told: &str, title: &str) -> Option<f64> {
    told.lines().find_map(|line| line.trim().strip_prefix(title))?.split_whitespace().next()?.parse().ok()
}
