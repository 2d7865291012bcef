//! Opening a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::time::Duration;

use model::Encoding;
use tokio::net::{TcpSocket, TcpStream};

use crate::address::{Address, AddressError, Kind};
use crate::transport::Transport;
use crate::{gateway, grpc, ws};

pub(crate) type Dialing = Pin<Box<dyn Future<Output = Result<Dialed, DialError>> + Send>>;

/// An open connection, and of which kind it is.
pub(crate) struct Dialed {
    pub(crate) transport: Transport,
    pub(crate) kind: Kind,
}

/// How to dial, whatever the address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialer {
    pub(crate) encoding: Encoding,
    pub(crate) bind: Option<IpAddr>,
    /// What a gateway is asked for.
    pub(crate) kind: Kind,
}

/// Time for one of several places: a silent one must not use up the time of the others.
const PLACE_WITHIN: Duration = Duration::from_secs(3);

/// Why a connection could not be opened.
#[derive(Clone, Debug)]
pub enum DialError {
    /// The URL leads nowhere.
    Address(AddressError),
    /// Nobody answers there, or not as a Parlour server would.
    Unreachable(String),
    /// The gateway has no place to offer right now.
    NotNow {
        /// For the person who waits.
        message: String,
        /// When to ask again.
        retry_after_ms: u64,
    },
}

impl DialError {
    /// The server's word about when to try again.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            DialError::NotNow { retry_after_ms, .. } => Some(*retry_after_ms),
            DialError::Address(_) | DialError::Unreachable(_) => None,
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Address(error) => error.fmt(f),
            DialError::Unreachable(why) => f.write_str(why),
            DialError::NotNow { message, retry_after_ms } => {
                write!(f, "{message} (again in {retry_after_ms} ms)")
            }
        }
    }
}

impl std::error::Error for DialError {}

impl Dialer {
    /// Opens a connection to the first of `urls` that leads to one.
    pub(crate) fn first_of(self, urls: Vec<String>) -> Dialing {
        Box::pin(async move {
            let mut why: Option<DialError> = None;
            for url in &urls {
                let dialed = match Address::parse(url) {
                    Ok(address) => self.address(&address).await,
                    Err(error) => Err(DialError::Address(error)),
                };
                match dialed {
                    Ok(dialed) => return Ok(dialed),
                    // A gateway's word about when counts more than another one's silence.
                    Err(error) => {
                        let before = why.take().filter(|why| why.retry_after_ms().is_some());
                        why = before.or(Some(error));
                    }
                }
            }
            let nowhere = || DialError::Unreachable("there is no URL to dial".to_owned());
            Err(why.unwrap_or_else(nowhere))
        })
    }

    /// Opens a connection where a server said that the session may go on.
    pub(crate) fn moved(self, url: String) -> Dialing {
        Box::pin(async move {
            let address = Address::at(&url, self.kind).map_err(DialError::Address)?;
            self.place(&address).await
        })
    }

    async fn address(self, address: &Address) -> Result<Dialed, DialError> {
        if address.transport != Kind::Gateway {
            return self.place(address).await;
        }
        let mut why = None;
        for place in gateway::ask(address, self.kind, self.bind).await? {
            match tokio::time::timeout(PLACE_WITHIN, self.place(&place)).await {
                Ok(Ok(dialed)) => return Ok(dialed),
                Ok(Err(error)) => why = Some(error),
                Err(_) => {
                    let silent = format!("{} is silent", place.authority);
                    why = Some(DialError::Unreachable(silent));
                }
            }
        }
        Err(why.unwrap_or_else(|| DialError::Unreachable("the gateway named no place".to_owned())))
    }

    async fn place(self, address: &Address) -> Result<Dialed, DialError> {
        let unreachable = |why: String| {
            DialError::Unreachable(format!("{} cannot be reached: {why}", address.authority))
        };
        let transport = match address.transport {
            Kind::Gateway => return Err(unreachable("it is a gateway".to_owned())),
            Kind::Ws => {
                let stream = tcp(&address.authority, self.bind).await;
                let stream = stream.map_err(|error| unreachable(error.to_string()))?;
                let socket = ws::Socket::handshake(&address.uri, stream, self.encoding).await;
                Transport::Ws(Box::new(socket.map_err(|error| unreachable(error.to_string()))?))
            }
            Kind::Grpc => {
                let call = grpc::Call::open(&address.uri, self.bind).await.map_err(unreachable)?;
                Transport::Grpc(Box::new(call))
            }
        };
        Ok(Dialed { transport, kind: address.transport })
    }
}

/// Tries each address of the name; frames are small and somebody waits for each, so no Nagle.
pub(crate) async fn tcp(authority: &str, bind: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let mut last = None;
    for address in tokio::net::lookup_host(authority).await? {
        match tcp_to(address, bind).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the name has no address")))
}

async fn tcp_to(address: SocketAddr, bind: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(local) = bind {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
