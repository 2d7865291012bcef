//! Who somebody is: tokens, names where names are enough, and the tokens that carry a session on.
//!
//! Verification is a few microseconds of HMAC and runs where the frame was read; no database is in
//! the way when ten thousand clients come back at once.

use std::fmt;
use std::sync::{Arc, OnceLock};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use model::{Generation, Now, Right, Rights, Roles, Seed, SessionId, User, UserId, limits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A key that never shows itself in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes`; at least 32 are wanted, see [`Secret::is_strong`].
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(bytes)
    }

    /// Whether it has the 256 bits that HS256 is made for.
    #[must_use]
    pub fn is_strong(&self) -> bool {
        self.0.len() >= 32
    }

    /// The key itself, for whoever makes or checks a proof of it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How long a resume token is good for: a night's sleep of a laptop, and the day after.
const RESUME_TTL_S: u64 = 24 * 3600;

/// Seconds by which a token may be early: the clock of who signed it may go ahead of this one. As many
/// as a session may outlive its token.
const NOT_BEFORE_LEEWAY_S: f64 = (session::server::TOKEN_GRACE_MS / 1_000) as f64;

/// The latest expiry that is told: numbers on the wire stay below 2^53.
const EXPIRY_MAX_MS: u64 = (1 << 53) - 1;

/// What a token may claim.
#[derive(Debug, Deserialize)]
struct TokenClaims {
    sub: String,
    #[serde(default)]
    name: Option<String>,
    /// Seconds since the epoch, perhaps with a fraction; so is `nbf`.
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    service: bool,
    #[serde(default)]
    rooms: BTreeMap<String, Vec<String>>,
}

/// What a resume token says; signed with the cluster's key.
#[derive(Debug, Serialize, Deserialize)]
struct ResumeClaims {
    cluster: String,
    session: String,
    user: String,
    generation: u64,
    exp: u64,
}

/// What was shown at the door.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// A JWT.
    pub token: Option<&'a str>,
    /// A name, where that is enough.
    pub name: Option<&'a str>,
}

/// A person that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who.
    pub user: User,
    /// What they may do where.
    pub roles: Arc<Roles>,
    /// When the token expires, in milliseconds since the epoch; `None` without one.
    pub expires_at_ms: Option<u64>,
    /// Whether it is a service.
    pub service: bool,
}

/// Why somebody was not let in; the text is for whoever tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// The token cannot be verified.
    Invalid(String),
    /// The token was good once.
    Expired,
    /// A token is required, or the name is not allowed.
    Name(String),
}

/// Verifies tokens and mints resume tokens.
pub struct Door {
    token_key: Option<DecodingKey>,
    names_allowed: bool,
    cluster: String,
    resume_encode: EncodingKey,
    resume_decode: DecodingKey,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("names_allowed", &self.names_allowed).finish_non_exhaustive()
    }
}

impl Door {
    /// `token_key` verifies HS256 tokens; without it a name is enough. `cluster_key` signs resume
    /// tokens and never leaves the cluster.
    #[must_use]
    pub fn new(token_key: Option<&Secret>, cluster: String, cluster_key: &Secret) -> Door {
        Door {
            names_allowed: token_key.is_none(),
            token_key: token_key.map(|key| DecodingKey::from_secret(&key.0)),
            cluster,
            resume_encode: EncodingKey::from_secret(&cluster_key.0),
            resume_decode: DecodingKey::from_secret(&cluster_key.0),
        }
    }

    /// Lets somebody in, or says why not.
    ///
    /// # Errors
    /// [`Unverified`], with a text for whoever tried.
    pub fn verify(&self, shown: Credentials<'_>, now: Now) -> Result<Verified, Unverified> {
        match (&self.token_key, shown.token.filter(|token| !token.is_empty()), shown.name) {
            (Some(key), Some(token), _) => verify_token(key, token, now),
            (Some(_), None, _) => Err(Unverified::Name(
                "this server wants a token: put a JWT into hello.token, or into the gRPC metadata \
                 `authorization: Bearer …`"
                    .into(),
            )),
            (None, Some(_), None) => Err(Unverified::Invalid(
                "this server has no token key, so it cannot verify a token; say who you are in \
                 hello.name or start it with a token key"
                    .into(),
            )),
            (None, _, Some(name)) if !name.is_empty() => named(name),
            (None, ..) => Err(Unverified::Name(
                "say who you are: hello.name, or the gRPC metadata `parlour-name: …`".into(),
            )),
        }
    }

    /// The session that goes on, or a new one.
    #[must_use]
    pub fn session(
        &self,
        user: &UserId,
        resume_token: Option<&str>,
        now: Now,
        seed: &mut Seed,
    ) -> (SessionId, Generation) {
        let random = seed.next_u64() as u32;
        let resumed = resume_token.and_then(|token| self.resumed(user, token, now));
        let (session, counter) = match resumed {
            Some((session, previous)) => (session, previous.saturating_add(1).max(now.wall_ms)),
            None => (minted(), now.wall_ms),
        };
        (session, Generation { counter, random })
    }

    /// A token with which the session goes on elsewhere.
    #[must_use]
    pub fn resume_token(
        &self,
        session: &SessionId,
        user: &UserId,
        generation: Generation,
        now: Now,
    ) -> String {
        let claims = ResumeClaims {
            cluster: self.cluster.clone(),
            session: session.as_str().to_owned(),
            user: user.as_str().to_owned(),
            generation: generation.counter,
            exp: now.wall_ms / 1_000 + RESUME_TTL_S,
        };
        // HMAC over a struct of strings and numbers cannot fail; an empty token only means that a
        // later connection counts as a new session.
        encode(&Header::new(Algorithm::HS256), &claims, &self.resume_encode).unwrap_or_default()
    }

    /// A token that is not ours, not this user's or too old begins a new session: it never replaces
    /// the token that says who somebody is.
    fn resumed(&self, user: &UserId, token: &str, now: Now) -> Option<(SessionId, u64)> {
        if token.len() > limits::TOKEN_BYTES_MAX {
            return None;
        }
        let claims = decode::<ResumeClaims>(token, &self.resume_decode, &validation()).ok()?.claims;
        let ours = claims.cluster == self.cluster
            && claims.user == user.as_str()
            && claims.exp >= now.wall_ms / 1_000;
        let session = SessionId::new(&claims.session).ok()?;
        ours.then_some((session, claims.generation))
    }

    /// Whether a name is enough here.
    #[must_use]
    pub fn names_allowed(&self) -> bool {
        self.names_allowed
    }
}

/// Expiry is judged by the caller's clock, so that tests and simulation own it.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

fn verify_token(key: &DecodingKey, token: &str, now: Now) -> Result<Verified, Unverified> {
    if token.len() > limits::TOKEN_BYTES_MAX {
        return Err(Unverified::Invalid(format!(
            "the token has {} bytes; {} are allowed",
            token.len(),
            limits::TOKEN_BYTES_MAX
        )));
    }
    let claims = decode::<TokenClaims>(token, key, &validation())
        .map_err(|error| Unverified::Invalid(format!("the token cannot be verified: {error}")))?
        .claims;
    // The cast ends at zero below, and a token for ever at what can be told.
    let expires_at_ms = ((claims.exp * 1_000.0) as u64).min(EXPIRY_MAX_MS);
    if expires_at_ms <= now.wall_ms {
        return Err(Unverified::Expired);
    }
    let now_s = now.wall_ms as f64 / 1_000.0;
    if claims.nbf.is_some_and(|nbf| nbf > now_s + NOT_BEFORE_LEEWAY_S) {
        return Err(Unverified::Invalid("the token is not good yet (nbf)".into()));
    }
    let id = UserId::new(&claims.sub)
        .map_err(|error| Unverified::Invalid(format!("the token's sub: {error}")))?;
    let name = claims.name.unwrap_or_else(|| claims.sub.clone());
    if name.chars().any(char::is_control) {
        return Err(Unverified::Invalid("the token's name holds control characters".into()));
    }
    Ok(Verified {
        user: User { id, name: bounded_name(&name), data: bytes::Bytes::new() },
        roles: Arc::new(roles(&claims.rooms)?),
        expires_at_ms: Some(expires_at_ms),
        service: claims.service,
    })
}

fn roles(rooms: &BTreeMap<String, Vec<String>>) -> Result<Roles, Unverified> {
    rooms
        .iter()
        .map(|(pattern, words)| {
            let rights = words.iter().try_fold(Rights::NONE, |rights, word| {
                Right::parse(word).map(|right| rights.with(right)).ok_or_else(|| {
                    Unverified::Invalid(format!(
                        "the token's rooms[{pattern:?}] names the right {word:?}; there are read, \
                         publish, signal, presence and moderate"
                    ))
                })
            })?;
            Ok((pattern.clone(), rights))
        })
        .collect::<Result<Vec<_>, _>>()
        .map(Roles)
}

/// One for everybody who came without a token.
fn open_roles() -> Arc<Roles> {
    static OPEN: OnceLock<Arc<Roles>> = OnceLock::new();
    Arc::clone(OPEN.get_or_init(|| Arc::new(Roles::open())))
}

/// Somebody who only gave a name. The id is the name itself where it can be, else with the other
/// bytes percent-encoded, so that two names never share an id.
fn named(name: &str) -> Result<Verified, Unverified> {
    if name.len() > limits::USER_NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Unverified::Name(format!(
            "a name has 1 to {} bytes without control characters",
            limits::USER_NAME_BYTES_MAX
        )));
    }
    let mut id = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            id.push(byte as char);
        } else {
            id.push_str(&format!("%{byte:02X}"));
        }
    }
    let id = UserId::new(&id).map_err(|_| {
        Unverified::Name("the name is too long once its special characters are encoded".into())
    })?;
    Ok(Verified {
        user: User { id, name: name.to_owned(), data: bytes::Bytes::new() },
        roles: open_roles(),
        expires_at_ms: None,
        service: false,
    })
}

fn bounded_name(name: &str) -> String {
    let mut end = name.len().min(limits::USER_NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// A session's id is part of what makes a resume token worth stealing, so it is drawn from the
/// system's randomness, 100 bits of it.
fn minted() -> SessionId {
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let text: String = bytes.iter().map(|b| ALPHABET[usize::from(b & 31)] as char).collect();
    SessionId::new(&text).expect("letters and digits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Now {
        Now { mono_us: 0, wall_ms: 1_760_000_000_000 }
    }

    fn key() -> Secret {
        Secret::new(b"0123456789abcdef0123456789abcdef".to_vec())
    }

    fn token(claims: &serde_json::Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(&key().0))
            .expect("signs")
    }

    fn door(with_key: bool) -> Door {
        Door::new(with_key.then(key).as_ref(), "test".into(), &key())
    }

    fn shown(token: &str) -> Credentials<'_> {
        Credentials { token: Some(token), name: None }
    }

    #[test]
    fn a_token_grants_what_its_patterns_unite_to() {
        let token = token(&json!({"sub": "ann", "name": "Ann", "exp": 1_760_000_100,
            "rooms": {"*": ["read"], "team:*": ["publish", "moderate"]}}));
        let verified = door(true).verify(shown(&token), now()).expect("verifies");
        assert_eq!(verified.user.id.as_str(), "ann");
        assert_eq!(verified.expires_at_ms, Some(1_760_000_100_000));
        let room = model::RoomName::new("team:x").expect("valid");
        assert!(verified.roles.rights(&room).has(Right::Moderate));
        assert!(!verified.roles.rights(&room).has(Right::Signal));
    }

    #[test]
    fn an_expired_token_is_told_so_and_a_forged_one_is_not_taken() {
        let expired = token(&json!({"sub": "ann", "exp": 1_759_999_999}));
        assert_eq!(door(true).verify(shown(&expired), now()), Err(Unverified::Expired));
        let mut forged = token(&json!({"sub": "ann", "exp": 1_760_000_100}));
        forged.replace_range(forged.len() - 4.., "AAAA");
        assert!(matches!(door(true).verify(shown(&forged), now()), Err(Unverified::Invalid(_))));
        let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjk5OTk5OTk5OTl9.";
        assert!(matches!(door(true).verify(shown(none), now()), Err(Unverified::Invalid(_))));
    }

    /// A name with line breaks or terminal codes in it went out to everybody whom its owner wrote to:
    /// only names without a token were looked at.
    #[test]
    fn a_tokens_name_has_no_control_characters() {
        for name in ["two\nlines", "\u{1b}[31mred", "\u{85}"] {
            let token = token(&json!({"sub": "ann", "name": name, "exp": 1_760_000_100}));
            let verified = door(true).verify(shown(&token), now());
            assert!(matches!(verified, Err(Unverified::Invalid(_))), "{name:?}: {verified:?}");
        }
    }

    /// Seconds with a fraction, which JWT allows and Python's `time.time() + 3600` makes, were refused;
    /// a token for ever was told to expire at 2^64 - 1, which no browser reads.
    #[test]
    fn an_expiry_may_have_a_fraction_and_may_lie_beyond_all_calendars() {
        let until = |exp: serde_json::Value| {
            let verified =
                door(true).verify(shown(&token(&json!({"sub": "ann", "exp": exp}))), now());
            verified.map(|verified| verified.expires_at_ms)
        };
        assert_eq!(until(json!(1_760_000_100.5)), Ok(Some(1_760_000_100_500)));
        for far in [json!(1_u64 << 53), json!(1_u64 << 63), json!(1e18)] {
            assert_eq!(until(far), Ok(Some((1 << 53) - 1)));
        }
        for past in [json!(0), json!(1_759_999_999.9)] {
            assert_eq!(until(past), Err(Unverified::Expired));
        }
    }

    /// A token for tomorrow let in today: `nbf` was not read.
    #[test]
    fn a_token_is_not_good_before_its_time() {
        let at = |nbf: serde_json::Value| {
            let claims = json!({"sub": "ann", "exp": 1_760_000_100, "nbf": nbf});
            door(true).verify(shown(&token(&claims)), now())
        };
        assert!(matches!(at(json!(1_760_000_031)), Err(Unverified::Invalid(_))));
        assert!(at(json!(1_760_000_030)).is_ok(), "clocks differ a little");
        assert!(at(json!(1_759_999_999.5)).is_ok());
    }

    #[test]
    fn a_name_is_enough_only_without_a_key() {
        let named = Credentials { token: None, name: Some("Zoë") };
        let verified = door(false).verify(named, now()).expect("a name is enough");
        assert_eq!((verified.user.id.as_str(), verified.user.name.as_str()), ("Zo%C3%AB", "Zoë"));
        assert!(matches!(door(true).verify(named, now()), Err(Unverified::Name(_))));
        assert!(matches!(
            door(false).verify(Credentials::default(), now()),
            Err(Unverified::Name(_))
        ));
    }

    #[test]
    fn a_resume_token_carries_the_session_on_for_its_own_user_only() {
        let door = door(false);
        let (ann, bob) = (UserId::new("ann").expect("valid"), UserId::new("bob").expect("valid"));
        let mut seed = Seed::new(1);
        let (session, first) = door.session(&ann, None, now(), &mut seed);
        let resume = door.resume_token(&session, &ann, first, now());
        let (again, second) = door.session(&ann, Some(&resume), now(), &mut seed);
        assert_eq!(again, session);
        assert!(second > first);
        assert_ne!(door.session(&bob, Some(&resume), now(), &mut seed).0, session);
        assert_ne!(door.session(&ann, Some("rubbish"), now(), &mut seed).0, session);
    }
}
