//! How a connection comes about.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use edge::{LINK_CONNECT_WITHIN, link_settings};
use futures_util::Stream;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use super::{Dialled, Net, Pipe, State, Waiting, machine};

/// Where a process takes connections up. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct Listener {
    net: Net,
    machine: String,
}

/// A connection that is on its way. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Dialling {
    net: Net,
    number: u64,
}

impl Net {
    /// Opens the port of a machine.
    pub(crate) fn listen(&self, host: &str) -> Listener {
        let machine = machine(host).to_owned();
        self.lock().listeners.insert(machine.clone(), Waiting::default());
        Listener { net: self.clone(), machine }
    }

    /// Dials a machine's port.
    pub(crate) fn dial(&self, from: &str, to: &str) -> Dialling {
        let now_us = self.time.now_us();
        let mut state = self.lock();
        // There and back.
        let due_us = now_us + state.delay_us() + state.delay_us();
        let number = state.number();
        let (from, to) = (machine(from).to_owned(), machine(to).to_owned());
        state.dials.insert(number, Dialled { from, to, due_us, outcome: None, waker: None });
        Dialling { net: self.clone(), number }
    }
}

/// A channel from one host to another, set as those of the program are.
pub(crate) fn channel(net: &Net, from: &str, to: &str) -> Channel {
    let (net, from, to) = (net.clone(), from.to_owned(), to.to_owned());
    let connect = move |_| {
        let dialling = net.dial(&from, &to);
        async move { within(LINK_CONNECT_WITHIN, dialling).await.map(TokioIo::new) }
    };
    let endpoint = Endpoint::from_static("http://node.sim");
    link_settings(endpoint).connect_with_connector_lazy(tower::service_fn(connect))
}

async fn within(wait: Duration, dialling: Dialling) -> io::Result<Pipe> {
    let dialled = timeout(wait, dialling).await;
    dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl State {
    pub(super) fn answer_dials(&mut self, now_us: u64) {
        let numbers: Vec<u64> = self.dials.keys().copied().collect();
        for number in numbers {
            let dialled = &self.dials[&number];
            if dialled.outcome.is_some() || dialled.due_us > now_us {
                continue;
            }
            let (from, to) = (dialled.from.clone(), dialled.to.clone());
            if self.is_blocked(&from, &to) || self.is_blocked(&to, &from) {
                continue;
            }
            let outcome = match self.listeners.contains_key(&to) {
                true => {
                    let (near, far) = self.connect(&from, &to);
                    let waiting = self.listeners.get_mut(&to).expect("it is there");
                    waiting.connections.push_back(far);
                    waiting.waker.take().into_iter().for_each(std::task::Waker::wake);
                    Ok(near)
                }
                false => Err(()),
            };
            let dialled = self.dials.get_mut(&number).expect("it is there");
            dialled.outcome = Some(outcome);
            dialled.waker.take().into_iter().for_each(std::task::Waker::wake);
        }
    }
}

impl Future for Dialling {
    type Output = io::Result<Pipe>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Pipe>> {
        let mut state = self.net.lock();
        let Some(dialled) = state.dials.get_mut(&self.number) else {
            return Poll::Pending;
        };
        let Some(outcome) = dialled.outcome.take() else {
            dialled.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.dials.remove(&self.number);
        drop(state);
        let refused = || io::ErrorKind::ConnectionRefused.into();
        Poll::Ready(outcome.map(|ends| Pipe::new(self.net.clone(), ends)).map_err(|()| refused()))
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        let now_us = self.net.time.now_us();
        let mut state = self.net.lock();
        if let Some(Dialled { outcome: Some(Ok(ends)), .. }) = state.dials.remove(&self.number) {
            state.leave(ends, now_us);
        }
    }
}

impl Stream for Listener {
    type Item = io::Result<Pipe>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Pipe>>> {
        let mut state = self.net.lock();
        let Some(waiting) = state.listeners.get_mut(&self.machine) else {
            return Poll::Ready(None);
        };
        match waiting.connections.pop_front() {
            Some(ends) => Poll::Ready(Some(Ok(Pipe::new(self.net.clone(), ends)))),
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let now_us = self.net.time.now_us();
        let mut state = self.net.lock();
        let waiting = state.listeners.remove(&self.machine);
        for ends in waiting.into_iter().flat_map(|waiting| waiting.connections) {
            state.leave(ends, now_us);
        }
    }
}
