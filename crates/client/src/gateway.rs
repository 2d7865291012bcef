//! Asking a gateway where to go: `GET /v1/connect` on any edge answers with edges that have room.

use std::net::IpAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use crate::address::{Address, Kind};
use crate::dial::{DialError, tcp};

/// Time for an answer: it is made from what the edge holds in memory.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A gateway names four places at most.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What a gateway that is too busy to say when is given.
const COME_BACK_MS: u64 = 1_000;

#[derive(Debug, Deserialize)]
struct Answer {
    urls: Vec<Place>,
}

#[derive(Debug, Deserialize)]
struct Place {
    transport: String,
    url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotNow {
    message: Option<String>,
    retry_after_ms: Option<u64>,
}

/// The places that the gateway names for `kind`, best first.
pub(crate) async fn ask(
    gateway: &Address,
    kind: Kind,
    bind: Option<IpAddr>,
) -> Result<Vec<Address>, DialError> {
    let asked = tokio::time::timeout(ANSWER_WITHIN, get(gateway, kind, bind)).await;
    let unreachable = |why: String| {
        DialError::Unreachable(format!("the gateway {} gave no answer: {why}", gateway.authority))
    };
    let (status, retry_after_s, body) = match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(unreachable(why)),
        Err(_) => return Err(unreachable("it took too long".to_owned())),
    };
    read(status, retry_after_s, &body, kind).map_err(|error| match error {
        DialError::Unreachable(why) => unreachable(why),
        other => other,
    })
}

async fn get(
    gateway: &Address,
    kind: Kind,
    bind: Option<IpAddr>,
) -> Result<(StatusCode, Option<u64>, Bytes), String> {
    let stream = tcp(&gateway.authority, bind).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get(format!("/v1/connect?transport={}", kind.name()))
        .header(header::HOST, &gateway.authority)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let conversation = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let retry_after_s = response.headers().get(header::RETRY_AFTER);
        let retry_after_s = retry_after_s.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok((status, retry_after_s, body))
    };
    tokio::pin!(conversation);
    tokio::select! {
        answer = &mut conversation => answer,
        driven = connection => match driven {
            // It has read all there is; the answer is in its hands.
            Ok(()) => conversation.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

/// What an answer says.
fn read(
    status: StatusCode,
    retry_after_s: Option<u64>,
    body: &[u8],
    kind: Kind,
) -> Result<Vec<Address>, DialError> {
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        let told = serde_json::from_slice(body);
        let told = told.unwrap_or(NotNow { message: None, retry_after_ms: None });
        let from_header = retry_after_s.map(|s| s.saturating_mul(1_000));
        return Err(DialError::NotNow {
            message: told.message.unwrap_or_else(|| "the gateway has no place to offer".to_owned()),
            retry_after_ms: told.retry_after_ms.or(from_header).unwrap_or(COME_BACK_MS),
        });
    }
    if status != StatusCode::OK {
        return Err(DialError::Unreachable(format!("it said {status}")));
    }
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| DialError::Unreachable(error.to_string()))?;
    let fits = |place: &Place| place.transport == kind.name();
    let places: Vec<Address> = answer
        .urls
        .iter()
        .filter(|place| fits(place))
        .filter_map(|place| Address::at(&place.url, kind).ok())
        .collect();
    match places.is_empty() {
        true => Err(DialError::Unreachable(format!("it knows no place for {}", kind.name()))),
        false => Ok(places),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = br#"{"urls":[
        {"transport":"grpc","url":"http://10.0.0.7:9090"},
        {"transport":"carrier_pigeon","url":"coo://10.0.0.7"},
        {"transport":"websocket","url":"ws://10.0.0.8:8080/v1/ws"},
        {"transport":"websocket","url":"not a url"}],"ttlMs":5000}"#;

    #[test]
    fn the_first_place_whose_transport_fits_comes_first_and_what_cannot_be_dialled_is_left_out() {
        let uris = |kind| -> Vec<String> {
            let places = read(StatusCode::OK, None, ANSWER, kind).expect("there are places");
            places.iter().map(|place| place.uri.to_string()).collect()
        };
        assert_eq!(uris(Kind::Ws), ["ws://10.0.0.8:8080/v1/ws"]);
        assert_eq!(uris(Kind::Grpc), ["http://10.0.0.7:9090/"]);
        let none = read(StatusCode::OK, None, br#"{"urls":[]}"#, Kind::Ws);
        assert!(matches!(none, Err(DialError::Unreachable(_))), "{none:?}");
    }

    #[test]
    fn a_gateway_that_has_no_place_says_when_in_its_body_or_its_header() {
        let told = |header, body: &[u8]| match read(
            StatusCode::SERVICE_UNAVAILABLE,
            header,
            body,
            Kind::Ws,
        ) {
            Err(DialError::NotNow { retry_after_ms, .. }) => retry_after_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(Some(2), br#"{"code":4003,"message":"full","retryAfterMs":1234}"#), 1_234);
        assert_eq!(told(Some(2), b"too many requests at once\n"), 2_000);
        assert_eq!(told(None, b""), COME_BACK_MS);
    }
}
