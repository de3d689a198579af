//! Accepts connections: a bounded number of them, none that says nothing.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use crate::{linger::Linger, local_socket::LocalSocket};

/// Bytes of the preface that opens every HTTP/2 connection.
const PREFACE_BYTES: usize = 24;
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept; the usual cause, too many open files, takes a while to go.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) port: TcpListener,
    /// A socket of this machine, where one is wanted.
    pub(crate) socket: Option<LocalSocket>,
}

/// A connection's bytes: through the network, or within this machine.
type Stream = Either<TcpStream, UnixStream>;

impl Listeners {
    async fn accept(&self, linger: Option<&Linger>) -> io::Result<Stream> {
        let local = async {
            match &self.socket {
                Some(socket) => socket.accept().await,
                None => std::future::pending().await,
            }
        };
        let (stream, watched) = tokio::select! {
            accepted = self.port.accept() => {
                let (stream, _) = accepted?;
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "setting TCP_NODELAY");
                }
                let watched = linger.map(|linger| linger.watch(&stream));
                (Either::Left(stream), watched)
            }
            accepted = local => {
                let stream = accepted?;
                let watched = linger.map(|linger| linger.watch(&stream));
                (Either::Right(stream), watched)
            }
        };
        if let Some(Err(error)) = watched {
            tracing::debug!(%error, "watching a connection");
        }
        Ok(stream)
    }
}

/// Accepts connections until the stream is dropped. At most `connections` are open at
/// once; more wait in the listeners' backlogs.
pub(crate) fn accept(
    listeners: Listeners,
    connections: usize,
    linger: Option<Arc<Linger>>,
) -> ReceiverStream<io::Result<Connection>> {
    let places = Arc::new(Semaphore::new(connections));
    let (accepted, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let stream = tokio::select! {
                () = accepted.closed() => return,
                stream = listeners.accept(linger.as_deref()) => stream,
            };
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if accepted.send(Ok(Connection::new(stream, place))).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(incoming)
}

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// What is missing of the preface, and until when it may be.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: Stream, place: OwnedSemaphorePermit) -> Self {
        let timer = Box::pin(tokio::time::sleep(PREFACE_TIMEOUT));
        Self { stream, preface: Some((PREFACE_BYTES, timer)), _place: place }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        if let Some((missing, timer)) = &mut self.preface {
            *missing = missing.saturating_sub(read);
            if *missing == 0 {
                self.preface = None;
            } else if polled.is_pending() && timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn connections_beyond_the_limit_wait_and_dropping_closes_the_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = accept(Listeners { port: listener, socket: None }, 1, None);

        let _first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        let accepted = incoming.next().await.unwrap().unwrap();
        let wait = Duration::from_millis(100);
        assert!(tokio::time::timeout(wait, incoming.next()).await.is_err(), "one at a time");
        drop(accepted);
        incoming.next().await.unwrap().unwrap();

        drop(incoming);
        tokio::time::sleep(wait).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
