//! Signals. Being told to stop: the first time gently, the second for good, the third at once. And what must not end the process.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// From now on a file that may not become longer is an error of whoever writes it, and not the end of the process.
///
/// The signal is caught and not ignored: programs that the process starts would inherit that it is ignored.
pub(crate) fn survive_size_limits() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    // The handler outlives both: once there is one, it is there until the process ends.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// A signal that asks a run to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// `kill`.
    Terminate,
    /// The terminal went away.
    Hangup,
}

impl Signal {
    /// Its name, as the journal has it.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
        }
    }
}

/// How far a run has been told to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Not at all.
    #[default]
    No,
    /// Start nothing new but `finally`; steps that run are to end soon.
    Gently,
    /// Start nothing at all; what runs is killed.
    Kill,
    /// Leave now. The journal is true at every moment.
    Leave,
}

impl Stop {
    /// After one more signal.
    pub(crate) fn harder(self) -> Self {
        match self {
            Stop::No => Stop::Gently,
            Stop::Gently => Stop::Kill,
            Stop::Kill | Stop::Leave => Stop::Leave,
        }
    }
}

/// Sends signals to a run, in place of the operating system.
#[derive(Clone, Debug)]
pub struct Interrupter(mpsc::UnboundedSender<Signal>);

impl Interrupter {
    /// Delivers a signal. A run that has ended does not hear it.
    pub fn send(&self, signal: Signal) {
        let _ = self.0.send(signal);
    }
}

/// The signals that a run hears.
#[derive(Debug)]
pub struct Interrupts(mpsc::UnboundedReceiver<Signal>);

impl Interrupts {
    /// Signals that somebody else sends.
    pub fn channel() -> (Interrupter, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Interrupter(sender), Self(receiver))
    }

    /// The process's own SIGINT, SIGTERM and SIGHUP, which from now on do not end it by themselves. Needs a runtime.
    pub fn from_system() -> io::Result<Self> {
        let (interrupter, interrupts) = Self::channel();
        let kinds = [
            (SignalKind::interrupt(), Signal::Interrupt),
            (SignalKind::terminate(), Signal::Terminate),
            (SignalKind::hangup(), Signal::Hangup),
        ];
        for (kind, name) in kinds {
            let mut stream = signal(kind)?;
            let interrupter = interrupter.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    interrupter.send(name);
                }
            });
        }
        Ok(interrupts)
    }

    /// The next one; never, when nobody can send any more.
    pub async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_signal_leaves() {
        let stops = [Stop::No.harder(), Stop::No.harder().harder(), Stop::No.harder().harder().harder()];
        assert_eq!(stops, [Stop::Gently, Stop::Kill, Stop::Leave]);
    }
}
