//! Opening a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use model::Encoding;
use tokio::net::{TcpSocket, TcpStream};

use crate::address::{Address, AddressError, Kind};
use crate::transport::Transport;
use crate::{grpc, ws};

pub(crate) type Dialing = Pin<Box<dyn Future<Output = Result<Transport, DialError>> + Send>>;

/// Why a connection could not be opened.
#[derive(Clone, Debug)]
pub enum DialError {
    /// The URL leads nowhere.
    Address(AddressError),
    /// Nobody answers there, or not as a Parlour server would.
    Unreachable(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialError::Address(error) => error.fmt(f),
            DialError::Unreachable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for DialError {}

/// Opens a connection to `url`, from the local address `bind` if there is one.
pub(crate) fn dial(url: String, encoding: Encoding, bind: Option<IpAddr>) -> Dialing {
    Box::pin(async move {
        let address = Address::parse(&url).map_err(DialError::Address)?;
        match address.transport {
            Kind::Ws => {
                let stream = tcp(&address.authority, bind).await.map_err(|e| {
                    DialError::Unreachable(format!("{} cannot be reached: {e}", address.authority))
                })?;
                let socket = ws::Socket::handshake(&address.uri, stream, encoding).await;
                let socket = socket.map_err(|e| DialError::Unreachable(format!("{url}: {e}")))?;
                Ok(Transport::Ws(Box::new(socket)))
            }
            Kind::Grpc => {
                let stream = grpc::Call::open(&address.uri, bind).await;
                let stream = stream.map_err(|e| DialError::Unreachable(format!("{url}: {e}")))?;
                Ok(Transport::Grpc(Box::new(stream)))
            }
        }
    })
}

/// Tries each address of the name; frames are small and somebody waits for each, so no Nagle.
async fn tcp(authority: &str, bind: Option<IpAddr>) -> std::io::Result<TcpStream> {
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
