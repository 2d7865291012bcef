//! The server that is spoken to, and how it is dialled.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use clap::{Args, ValueEnum};
use parlour_client::{Connection, Encoding, Event, Options};

use crate::error::BenchError;

/// Loopback addresses that are dialled from in turn. A server allows 1,000 sessions an address, and an
/// address has some 28,000 ports, each of which rests for a minute after its use.
const SOURCES: u32 = 64;

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The server: ws://… for WebSocket, grpc://… for gRPC.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080")]
    pub url: String,
    /// How frames are written over WebSocket.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub encoding: Format,
}

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text, as browsers do.
    Json,
    /// Binary.
    Proto,
}

/// Makes connections to one server.
#[derive(Debug)]
pub struct Dialer {
    target: Target,
    token: Option<String>,
    loopback: bool,
    dialled: AtomicU32,
}

impl Dialer {
    /// For this server.
    #[must_use]
    pub fn new(target: Target) -> Dialer {
        let loopback = ["127.0.0.1", "localhost"].iter().any(|host| {
            let rest = target.url.split_once("://").and_then(|(_, rest)| rest.strip_prefix(host));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
        });
        Dialer { target, token: None, loopback, dialled: AtomicU32::new(0) }
    }

    /// Every client shows this token, if it is one.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Dialer {
        self.token = token;
        self
    }

    /// A client of this name, which has not dialled yet.
    pub fn connection(&self, name: &str) -> Connection {
        let mut options = Options::new(&self.target.url).name(name);
        options = options.encoding(match self.target.encoding {
            Format::Json => Encoding::Json,
            Format::Proto => Encoding::Proto,
        });
        options.client.token.clone_from(&self.token);
        options.client.client = concat!("parlour-bench/", env!("CARGO_PKG_VERSION")).to_owned();
        let nth = self.dialled.fetch_add(1, Ordering::Relaxed);
        // Only Linux answers on all of 127.0.0.0/8.
        if self.loopback && cfg!(target_os = "linux") {
            let last = (nth % SOURCES) as u8 + 1;
            options.bind = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 1, last)));
        }
        Connection::new(options)
    }

    /// Whether the server is there and takes sessions.
    ///
    /// # Errors
    /// [`BenchError::Server`], in the words of the first thing that failed.
    pub async fn probe(&self) -> Result<(), BenchError> {
        let mut connection = self.connection("probe");
        loop {
            let event = connection.next().await;
            if let Some(error) = connection.dial_error() {
                return Err(BenchError::Server(error.to_string()));
            }
            match event {
                Some(Event::Connected(_)) => break,
                Some(Event::Ended { code, message }) => {
                    return Err(BenchError::Server(format!("{message} ({code})")));
                }
                Some(Event::Violation(what)) => return Err(BenchError::Server(what)),
                Some(_) => {}
                None => return Err(BenchError::Server("the session is over".to_owned())),
            }
        }
        connection.client().close();
        while connection.next().await.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_loopback_is_dialled_from_several_addresses() {
        let loopback = |url: &str| {
            let target = Target { url: url.to_owned(), encoding: Format::Json };
            Dialer::new(target).loopback
        };
        assert!(loopback("ws://127.0.0.1:8080"));
        assert!(loopback("grpc://localhost/"));
        assert!(!loopback("ws://127.0.0.10:8080"));
        assert!(!loopback("ws://chat.example:8080"));
    }
}
