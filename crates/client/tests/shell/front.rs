//! The service's doors.

use std::pin::Pin;

use futures_util::{SinkExt, Stream, StreamExt};
use model::Encoding;
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tonic::{Status, Streaming};
use wire::codec::decode_client;
use wire::v1;
use wire::v1::chat_server::{Chat, ChatServer};

use super::service::{Out, Service, encoded};

/// Opens a WebSocket door and answers its URL.
pub(crate) async fn serve_ws(service: Service) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(ws(service.clone(), stream));
        }
    });
    url
}

async fn ws(service: Service, stream: TcpStream) {
    let mut encoding = Encoding::Json;
    #[allow(clippy::result_large_err, reason = "tungstenite's signature")]
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.uri().path(), "/v1/ws");
        let asked = request.headers()["sec-websocket-protocol"].clone();
        if asked == "parlour.v1.proto" {
            encoding = Encoding::Proto;
        }
        response.headers_mut().insert("sec-websocket-protocol", asked);
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await else {
        return;
    };
    let (mut connected, mut outbox) = service.connect();
    loop {
        tokio::select! {
            message = socket.next() => {
                let bytes = match message {
                    Some(Ok(Message::Text(text))) => text.as_bytes().to_vec(),
                    Some(Ok(Message::Binary(bytes))) => bytes.to_vec(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    _ => return,
                };
                connected.handle(decode_client(encoding, &bytes).expect("a client writes frames"));
            }
            Some(out) = outbox.recv() => {
                if let Out::Close(code) = out {
                    let frame = CloseFrame { code: code.into(), reason: "".into() };
                    let _ = socket.close(Some(frame)).await;
                    return;
                }
                let Some(bytes) = encoded(encoding, &out) else { return };
                let message = match encoding {
                    Encoding::Proto => Message::binary(bytes),
                    Encoding::Json => Message::text(String::from_utf8(bytes).expect("UTF-8")),
                };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Opens a gRPC door and answers its URL.
pub(crate) async fn serve_grpc(service: Service) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("grpc://{}", listener.local_addr().expect("bound"));
    let server = tonic::transport::Server::builder().add_service(ChatServer::new(Door(service)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    url
}

struct Door(Service);

type Frames = Pin<Box<dyn Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Chat for Door {
    type ConnectStream = Frames;

    /// Waits for hello before it answers the call: a client must not wait for that.
    async fn connect(
        &self,
        request: tonic::Request<Streaming<v1::ClientFrame>>,
    ) -> Result<tonic::Response<Frames>, Status> {
        let mut inbound = request.into_inner();
        let decode = |frame: v1::ClientFrame| {
            decode_client(Encoding::Proto, &frame.encode_to_vec()).expect("a client writes frames")
        };
        let hello = inbound.message().await?.ok_or_else(|| Status::cancelled("no hello"))?;
        let (mut connected, mut outbox) = self.0.connect();
        connected.handle(decode(hello));
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    frame = inbound.message() => match frame {
                        Ok(Some(frame)) => connected.handle(decode(frame)),
                        _ => return,
                    },
                    Some(out) = outbox.recv() => {
                        let Some(bytes) = encoded(Encoding::Proto, &out) else { return };
                        let frame = v1::ServerFrame::decode(&*bytes).expect("it was just encoded");
                        if sender.send(Ok(frame)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
        Ok(tonic::Response::new(Box::pin(frames)))
    }

    async fn publish(
        &self,
        _: tonic::Request<v1::Publish>,
    ) -> Result<tonic::Response<v1::Published>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    async fn history(
        &self,
        _: tonic::Request<v1::HistoryRequest>,
    ) -> Result<tonic::Response<v1::HistoryPage>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    async fn presence(
        &self,
        _: tonic::Request<v1::PresenceRequest>,
    ) -> Result<tonic::Response<v1::PresenceReply>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    async fn get_room(
        &self,
        _: tonic::Request<v1::GetRoomRequest>,
    ) -> Result<tonic::Response<v1::Room>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    async fn summaries(
        &self,
        _: tonic::Request<v1::SummariesRequest>,
    ) -> Result<tonic::Response<v1::Summaries>, Status> {
        Err(Status::unimplemented("sessions only"))
    }
}
