//! The doors of an edge: HTTP with WebSockets, and gRPC. Both end in the shards.

pub(crate) mod admission;
pub(crate) mod connections;
pub(crate) mod gateway;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod pipe;
mod raw;
mod threshold;
mod unary;
pub(crate) mod upgrade;
