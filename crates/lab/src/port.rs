//! Ports that nobody uses.

use std::net::TcpListener;

use crate::Fault;

/// A port of loopback that was free a moment ago.
///
/// # Errors
/// When the machine has none.
pub fn free_port() -> Result<u16, Fault> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Fault::new(format!("no free port: {error}")))
}
