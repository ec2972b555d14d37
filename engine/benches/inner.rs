//! The inner parts, each by itself: `cargo bench -p runbook --bench inner`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use divan::{Bencher, black_box};
use jiff::Timestamp;
use runbook::plan::load::{Given, Loaded, load};
use runbook::plan::model::{Accept, Edge, Graph, Known};
use runbook::run::schedule::{Ended, Next, Schedule, ways};
use runbook::state::fingerprint::{differences, fingerprint};
use runbook::state::record::{Entry, Outcome, Record, Started, Succeeded, Touches};
use runbook::state::{Home, RunState, journal};
use serde_json::json;

fn main() {
    divan::main();
}

const STEPS: usize = 1_000;

/// A plan of 1,000 steps that need each other and name vars, in a file.
fn plan_file() -> &'static PathBuf {
    static FILE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let made = FILE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("plan.yaml");
        std::fs::write(&file, plan_text()).expect("written");
        (dir, file)
    });
    &made.1
}

fn plan_text() -> String {
    let head = "runbook: 1\ninputs:\n  zone: {type: string, default: europe-west4-a}\nvars:\n  region: '${{ inputs.zone | region_of_zone }}'\nsteps:\n";
    let step = |index: usize| {
        let needs = if index == 0 { String::new() } else { format!(", needs: [s{}]", index / 2) };
        format!(
            "  s{index}: {{command: [/bin/true, '${{{{ vars.region }}}}', 'n={index}'], idempotent: true{needs}}}\n"
        )
    };
    std::iter::once(head.to_owned()).chain((0..STEPS).map(step)).collect()
}

fn loaded() -> Loaded {
    load(plan_file(), &Given::default()).expect("the plan is good")
}

#[divan::bench]
fn load_and_check_1000_steps() -> Loaded {
    loaded()
}

#[divan::bench]
fn render_1000_steps(bencher: Bencher) {
    let loaded = loaded();
    let known = Known::default();
    bencher.bench_local(|| {
        loaded.plan.steps.iter().for_each(|step| drop(black_box(step.render(&known).expect("it renders"))));
    });
}

#[divan::bench]
fn fingerprint_and_compare_1000_steps(bencher: Bencher) {
    let loaded = loaded();
    let known = Known::default();
    let rendered: Vec<_> =
        loaded.plan.steps.iter().map(|step| (step, step.render(&known).expect("it renders"))).collect();
    let print = |step, rendered| fingerprint(step, rendered, &[], &loaded.plan.dir);
    let before: Vec<_> = rendered.iter().map(|(step, rendered)| print(step, rendered)).collect();
    bencher.bench_local(|| {
        for ((step, rendered), before) in rendered.iter().zip(&before) {
            assert!(differences(before, &print(step, rendered)).is_empty());
        }
    });
}

/// 10 layers of 1,000, each step needing three of the layer before.
fn layers() -> Graph {
    const WIDTH: usize = 1_000;
    let edge = |step| Edge { step, accept: Accept::Succeeded, implied: false };
    let parents = |index: usize| match index.checked_sub(WIDTH) {
        None => Vec::new(),
        Some(above) => (0..3).map(|other| edge(above / WIDTH * WIDTH + (above + other * 7) % WIDTH)).collect(),
    };
    let needs: Vec<Vec<Edge>> = (0..10 * WIDTH).map(parents).collect();
    let mut dependents = vec![Vec::new(); needs.len()];
    for (step, edges) in needs.iter().enumerate() {
        edges.iter().for_each(|edge| dependents[edge.step].push(step));
    }
    Graph { order: (0..needs.len()).collect(), needs, dependents }
}

#[divan::bench]
fn schedule_10000_steps(bencher: Bencher) {
    let graph = layers();
    let priority = ways(&graph, &vec![std::time::Duration::from_secs(1); graph.needs.len()]);
    bencher.bench_local(|| {
        let mut schedule = Schedule::new(&graph, priority.clone(), vec![false; graph.needs.len()], 32);
        let mut running = std::collections::VecDeque::new();
        loop {
            while let Some(next) = schedule.next_move() {
                if let Next::Evaluate(step) = next {
                    assert!(schedule.admit(step, &[]));
                    running.push_back(step);
                }
            }
            let Some(step) = running.pop_front() else { break };
            schedule.finished(step, Ended::Succeeded);
        }
        assert!(schedule.is_finished());
    });
}

/// What a run of the plan writes, but for its header, which only a run can make.
fn records() -> Vec<Entry> {
    let loaded = loaded();
    let known = Known::default();
    let mut records = vec![opened()];
    for step in &loaded.plan.steps {
        let rendered = step.render(&known).expect("it renders");
        let fingerprint = fingerprint(step, &rendered, &[], &loaded.plan.dir);
        let id = step.id.clone();
        let touches = Touches::AtOnce;
        records.push(Record::Started(Started {
            step: id.clone(),
            attempt: 1,
            fingerprint,
            recoverable: true,
            touches,
        }));
        let outputs = json!({ "exit_code": 0, "stdout": "", "stderr": "" });
        let outputs = outputs.as_object().cloned().unwrap_or_default();
        let done = Succeeded {
            step: id,
            attempt: 1,
            outcome: Outcome::Changed,
            outputs,
            looked_up: BTreeMap::new(),
            took_ms: 1,
            note: None,
        };
        records.push(Record::Succeeded(done));
    }
    let entry = |(index, record)| Entry { seq: index as u64 + 1, time: Timestamp::UNIX_EPOCH, record };
    records.into_iter().enumerate().map(entry).collect()
}

fn opened() -> Record {
    let header = json!({
        "record": "opened", "format": { "major": 1, "minor": 0 }, "run": 1, "command": "apply", "plan": "p", "file": "/p.yaml",
        "digest": "", "inputs": {}, "version": "0", "who": "me@here", "pid": 1,
    });
    serde_json::from_value(header).expect("a header")
}

#[divan::bench]
fn fold_2000_records(bencher: Bencher) {
    let records = records();
    bencher.bench_local(|| {
        let mut state = RunState::default();
        records.iter().for_each(|entry| state.apply(entry).expect("they follow"));
        state
    });
}

#[divan::bench]
fn write_2000_records_as_json(bencher: Bencher) {
    let records = records();
    bencher
        .bench_local(|| records.iter().map(|entry| serde_json::to_vec(entry).expect("written").len()).sum::<usize>());
}

/// Lines as they are in the file: a checksum before each.
fn lines() -> Vec<u8> {
    let line = |entry: &Entry| {
        let body = serde_json::to_string(entry).expect("written");
        format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()))
    };
    records().iter().map(line).collect::<String>().into_bytes()
}

#[divan::bench]
fn read_and_fold_a_journal_of_2000_records(bencher: Bencher) {
    let dir = tempfile::tempdir().expect("a folder");
    let home = Home::new(dir.path(), "d").expect("a name");
    std::fs::create_dir_all(home.path()).expect("made");
    std::fs::write(home.journal_path(), lines()).expect("written");
    bencher.bench_local(|| journal::read(&home).expect("it is whole").state);
}
