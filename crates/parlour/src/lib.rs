//! The program Parlour as a library: settings, wiring and drain, so that tests and a simulation run
//! what `main` runs.
//!
//! # Invariants
//! - Sockets are bound before anything is built: an address that is taken stops the start.
//! - No decision about rooms, sessions or storage lives here.

pub mod admin;
pub mod app;
pub mod cli;
pub mod logging;
pub mod settings;
pub mod tools;
