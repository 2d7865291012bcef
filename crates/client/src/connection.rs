//! A machine with its sockets and a clock: a stream of events, without a task of its own.
//!
//! # Invariants
//! - What the machine wants sent is sent before the next frame is read.
//! - A frame is read only when every event of the one before has been taken.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::Stream;
use model::{Now, Seed};
use session::client::{Action, Client, Event, SocketNo};
use tokio::time::{Instant, Sleep};

use crate::address::Kind;
use crate::dial::{DialError, Dialer, Dialing};
use crate::options::{Options, TransportKind};
use crate::transport::{Received, Transport};

/// One client, driven by whoever polls it. After a wish on [`client`](Connection::client) it has to be
/// polled again: a wish wakes nobody.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    options: Options,
    /// One, and while the session moves a second one.
    links: Vec<(SocketNo, Link)>,
    /// How the session travels, once that is known: where a `move` leads is written without it.
    kind: Kind,
    /// Dials so far: each begins with the URL behind the one before it.
    dials: usize,
    clock: Clock,
    alarm: Alarm,
    dial_error: Option<DialError>,
}

enum Link {
    Dialing(Dialing),
    Up(Transport),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Link::Dialing(_) => "Dialing",
            Link::Up(_) => "Up",
        })
    }
}

impl Connection {
    /// A client that dials when it is first polled.
    #[must_use]
    pub fn new(options: Options) -> Connection {
        let seed = getrandom::u64().unwrap_or_else(|_| Clock::start().now().wall_ms);
        Connection::with_seed(options, seed)
    }

    /// The same with given randomness, for runs that are to be repeated. Ids of messages come from it.
    #[must_use]
    pub fn with_seed(options: Options, seed: u64) -> Connection {
        let clock = Clock::start();
        let client = Client::new(clock.now(), options.client.clone(), Seed::new(seed));
        let kind = match options.transport {
            TransportKind::WebSocket => Kind::Ws,
            TransportKind::Grpc => Kind::Grpc,
        };
        Connection {
            client,
            options,
            links: Vec::new(),
            kind,
            dials: 0,
            clock,
            alarm: Alarm::default(),
            dial_error: None,
        }
    }

    /// The machine: wishes go here.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The moment, as this connection's clock has it.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Why the last dial failed, if it did.
    #[must_use]
    pub fn dial_error(&self) -> Option<&DialError> {
        self.dial_error.as_ref()
    }

    /// The next event; `None` once the session is over. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Like [`next`](Connection::next).
    pub fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            self.act(cx);
            self.transmit(cx);
            if let Some(event) = self.client.poll_event() {
                return Poll::Ready(Some(event));
            }
            if self.client.is_over() {
                return Poll::Ready(None);
            }
            if self.advance(cx).is_pending() && self.poll_alarm(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn act(&mut self, cx: &mut Context<'_>) {
        while let Some(action) = self.client.poll_action() {
            match action {
                Action::Dial { socket, url, is_moved } => {
                    let dialing = self.dial(url, is_moved);
                    self.links.push((socket, Link::Dialing(dialing)));
                }
                Action::Close { socket } => {
                    if let Some(at) = self.links.iter().position(|link| link.0 == socket)
                        && let (_, Link::Up(mut transport)) = self.links.swap_remove(at)
                    {
                        transport.say_goodbye(cx);
                    }
                }
            }
        }
    }

    fn dial(&mut self, url: String, is_moved: bool) -> Dialing {
        let Options { encoding, bind, .. } = self.options;
        let dialer = Dialer { encoding, bind, kind: self.kind };
        if is_moved {
            return dialer.moved(url);
        }
        let mut urls = vec![url];
        urls.extend(self.options.alternatives.iter().cloned());
        let first = self.dials % urls.len();
        urls.rotate_left(first);
        self.dials += 1;
        dialer.first_of(urls)
    }

    /// Hands over what the transports take. That one broke is told by the read that follows.
    fn transmit(&mut self, cx: &mut Context<'_>) {
        for (socket, link) in &mut self.links {
            let Link::Up(transport) = link else { continue };
            let mut sent = false;
            while let Poll::Ready(Ok(())) = transport.poll_ready(cx) {
                let Some(frame) = self.client.poll_transmit(*socket) else {
                    break;
                };
                sent = true;
                if transport.start_send(&frame).is_err() {
                    break;
                }
            }
            if sent {
                let _ = transport.poll_flush(cx);
            }
        }
    }

    /// One step of a link: a dial that came to its end, or one frame.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for at in 0..self.links.len() {
            if self.advance_link(cx, at).is_ready() {
                // The other one is first the next time.
                self.links.reverse();
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn advance_link(&mut self, cx: &mut Context<'_>, at: usize) -> Poll<()> {
        let now = self.clock.now();
        let (socket, link) = &mut self.links[at];
        let socket = *socket;
        match link {
            Link::Dialing(dialing) => match std::task::ready!(dialing.as_mut().poll(cx)) {
                Ok(dialed) => {
                    *link = Link::Up(dialed.transport);
                    self.kind = dialed.kind;
                    self.dial_error = None;
                    self.client.handle_connected(now, socket);
                }
                Err(error) => {
                    tracing::debug!(%error, "dial failed");
                    self.links.swap_remove(at);
                    self.client.handle_dial_failed(now, socket, error.retry_after_ms());
                    self.dial_error = Some(error);
                }
            },
            Link::Up(transport) => match transport.poll_receive(cx) {
                Poll::Ready(Received::Frame(frame)) => self.client.handle_frame(now, socket, frame),
                Poll::Ready(Received::Unreadable(why)) => {
                    self.client.handle_unreadable(now, socket, &why);
                }
                Poll::Ready(Received::Closed(code)) => {
                    self.links.swap_remove(at);
                    self.client.handle_closed(now, socket, code);
                }
                Poll::Pending => {
                    let _ = transport.poll_flush(cx);
                    return Poll::Pending;
                }
            },
        }
        Poll::Ready(())
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.client.poll_timeout() else {
            return Poll::Pending;
        };
        let fired = self.alarm.poll_until(cx, self.clock.instant(due));
        fired.map(|()| self.client.handle_timeout(self.clock.now()))
    }
}

impl Stream for Connection {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

/// Monotonic time since the connection was made, and the wall clock.
#[derive(Clone, Copy, Debug)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_us: self.start.elapsed().as_micros() as u64, wall_ms: wall.as_millis() as u64 }
    }

    fn instant(&self, moment: Now) -> Instant {
        self.start + Duration::from_micros(moment.mono_us)
    }
}

/// A timer that is moved only to an earlier time: what is due moves away with every frame, and a
/// timer that fires too early costs less than one that is moved each time.
#[derive(Debug, Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn poll_until(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        loop {
            std::task::ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
