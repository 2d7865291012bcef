//! What an application decides before it connects.

use std::net::IpAddr;

use model::Encoding;
use session::client;

/// How a session's frames travel, where a gateway leaves the choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransportKind {
    /// As browsers do.
    #[default]
    WebSocket,
    /// As backends do.
    Grpc,
}

/// Where the service is, who comes, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the machine is told: url, token, name, bounds.
    ///
    /// The URL's scheme chooses the transport: `ws` for WebSocket (without a path: `/v1/ws`), `grpc`
    /// for gRPC. `http` is a gateway: any edge, which is asked at each dial where there is room.
    pub client: client::Options,
    /// Further URLs, of the same kinds: where one leads nowhere the next is tried.
    pub alternatives: Vec<String>,
    /// What a gateway is asked for.
    pub transport: TransportKind,
    /// How frames are written over WebSocket; gRPC is always protobuf.
    pub encoding: Encoding,
    /// The local address to dial from: one address has some 28,000 ports.
    pub bind: Option<IpAddr>,
    /// Events that wait for the application; beyond, the socket is not read. A screenful or two.
    pub events_max: usize,
}

impl Options {
    /// For a service at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            client: client::Options::new(url),
            alternatives: Vec::new(),
            transport: TransportKind::default(),
            encoding: Encoding::Proto,
            bind: None,
            events_max: 64,
        }
    }

    /// With another URL, to be tried when the ones before it lead nowhere.
    #[must_use]
    pub fn or(mut self, url: impl Into<String>) -> Options {
        self.alternatives.push(url.into());
        self
    }

    /// Asking a gateway for this.
    #[must_use]
    pub fn over(mut self, transport: TransportKind) -> Options {
        self.transport = transport;
        self
    }

    /// With a name, where no token is needed.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Options {
        self.client = self.client.name(name);
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Options {
        self.client = self.client.token(token);
        self
    }

    /// With a promise to answer `Event::NeedToken`.
    #[must_use]
    pub fn renews_token(mut self) -> Options {
        self.client.renews_token = true;
        self
    }

    /// With this encoding over WebSocket.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Options {
        self.encoding = encoding;
        self
    }
}
