//! The body of an answer on its way out: watched for its status, ended when the
//! server stops.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use crate::{linger::OpenCall, rpc::access_log::AccessLog};

/// The body of an answer.
pub(crate) struct AnswerBody {
    inner: Body,
    log: AccessLog,
    /// Ends a stream that would otherwise go on as long as its client likes.
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    is_ended: bool,
    /// The call's place among those that run, given up with the body.
    _place: (Option<OwnedSemaphorePermit>, Option<OpenCall>),
}

impl AnswerBody {
    pub(crate) fn new(
        inner: Body,
        log: AccessLog,
        ending: Option<CancellationToken>,
        place: (Option<OwnedSemaphorePermit>, Option<OpenCall>),
    ) -> Self {
        let ending = ending.map(|token| Box::pin(token.cancelled_owned()));
        Self { inner, log, ending, is_ended: false, _place: place }
    }

    /// Shows the headers of the answer to the log.
    pub(crate) fn see(&mut self, headers: &HeaderMap) {
        self.log.see(headers);
    }

    fn end(&mut self) -> Option<Result<Frame<Bytes>, Status>> {
        self.is_ended = true;
        let mut trailers = HeaderMap::new();
        let status = Status::unavailable("server is shutting down");
        if let Err(error) = status.add_header(&mut trailers) {
            return Some(Err(error));
        }
        self.log.see(&trailers);
        Some(Ok(Frame::trailers(trailers)))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        // The stream itself goes first: a health watcher gets the last change, then the end.
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            if let Some(Ok(frame)) = &frame
                && let Some(trailers) = frame.trailers_ref()
            {
                self.log.see(trailers);
            }
            return Poll::Ready(frame);
        }
        match &mut self.ending {
            Some(ending) => {
                ready!(ending.as_mut().poll(context));
                Poll::Ready(self.end())
            }
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
