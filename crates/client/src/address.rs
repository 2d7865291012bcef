//! Where a URL leads.

use std::fmt;

use http::Uri;

/// The path of the WebSocket endpoint, where a URL names none.
const WS_PATH: &str = "/v1/ws";

/// A URL that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) transport: Kind,
    /// `host:port`, to be resolved.
    pub(crate) authority: String,
    /// What the transport itself is told: a `ws://` or `http://` URI.
    pub(crate) uri: Uri,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ws,
    Grpc,
    /// Whoever is there says where to go.
    Gateway,
}

impl Kind {
    /// Its name in a gateway's answers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ws => "websocket",
            Kind::Grpc => "grpc",
            Kind::Gateway => "gateway",
        }
    }
}

/// Why a URL leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Address, AddressError> {
        let uri: Uri = url.parse().map_err(|e| AddressError(format!("{url} is not a URL: {e}")))?;
        let (transport, scheme, port) = match uri.scheme_str() {
            Some("ws") => (Kind::Ws, "ws", 80),
            Some("http") => (Kind::Gateway, "http", 80),
            Some("grpc") => (Kind::Grpc, "http", 80),
            Some(scheme @ ("wss" | "https" | "grpcs")) => {
                return Err(AddressError(format!(
                    "{scheme} needs TLS, which this build does not have: use ws, grpc or http behind a proxy"
                )));
            }
            _ => {
                return Err(AddressError(format!(
                    "{url}: use ws://, grpc:// or http:// (a gateway)"
                )));
            }
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| AddressError(format!("{url} names no host")))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        let path = match (transport, uri.path()) {
            (Kind::Grpc | Kind::Gateway, _) => "",
            (Kind::Ws, "" | "/") => WS_PATH,
            (Kind::Ws, path) => path,
        };
        let uri = format!("{scheme}://{authority}{path}").parse();
        let uri = uri.map_err(|e| AddressError(format!("{url} is not a URL: {e}")))?;
        Ok(Address { transport, authority, uri })
    }

    /// Where a server says that a session may be had: it writes a gRPC endpoint as `http://`.
    pub(crate) fn at(url: &str, kind: Kind) -> Result<Address, AddressError> {
        let address = match (kind, url.split_once("://")) {
            (Kind::Grpc, Some(("http", rest))) => Address::parse(&format!("grpc://{rest}"))?,
            _ => Address::parse(url)?,
        };
        match address.transport {
            Kind::Gateway => Err(AddressError(format!("{url} is not a place for a session"))),
            _ => Ok(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (Kind, String, String) {
        let address = Address::parse(url).expect("valid");
        (address.transport, address.authority, address.uri.to_string())
    }

    #[test]
    fn the_scheme_chooses_the_transport_and_the_path_has_a_default() {
        let ws = |uri: &str| (Kind::Ws, "h:8080".to_owned(), uri.to_owned());
        assert_eq!(parsed("ws://h:8080"), ws("ws://h:8080/v1/ws"));
        assert_eq!(parsed("http://h:8080").0, Kind::Gateway);
        assert_eq!(parsed("ws://h:8080/chat"), ws("ws://h:8080/chat"));
        let grpc = (Kind::Grpc, "[::1]:9".to_owned(), "http://[::1]:9/".to_owned());
        assert_eq!(parsed("grpc://[::1]:9"), grpc);
        assert_eq!(parsed("ws://h").1, "h:80");
    }

    #[test]
    fn a_server_names_a_grpc_endpoint_as_its_http_address() {
        let grpc = Address::at("http://h:9090", Kind::Grpc).expect("valid");
        assert_eq!((grpc.transport, &*grpc.authority), (Kind::Grpc, "h:9090"));
        let ws = Address::at("ws://h:8080/v1/ws", Kind::Ws).expect("valid");
        assert_eq!(ws.transport, Kind::Ws);
        assert!(Address::at("http://h:8080", Kind::Ws).is_err(), "no gateway behind a gateway");
    }

    #[test]
    fn what_leads_nowhere_says_why() {
        for (url, why) in [("wss://h", "TLS"), ("ftp://h", "ws://"), ("h:80", "ws://")] {
            let error = Address::parse(url).expect_err(url);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
