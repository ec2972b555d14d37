//! `http.bench`: load on a server, and whether it bears it.

mod options;
mod results;
mod work;

use std::path::PathBuf;

use futures::future::BoxFuture;

use self::options::{Bench, read};
use crate::context::Context;
use crate::failure::Failure;
use crate::kind::{Effect, Kind, OutputDoc, schema_of};
use crate::step::{Outputs, Standing, Step};

/// The kind `http.bench`.
pub(super) static KIND: Kind = Kind {
    name: "http.bench",
    summary: "Puts load on a server and judges how it bears it",
    docs: DOCS,
    example: EXAMPLE,
    version: 1,
    effect: Effect::Reads,
    observes: false,
    idempotent: true,
    outputs: &[
        OutputDoc {
            name: "bench",
            about: "the figures of each scenario by its name, of all (`total`), and of `cache`",
        },
        OutputDoc { name: "table", about: "the figures as a table" },
        OutputDoc { name: "files", about: "where they are kept: `json`, `csv`, `text`" },
    ],
    open_outputs: false,
    schema: schema_of::<Bench>,
    read,
};

const DOCS: &str = "\
Sends the same request, or one for each prompt, under several loads, and measures how it is answered. A request that is not
answered with a 2xx, or not answered whole, has failed; more failures than `tolerate` (none) fail the step, with their cause.

- **observe**: cannot look. Later runs do not measure again what was good and still says the same, nor does `verify`;
  `apply --redo STEP` does.
- **perform**: sends one request, which must be good; then, for each of `scenarios`, `warm_up` requests that are not counted, then
  the load: `requests` or `duration`, at a `concurrency`, as fast as they are answered or at a steady `rate`. Then it judges
  `assert` over `bench`, and `baseline` against the last good run.
- **latency** counts from when a request was due: at a `rate`, one that had to wait for the server is charged with the wait
  (`service_*` is without it). Percentiles are those of good answers. Events (`text/event-stream`) give the time to the first
  token, the time for each further token, and tokens in a second.
- **cache_test**: sends requests with a common beginning and reads each replica's counters before and after: how many of them one
  replica got, and how much of their beginnings it found in its cache.
- **undo**: nothing to take back.
- **failures**: as `http.probe`; too many failures have the class of what there was most of; thresholds are `permanent`.

Results stay in the deployment's folder, or in `results`. All options and figures: steps/docs/http.md.
";

const EXAMPLE: &str = "\
bench:
  uses: http.bench
  with:
    url: http://10.0.0.1/v1/completions
    json: { model: qwen, prompt: \"{{ prompt }}\", max_tokens: 50, temperature: 0.7 }
    prompts: [\"Explain quantum computing in one sentence:\"]
    scenarios:
      - { name: serial, requests: 10 }
      - { name: heavy, requests: 100, concurrency: 20 }
    assert: [bench.heavy.requests_per_s >= 25, bench.heavy.p95_ms <= 1000]
    baseline: { p95_ms: 20% }
";

impl Step for Bench {
    fn intent(&self) -> Vec<String> {
        self.commands()
    }

    fn observe<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        Box::pin(async { Ok(Standing::Unknown) })
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        Box::pin(cx.unless_cancelled(work::run(self, cx)))
    }

    fn undo<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.ca_bundle.iter().cloned().collect()
    }
}
