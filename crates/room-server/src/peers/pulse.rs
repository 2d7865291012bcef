//! Signs of life of one other room server: a stream of beats, dialled again whenever it ends.
//!
//! A dead process is known by the reset of its stream and by the refused connection that follows,
//! within milliseconds. A process that is stopped, or cut off, resets nothing: only its silence tells,
//! and neither the transport's shutdown nor its keepalive is asked for it. After a silence the node is
//! dialled anew, since a connection over a cut may stay dead when the cut is mended.

use std::error::Error;
use std::io;
use std::time::Duration;

use cluster::{Node, Sign};
use futures_util::stream::{self, Stream};
use model::NodeId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at};
use tonic::{Status, Streaming};
use wire::link::Beat;
use wire::link::peer_client::PeerClient;

use super::Dial;

/// Milliseconds between two beats.
pub(crate) const BEAT_MS: u64 = 250;
/// Milliseconds without a beat after which a node is silent: two beats were missed.
pub(crate) const SILENCE_MS: u64 = 600;
/// Milliseconds that a connection, and the first answer on it, may take.
pub(crate) const CONNECT_MS: u64 = 300;
/// Milliseconds before the second attempt to dial; the first follows at once, since it is the one that
/// tells a dead process from a broken connection.
const REDIAL_MS_MIN: u64 = 10;
/// Milliseconds without a beat after which an observer's stream ends here.
const OBSERVER_SILENCE_MS: u64 = 15_000;

const _: () = assert!(SILENCE_MS > 2 * BEAT_MS && SILENCE_MS < 3 * BEAT_MS);
const _: () = assert!(CONNECT_MS < SILENCE_MS);

/// Watches `node` until nobody takes its signs any more: that it is heard is said when it is news, that it
/// is not with every attempt.
pub(crate) async fn watch(me: NodeId, node: Node, dial: Dial, signs: mpsc::Sender<(NodeId, Sign)>) {
    let mut heard_at = Instant::now();
    let mut redial_ms = 0;
    loop {
        let mut client = PeerClient::new(dial(&node));
        let call = client.pulse(beats(me.clone()));
        let mut sign = None;
        match timeout(Duration::from_millis(CONNECT_MS), call).await {
            Ok(Ok(answer)) => {
                let opened_at = Instant::now();
                if signs.send((node.id.clone(), Sign::Heard)).await.is_err() {
                    return;
                }
                heard_at = listen(answer.into_inner()).await;
                if opened_at.elapsed() >= Duration::from_millis(BEAT_MS) {
                    redial_ms = 0;
                }
            }
            Ok(Err(status)) => sign = is_refused(&status).then_some(Sign::Refused),
            Err(_) => {}
        }
        let silent = heard_at.elapsed() >= Duration::from_millis(SILENCE_MS);
        if let Some(sign) = sign.or(silent.then_some(Sign::Silent))
            && signs.send((node.id.clone(), sign)).await.is_err()
        {
            return;
        }
        sleep(Duration::from_millis(redial_ms)).await;
        redial_ms = (2 * redial_ms).clamp(REDIAL_MS_MIN, BEAT_MS);
    }
}

/// Listens until the stream ends or falls silent; when it was last heard.
async fn listen(mut stream: Streaming<Beat>) -> Instant {
    let mut heard_at = Instant::now();
    let silence = Duration::from_millis(SILENCE_MS);
    while let Ok(Ok(Some(_))) = timeout_at(heard_at + silence, stream.message()).await {
        heard_at = Instant::now();
    }
    heard_at
}

/// Beats, for as long as somebody takes them.
fn beats(me: NodeId) -> impl Stream<Item = Beat> + Send + 'static {
    stream::unfold(ticks(), move |mut ticks| {
        let beat = Beat { node: me.as_str().to_owned() };
        async move {
            ticks.tick().await;
            Some((beat, ticks))
        }
    })
}

/// The answer to an observer: beats, until it ends its own or falls silent.
pub(crate) fn answer(
    me: NodeId,
    observer: Streaming<Beat>,
) -> impl Stream<Item = Result<Beat, Status>> + Send + 'static {
    let silence = Duration::from_millis(OBSERVER_SILENCE_MS);
    let state = (observer, ticks(), Instant::now());
    stream::unfold(state, move |(mut observer, mut ticks, mut heard_at)| {
        let beat = Beat { node: me.as_str().to_owned() };
        async move {
            loop {
                tokio::select! {
                    _ = ticks.tick() => return Some((Ok(beat), (observer, ticks, heard_at))),
                    heard = timeout_at(heard_at + silence, observer.message()) => match heard {
                        Ok(Ok(Some(_))) => heard_at = Instant::now(),
                        Ok(Ok(None) | Err(_)) | Err(_) => return None,
                    },
                }
            }
        }
    })
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_millis(BEAT_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Whether somebody said that nobody listens there.
fn is_refused(status: &Status) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::ConnectionRefused;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::net::TcpListener;
    use tonic::transport::Endpoint;

    use super::*;

    /// Long enough for a machine that is busy; a silence takes longer.
    const SOON: Duration = Duration::from_millis(400);

    fn observe(address: SocketAddr) -> mpsc::Receiver<(NodeId, Sign)> {
        let node = Node::in_process(NodeId::new("n2").expect("valid"));
        let dial: Dial = Arc::new(move |_: &Node| {
            Endpoint::from_shared(format!("http://{address}")).expect("valid").connect_lazy()
        });
        let (signs, observed) = mpsc::channel(16);
        tokio::spawn(watch(NodeId::new("n1").expect("valid"), node, dial, signs));
        observed
    }

    async fn next(observed: &mut mpsc::Receiver<(NodeId, Sign)>, wait: Duration) -> Option<Sign> {
        timeout(wait, observed.recv()).await.ok().flatten().map(|(_, sign)| sign)
    }

    #[tokio::test]
    async fn a_process_that_is_gone_is_known_by_its_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let accepting = tokio::spawn(async move { listener.accept().await });
        let mut observed = observe(address);
        let stream = accepting.await.expect("runs").expect("dialled").0;
        // As when a process dies: what it held is reset, and its port is closed.
        drop(stream);
        assert_eq!(next(&mut observed, SOON).await, Some(Sign::Refused));
    }

    #[tokio::test]
    async fn a_process_that_accepts_and_says_nothing_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let mut observed = observe(listener.local_addr().expect("bound"));
        let started = Instant::now();
        assert_eq!(next(&mut observed, 5 * SOON).await, Some(Sign::Silent));
        assert!(started.elapsed() >= Duration::from_millis(SILENCE_MS));
        // And again, as long as it lasts.
        assert_eq!(next(&mut observed, 5 * SOON).await, Some(Sign::Silent));
    }
}
