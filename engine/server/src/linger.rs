//! Staying awake for a moment after an answer.
//!
//! A client that asks one thing after the other sends its next request some tens of
//! microseconds after an answer. A thread that goes to sleep in between takes as long to wake
//! up, more on virtual machines, and its client as long to wake it. So a thread of the
//! runtime that is out of work looks out for the next request first, if the last ones came
//! that soon (decision 64 of docs/adr).
//!
//! Invariants: one thread at a time lingers; none does while a call is open, but for a moment
//! at its start, since others may have work for it that it would not see; and between looks it
//! gives way to any thread that wants its core.

use std::{
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// How long after its headers a request's message is waited for, which most clients send apart:
/// so shortly that it does not matter what else there might be to do.
const MESSAGE_WINDOW: Duration = Duration::from_micros(30);

/// Requests in a row that came within the window of an answer before a thread lingers: that
/// many by chance are rare.
const STREAK: u32 = 4;

/// Who looks out for requests, and when.
#[derive(Debug)]
pub struct Linger {
    /// How long after an answer a thread stays awake.
    window: Duration,
    connections: Connections,
    /// What times are counted from.
    start: Instant,
    /// Calls that are not answered yet.
    open: AtomicUsize,
    /// When the last call arrived, in nanoseconds.
    arrived: AtomicU64,
    /// When the last answer was complete, in nanoseconds.
    answered: AtomicU64,
    /// How many requests in a row came within the window.
    streak: AtomicU32,
    is_taken: AtomicBool,
}

impl Linger {
    /// Looks out for no connection yet. Stays awake for `window` at most.
    ///
    /// # Errors
    /// Fails when the system can't tell about several connections at once.
    pub fn new(window: Duration) -> io::Result<Self> {
        Ok(Self {
            window,
            connections: Connections::new()?,
            start: Instant::now(),
            open: AtomicUsize::new(0),
            arrived: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            streak: AtomicU32::new(0),
            is_taken: AtomicBool::new(false),
        })
    }

    /// Looks out for requests of a connection from now on, until it is closed.
    pub(crate) fn watch(&self, connection: impl AsFd) -> io::Result<()> {
        self.connections.add(connection)
    }

    /// Hears of a call that arrived, and that it was answered or given up when what is
    /// returned is dropped.
    pub(crate) fn open(self: &Arc<Self>) -> OpenCall {
        if self.open.fetch_add(1, Relaxed) == 0 {
            if self.is_after(&self.answered, self.window) {
                self.streak.fetch_add(1, Relaxed);
            } else {
                self.streak.store(0, Relaxed);
            }
        }
        self.arrived.store(self.now(), Relaxed);
        OpenCall(Arc::clone(self))
    }

    /// To be called by a thread of the runtime that is out of work. Returns at once unless it
    /// is likely that a request comes soon, then when one has come or is no longer likely.
    pub fn before_sleep(&self) {
        let is_due = || match self.open.load(Relaxed) {
            0 => self.is_after(&self.answered, self.window),
            _ => self.is_after(&self.arrived, MESSAGE_WINDOW),
        };
        if self.streak.load(Relaxed) < STREAK || !is_due() || self.is_taken.swap(true, Relaxed) {
            return;
        }
        while is_due() && !self.connections.have_more() {
            thread::yield_now();
        }
        self.is_taken.store(false, Relaxed);
    }

    /// Tells whether something has been for less than a while.
    fn is_after(&self, moment: &AtomicU64, a_while: Duration) -> bool {
        Duration::from_nanos(self.now().saturating_sub(moment.load(Relaxed))) < a_while
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A call that is not answered yet.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<Linger>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let Self(linger) = self;
        linger.answered.store(linger.now(), Relaxed);
        linger.open.fetch_sub(1, Relaxed);
    }
}

/// The connections, asked all at once whether one has something to read.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Connections(nix::sys::epoll::Epoll);

#[cfg(target_os = "linux")]
impl Connections {
    fn new() -> io::Result<Self> {
        let flags = nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC;
        Ok(Self(nix::sys::epoll::Epoll::new(flags)?))
    }

    /// Closing the connection takes it out again.
    fn add(&self, connection: impl AsFd) -> io::Result<()> {
        use nix::sys::epoll::{EpollEvent, EpollFlags};
        Ok(self.0.add(connection, EpollEvent::new(EpollFlags::EPOLLIN, 0))?)
    }

    /// Tells whether one has something to read, or it can't be told.
    fn have_more(&self) -> bool {
        use nix::sys::epoll::{EpollEvent, EpollTimeout};
        self.0.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO) != Ok(0)
    }
}

/// Nothing is known of connections here, so nobody stays awake for them.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct Connections;

#[cfg(not(target_os = "linux"))]
impl Connections {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    fn add(&self, _: impl AsFd) -> io::Result<()> {
        Ok(())
    }

    fn have_more(&self) -> bool {
        true
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::{io::Write, os::unix::net::UnixStream};

    const FOREVER: Duration = Duration::from_secs(3_600);

    /// Has had so many calls, each right after the other.
    fn after_calls(window: Duration, count: u32) -> Arc<Linger> {
        let linger = Arc::new(Linger::new(window).unwrap());
        for _ in 0..count {
            linger.open();
        }
        linger
    }

    #[test]
    fn it_ends_with_the_next_request() {
        let linger = after_calls(FOREVER, STREAK + 1);
        let (server, mut client) = UnixStream::pair().unwrap();
        linger.watch(&server).unwrap();
        thread::scope(|scope| {
            let awake = scope.spawn(|| linger.before_sleep());
            thread::sleep(Duration::from_millis(20));
            assert!(!awake.is_finished());
            // Another thread may sleep meanwhile.
            linger.before_sleep();
            client.write_all(b"x").unwrap();
        });
    }

    #[test]
    fn it_ends_with_the_window_and_with_a_call() {
        let window = Duration::from_millis(20);
        let linger = after_calls(window, STREAK + 1);
        linger.before_sleep();
        assert!(!linger.is_after(&linger.answered, window));
        linger.open();
        assert_eq!(linger.streak.load(Relaxed), 0, "that one came late");

        let linger = after_calls(FOREVER, STREAK + 1);
        thread::scope(|scope| {
            let awake = scope.spawn(|| linger.before_sleep());
            thread::sleep(Duration::from_millis(20));
            let _call = linger.open();
            assert!(awake.join().is_ok());
        });
    }

    #[test]
    fn nobody_lingers_without_a_streak_or_while_a_call_is_open() {
        after_calls(FOREVER, STREAK - 1).before_sleep();
        let linger = after_calls(FOREVER, STREAK + 1);
        let _call = linger.open();
        linger.before_sleep();
        after_calls(Duration::ZERO, STREAK + 1).before_sleep();
    }
}
