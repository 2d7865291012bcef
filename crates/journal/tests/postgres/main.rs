//! The PostgreSQL engine against servers that these tests start themselves.
//!
//! Where no server is installed they fail and say what is missing.

mod groups;
mod opening;
mod plans;
mod proxy;
mod server;
mod standby;
mod suite;
mod takeover;
mod wire;
mod writer;
