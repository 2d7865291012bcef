//! A machine with a socket and a clock: a stream of events, without a task of its own.
//!
//! # Invariants
//! - What the machine wants sent is sent before the next frame is read.
//! - A frame is read only when every event of the one before has been taken.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::Stream;
use model::{Now, Seed};
use session::client::{Action, Client, Event};
use tokio::time::{Instant, Sleep};

use crate::dial::{DialError, Dialing, dial};
use crate::options::Options;
use crate::transport::{Received, Transport};

/// One client, driven by whoever polls it. After a wish on [`client`](Connection::client) it has to be
/// polled again: a wish wakes nobody.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    options: Options,
    link: Link,
    clock: Clock,
    alarm: Alarm,
    dial_error: Option<DialError>,
}

enum Link {
    Idle,
    Dialing(Dialing),
    Up(Transport),
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Link::Idle => "Idle",
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
        let (link, alarm) = (Link::Idle, Alarm::default());
        Connection { client, options, link, clock, alarm, dial_error: None }
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
                Action::Dial { url } => {
                    self.link = Link::Dialing(dial(url, self.options.encoding, self.options.bind));
                }
                Action::Close => {
                    if let Link::Up(transport) = &mut self.link {
                        transport.say_goodbye(cx);
                    }
                    self.link = Link::Idle;
                }
            }
        }
    }

    /// Hands over what the transport takes. That it broke is told by the read that follows.
    fn transmit(&mut self, cx: &mut Context<'_>) {
        let Link::Up(transport) = &mut self.link else {
            return;
        };
        let mut sent = false;
        while let Poll::Ready(Ok(())) = transport.poll_ready(cx) {
            let Some(frame) = self.client.poll_transmit() else {
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

    /// One step of the link: a dial that came to its end, or one frame.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.link {
            Link::Idle => Poll::Pending,
            Link::Dialing(dialing) => dialing.as_mut().poll(cx).map(|dialed| match dialed {
                Ok(transport) => {
                    self.link = Link::Up(transport);
                    self.dial_error = None;
                    self.client.handle_connected(self.clock.now());
                }
                Err(error) => {
                    tracing::debug!(%error, "dial failed");
                    self.dial_error = Some(error);
                    self.lose(None);
                }
            }),
            Link::Up(transport) => match transport.poll_receive(cx) {
                Poll::Ready(Received::Frame(frame)) => {
                    self.client.handle_frame(self.clock.now(), frame);
                    Poll::Ready(())
                }
                Poll::Ready(Received::Unreadable(why)) => {
                    self.client.handle_unreadable(self.clock.now(), &why);
                    Poll::Ready(())
                }
                Poll::Ready(Received::Closed(code)) => {
                    self.lose(code);
                    Poll::Ready(())
                }
                Poll::Pending => {
                    let _ = transport.poll_flush(cx);
                    Poll::Pending
                }
            },
        }
    }

    fn lose(&mut self, code: Option<u16>) {
        self.link = Link::Idle;
        self.client.handle_closed(self.clock.now(), code);
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
