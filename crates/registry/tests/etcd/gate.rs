//! A gate before an etcd: it passes bytes on, or loses the answers, or is shut; and it can be turned to
//! another etcd, as an address is that somebody restores behind.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything passes, to there.
    To(SocketAddr),
    /// What is asked passes, to there; what is answered is lost.
    Deaf(SocketAddr),
    /// Connections are closed at once.
    Shut,
}

/// Ends with this value.
pub(crate) struct Gate {
    at: SocketAddr,
    way: watch::Sender<Way>,
    task: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn new(way: Way) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        let (way, seen) = watch::channel(way);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(pass(socket, seen.clone()));
            }
        });
        Gate { at, way, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Cuts what is connected, unless it only becomes deaf; from now on this way.
    pub(crate) fn turn(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut near: TcpStream, mut way: watch::Receiver<Way>) {
    let begun = *way.borrow_and_update();
    let (Way::To(to) | Way::Deaf(to)) = begun else { return };
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    let (mut near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let asked = copy(&mut near_in, &mut far_out);
    let answered = async {
        let mut bytes = [0; 4096];
        loop {
            let read = far_in.read(&mut bytes).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            let deaf = matches!(*way.borrow(), Way::Deaf(_));
            let written = match deaf {
                true => sink().write_all(&bytes[..read]).await,
                false => near_out.write_all(&bytes[..read]).await,
            };
            if written.is_err() {
                return;
            }
        }
    };
    let mut turned = way.clone();
    let cut = turned.wait_for(|now| *now != begun && *now != Way::Deaf(to));
    tokio::select! {
        _ = asked => {}
        () = answered => {}
        _ = cut => {}
    }
}
