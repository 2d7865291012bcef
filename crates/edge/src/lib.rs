//! The edge: shards of sessions, lanes to owners, WebSocket, gRPC and HTTP fronts.
