//! A load generator for HTTP: requests as fast as they are answered or at a steady rate, and what came of them.
//!
//! Owns when a request is due ([`pace`]), how long it may take ([`limit`]), sending it ([`worker`]), counting ([`tally`]) and what
//! the counts come to ([`figures`], [`table`]). Each worker has one connection and drives it itself. It does not know plans, files or
//! baselines.
//!
//! A latency counts from when a request was *due*: one that had to wait because the server was slow is charged with the wait, so
//! that a stall cannot hide behind the requests that were not sent meanwhile.

pub(crate) mod baseline;
pub(crate) mod figures;
mod limit;
pub(crate) mod load;
mod pace;
pub(crate) mod replicas;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod table;
pub(crate) mod tally;
mod worker;
