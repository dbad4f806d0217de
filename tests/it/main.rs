//! The gateway as it really runs: the program, raw sockets, recording upstreams, a real identity provider, a real
//! imaging archive. One binary, since linking is what takes long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

mod support;

mod access;
mod basics;
mod break_glass;
mod browser;
mod day;
mod delegation;
mod dpop;
mod edge;
mod fronts;
mod hostile;
mod operate;
mod pods;
mod real;
mod revocation;
mod session;
mod signals;
mod state;
mod step_up;
