//! The kinds of simulated plans: what a crash leaves of their steps differs, what they do is decided by the world.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, pending};
use runbook_steps::kind::read_as;
use runbook_steps::{Child, Class, Context, Effect, Failure, Kind, Outputs, Reach, Standing, Step};
use serde::Deserialize;
use serde_json::{Value, json};

use super::notes;
use super::world::{self, Answer, End, Fate, Made, Stop};

/// Cannot be looked at, and must not be done twice.
pub(crate) static BLIND: Kind = Kind {
    name: "simulated.blind",
    summary: "",
    docs: "",
    example: "",
    version: 1,
    effect: Effect::Changes(Reach::Other),
    observes: false,
    idempotent: false,
    outputs: &[],
    open_outputs: true,
    schema: || json!(true),
    read: read_as::<Blind>,
};

/// Cannot be looked at, but may be done twice.
pub(crate) static AGAIN: Kind = Kind { name: "simulated.again", idempotent: true, ..BLIND };

/// Changes nothing.
pub(crate) static READS: Kind = Kind { name: "simulated.reads", effect: Effect::Reads, ..BLIND };

/// Can be looked at.
pub(crate) static LOOKED: Kind = Kind { name: "simulated.looked", observes: true, read: read_as::<Looked>, ..BLIND };

/// Starts an operation that goes on whatever becomes of the engine, and can be looked at.
pub(crate) static CLOUD: Kind = Kind { name: "simulated.cloud", observes: true, read: read_as::<Cloud>, ..BLIND };

/// Takes back what a step has made that knows no way itself.
pub(crate) static UNDOES: Kind = Kind { name: "simulated.undoes", read: read_as::<Undoes>, ..BLIND };

/// The `with` of all that make something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    /// What is made; another mark is another thing.
    mark: u64,
    takes_ms: u64,
    /// Whether it works through a process that outlives the engine.
    spawns: bool,
    /// Cannot be looked at, whatever its kind.
    dark: bool,
    /// Outputs of others.
    #[expect(dead_code, reason = "part of the fingerprint, and nothing else")]
    uses: Vec<Value>,
}

/// What a step gives that has made its mark.
pub(crate) fn outputs(step: &str, mark: u64) -> Outputs {
    Outputs::from_iter([("id".to_owned(), json!(format!("{step}-{mark}")))])
}

impl Act {
    fn takes(&self) -> Duration {
        Duration::from_millis(self.takes_ms)
    }

    fn outputs(&self, cx: &Context) -> Outputs {
        outputs(&cx.step, self.mark)
    }

    fn is_made(&self, cx: &Context) -> bool {
        world::with(|world| world.made(&cx.step)) == Some(Made { mark: self.mark })
    }

    /// Works on it here, in an attempt.
    async fn work(&self, cx: &Context) -> Result<Outputs, Failure> {
        alive().await;
        let begun = world::with(|world| world.begin(&cx.step, cx.attempt, self.mark, self.takes()));
        at_work(cx, begun, self.spawns).await.map(|()| self.outputs(cx))
    }

    /// Takes it back here, in an attempt.
    async fn take_back(&self, cx: &Context) -> Result<(), Failure> {
        Undoes { mark: self.mark, takes_ms: self.takes_ms, spawns: self.spawns }.go(cx).await
    }
}

/// Works until it ends, or is told to stop.
async fn at_work(cx: &Context, (id, fate): (u64, Fate), spawns: bool) -> Result<(), Failure> {
    let at_work = AtWork(id);
    if spawns {
        world::with(|world| world.has_process(id));
        // Not when that process started: so the engine takes it for gone, and the watcher does the killing.
        cx.observer.spawned(Child { pid: 1, started: id | 1 << 62, program: "simulated".to_owned() });
    }
    let ended = tokio::select! {
        biased;
        ended = go(cx, fate) => ended,
        () = cx.cancel.soft.cancelled() => stop(cx, id, fate).await,
        () = cx.cancel.hard.cancelled() => Err(Failure::cancelled()),
    };
    alive().await;
    drop(at_work);
    ended
}

async fn stop(cx: &Context, id: u64, fate: Fate) -> Result<(), Failure> {
    let (rest, ended) = match fate.stop {
        Stop::Promptly => {
            world::with(|world| world.gives_up(id));
            (Duration::ZERO, Err(Failure::cancelled()))
        }
        Stop::Slowly(rest) => (rest, Err(Failure::cancelled())),
        Stop::Not => (fate.takes, Err(Failure::cancelled())),
        Stop::Later if fate.end == End::Well => (fate.takes, Ok(())),
        Stop::Later => (fate.takes, Err(Failure::cancelled())),
    };
    let clock = cx.clock();
    tokio::select! {
        biased;
        () = clock.sleep(rest) => ended,
        () = cx.cancel.hard.cancelled() => Err(Failure::cancelled()),
    }
}

async fn go(cx: &Context, fate: Fate) -> Result<(), Failure> {
    cx.progress("works");
    cx.clock().sleep(fate.takes).await;
    alive().await;
    match fate.end {
        End::Well => Ok(()),
        End::Badly(class) => Err(failure(class)),
        End::Never => pending().await,
        End::Panics => panic!("simulated"),
    }
}

fn failure(class: Class) -> Failure {
    let failure = Failure::new(class, "simulated");
    match class {
        Class::Throttled => Failure { retry_after: Some(Duration::from_secs(7)), ..failure },
        _ => failure,
    }
}

/// A step of an engine that is dead does nothing more.
async fn alive() {
    if world::with(|world| world.is_dead()) {
        pending::<()>().await;
    }
}

/// Works until it is dropped.
struct AtWork(u64);

impl Drop for AtWork {
    fn drop(&mut self) {
        world::with(|world| world.leaves(self.0));
    }
}

/// Looking takes time, and can fail.
async fn look(cx: &Context) -> Result<(), Failure> {
    let (takes, fails) = world::with(|world| {
        let fails = !world.healthy && world.chance().percent(4);
        (Duration::from_millis(world.chance().below(300)), fails)
    });
    cx.unless_cancelled(async {
        cx.clock().sleep(takes).await;
        Ok(())
    })
    .await?;
    alive().await;
    if fails { Err(Failure::transient("cannot look now")) } else { Ok(()) }
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Blind(Act);

impl Step for Blind {
    fn intent(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async { Ok(Standing::Unknown) }.boxed()
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        self.0.work(cx).boxed()
    }

    fn undo<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Looked(Act);

impl Step for Looked {
    fn intent(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async move {
            if self.0.dark {
                return Ok(Standing::Unknown);
            }
            look(cx).await?;
            Ok(match self.0.is_made(cx) {
                true => Standing::Holds(self.0.outputs(cx)),
                false => Standing::Lacks("it is not there".to_owned()),
            })
        }
        .boxed()
    }

    fn can_look(&self) -> bool {
        !self.0.dark
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        self.0.work(cx).boxed()
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        self.0.take_back(cx).boxed()
    }

    fn undo_intent(&self) -> Vec<String> {
        vec!["take it away".to_owned()]
    }
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Cloud(Act);

impl Cloud {
    async fn order(&self, cx: &Context) -> Result<Outputs, Failure> {
        let mut awaited = None;
        loop {
            alive().await;
            let ask = |world: &mut world::World| world.ask(&cx.step, self.0.mark, self.0.takes(), awaited);
            match world::with(ask) {
                Answer::Made => return Ok(self.0.outputs(cx)),
                Answer::Failed(class) => return Err(failure(class)),
                Answer::Wait { id, until } => {
                    awaited = Some(id);
                    wait_until(cx, until).await?;
                }
            }
        }
    }
}

impl Step for Cloud {
    fn intent(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async move {
            look(cx).await?;
            Ok(match self.0.is_made(cx) {
                true => Standing::Holds(self.0.outputs(cx)),
                false if world::with(|world| world.is_under_way(&cx.step)) => {
                    Standing::InProgress("the cloud is at it".to_owned())
                }
                false => Standing::Lacks("it is not there".to_owned()),
            })
        }
        .boxed()
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        self.order(cx).boxed()
    }

    fn undo<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            while let Some(until) = world::with(|world| world.makes_until(&cx.step)) {
                wait_until(cx, until).await?;
            }
            self.0.take_back(cx).await
        }
        .boxed()
    }

    fn undo_intent(&self) -> Vec<String> {
        vec!["take it away".to_owned()]
    }
}

async fn wait_until(cx: &Context, until: Duration) -> Result<(), Failure> {
    let rest = until.saturating_sub(notes::now());
    cx.unless_cancelled(async {
        cx.clock().sleep(rest).await;
        Ok(())
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Undoes {
    mark: u64,
    takes_ms: u64,
    spawns: bool,
}

impl Undoes {
    async fn go(&self, cx: &Context) -> Result<(), Failure> {
        alive().await;
        let takes = Duration::from_millis(self.takes_ms);
        let begun = world::with(|world| world.begin_undo(&cx.step, cx.attempt, self.mark, takes));
        at_work(cx, begun, self.spawns).await
    }
}

impl Step for Undoes {
    fn intent(&self) -> Vec<String> {
        vec!["take it away".to_owned()]
    }

    fn observe<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<Standing, Failure>> {
        async { Ok(Standing::Unknown) }.boxed()
    }

    fn perform<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<Outputs, Failure>> {
        async { self.go(cx).await.map(|()| Outputs::new()) }.boxed()
    }

    fn undo<'a>(&'a self, _cx: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        async { Ok(()) }.boxed()
    }
}
