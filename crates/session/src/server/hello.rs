//! How a session begins, and how its token is renewed.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{
    ClientFrame, ClientSays, End, EndCode, Generation, Hello, Now, Refusal, RefusalCode, Rights,
    Roles, RoomName, Says, SessionId, Subscribe, Unsubscribed, UnsubscribedCode, User, Welcome,
};

use super::{Action, Phase, Session};
use crate::log::Logs;

/// Frames kept while the identity is being verified; reading stops at the half of it. A client need
/// not wait for `welcome`, but verification takes microseconds.
const KEPT_MAX: usize = 64;
/// What a client is told to wait when a renewal is under way already.
const RENEW_RETRY_MS: u64 = 1_000;

/// Who a client is, as the edge verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The person; presence data comes with each subscribe.
    pub user: User,
    /// The session: of the resume token, or a new one.
    pub session: SessionId,
    /// Which connection of the session this is.
    pub generation: Generation,
    /// What the token grants. Shared, as most tokens of a deployment grant the same.
    pub roles: Arc<Roles>,
    /// When the token expires, in milliseconds since the epoch; `None` without one.
    pub expires_at_ms: Option<u64>,
    /// For the client's next hello.
    pub resume_token: String,
    /// Whether the token is a service's.
    pub service: bool,
}

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityFault {
    /// The token or the name is not accepted. A hello ends with it, a renewal is refused with it.
    Refused(Refusal),
    /// The session cannot be: too many of them, or a newer connection has taken over.
    Ended(End),
}

/// What of an [`Identity`] a session keeps.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) user: User,
    pub(super) session: SessionId,
    pub(super) generation: Generation,
    pub(super) roles: Arc<Roles>,
    pub(super) service: bool,
    /// When the token expires, on the clock that never goes back.
    pub(super) expires_ms: Option<u64>,
    /// The `authenticate` that is under way.
    pub(super) renewal: Option<u32>,
}

/// A hello whose identity is being verified.
#[derive(Debug)]
pub(super) struct Greeting {
    r#ref: u32,
    subscribe: Vec<Subscribe>,
    faulty: Vec<(String, String)>,
    kept: VecDeque<ClientFrame>,
}

impl Greeting {
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= KEPT_MAX / 2
    }
}

impl Session {
    /// The first frame.
    pub(super) fn greet(&mut self, now: Now, frame: ClientFrame, logs: &mut Logs) {
        let ClientFrame { r#ref, says } = frame;
        let hello = match says {
            ClientSays::Hello(hello) => hello,
            ClientSays::Faulty(refusal) => {
                let end = End::because(EndCode::HelloExpected, refusal.message);
                return self.end(now, end, logs);
            }
            _ => return self.end(now, End::new(EndCode::HelloExpected), logs),
        };
        let Hello { token, name, resume_token, subscribe, faulty, .. } = *hello;
        self.phase = Phase::Greeting;
        let kept = VecDeque::new();
        self.greeting = Some(Box::new(Greeting { r#ref, subscribe, faulty, kept }));
        self.act(Action::Authenticate { token, name, resume_token });
    }

    /// A frame that came before the identity.
    pub(super) fn keep(&mut self, now: Now, frame: ClientFrame, logs: &mut Logs) {
        let Some(greeting) = &mut self.greeting else {
            return;
        };
        if greeting.kept.len() < KEPT_MAX {
            greeting.kept.push_back(frame);
        } else {
            self.end(now, End::new(EndCode::Flooding), logs);
        }
    }

    /// The answer to [`Action::Authenticate`].
    pub fn handle_identity(
        &mut self,
        now: Now,
        identity: Result<Identity, IdentityFault>,
        logs: &mut Logs,
    ) {
        match (self.phase, identity) {
            (Phase::Greeting, Ok(identity)) => self.open(now, identity, logs),
            (Phase::Greeting, Err(IdentityFault::Refused(refusal))) => {
                self.end(now, end_of(refusal), logs);
            }
            (Phase::Open, Ok(identity)) => self.renewed(now, identity, logs),
            (Phase::Open, Err(IdentityFault::Refused(refusal))) => {
                if let Some(r#ref) = self.person.as_mut().and_then(|p| p.renewal.take()) {
                    self.refuse(now, r#ref, refusal, logs);
                }
            }
            (Phase::Greeting | Phase::Open, Err(IdentityFault::Ended(end))) => {
                self.end(now, end, logs);
            }
            (Phase::Fresh | Phase::Ending | Phase::Closed, _) => {}
        }
    }

    fn open(&mut self, now: Now, identity: Identity, logs: &mut Logs) {
        let Some(greeting) = self.greeting.take() else {
            return;
        };
        let Greeting { r#ref, subscribe, faulty, kept } = *greeting;
        let welcome = Welcome {
            session: identity.session.clone(),
            user: identity.user.clone(),
            resume_token: identity.resume_token,
            heartbeat_ms: logs.limits().heartbeat_ms,
            token_expires_at_ms: identity.expires_at_ms,
            limits: logs.limits().clone(),
            features: Vec::new(),
        };
        self.person = Some(Box::new(Person {
            user: identity.user,
            session: identity.session,
            generation: identity.generation,
            roles: identity.roles,
            service: identity.service,
            expires_ms: expires_ms(now, identity.expires_at_ms),
            renewal: None,
        }));
        self.phase = Phase::Open;
        self.start_timers(now, logs.limits());
        self.say(now, r#ref, Says::Welcome(Box::new(welcome)), logs);
        for (room, message) in faulty {
            let mut why = Unsubscribed::new(UnsubscribedCode::Invalid);
            why.message = message.into();
            self.say(now, 0, Says::Unsubscribed { room, why }, logs);
        }
        for wish in subscribe {
            if self.phase == Phase::Open {
                self.subscribe(now, 0, wish, true, logs);
            }
        }
        for frame in kept {
            if self.phase == Phase::Open {
                self.request(now, frame, logs);
            }
        }
    }

    /// `authenticate`: one at a time, as its answer has no number.
    pub(super) fn renew(&mut self, now: Now, r#ref: u32, token: String, logs: &mut Logs) {
        if !self.admit_request(now, r#ref, logs) {
            return;
        }
        let Some(person) = &mut self.person else {
            return;
        };
        if person.renewal.is_some() {
            let refusal = Refusal::new(RefusalCode::Busy).retry_after(RENEW_RETRY_MS);
            return self.refuse(now, r#ref, refusal, logs);
        }
        person.renewal = Some(r#ref);
        self.act(Action::Authenticate { token: Some(token), name: None, resume_token: None });
    }

    fn renewed(&mut self, now: Now, identity: Identity, logs: &mut Logs) {
        let Some(person) = &mut self.person else {
            return;
        };
        let Some(r#ref) = person.renewal.take() else {
            return;
        };
        if person.user.id != identity.user.id {
            let why = format!("the token is {}'s, the session is another's", identity.user.id);
            let refusal = Refusal::because(RefusalCode::TokenInvalid, why);
            return self.refuse(now, r#ref, refusal, logs);
        }
        person.user = identity.user;
        person.roles = identity.roles;
        person.service = identity.service;
        person.expires_ms = expires_ms(now, identity.expires_at_ms);
        let says = Says::Authenticated { expires_at_ms: identity.expires_at_ms };
        self.say(now, r#ref, says, logs);
        self.apply_rights(now, logs);
    }

    /// What the verified token grants in a room.
    pub(super) fn rights(&self, room: &RoomName) -> Rights {
        self.person.as_ref().map_or(Rights::NONE, |person| person.roles.rights(room))
    }
}

/// A wall-clock moment on the monotonic clock, as of now.
fn expires_ms(now: Now, expires_at_ms: Option<u64>) -> Option<u64> {
    let expires_at_ms = expires_at_ms?;
    Some(now.mono_us / 1_000 + expires_at_ms.saturating_sub(now.wall_ms))
}

/// A refused hello is the session's end.
fn end_of(refusal: Refusal) -> End {
    let code = match refusal.code {
        RefusalCode::TokenExpired => EndCode::TokenExpired,
        RefusalCode::Busy | RefusalCode::Unavailable | RefusalCode::RateLimited => {
            EndCode::Overloaded
        }
        _ => EndCode::TokenInvalid,
    };
    End { code, message: refusal.message, retry_after_ms: refusal.retry_after_ms }
}
