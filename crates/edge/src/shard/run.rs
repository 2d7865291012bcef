//! The thread of a shard: one runtime, one task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use model::Seed;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::ToShard;
use super::core::Core;
use crate::edge::Shared;

/// Messages taken from the inbox before sockets have their turn.
const INBOX_SLICE: usize = 256;
/// Rings answered before the inbox has its turn.
const READY_SLICE: usize = 256;
/// Members of rooms that are written to before sockets have their turn.
const NEWS_SLICE: usize = 256;
/// How often the runtime looks at its sockets: after so many polls of the one task, each of which is
/// bounded by the slices above.
const EVENT_INTERVAL: u32 = 2;

/// What a shard is made with.
pub(crate) struct ShardContext {
    pub(crate) number: u32,
    pub(crate) shared: Arc<Shared>,
    pub(crate) seed: Seed,
}

/// Starts the shard's thread.
pub(crate) fn start(
    context: ShardContext,
    inbox: mpsc::Receiver<ToShard>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    std::thread::Builder::new().name(format!("shard-{}", context.number)).spawn(move || {
        runtime.block_on(run(context, inbox));
    })
}

/// What the thread does: a simulation, which has one thread for everybody, does it as a task. Ends with
/// the inbox.
pub(crate) async fn run(context: ShardContext, inbox: mpsc::Receiver<ToShard>) {
    let shard = Shard {
        core: Core::new(context),
        inbox,
        timer: Box::pin(tokio::time::sleep_until(Instant::now())),
    };
    // Tokio's budget would make a slab of sockets see false `Pending`s.
    tokio::task::unconstrained(shard).await;
}

/// The one task.
struct Shard {
    core: Core,
    inbox: mpsc::Receiver<ToShard>,
    timer: Pin<Box<Sleep>>,
}

impl Future for Shard {
    type Output = ();

    /// A slice of everything there is, in an order that lets the room's walk wait for nobody; then
    /// back to the runtime, which looks at the sockets.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.core.begin(cx.waker());
        let mut has_more = false;
        for taken in 0..=INBOX_SLICE {
            if taken == INBOX_SLICE {
                has_more = true;
                break;
            }
            match this.inbox.poll_recv(cx) {
                Poll::Ready(Some(message)) => this.core.take(message),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        has_more |= this.core.answer_rings(READY_SLICE);
        has_more |= this.core.walk(NEWS_SLICE);
        has_more |= this.core.timers();
        this.core.settle();
        if has_more {
            cx.waker().wake_by_ref();
        } else if let Some(at) = this.core.wake_at() {
            this.timer.as_mut().reset(at);
            if this.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}
