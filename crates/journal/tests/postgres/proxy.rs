//! A wire between engine and server that can be cut, held and silenced at every step of the protocol.

use std::collections::HashSet;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// What is to happen to the next statement that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The connection is cut before message number `n` of the statement (0: all of it is lost).
    CutBefore(usize),
    /// The server gets all of it; the connection is cut instead of its answer.
    LoseAnswer,
    /// Everything but the end of the transaction is sent; then nothing, until [`Proxy::release`].
    HoldEnd,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Default)]
struct Orders {
    next: Option<Order>,
    /// Statements that are held now.
    held: usize,
    release: bool,
    /// Nothing passes, in either direction.
    silent: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    /// In front of the server at this port.
    pub(crate) fn to(server: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let proxy = Proxy { port, state: Arc::default() };
        let accepting = proxy.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                accepting.clone().join(client, server);
            }
        });
        proxy
    }

    pub(crate) fn order(&self, order: Order) {
        self.state.lock().next = Some(order);
    }

    /// Waits until a statement is held.
    pub(crate) fn await_held(&self) {
        self.wait(|orders| orders.held > 0);
    }

    /// Lets what is held go on.
    pub(crate) fn release(&self) {
        self.state.lock().release = true;
        self.state.changed.notify_all();
    }

    pub(crate) fn set_silent(&self, silent: bool) {
        self.state.lock().silent = silent;
        self.state.changed.notify_all();
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for stream in self.state.lock().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn wait(&self, done: impl Fn(&Orders) -> bool) {
        let orders = self.state.lock();
        let waited =
            self.state
                .changed
                .wait_timeout_while(orders, super::server::PATIENCE, |orders| !done(orders));
        assert!(!waited.expect("no panic").1.timed_out(), "the proxy was never asked");
    }

    fn join(self, client: TcpStream, server: TcpStream) {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let copy = |stream: &TcpStream| stream.try_clone().expect("a second handle");
        self.state.lock().open.extend([copy(&client), copy(&server)]);
        let wire = Arc::new(Wire {
            state: Arc::clone(&self.state),
            ends: [copy(&client), copy(&server)],
            loses_answer: Mutex::new(false),
        });
        let back = Arc::clone(&wire);
        let (mut from, mut to) = (BufReader::new(copy(&client)), copy(&server));
        thread::spawn(move || {
            let _ = wire.forward(&mut from, &mut to);
            wire.cut();
        });
        let (mut from, mut to) = (BufReader::new(server), client);
        thread::spawn(move || {
            let _ = back.backward(&mut from, &mut to);
            back.cut();
        });
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().expect("no panic")
    }

    fn pass(&self) {
        let orders = self.lock();
        drop(self.changed.wait_while(orders, |orders| orders.silent).expect("no panic"));
    }
}

/// One connection.
struct Wire {
    state: Arc<State>,
    ends: [TcpStream; 2],
    loses_answer: Mutex<bool>,
}

impl Wire {
    fn cut(&self) {
        self.ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    }

    /// Client to server, message by message.
    fn forward(&self, from: &mut BufReader<TcpStream>, to: &mut TcpStream) -> io::Result<()> {
        to.write_all(&sized(from, Vec::new())?)?;
        let mut writing = HashSet::new();
        // The order on the statement that is passing, and its messages so far.
        let mut doing: Option<(Order, usize)> = None;
        let mut out = Vec::new();
        loop {
            if from.buffer().is_empty() {
                to.write_all(&std::mem::take(&mut out))?;
            }
            let message = tagged(from)?;
            self.state.pass();
            let (tag, texts) = (message[0], message[5..].split(|byte| *byte == 0));
            let texts: Vec<_> = texts.take(2).map(String::from_utf8_lossy).collect();
            if tag == b'P' && writes(&texts[1]) {
                writing.insert(texts[0].to_string());
            }
            if tag == b'B' && writing.contains(&*texts[1]) {
                let order = self.state.lock().next.take();
                self.state.changed.notify_all();
                doing = order.map(|order| (order, 0));
            }
            if let Some((order, sent)) = &mut doing {
                match *order {
                    Order::CutBefore(n) if n == *sent => return to.write_all(&out),
                    Order::LoseAnswer if tag == b'B' => {
                        *self.loses_answer.lock().expect("no panic") = true;
                    }
                    // Sync: the end of the transaction. Flush instead.
                    Order::HoldEnd if tag == b'S' => {
                        out.extend(b"H\0\0\0\x04");
                        to.write_all(&std::mem::take(&mut out))?;
                        self.hold();
                    }
                    _ => {}
                }
                *sent += 1;
                if tag == b'S' {
                    doing = None;
                }
            }
            out.extend(message);
        }
    }

    fn hold(&self) {
        let mut orders = self.state.lock();
        orders.held += 1;
        self.state.changed.notify_all();
        let waited = self.state.changed.wait_while(orders, |orders| !orders.release);
        waited.expect("no panic").held -= 1;
    }

    /// Server to client, message by message.
    fn backward(&self, from: &mut BufReader<TcpStream>, to: &mut TcpStream) -> io::Result<()> {
        let mut out = Vec::new();
        loop {
            if from.buffer().is_empty() {
                to.write_all(&std::mem::take(&mut out))?;
            }
            let message = tagged(from)?;
            self.state.pass();
            if *self.loses_answer.lock().expect("no panic") {
                // Ready for the next query: the transaction is over.
                if message[0] == b'Z' {
                    return to.write_all(&out);
                }
                continue;
            }
            out.extend(message);
        }
    }
}

fn writes(sql: &str) -> bool {
    sql.contains("UPDATE parlour_slot")
}

fn tagged(from: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut tag = [0];
    from.read_exact(&mut tag)?;
    sized(from, tag.to_vec())
}

fn sized(from: &mut BufReader<TcpStream>, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    message.extend(size);
    let start = message.len();
    message.resize(start + u32::from_be_bytes(size) as usize - 4, 0);
    from.read_exact(&mut message[start..])?;
    Ok(message)
}
