//! Keeps what third-party decoders do with hostile files from reaching the caller.
//!
//! A panic becomes an error. A document that takes too long is given up: its thread
//! cannot be ended from outside, so it works on alone, and only a few such threads may
//! exist before further documents are refused.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use crate::{error::MediaError, format::Format};

/// Threads that may work on although they were given up.
const GIVEN_UP_MAX: usize = 4;
/// Room for deeply nested documents.
const STACK_BYTES: usize = 64 << 20;

static GIVEN_UP: AtomicUsize = AtomicUsize::new(0);

/// Runs a decoder and turns its panic into [`MediaError::Damaged`].
pub(crate) fn catch<T>(
    format: Format,
    decode: impl FnOnce() -> Result<T, MediaError>,
) -> Result<T, MediaError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        Err(MediaError::Damaged { format, problem: format!("decoder failed: {}", said(&*panic)) })
    })
}

/// Runs a decoder on a thread of its own, for at most `max`.
pub(crate) fn within<T: Send + 'static>(
    what: &'static str,
    format: Format,
    max: Duration,
    decode: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
) -> Result<T, MediaError> {
    if GIVEN_UP.load(Ordering::Acquire) >= GIVEN_UP_MAX {
        return Err(MediaError::Busy);
    }
    let (sender, receiver) = mpsc::sync_channel(0);
    let run = move || {
        let result = catch(format, decode);
        // Nobody receives once the work was given up; only then was it counted.
        if sender.send(result).is_err() {
            GIVEN_UP.fetch_sub(1, Ordering::AcqRel);
        }
    };
    thread::Builder::new().name("twn-media".to_owned()).stack_size(STACK_BYTES).spawn(run)?;
    match receiver.recv_timeout(max) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            // Counted before the receiver is dropped, hence before the thread may count down.
            GIVEN_UP.fetch_add(1, Ordering::AcqRel);
            drop(receiver);
            Err(MediaError::Time { what, max })
        }
        Err(RecvTimeoutError::Disconnected) => {
            let problem = "decoder ended without a result".to_owned();
            Err(MediaError::Damaged { format, problem })
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let result: Result<(), _> = catch(Format::Gif, || panic!("index out of bounds"));
        let text = result.expect_err("panicked").to_string();
        assert_eq!(text, "GIF file is damaged: decoder failed: index out of bounds");
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_bounded() {
        let (release, wait) = mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let slow = || {
            let wait = wait.clone();
            within("test", Format::Pdf, Duration::from_millis(5), move || {
                let _ = wait.lock().expect("is whole").recv();
                Ok(())
            })
        };
        for _ in 0..GIVEN_UP_MAX {
            assert!(matches!(slow(), Err(MediaError::Time { .. })));
        }
        assert!(matches!(slow(), Err(MediaError::Busy)));
        drop(release);
        while GIVEN_UP.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        assert!(within("test", Format::Pdf, Duration::from_secs(60), || Ok(())).is_ok());
    }
}
