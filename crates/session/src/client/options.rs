//! What a client is told before it starts, and its bounds.

use bytes::Bytes;
use model::Position;

/// Who somebody is, where the service is, and how much may wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the shell dials; handed back in `Dial`, never looked at.
    pub url: String,
    /// The JWT.
    pub token: Option<String>,
    /// The name of somebody who needs no token.
    pub name: Option<String>,
    /// What the client calls itself, for logs; at most 64 bytes.
    pub client: String,
    /// Whether `NeedToken` will be answered: then an expired token is waited for, not final.
    pub renews_token: bool,
    /// Bounds.
    pub limits: ClientLimits,
}

impl Options {
    /// For a service at `url` that asks for no token.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            token: None,
            name: None,
            client: concat!("parlour-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            renews_token: false,
            limits: ClientLimits::default(),
        }
    }

    /// With a name where no token is needed.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Options {
        self.name = Some(name.into());
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Options {
        self.token = Some(token.into());
        self
    }
}

/// The client's own bounds; each default says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Publishes without an answer, all rooms together: what a person writes in an hour offline.
    pub unacknowledged_max: usize,
    /// Publishes out at one time: below the burst that a server allows (50 by default), so that a
    /// resend of everything is not refused as a flood.
    pub publishes_out_max: usize,
    /// Rooms read, and rooms remembered.
    pub rooms_max: usize,
    /// Other requests without an answer, and controls that wait to be sent.
    pub requests_max: usize,
    /// How often a request other than a publish is tried before its refusal is final.
    pub request_tries_max: u32,
    /// Milliseconds within which a dial must succeed.
    pub dial_within_ms: u64,
    /// Milliseconds within which the hello must be answered: twice a server's own patience.
    pub welcome_within_ms: u64,
    /// Milliseconds that a connection must have stood for its loss to count as the first of a row.
    pub stable_after_ms: u64,
    /// Milliseconds before a token's expiry at which a fresh one is asked for.
    pub renew_before_ms: u64,
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            unacknowledged_max: 1_000,
            publishes_out_max: 32,
            rooms_max: 500,
            requests_max: 256,
            request_tries_max: 8,
            dial_within_ms: 10_000,
            welcome_within_ms: 20_000,
            stable_after_ms: 5_000,
            renew_before_ms: 30_000,
        }
    }
}

/// How a room is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What the application holds already, from an earlier run.
    pub after: Option<Position>,
    /// Posts wanted in a snapshot; 0 for the server's default.
    pub recent: u32,
    /// Only the summary, without joining.
    pub summary: bool,
    /// This user's presence data, `Struct` bytes; empty for none.
    pub presence_data: Bytes,
}

impl Reading {
    /// With this many posts in a snapshot.
    #[must_use]
    pub fn recent(posts: u32) -> Reading {
        Reading { recent: posts, ..Reading::default() }
    }

    /// From a position that is held already.
    #[must_use]
    pub fn after(position: Position) -> Reading {
        Reading { after: Some(position), ..Reading::default() }
    }
}
