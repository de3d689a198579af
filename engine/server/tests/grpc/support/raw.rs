//! gRPC without a gRPC client: any bytes in any frame, and deadlines that only the
//! server enforces.

use std::{net::SocketAddr, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tonic::Status;

const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that sends what it is told.
#[derive(Clone)]
pub(crate) struct RawConnection {
    requests: SendRequest<Bytes>,
}

/// What came back for one request.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: Status,
    pub(crate) headers: HeaderMap,
    /// Everything between headers and trailers.
    pub(crate) body: Bytes,
}

impl RawConnection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { requests }
    }

    /// Posts a body to a method and waits for the answer's end.
    ///
    /// # Errors
    /// Fails as the connection or the stream does.
    pub(crate) async fn call(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<RawAnswer, h2::Error> {
        let exchange = self.exchange(path, headers, body);
        tokio::time::timeout(PATIENCE, exchange).await.expect("server answers in time")
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<RawAnswer, h2::Error> {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut sender) = requests.send_request(request.body(()).unwrap(), false)?;
        // Who answers without the body takes none; its answer counts then.
        let sent = sender.send_data(body, true);
        let (head, mut stream) = match response.await {
            Ok(response) => response.into_parts(),
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        let mut body = BytesMut::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            body.put(chunk);
        }
        let trailers = stream.trailers().await?.unwrap_or_default();
        let status = Status::from_header_map(&trailers)
            .or_else(|| Status::from_header_map(&head.headers))
            .expect("every answer has a status");
        Ok(RawAnswer { status, headers: head.headers, body: body.freeze() })
    }
}

/// Puts a message into gRPC's frame.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}
