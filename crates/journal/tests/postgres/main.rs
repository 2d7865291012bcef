//! The PostgreSQL engine against servers that these tests start themselves.
//!
//! Where no server is installed they fail and say what is missing.

mod proxy;
mod server;
mod suite;
