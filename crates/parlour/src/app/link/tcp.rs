//! The internal listener of a cluster's node, and the way to other nodes' listeners.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cluster::Node;
use edge::{LINK_CONNECT_WITHIN, Secret, link_settings};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::handshake;

/// Connections that prove the key at once; more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 256;
/// Connections that were let in and not yet taken up.
const CONNECTIONS_WAITING_MAX: usize = 16;
/// Pause after accept failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections whose dialers have proven the cluster's key, as tonic serves them.
pub(in crate::app) type Incoming = ReceiverStream<io::Result<TcpStream>>;

/// Takes in whoever has the key. Ends with the receiver.
pub(in crate::app) fn listen(listener: TcpListener, key: Secret) -> Incoming {
    let (sender, receiver) = mpsc::channel(CONNECTIONS_WAITING_MAX);
    tokio::spawn(accept(listener, Arc::new(key), sender));
    ReceiverStream::new(receiver)
}

async fn accept(
    listener: TcpListener,
    key: Arc<Secret>,
    connections: mpsc::Sender<io::Result<TcpStream>>,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let (mut socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections of other nodes right now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (key, connections) = (Arc::clone(&key), connections.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match handshake::accept(&mut socket, &key).await.and_then(|()| socket.set_nodelay(true))
            {
                // The receiver is gone only when the process ends.
                Ok(()) => _ = connections.send(Ok(socket)).await,
                // Who gave up before it was looked at; a stranger says something.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    tracing::debug!(%peer, %error, "a connection to the internal listener ended");
                }
                Err(error) => {
                    tracing::warn!(%peer, %error, "a connection to the internal listener was refused");
                }
            }
        });
    }
}

/// Dials nodes' internal listeners.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    key: Arc<Secret>,
}

impl Dialer {
    pub(crate) fn new(key: Secret) -> Dialer {
        Dialer { key: Arc::new(key) }
    }

    /// A channel that connects when it is used; a node that announced no address is not reached.
    pub(crate) fn dial(&self, node: &Node) -> Channel {
        let (key, address) = (Arc::clone(&self.key), node.link.clone());
        let connect = move |_| {
            let (key, address) = (Arc::clone(&key), address.clone());
            async move {
                let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
                let dialled = timeout(LINK_CONNECT_WITHIN, TcpStream::connect(&address)).await;
                let mut socket = dialled.map_err(late)??;
                socket.set_nodelay(true)?;
                handshake::dial(&mut socket, &key).await?;
                Ok::<_, io::Error>(TokioIo::new(socket))
            }
        };
        // The address is the connector's; the name here only fills a header.
        let endpoint = Endpoint::from_static("http://node.parlour.internal");
        link_settings(endpoint).connect_with_connector_lazy(tower::service_fn(connect))
    }
}
