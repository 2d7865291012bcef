//! The upgrade from HTTP: what a request must say, and what it is answered.

use std::error::Error;
use std::fmt;

use model::Encoding;
use tungstenite::handshake::derive_accept_key;
use tungstenite::http::{HeaderMap, Method, header};

use super::Data;

const JSON: &str = "parlour.v1.json";
const PROTO: &str = "parlour.v1.proto";

/// The one `Sec-WebSocket-Version`; the answer to [`UpgradeError::Version`] names it.
pub const VERSION: &str = "13";

/// A request that may be upgraded; the answer is 101 with these values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// For `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// For `Sec-WebSocket-Protocol`, which must be absent if the client named none: then it reads JSON.
    pub subprotocol: Option<Encoding>,
}

impl Upgrade {
    /// How this client writes and reads.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.subprotocol.unwrap_or(Encoding::Json)
    }
}

/// Why a request cannot be upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeError {
    /// Not a GET.
    Method,
    /// `Connection: upgrade` or `Upgrade: websocket` is missing: not a WebSocket request at all.
    NotAnUpgrade,
    /// Not [`VERSION`].
    Version,
    /// `Sec-WebSocket-Key` is missing, doubled, or not 16 bytes in base64.
    Key,
    /// Subprotocols were offered and we speak none of them.
    Subprotocol,
}

impl UpgradeError {
    /// The status that HTTP has for it.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Method => 405,
            Self::NotAnUpgrade | Self::Version => 426,
            Self::Key | Self::Subprotocol => 400,
        }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("a WebSocket is opened with GET"),
            Self::NotAnUpgrade => f.write_str(
                "this is a WebSocket: send `Connection: upgrade` and `Upgrade: websocket`",
            ),
            Self::Version => write!(f, "Sec-WebSocket-Version must be {VERSION}"),
            Self::Key => f.write_str("Sec-WebSocket-Key must be 16 bytes in base64"),
            Self::Subprotocol => write!(f, "the subprotocols are {JSON} and {PROTO}"),
        }
    }
}

impl Error for UpgradeError {}

/// Checks a request for `/v1/ws`. Its origin is the edge's business.
///
/// # Errors
/// The first thing that is wrong.
pub fn upgrade(method: &Method, headers: &HeaderMap) -> Result<Upgrade, UpgradeError> {
    if method != Method::GET {
        return Err(UpgradeError::Method);
    }
    let says = |name, token: &str| {
        values(headers, name).flat_map(tokens).any(|value| value.eq_ignore_ascii_case(token))
    };
    if !says(header::CONNECTION, "upgrade") || !says(header::UPGRADE, "websocket") {
        return Err(UpgradeError::NotAnUpgrade);
    }
    if !values(headers, header::SEC_WEBSOCKET_VERSION).eq([VERSION]) {
        return Err(UpgradeError::Version);
    }
    let mut keys = values(headers, header::SEC_WEBSOCKET_KEY);
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(UpgradeError::Key);
    };
    if !is_key(key) {
        return Err(UpgradeError::Key);
    }
    let subprotocol = select_subprotocol(values(headers, header::SEC_WEBSOCKET_PROTOCOL))?;
    Ok(Upgrade { accept_key: accept_key(key), subprotocol })
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
#[must_use]
pub fn accept_key(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// The first subprotocol of the values of `Sec-WebSocket-Protocol` that we speak; `None` if the client
/// named none, which means JSON.
///
/// # Errors
/// [`UpgradeError::Subprotocol`] if all that it named are unknown.
pub fn select_subprotocol<'a>(
    offered: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Encoding>, UpgradeError> {
    let mut offered = offered.into_iter().flat_map(tokens).peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    let known = offered.find_map(|name| {
        [Encoding::Json, Encoding::Proto]
            .into_iter()
            .find(|&encoding| subprotocol(encoding) == name)
    });
    known.map(Some).ok_or(UpgradeError::Subprotocol)
}

/// The name of an encoding among WebSocket's subprotocols.
#[must_use]
pub fn subprotocol(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Json => JSON,
        Encoding::Proto => PROTO,
    }
}

/// The kind of message that carries an encoding.
#[must_use]
pub fn data_kind(encoding: Encoding) -> Data {
    match encoding {
        Encoding::Json => Data::Text,
        Encoding::Proto => Data::Binary,
    }
}

/// A header's values; one that is not visible ASCII counts as empty.
fn values(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default().trim())
}

fn tokens(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// 16 bytes in base64 are 22 characters and two of padding.
fn is_key(key: &str) -> bool {
    key.len() == 24
        && key.strip_suffix("==").is_some_and(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request(edit: impl FnOnce(&mut HeaderMap)) -> Result<Upgrade, UpgradeError> {
        let mut headers = HeaderMap::new();
        headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
        headers.insert("upgrade", "WebSocket".parse().unwrap());
        headers.insert("sec-websocket-version", "13".parse().unwrap());
        headers.insert("sec-websocket-key", KEY.parse().unwrap());
        edit(&mut headers);
        upgrade(&Method::GET, &headers)
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted_and_reads_json() {
        let upgrade = request(|_| {}).unwrap();
        assert_eq!(upgrade.accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.subprotocol, None);
        assert_eq!(upgrade.encoding(), Encoding::Json);
    }

    #[test]
    fn the_clients_first_choice_among_known_subprotocols_is_taken() {
        assert_eq!(select_subprotocol([]), Ok(None));
        assert_eq!(select_subprotocol([" , "]), Ok(None));
        assert_eq!(select_subprotocol(["parlour.v1.json"]), Ok(Some(Encoding::Json)));
        assert_eq!(
            select_subprotocol(["chat, parlour.v1.proto", "parlour.v1.json"]),
            Ok(Some(Encoding::Proto))
        );
    }

    #[test]
    fn unknown_subprotocols_alone_are_refused() {
        for unknown in ["parlour.v2.json", "PARLOUR.V1.JSON", "mqtt, chat"] {
            assert_eq!(select_subprotocol([unknown]), Err(UpgradeError::Subprotocol));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let set = |name: &'static str, value: &'static str| {
            request(|headers| {
                headers.insert(name, value.parse().unwrap());
            })
        };
        assert_eq!(set("connection", "close"), Err(UpgradeError::NotAnUpgrade));
        assert_eq!(set("upgrade", "h2c"), Err(UpgradeError::NotAnUpgrade));
        assert_eq!(set("sec-websocket-version", "8"), Err(UpgradeError::Version));
        assert_eq!(set("sec-websocket-key", "c2hvcnQ="), Err(UpgradeError::Key));
        assert_eq!(set("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=!"), Err(UpgradeError::Key));
        assert_eq!(set("sec-websocket-protocol", "mqtt"), Err(UpgradeError::Subprotocol));
        let doubled = request(|headers| {
            headers.append("sec-websocket-key", KEY.parse().unwrap());
        });
        assert_eq!(doubled, Err(UpgradeError::Key));
        assert_eq!(upgrade(&Method::POST, &HeaderMap::new()), Err(UpgradeError::Method));
    }
}
