//! The lock where the operating system's own cannot be trusted, and taking it away.

use std::time::{Duration, SystemTime};

use runbook::state::heartbeat::{SILENCE, Trust};
use runbook::state::lock::{Holder, Note};
use runbook::state::{LockId, StateError};

use crate::run_bench::Bench;
use crate::sandbox::Sandbox;

/// The note of a holder, last touched at the beginning of time.
fn left_by(bench: &Bench, host: &str, pid: u32) -> SystemTime {
    drop(bench.open());
    let holder = Holder { who: format!("you@{host}"), host: host.to_owned(), pid, ..Bench::holder() };
    let note = Note { id: LockId("1".to_owned()), holder, started: None };
    let path = bench.home().lock_path();
    std::fs::write(&path, serde_json::to_string(&note).expect("a note")).expect("written");
    let touched = SystemTime::UNIX_EPOCH;
    std::fs::File::options().write(true).open(path).expect("there").set_modified(touched).expect("set");
    touched
}

#[test]
fn a_holder_elsewhere_is_believed_as_long_as_it_is_heard() {
    let bench = Bench::new();
    let touched = left_by(&bench, "there", 1);
    let heard = Trust::Heartbeat(Some(touched + Duration::from_secs(10)));
    let Err(StateError::Held(held)) = bench.home().lock_trusting(Bench::holder(), heard) else { panic!("it is held") };
    assert_eq!(held.silence, Some(Duration::from_secs(10)));
    let said = StateError::Held(held).to_string();
    assert!(said.contains("you@there") && said.ends_with("its last sign of life is 10 s old"), "{said}");
    let silent = Trust::Heartbeat(Some(touched + SILENCE));
    let lock = bench.home().lock_trusting(Bench::holder(), silent).expect("it has been silent for too long");
    assert_eq!(lock.previous().map(|holder| holder.who.as_str()), Some("you@there"));
    assert!(lock.beats());
}

/// The operating system gives the lock of a dead process back, and its note only says who it was.
#[test]
fn the_lock_of_a_dead_holder_is_taken_over() {
    let bench = Bench::new();
    left_by(&bench, "there", 1);
    assert_eq!(bench.home().holder().expect("readable"), None);
    let lock = bench.home().lock(Bench::holder()).expect("its holder is dead");
    assert_eq!(lock.previous().map(|holder| holder.who.as_str()), Some("you@there"));
}

#[test]
fn a_dead_holder_on_this_machine_is_recognised_at_once() {
    let bench = Bench::new();
    let touched = left_by(&bench, &Bench::holder().host, u32::MAX);
    let lock = bench.home().lock_trusting(Bench::holder(), Trust::Heartbeat(Some(touched))).expect("no such process");
    assert!(lock.previous().is_some());
}

#[test]
fn a_live_holder_on_this_machine_is_believed_even_if_its_lock_is_free() {
    let bench = Bench::new();
    let touched = left_by(&bench, &Bench::holder().host, std::process::id());
    let late = Trust::Heartbeat(Some(touched + 100 * SILENCE));
    assert!(matches!(bench.home().lock_trusting(Bench::holder(), late), Err(StateError::Held(_))));
}

#[test]
fn a_lock_that_can_be_trusted_costs_no_heartbeat() {
    let bench = Bench::new();
    let lock = bench.home().lock_trusting(Bench::holder(), Trust::Lock).expect("free");
    assert!(!lock.beats());
    drop(lock);
    let lock = bench.home().lock_trusting(Bench::holder(), Trust::Heartbeat(None)).expect("free");
    assert!(lock.beats());
    drop(lock);
    assert!(bench.home().lock_trusting(Bench::holder(), Trust::Heartbeat(None)).is_ok(), "given back");
}

#[test]
fn the_lock_of_a_live_process_is_not_broken_by_its_id_alone() {
    let sandbox = Sandbox::new();
    let mut engine = sandbox.busy();
    let lock = sandbox.read(".runbook/busy/lock");
    let note: Note = serde_json::from_str(&lock).expect("a note");
    assert!(note.started.is_some(), "a later process may have the same id: {lock}");
    let pid = format!("pid {} on `{}`", engine.id(), note.holder.host);
    sandbox.run(&["apply", "plan.yaml"]).exits(5).says(&pid).says("now at `long`");
    sandbox.run(&["settle", "long", "--redo"]).exits(5).says(&pid);
    sandbox.run(&["unlock", "busy"]).exits(5).says(&format!("--id {}", note.id));
    sandbox.run(&["unlock", "busy", "--id", "other"]).exits(5).says("has changed hands");
    let stop = format!("kill -INT {}", engine.id());
    sandbox.run(&["unlock", "busy", "--id", &note.id.0]).exits(5).says(&stop).says("`--force`");
    sandbox.run(&["unlock", "busy", "--id", &note.id.0, "--force"]).exits(0).says("is unlocked");
    engine.kill().expect("killed");
    engine.wait().expect("gone");
    sandbox.write("plan.yaml", "runbook: 1\nname: busy\nsteps:\n  long: { run: 'true', idempotent: true }\n");
    sandbox.run(&["apply", "plan.yaml"]).exits(0).says("it was ended");
    sandbox.run(&["unlock", "busy", "--id", "any"]).exits(0).says("is not locked");
}
