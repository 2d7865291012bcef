//! A wire that can be cut: TCP, forwarded from a port of its own to one target.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::Fault;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// What a wire lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Everything.
    #[default]
    Open,
    /// Nothing in either direction, and nobody is told: as when a cable is pulled.
    Silent,
    /// What the dialer says arrives; what the target answers does not.
    ThereOnly,
    /// The other way round.
    BackOnly,
    /// Everything, later.
    Slow(Duration),
    /// Connections are reset, and new ones too.
    Reset,
}

/// One wire.
#[derive(Debug)]
pub struct Proxy {
    /// Where to dial.
    pub address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// Forwards to `target` from a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(target: SocketAddr) -> Result<Proxy, Fault> {
        let tell = |error: std::io::Error| Fault::new(format!("a proxy cannot listen: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(tell)?;
        let address = listener.local_addr().map_err(tell)?;
        let (way, watching) = watch::channel(Way::Open);
        tokio::spawn(accept(listener, target, watching));
        Ok(Proxy { address, way })
    }

    /// Changes what the wire lets through, for standing connections too.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, mut way: watch::Receiver<Way>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = way.changed() => {
                if changed.is_err() { return; }
                continue;
            }
        };
        let Ok((near, _)) = accepted else { continue };
        tokio::spawn(connection(near, target, way.clone()));
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    if *way.borrow() == Way::Reset {
        return reset(near);
    }
    // A connection that is begun while the wire is silent is taken by nobody until it is not.
    let quiet = |way: &Way| matches!(way, Way::Silent | Way::ThereOnly | Way::BackOnly);
    if way.wait_for(|way| !quiet(way)).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return reset(near) };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let there = |way: &Way| matches!(way, Way::Open | Way::ThereOnly | Way::Slow(_));
    let back = |way: &Way| matches!(way, Way::Open | Way::BackOnly | Way::Slow(_));
    tokio::select! {
        () = forward(near_in, far_out, way.clone(), there) => {}
        () = forward(far_in, near_out, way.clone(), back) => {}
        _ = way.wait_for(|way| *way == Way::Reset) => {}
    }
}

/// Copies until either end is done; while the wire is closed this way, bytes wait as they would in the
/// sender's kernel.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    passes: impl Fn(&Way) -> bool,
) {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let Ok(now) = way.wait_for(|way| passes(way) || *way == Way::Reset).await.map(|way| *way)
        else {
            return;
        };
        if let Way::Slow(by) = now {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&chunk[..count]).await.is_err() {
            return;
        }
    }
}

/// Ends a connection so that the other side is told of an error, not of an end.
fn reset(socket: TcpStream) {
    // Without it the other side sees an end, which is told as well.
    let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
}
