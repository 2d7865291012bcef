//! Real conversations: a log's lines, read from a file, as a script for each room.
//!
//! It stands apart from the replay because what a log means (who is there when, who says what after whom)
//! can be told without a server, and must be right before anything is measured with it.
//!
//! # The format
//! JSON lines, plain or compressed with zstd; in order of time within each room:
//!
//! ```text
//! {"at_ms":1100521080000,"room":"tea-2004-11-15","kind":"join","user":"ann"}
//! {"at_ms":1100521081000,"room":"tea-2004-11-15","kind":"message","user":"ann","text":"hello"}
//! {"at_ms":1100521082000,"room":"tea-2004-11-15","kind":"action","user":"ann","text":"waves"}
//! {"at_ms":1100521083000,"room":"tea-2004-11-15","kind":"leave","user":"ann"}
//! ```

mod file;
mod line;
mod script;

pub use file::{ReadError, read};
pub use line::{Kind, Line};
pub use script::{Deed, Nick, Script, Step};
