//! The Rust client of Parlour: a WebSocket and a gRPC shell around one machine.
//!
//! Everything that makes a conversation trustworthy (resuming, sending again, order, once) is decided
//! by [`session::client::Client`], which knows no socket; this crate gives it one. Two ways to use it:
//!
//! - [`connect`] runs one task per client and answers a [`Handle`] for wishes and [`Events`] to read.
//! - [`Connection`] is the same without a task: a stream of events that whoever owns it polls. A load
//!   generator keeps thousands of them in one task.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use parlour_client::{Event, MessageContent, Options, Reading, RoomName};
//!
//! let options = Options::new("ws://127.0.0.1:8080").name("ann");
//! let (handle, mut events) = parlour_client::connect(options).await?;
//! let room = RoomName::new("team:ops")?;
//! handle.subscribe(&room, Reading::recent(50)).await?;
//! let published = handle.publish(&room, MessageContent::post("deploy?")).await?;
//! println!("it stands at {}", published.seq);
//! while let Some(event) = events.recv().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {}", message.from.name, message.content.text());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! While a session moves to another server, the shell holds two connections of it and treats them alike;
//! an `http://` URL is a gateway, which is asked where to go.
//!
//! # Invariants
//! - No rule of the protocol is decided here; a frame that came goes into the machine, a frame that the
//!   machine gives goes out.
//! - Nothing is queued without a bound: an application that does not read its events stops the socket
//!   from being read, and a session that hears nothing for too long is dialled again and resumed.
//! - Whatever is dropped closes its connection.
//!
//! Look elsewhere for: what a terminal shows (`parlour chat`), load (`bench`).

mod address;
mod connection;
mod dial;
mod error;
mod gateway;
mod grpc;
mod handle;
mod options;
mod task;
mod transport;
pub mod ws;

pub use model::{
    Catchup, Encoding, HistoryAnchor, HistoryAsk, LogId, Message, MessageContent, MessageId, Page,
    Position, RoomName, Seq, UserId,
};
pub use session::client::{
    ClientLimits, Counters, Event, NotPublished, Published, Reading, Ticket, WishError,
};

pub use address::AddressError;
pub use connection::Connection;
pub use dial::DialError;
pub use error::{ConnectError, PublishError, RequestError};
pub use handle::{Acknowledgement, Events, Handle, History};
pub use options::{Options, TransportKind};
pub use task::{connect, start};

/// The posts of a snapshot or page of `room`, decoded, ascending.
///
/// # Errors
/// [`wire::codec::Unreadable`], when a server of a later contract wrote what cannot be read.
pub fn posts(room: &RoomName, page: &Page) -> Result<Vec<Message>, wire::codec::Unreadable> {
    page.posts.iter().map(|post| wire::codec::post(room, post)).collect()
}
