//! The Rust client of Parlour: WebSocket and gRPC shells around one machine.
