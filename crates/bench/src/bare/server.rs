//! The bare loop itself: accept, greet, then nothing but sends.

use std::io::{self, BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use clap::Args;
use model::{
    Catchup, Content, Encode, Encoding, LogId, Mark, MessageContent, MessageId, Page, Rights,
    RoomName, Says, ServerFrame, SessionId, Snapshot, SnapshotReason, Subscription, User, UserId,
    Welcome,
};
use rustix::event::epoll;
use wire::codec;
use wire::ws::{self, OpCode};

use crate::load::stamp;
use crate::measure::Metronome;
use crate::target::Format;

/// A client that does not finish its greeting within this is not ours.
const GREETING_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request for an upgrade, and of what follows it.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// In the epoll's data, where sockets have their index.
const METRONOME: u64 = u64::MAX;

/// The process that `bare` measures.
#[derive(Clone, Debug, Args)]
pub struct BareServerOptions {
    /// The bytes that are sent are those of a push in this encoding.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub encoding: Format,
    /// Readers to wait for.
    #[arg(long)]
    pub members: usize,
    /// Messages a second.
    #[arg(long)]
    pub rate: u64,
    /// For how long.
    #[arg(long)]
    pub seconds: u64,
}

/// Prints its port, takes the readers in, waits for a line of `input`, sends, and stays until `input` ends.
///
/// # Errors
/// A socket failed.
pub fn serve(
    options: &BareServerOptions,
    mut input: impl BufRead,
    mut output: impl Write,
) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    writeln!(output, "{}", listener.local_addr()?.port())?;
    output.flush()?;
    let encoding = Encoding::from(options.encoding);
    let sockets = accept(&listener, options.members, encoding)?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    if !line.is_empty() {
        send(&sockets, options, encoding)?;
        input.read_line(&mut line)?;
    }
    Ok(())
}

/// The room whose pushes are imitated.
pub(super) fn room() -> RoomName {
    RoomName::new("bench:fanout:bareloop22:0").expect("letters, digits and colons are a name")
}

fn accept(
    listener: &TcpListener,
    members: usize,
    encoding: Encoding,
) -> io::Result<Vec<TcpStream>> {
    let greeting = greeting(encoding);
    let mut sockets = Vec::with_capacity(members);
    while sockets.len() < members {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(GREETING_WITHIN))?;
        upgrade(&mut socket, encoding)?;
        // Whatever the hello says.
        let _ = socket.read(&mut [0; REQUEST_BYTES_MAX])?;
        socket.write_all(&greeting)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn upgrade(socket: &mut TcpStream, encoding: Encoding) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut part = [0; REQUEST_BYTES_MAX];
        let count = socket.read(&mut part)?;
        request.extend_from_slice(&part[..count]);
        if count == 0 || request.len() > REQUEST_BYTES_MAX {
            return Err(io::Error::other("this is no request for an upgrade"));
        }
    }
    let request = String::from_utf8_lossy(&request);
    let mut headers = request.lines().filter_map(|line| line.split_once(": "));
    let key = headers.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
    let accept_key = ws::accept_key(key.map_or("", |(_, key)| key));
    let subprotocol = ws::subprotocol(encoding);
    write!(
        socket,
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept_key}\r\nsec-websocket-protocol: {subprotocol}\r\n\r\n"
    )
}

fn user() -> User {
    let id = UserId::new("speaker-0").expect("printable");
    User { id, name: "speaker-0".to_owned(), data: Default::default() }
}

fn log() -> LogId {
    LogId::new("k3v9q2ab").expect("letters and digits")
}

/// `welcome` and `subscribed`, as WebSocket messages.
fn greeting(encoding: Encoding) -> Vec<u8> {
    let welcome = Welcome {
        session: SessionId::new("bare").expect("letters"),
        user: user(),
        resume_token: String::new(),
        heartbeat_ms: 0,
        token_expires_at_ms: None,
        limits: model::Limits::default(),
        features: Vec::new(),
    };
    let subscription = Subscription {
        log: log(),
        first: 0,
        head: 0,
        ordinal: 0,
        mark: Mark::default(),
        unread: 0,
        rights: Rights::OPEN,
        catchup: Catchup::Snapshot(Snapshot { reason: SnapshotReason::New, page: Page::default() }),
    };
    let subscribed =
        Says::Subscribed { room: room(), subscription: Box::new(subscription), presence: None };
    let mut out = Vec::new();
    for says in [Says::Welcome(Box::new(welcome)), subscribed] {
        let mut frame = Vec::new();
        codec::encode_server(encoding, &ServerFrame { r#ref: 0, says }, &mut frame);
        ws::frame_into(OpCode::Data(ws::data_kind(encoding)), &frame, &mut out);
    }
    out
}

/// The push of entry `seq`, as a WebSocket message: the bytes that a server would send.
fn push(encoding: Encoding, seq: u64, id: &MessageId, intended_us: u64) -> Vec<u8> {
    let content: Content = codec::content(&MessageContent::post(stamp::body(intended_us)))
        .expect("a post can be published");
    let at_ms = intended_us / 1_000 + 1_760_000_000_000;
    let log = (seq == 1).then(log);
    let payload =
        codec::Codec.message(&room(), log.as_ref(), seq, seq, id, at_ms, &user(), &content);
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    codec::message_frame(encoding, &payload, &mut frame);
    ws::frame_into(OpCode::Data(ws::data_kind(encoding)), &frame, &mut out);
    out
}

/// One epoll over the timer and all sockets; what a client says is read and dropped.
fn send(sockets: &[TcpStream], options: &BareServerOptions, encoding: Encoding) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
    for (index, socket) in sockets.iter().enumerate() {
        epoll::add(&poll, socket, epoll::EventData::new_u64(index as u64), edge)?;
    }
    let mut metronome = Metronome::start(options.rate)?;
    let data = epoll::EventData::new_u64(METRONOME);
    epoll::add(&poll, &metronome, data, epoll::EventFlags::IN)?;

    let id = MessageId::new("abcdefghijkmnpqrstuvwxyz23").expect("26 letters and digits");
    let (mut seq, last) = (0, options.rate * options.seconds);
    let mut events = Vec::with_capacity(256);
    while seq < last {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                METRONOME => {
                    for intended_us in metronome.ticked()?.take((last - seq) as usize) {
                        seq += 1;
                        let frame = push(encoding, seq, &id, intended_us);
                        sockets.iter().try_for_each(|socket| send_to(socket, &frame))?;
                    }
                }
                index => drain(&sockets[index as usize])?,
            }
        }
    }
    Ok(())
}

/// One `send`, unless the socket is full: then the loop waits, as there is no queue.
fn send_to(mut socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut wanted =
                    [rustix::event::PollFd::new(&socket, rustix::event::PollFlags::OUT)];
                rustix::event::poll(&mut wanted, None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn drain(mut socket: &TcpStream) -> io::Result<()> {
    let mut scratch = [0; REQUEST_BYTES_MAX];
    loop {
        match socket.read(&mut scratch) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
