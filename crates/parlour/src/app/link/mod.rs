//! How nodes reach each other's internal listener: over pipes inside one process, over TCP in a cluster.

mod handshake;
mod pipe;
mod tcp;

pub(super) use pipe::in_process;
pub(crate) use tcp::Dialer;
pub(super) use tcp::listen;
