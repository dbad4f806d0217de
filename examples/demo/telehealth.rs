//! The third back end: a waiting room behind a WebSocket, which answers each message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::backends::{Reached, identity_headers};

/// Serves from now on, in the background.
pub async fn serve(address: SocketAddr, reached: Arc<Reached>) -> Result<(), String> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("{address} can't be listened on: {error}"))?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            tokio::spawn(wait_with(stream, Arc::clone(&reached)));
        }
    });
    Ok(())
}

async fn wait_with(stream: TcpStream, reached: Arc<Reached>) {
    let mut headers = Map::new();
    #[allow(clippy::result_large_err, reason = "the library's own signature")]
    let look = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        headers = identity_headers(request.headers());
        Ok(response)
    };
    // Whoever does not speak WebSocket is answered by the library.
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, look).await else {
        return;
    };
    reached.telehealth.fetch_add(1, Ordering::Relaxed);
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let patient = headers.get("x-visit-patient").cloned().unwrap_or(Value::Null);
        let reply = json!({ "waiting_room": "the doctor will be with you", "you_said": text.as_str(), "patient": patient, "headers_seen": headers });
        if socket.send(Message::text(reply.to_string())).await.is_err() {
            return;
        }
    }
}
