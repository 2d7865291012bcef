//! A shard for tests: one `Logs`, sessions with sockets that take as much as a test lets them, and a
//! text encoding that can be read back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use model::limits::SEGMENT_ENTRIES;
use model::*;
use session::log::{
    Counted, Frames, Logs, Request, Segment, SegmentFault, SessionKey, WireKind,
    websocket_header_bytes,
};
use session::server::{Action, AskNo, Identity, IdentityFault, Next, Session, Slices};

/// Frames as text: `encoding word room numbers…`, in WebSocket messages.
#[derive(Debug, Default)]
pub(crate) struct Text;

/// One message with an unmasked WebSocket header.
pub(crate) fn websocket(body: &[u8], out: &mut Vec<u8>) {
    out.push(0x82);
    match body.len() {
        n @ 0..126 => out.push(n as u8),
        n @ 126..65_536 => {
            out.push(126);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(127);
            out.extend((n as u64).to_be_bytes());
        }
    }
    out.extend(body);
}

impl Frames for Text {
    fn entry(&self, encoding: Encoding, payload: &Bytes) -> Bytes {
        let mut out = Vec::new();
        let mut body = format!("{encoding:?} message ").into_bytes();
        body.extend(payload);
        websocket(&body, &mut out);
        out.into()
    }

    fn says(&self, wire: WireKind, frame: &ServerFrame, out: &mut Vec<u8>) {
        let body = format!("{:?} {} {}", wire.encoding(), words(&frame.says), frame.r#ref);
        match wire {
            WireKind::Grpc => out.extend(body.as_bytes()),
            _ => websocket(body.as_bytes(), out),
        }
    }
}

fn post(post: &Option<FoldedPost>) -> String {
    post.as_ref()
        .map_or("-".into(), |post| String::from_utf8_lossy(&post.payload).replace(' ', "_"))
}

fn words(says: &Says) -> String {
    let ids = |users: &[User]| {
        let ids: Vec<&str> = users.iter().map(|user| user.id.as_str()).collect();
        format!("[{}]", ids.join(","))
    };
    match says {
        Says::Welcome(welcome) => format!("welcome {}", welcome.user.id),
        Says::Authenticated { expires_at_ms } => format!("authenticated {expires_at_ms:?}"),
        Says::Subscribed { room, subscription: s, presence } => {
            let catchup = match &s.catchup {
                Catchup::Resumed { missed } => format!("resumed {missed}"),
                Catchup::Snapshot(snapshot) => format!("snapshot {}", snapshot.reason.as_str()),
            };
            let presence = presence.as_ref().map_or("-".into(), |(version, roster)| {
                format!("{version}:{}:{}", roster.count, ids(&roster.users))
            });
            format!("subscribed {room} {}/{} {catchup} {presence}", s.log, s.head)
        }
        Says::Unsubscribed { room, why } => format!("unsubscribed {room} {}", why.code.reason()),
        Says::Published { room, seq, duplicate, .. } => {
            format!("published {room} {seq} {duplicate}")
        }
        Says::Marked { room, seq, unread } => format!("marked {room} {seq} {unread}"),
        Says::History { room, page, .. } => format!("history {room} {}", page.as_of),
        Says::Summary { room, summary: s } => {
            format!("summary {room} {} {} {}", s.head, s.ordinal, post(&s.last))
        }
        Says::Summaries { rooms, refused } => {
            format!("summaries {} {}", rooms.len(), refused.len())
        }
        Says::Presence(PresenceFrame { room, version, change }) => match change {
            PresenceChange::Full(roster) => {
                format!("presence {room} {version} full {} {}", roster.count, ids(&roster.users))
            }
            PresenceChange::Delta { count, arrived, departed } => {
                let gone: Vec<&str> = departed.iter().map(|id| id.as_str()).collect();
                format!(
                    "presence {room} {version} delta {count} {} [{}]",
                    ids(arrived),
                    gone.join(",")
                )
            }
        },
        Says::Signal { room, from, kind, .. } => format!("signal {room} {} {kind}", from.id),
        Says::Truncated { room, first } => format!("truncated {room} {first}"),
        Says::Rights { room, rights } => format!("rights {room} {}", rights.bits()),
        Says::Heartbeat => "heartbeat".into(),
        Says::Move(to) => format!("move {}", to.within_ms),
        Says::Refused(refusal) => {
            let retry = refusal.retry_after_ms.map_or("-".into(), |ms| ms.to_string());
            format!("refused {} {retry}", refusal.code.reason())
        }
        Says::End(end) => format!("end {}", end.code.reason()),
        other => format!("{other:?}"),
    }
}

/// One message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// Where it began in the stream.
    pub(crate) at: usize,
    /// Its words, without the encoding.
    pub(crate) words: Vec<String>,
}

impl Read {
    pub(crate) fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Bytes that are taken before the socket is full.
    pub(crate) window: usize,
    pub(crate) written: usize,
    pub(crate) writes: u64,
    buffer: Vec<u8>,
    encoding: &'static str,
}

impl Socket {
    fn new(wire: WireKind) -> Socket {
        let encoding = if wire == WireKind::WebSocketJson { "Json" } else { "Proto" };
        Socket { window: usize::MAX, written: 0, writes: 0, buffer: Vec::new(), encoding }
    }

    /// The next whole message.
    fn read(&mut self) -> Option<Read> {
        let header = websocket_header_bytes(&self.buffer);
        if self.buffer.len() < 2 || self.buffer.len() < header {
            return None;
        }
        let length = match header {
            2 => usize::from(self.buffer[1]),
            4 => usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]])),
            _ => u64::from_be_bytes(self.buffer[2..10].try_into().unwrap()) as usize,
        };
        if self.buffer.len() < header + length {
            return None;
        }
        let at = self.written - self.buffer.len();
        let message: Vec<u8> = self.buffer.drain(..header + length).collect();
        assert_eq!(message[0], 0x82, "a frame begins where another ended");
        let text = String::from_utf8(message[header..].to_vec()).expect("text");
        let mut words = text.split(' ').map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some(self.encoding), "in {text}");
        Some(Read { at, words: words.collect() })
    }
}

pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) socket: Socket,
    pub(crate) closed: Option<EndCode>,
    pub(crate) read: Vec<Read>,
}

/// One shard and its surroundings, on a clock that only the test moves.
pub(crate) struct Shard {
    pub(crate) now: Now,
    pub(crate) logs: Logs,
    pub(crate) frames: Arc<Counted<Text>>,
    pub(crate) peers: BTreeMap<SessionKey, Peer>,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) asks: Asks,
    /// Members that looked.
    pub(crate) looks: u64,
    /// Whether `turn` is left to the test.
    pub(crate) is_manual: bool,
    next_key: u32,
}

pub(crate) fn room(name: &str) -> RoomName {
    RoomName::new(name).unwrap()
}

pub(crate) fn log_id(name: &str) -> LogId {
    LogId::new(name).unwrap()
}

pub(crate) fn user(id: &str) -> User {
    User { id: UserId::new(id).unwrap(), name: id.to_owned(), data: Bytes::new() }
}

pub(crate) fn identity(id: &str, roles: Roles) -> Identity {
    Identity {
        user: user(id),
        session: SessionId::new(&format!("s{id}")).unwrap(),
        generation: Generation { counter: 1, random: 1 },
        roles: Arc::new(roles),
        expires_at_ms: None,
        resume_token: "resume".into(),
        service: false,
    }
}

pub(crate) fn subscribe(name: &str, after: Option<(&str, Seq)>) -> Subscribe {
    Subscribe {
        room: room(name),
        after: after.map(|(log, seq)| Position { log: log_id(log), seq }),
        recent: 0,
        summary: false,
        presence_data: Bytes::new(),
    }
}

pub(crate) fn publish(name: &str, id: &str) -> Publish {
    let digest = Digest::default();
    let (target, key, remove, body) = (0, String::new(), false, Bytes::new());
    let content = Content { kind: ContentKind::Post, target, key, remove, digest, body };
    let id = Some(MessageId::new(id).unwrap());
    Publish { room: room(name), id, since: None, after: None, content }
}

/// The entry `seq` of a room whose entries are all posts.
pub(crate) fn entry(name: &str, log: &str, seq: Seq) -> Entry {
    entry_of(name, log, seq, seq, ContentKind::Post, "text")
}

pub(crate) fn entry_of(
    name: &str,
    log: &str,
    seq: Seq,
    ordinal: u64,
    kind: ContentKind,
    text: &str,
) -> Entry {
    Entry { seq, ordinal, kind, payload: Bytes::from(format!("{name} {log} {seq} {text}")) }
}

pub(crate) fn info(log: &str, first: Seq, head: Seq) -> RoomInfo {
    RoomInfo { log: log_id(log), first, head, ordinal: head }
}

pub(crate) fn watching(watch: u64, info: RoomInfo, presence: Option<Roster>) -> Fed {
    Fed::Watching { watch, fence: watch, info, presence }
}

pub(crate) fn entries(name: &str, log: &str, seqs: std::ops::RangeInclusive<Seq>) -> Fed {
    let entries = seqs.map(|seq| entry(name, log, seq)).collect();
    Fed::Entries { watch: 1, log: log_id(log), entries }
}

pub(crate) fn subscription(log: &str, head: Seq, catchup: Catchup) -> Answer {
    Answer::Subscribed(Subscription {
        log: log_id(log),
        first: head.min(1),
        head,
        ordinal: head,
        mark: Mark::default(),
        unread: head,
        rights: Rights::OPEN,
        catchup,
    })
}

pub(crate) fn resumed(log: &str, head: Seq, missed: u64) -> Answer {
    subscription(log, head, Catchup::Resumed { missed })
}

pub(crate) fn snapshot(log: &str, head: Seq, reason: SnapshotReason) -> Answer {
    let page = Page { as_of: head, ..Page::default() };
    subscription(log, head, Catchup::Snapshot(Snapshot { reason, page }))
}

impl Shard {
    pub(crate) fn new(limits: Limits) -> Shard {
        let frames = Arc::new(Counted::new(Text));
        Shard {
            now: Now { mono_us: 1_000_000_000, wall_ms: 1_700_000_000_000 },
            logs: Logs::new(Arc::new(limits), frames.clone()),
            frames,
            peers: BTreeMap::new(),
            requests: VecDeque::new(),
            asks: VecDeque::new(),
            looks: 0,
            is_manual: false,
            next_key: 0,
        }
    }

    pub(crate) fn connect(&mut self, wire: WireKind) -> SessionKey {
        let key = SessionKey(self.next_key);
        self.next_key += 1;
        let seed = Seed::new(u64::from(self.next_key));
        let session = Session::new(self.now, key, wire, seed, &self.logs);
        let peer = Peer { session, socket: Socket::new(wire), closed: None, read: Vec::new() };
        self.peers.insert(key, peer);
        key
    }

    /// A session that is open, with these rooms in its hello.
    pub(crate) fn open(&mut self, id: &str, rooms: Vec<Subscribe>) -> SessionKey {
        self.open_with(WireKind::WebSocketJson, identity(id, Roles::open()), rooms)
    }

    pub(crate) fn open_with(
        &mut self,
        wire: WireKind,
        identity: Identity,
        rooms: Vec<Subscribe>,
    ) -> SessionKey {
        let key = self.connect(wire);
        self.hello(key, rooms);
        self.identify(key, Ok(identity));
        key
    }

    pub(crate) fn hello(&mut self, key: SessionKey, rooms: Vec<Subscribe>) {
        let hello = Hello { name: Some("x".into()), subscribe: rooms, ..Hello::default() };
        self.say(key, 1, ClientSays::Hello(Box::new(hello)));
    }

    pub(crate) fn identify(&mut self, key: SessionKey, result: Result<Identity, IdentityFault>) {
        let peer = self.peers.get_mut(&key).unwrap();
        peer.session.handle_identity(self.now, result, &mut self.logs);
        self.turn();
    }

    pub(crate) fn say(&mut self, key: SessionKey, r#ref: u32, says: ClientSays) {
        let frame = ClientFrame { r#ref, says };
        let peer = self.peers.get_mut(&key).unwrap();
        peer.session.handle_frame(self.now, Ok(frame), &mut self.logs);
        self.turn();
    }

    pub(crate) fn fed(&mut self, name: &str, fed: Fed) {
        self.logs.handle_fed(self.now, &room(name), fed);
        self.turn();
    }

    pub(crate) fn segment(&mut self, segment: &Segment, result: Result<Vec<Entry>, SegmentFault>) {
        let frames = result.map(|entries| session::log::Frame::share(&entries, &*self.frames));
        self.logs.handle_segment(self.now, segment, frames);
        self.turn();
    }

    pub(crate) fn answer(&mut self, key: SessionKey, no: AskNo, answer: Answer) {
        let peer = self.peers.get_mut(&key).unwrap();
        peer.session.handle_answer(self.now, no, answer, &mut self.logs);
        self.turn();
    }

    /// Answers the oldest ask that is of `key` and that `answer` answers.
    pub(crate) fn reply(
        &mut self,
        key: SessionKey,
        answer: impl Fn(&Ask) -> Option<Answer>,
    ) -> bool {
        let asks = self.asks.iter().enumerate();
        let found = asks
            .filter(|(_, (of, ..))| *of == key)
            .find_map(|(at, (_, no, ask))| Some((at, *no, answer(ask)?)));
        let Some((at, no, answer)) = found else {
            return false;
        };
        self.asks.remove(at);
        self.answer(key, no, answer);
        true
    }

    /// Answers the oldest attach of `key`.
    pub(crate) fn attached(&mut self, key: SessionKey, answer: Answer) {
        let replied = self
            .reply(key, |ask| matches!(ask.body, AskBody::Attach { .. }).then(|| answer.clone()));
        assert!(replied, "an attach is under way");
    }

    /// The segments that are asked for, oldest first.
    pub(crate) fn fetches(&mut self) -> Vec<Segment> {
        let mut fetches = Vec::new();
        self.requests.retain(|request| match request {
            Request::Fetch(segment) => {
                fetches.push(segment.clone());
                false
            }
            _ => true,
        });
        fetches
    }

    /// Serves every fetch from a log whose entries are all posts, until there is none.
    pub(crate) fn serve(&mut self, head: Seq) -> usize {
        let mut served = 0;
        loop {
            let fetches = self.fetches();
            if fetches.is_empty() {
                return served;
            }
            for segment in fetches {
                let last = segment.last().min(head);
                let name = segment.room.as_str().to_owned();
                let log = segment.log.as_str().to_owned();
                let entries = (segment.first()..=last).map(|seq| entry(&name, &log, seq));
                self.segment(&segment, Ok(entries.collect()));
                served += 1;
            }
        }
    }

    pub(crate) fn after_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.logs.handle_timeout(self.now);
        for peer in self.peers.values_mut() {
            peer.session.handle_timeout(self.now, &mut self.logs);
        }
        self.turn();
    }

    pub(crate) fn close(&mut self, key: SessionKey) {
        let mut peer = self.peers.remove(&key).unwrap();
        peer.session.handle_closed(self.now, &mut self.logs);
        while let Some(action) = peer.session.poll_action() {
            if let Action::Ask { no, ask } = action {
                self.asks.push_back((key, no, ask));
            }
        }
        self.turn();
    }

    /// What a shard does until nothing is left to do.
    pub(crate) fn turn(&mut self) {
        if !self.is_manual {
            self.turn_all();
        }
    }

    pub(crate) fn turn_all(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some(request) = self.logs.poll_request() {
                self.requests.push_back(request);
                is_idle = false;
            }
            while let Some(news) = self.logs.poll_news() {
                self.looks += 1;
                is_idle = false;
                if let Some(peer) = self.peers.get_mut(&news.session) {
                    peer.session.handle_news(self.now, &news, &mut self.logs);
                }
            }
            for (key, peer) in &mut self.peers {
                is_idle &= !transmit(self.now, peer, &mut self.logs, usize::MAX);
                is_idle &= !act(*key, peer, &mut self.asks);
            }
            if is_idle {
                return;
            }
        }
    }

    /// What `key` has read since it was asked last, as text.
    pub(crate) fn reads(&mut self, key: SessionKey) -> Vec<String> {
        std::mem::take(&mut self.peers.get_mut(&key).unwrap().read).iter().map(Read::text).collect()
    }
}

type Asks = VecDeque<(SessionKey, AskNo, Box<Ask>)>;

/// Does what a session wants done; answers whether there was anything.
pub(crate) fn act(key: SessionKey, peer: &mut Peer, asks: &mut Asks) -> bool {
    let mut acted = false;
    while let Some(action) = peer.session.poll_action() {
        acted = true;
        match action {
            Action::Ask { no, ask } => asks.push_back((key, no, ask)),
            Action::Authenticate { .. } => {}
            Action::Close { code } => peer.closed = Some(code),
        }
    }
    acted
}

/// Writes what the socket takes, at most `most` bytes a write; answers whether anything was written.
pub(crate) fn transmit(now: Now, peer: &mut Peer, logs: &mut Logs, most: usize) -> bool {
    let mut wrote = false;
    let is_grpc = peer.session.wire() == WireKind::Grpc;
    while peer.socket.window > 0 {
        let mut slices = Slices::new();
        let next = peer.session.poll_transmit(now, logs, &mut slices);
        let Next::Bytes(offered) = next else { break };
        assert_eq!(offered, slices.as_io().iter().map(|slice| slice.len()).sum::<usize>());
        let taken = offered.min(peer.socket.window).min(most);
        let mut left = taken;
        for slice in slices.as_io() {
            let count = left.min(slice.len());
            left -= count;
            if is_grpc {
                websocket(slice, &mut peer.socket.buffer);
            } else {
                peer.socket.buffer.extend(&slice[..count]);
            }
        }
        peer.socket.written += taken;
        peer.socket.writes += 1;
        if peer.socket.window != usize::MAX {
            peer.socket.window -= taken;
        }
        peer.session.handle_written(taken, logs);
        if is_grpc {
            // Offsets are of no use where a transport frames its messages itself.
            peer.socket.written = peer.socket.buffer.len();
        }
        while let Some(read) = peer.socket.read() {
            peer.read.push(read);
        }
        wrote = true;
    }
    wrote
}

/// The numbers of the messages of one room among what was read.
pub(crate) fn seqs(reads: &[String], name: &str) -> Vec<Seq> {
    let messages = reads.iter().filter_map(|text| text.strip_prefix("message "));
    messages
        .filter_map(|text| {
            let mut words = text.split(' ');
            (words.next() == Some(name)).then(|| words.nth(1).unwrap().parse().unwrap())
        })
        .collect()
}

pub(crate) const fn segments_of(first: Seq, last: Seq) -> u64 {
    last / SEGMENT_ENTRIES - first / SEGMENT_ENTRIES + 1
}
