//! A gate before an etcd: it passes bytes on, or loses the answers, or is shut; and it can be turned to
//! another etcd, as an address is that somebody restores behind.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::PATIENCE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Everything passes, to there.
    To(SocketAddr),
    /// What is asked passes, to there; what is answered is lost.
    Deaf(SocketAddr),
    /// What is asked first is held back, to go there once the gate is turned: as out of a stopped member.
    Late(SocketAddr),
    /// Connections are closed at once.
    Shut,
}

/// How long a connection stays after what was held back on it went out: an etcd that sees it end calls
/// off what is asked there.
const HELD_BACK_WORKS: Duration = Duration::from_millis(500);

/// Ends with this value.
pub(crate) struct Gate {
    at: SocketAddr,
    way: watch::Sender<Way>,
    /// How many connections' held back bytes went out.
    out: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn new(way: Way) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let at = listener.local_addr().expect("bound");
        let (way, seen) = watch::channel(way);
        let (sent, out) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(pass(socket, seen.clone(), sent.clone()));
            }
        });
        Gate { at, way, out, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.at)
    }

    /// Waits until what was held back has been there for a while.
    pub(crate) async fn delivered(&self) {
        let mut out = self.out.clone();
        let wait = out.wait_for(|out| *out > 0);
        let delivered = tokio::time::timeout(PATIENCE, wait).await;
        delivered.expect("something was held back").expect("the gate is there");
    }

    /// Cuts what is connected, unless it only becomes deaf or late; from now on this way.
    pub(crate) fn turn(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut near: TcpStream, mut way: watch::Receiver<Way>, out: watch::Sender<u32>) {
    let begun = *way.borrow_and_update();
    let (Way::To(to) | Way::Deaf(to) | Way::Late(to)) = begun else { return };
    let Ok(mut far) = TcpStream::connect(to).await else { return };
    let (mut near_in, mut near_out) = near.split();
    let (mut far_in, mut far_out) = far.split();
    let mut late = way.clone();
    let asked = async {
        let mut bytes = [0; 4096];
        loop {
            let read = near_in.read(&mut bytes).await.unwrap_or(0);
            let held_back = matches!(*late.borrow_and_update(), Way::Late(_));
            if held_back {
                // The rest, which calls it off, is lost.
                let _ = late.changed().await;
            }
            if read == 0 || far_out.write_all(&bytes[..read]).await.is_err() {
                return;
            }
            if held_back {
                tokio::time::sleep(HELD_BACK_WORKS).await;
                out.send_modify(|out| *out += 1);
                return;
            }
        }
    };
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
    let cut = async {
        let also = [begun, Way::Deaf(to), Way::Late(to)];
        let _ = turned.wait_for(|now| !also.contains(now)).await;
    };
    tokio::select! {
        () = asked => {}
        () = answered => {}
        () = cut => {}
    }
}
