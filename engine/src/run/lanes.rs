//! Threads that wait for short programs themselves.
//!
//! Most programs end within milliseconds. A thread that starts one, waits for its end, writes it down and starts the next never hands
//! anything to another thread. So each attempt has its first moments on a lane; one that takes longer, or waits for something else,
//! goes on among the runtime's tasks. There are as many lanes as the machine has cores: what begins while all are taken becomes a task
//! at once.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use runbook_steps::tools::lingering;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::conductor::{Begun, Conductor, Driver};

/// What lanes give to the listener.
pub(super) enum Handed<E> {
    /// An attempt that goes on as a task.
    Begun(Begun<E>),
    /// A lane has panicked, which is a bug of the engine.
    Panicked(Box<dyn Any + Send>),
}

/// The lanes of a run.
pub(super) struct Lanes<D: Driver> {
    conductor: Arc<Conductor<D>>,
    runtime: Handle,
    handed: mpsc::UnboundedSender<Handed<D::Ended>>,
    most: usize,
    queue: Mutex<Queue<D::Ended>>,
    changed: Condvar,
}

struct Queue<E> {
    waiting: VecDeque<Begun<E>>,
    idle: usize,
    threads: usize,
    closed: bool,
}

impl<D: Driver> Lanes<D> {
    /// At most so many threads; none is started before there is something to do. Must be called inside the runtime.
    pub(super) fn new(
        conductor: Arc<Conductor<D>>,
        most: usize,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Handed<D::Ended>>) {
        let (handed, receiver) = mpsc::unbounded_channel();
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), idle: 0, threads: 0, closed: false });
        let runtime = Handle::current();
        (Arc::new(Self { conductor, runtime, handed, most, queue, changed: Condvar::new() }), receiver)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<D::Ended>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an attempt if a lane is free for it, or gives it back.
    pub(super) fn offer(self: &Arc<Self>, begun: Begun<D::Ended>) -> Option<Begun<D::Ended>> {
        let mut queue = self.queue();
        if queue.closed {
            return Some(begun);
        }
        if queue.idle > queue.waiting.len() {
            queue.waiting.push_back(begun);
            self.changed.notify_one();
            return None;
        }
        if queue.threads == self.most {
            return Some(begun);
        }
        queue.threads += 1;
        queue.waiting.push_back(begun);
        self.open_lane(&mut queue)
    }

    /// One thread more, for what was queued last.
    fn open_lane(self: &Arc<Self>, queue: &mut Queue<D::Ended>) -> Option<Begun<D::Ended>> {
        let lanes = Arc::clone(self);
        match std::thread::Builder::new().name("lane".to_owned()).spawn(move || lanes.work()) {
            Ok(_) => None,
            Err(_) => {
                queue.threads -= 1;
                queue.waiting.pop_back()
            }
        }
    }

    /// Nothing new is taken, and idle threads end.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.waiting.clear();
        self.changed.notify_all();
    }

    fn work(self: Arc<Self>) {
        let _runtime = self.runtime.enter();
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut next = self.wait();
            while let Some(begun) = next {
                next = self.go(begun).or_else(|| self.wait());
            }
        }));
        if let Err(panic) = ended {
            let _ = self.handed.send(Handed::Panicked(panic));
        }
    }

    fn wait(&self) -> Option<Begun<D::Ended>> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(begun) = queue.waiting.pop_front() {
                return Some(begun);
            }
            queue.idle += 1;
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.idle -= 1;
        }
    }

    /// An attempt's first moments. If it ends in them, the thread takes a turn and goes on with what begins by it.
    fn go(self: &Arc<Self>, mut begun: Begun<D::Ended>) -> Option<Begun<D::Ended>> {
        // Nobody is woken for it: whoever takes it over asks it again at once.
        let mut nobody = std::task::Context::from_waker(Waker::noop());
        let Poll::Ready(ended) = lingering(|| begun.attempt.as_mut().poll(&mut nobody)) else {
            self.hand_over(begun);
            return None;
        };
        let mut begun = self.conductor.turn(vec![(begun.step, ended)]).into_iter();
        let next = begun.next();
        for other in begun {
            if let Some(other) = self.offer(other) {
                self.hand_over(other);
            }
        }
        next
    }

    /// If nobody listens any more, the run has ended, and the attempt with it.
    fn hand_over(&self, begun: Begun<D::Ended>) {
        tracing::debug!(step = begun.step, "goes on as a task");
        let _ = self.handed.send(Handed::Begun(begun));
    }
}
