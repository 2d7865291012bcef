//! The link inside one process: the same gRPC, over pipes instead of sockets.

use std::convert::Infallible;

use hyper_util::rt::TokioIo;
use room_server::LinkService;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint, Server};

/// Bytes in flight each way.
const PIPE_BYTES: usize = 256 * 1024;
/// Connections on their way to the server.
const CONNECTIONS_WAITING_MAX: usize = 16;

/// Serves `service` on pipes, and gives the channel that reaches it.
pub(in crate::app) fn in_process(service: LinkService) -> Channel {
    let (sender, receiver) = mpsc::channel::<DuplexStream>(CONNECTIONS_WAITING_MAX);
    let incoming = ReceiverStream::new(receiver).map(Ok::<_, Infallible>);
    tokio::spawn(async move {
        if let Err(error) = Server::builder()
            .initial_stream_window_size(edge::LINK_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(edge::LINK_CONNECTION_WINDOW_BYTES)
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
        {
            tracing::error!(%error, "the link service failed");
        }
    });
    let endpoint = edge::link_settings(Endpoint::from_static("http://owner.in-process"));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let sender = sender.clone();
        async move {
            let (near, far) = duplex(PIPE_BYTES);
            sender
                .send(far)
                .await
                .map_err(|_| std::io::Error::other("the link service is gone"))?;
            Ok::<_, std::io::Error>(TokioIo::new(near))
        }
    }))
}
