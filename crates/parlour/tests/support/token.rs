//! Tokens as an application would sign them.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::Start;

/// The key that application and server share.
pub const KEY: &str = "a key of at least thirty-two bytes, for tests";

/// Seconds since the epoch.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_secs()
}

/// Signs claims.
pub fn sign(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(KEY.as_bytes()))
        .expect("it can be signed")
}

/// A token for `user` that is good for `seconds` and grants `rooms`: patterns to lists of rights.
pub fn token(user: &str, seconds: u64, rooms: Value) -> String {
    sign(&json!({"sub": user, "name": user, "exp": now_s() + seconds, "rooms": rooms}))
}

/// What an ordinary member may do.
pub fn member() -> Value {
    json!({"*": ["read", "publish", "signal", "presence"]})
}

impl Start {
    /// With a token key: names are not enough.
    pub fn with_tokens(self) -> Start {
        self.env("PARLOUR_TOKEN_KEY", KEY)
    }
}
