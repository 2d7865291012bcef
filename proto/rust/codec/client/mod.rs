//! Frames from a client: read by servers, written by clients.

mod read;
mod write;

pub use read::decode_client;
pub(super) use read::unary_publish;
pub use write::encode_client;
