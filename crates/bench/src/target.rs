//! The server that is spoken to, and how it is dialled.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use clap::{Args, ValueEnum};
use parlour_client::{Connection, Encoding, Event, Options, TransportKind};

use crate::error::BenchError;

/// Loopback addresses that are dialled from in turn. A server allows 1,000 sessions an address, and an
/// address has some 28,000 ports, each of which rests for a minute after its use.
const SOURCES: u32 = 64;

/// Where the server is.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// The server: ws://… for WebSocket, grpc://… for gRPC, http://… for a gateway that names one
    /// (with `?transport=grpc` one for gRPC).
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
    alternatives: Vec<String>,
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
        Dialer {
            target,
            alternatives: Vec::new(),
            token: None,
            loopback,
            dialled: AtomicU32::new(0),
        }
    }

    /// Every client shows this token, if it is one.
    #[must_use]
    pub fn with_token(mut self, token: Option<String>) -> Dialer {
        self.token = token;
        self
    }

    /// Those of these URLs that are of the same kind are tried when the server is not there.
    #[must_use]
    pub fn with_alternatives(mut self, urls: &[String]) -> Dialer {
        let kind = kind(&self.target.url);
        let others = urls.iter().filter(|url| **url != self.target.url);
        let mut alternatives: Vec<String> =
            others.filter(|url| self::kind(url) == kind).cloned().collect();
        alternatives.sort_unstable();
        alternatives.dedup();
        self.alternatives = alternatives;
        self
    }

    /// A client of this name, which has not dialled yet.
    pub fn connection(&self, name: &str) -> Connection {
        let mut options = Options::new(address(&self.target.url)).name(name);
        options.alternatives =
            self.alternatives.iter().map(|url| address(url).to_owned()).collect();
        if asks_for_grpc(&self.target.url) {
            options = options.over(TransportKind::Grpc);
        }
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

/// What a gateway is asked for where gRPC is wanted, as it stands in its own URL.
const OVER_GRPC: &str = "?transport=grpc";

fn asks_for_grpc(url: &str) -> bool {
    url.starts_with("http://") && url.ends_with(OVER_GRPC)
}

fn address(url: &str) -> &str {
    url.strip_suffix(OVER_GRPC).unwrap_or(url)
}

/// How a server is spoken to: the scheme, and what a gateway is asked for.
fn kind(url: &str) -> (&str, bool) {
    (url.split_once("://").map_or("", |(scheme, _)| scheme), asks_for_grpc(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_of_the_same_kind() {
        let urls = ["http://a:1", "http://b:1", "http://a:1?transport=grpc", "ws://c:1"];
        let urls = urls.map(str::to_owned);
        let target = |url: &str| Target { url: url.to_owned(), encoding: Format::Json };
        let of = |url: &str| Dialer::new(target(url)).with_alternatives(&urls).alternatives;
        assert_eq!(of("http://a:1"), ["http://b:1"]);
        assert_eq!(of("http://a:1?transport=grpc"), Vec::<String>::new());
    }

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
