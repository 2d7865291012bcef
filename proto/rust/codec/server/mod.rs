//! Frames from a server: written by servers, read by clients.

mod read;
mod says;
mod write;

pub use read::{decode_server, post};
pub(super) use says::{presence_reply, published, room};
pub(super) use write::put_answer;
pub use write::{encode_server, message_frame};
