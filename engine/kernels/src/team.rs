//! A few threads that go through one pass in step.
//!
//! A forward pass is a sequence of a few hundred short phases, many of them a few
//! microseconds long; handing each to a general thread pool would cost more than the
//! phase. So every thread of the team runs the whole pass, takes its share of each phase,
//! and waits at a barrier between phases, spinning. Between passes the threads spin for a
//! moment and then sleep, so that an idle team leaves the cores to others.

use std::{
    any::Any,
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        },
    },
    thread::JoinHandle,
};

/// Turns of a spin before a waiting thread lets others have its core.
const SPINS_BEFORE_YIELD: u32 = 4_000;
/// Turns of a spin before an idle thread sleeps: some tens of microseconds, the pause
/// between two decoding steps.
const SPINS_BEFORE_SLEEP: u32 = 30_000;

type Job = *const (dyn Fn(&Member<'_>) + Sync);

/// Threads that run one pass together. The caller's thread is one of them.
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Held while a pass runs.
    busy: Mutex<()>,
}

struct Shared {
    size: usize,
    /// Raised by one for every pass.
    epoch: AtomicUsize,
    /// The pass under way. Written before `epoch` is raised, while no member runs.
    job: UnsafeCell<Option<Job>>,
    /// Other members that have not finished the pass.
    running: AtomicUsize,
    stop: AtomicBool,
    /// Set when a member panicked: the others give up at their next barrier.
    broken: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    arrived: AtomicUsize,
    phase: AtomicUsize,
    /// What is taken of each member's part, in even and in odd phases.
    claims: [Vec<Claim>; 2],
}

/// How much of a member's part is taken: from the front by itself in the lower half, from the
/// back by others in the upper. In a cache line of its own, since mostly one thread writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Claim(AtomicU64);

// SAFETY: `job` is written only by the thread that holds `busy`, while no member runs, and
// read only between the raise of `epoch` and the fall of `running` to zero.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is `Sync` while it is read; see above.
unsafe impl Send for Shared {}

/// One thread's part in a pass.
pub(crate) struct Member<'a> {
    shared: &'a Shared,
    /// From 0; the caller's thread is 0.
    pub(crate) index: usize,
    phase: std::cell::Cell<usize>,
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({})", self.shared.size)
    }
}

impl Team {
    /// Starts `size - 1` threads, at least none.
    ///
    /// # Errors
    /// Fails when the system gives no thread.
    pub fn new(size: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            size: size.max(1),
            epoch: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            running: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            panic: Mutex::new(None),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            arrived: AtomicUsize::new(0),
            phase: AtomicUsize::new(0),
            claims: std::array::from_fn(|_| (0..size.max(1)).map(|_| Claim::default()).collect()),
        });
        let mut team = Self { shared, threads: Vec::new(), busy: Mutex::new(()) };
        for index in 1..team.size() {
            let shared = Arc::clone(&team.shared);
            let builder = std::thread::Builder::new().name(format!("twn-kernel-{index}"));
            team.threads.push(builder.spawn(move || shared.serve(index))?);
        }
        Ok(team)
    }

    /// Threads there are, the caller's included.
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// Runs `pass` on every thread and returns when all have finished.
    ///
    /// # Panics
    /// Panics when `pass` does, after every thread has left it.
    pub(crate) fn run(&self, pass: &(dyn Fn(&Member<'_>) + Sync)) {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        shared.broken.store(false, Relaxed);
        shared.arrived.store(0, Relaxed);
        shared.claims.iter().flatten().for_each(Claim::clear);
        shared.running.store(shared.size - 1, Relaxed);
        // SAFETY: no member runs, and `busy` is held. The lifetime is stretched, but no
        // member uses the job after `running` has fallen to zero, which is awaited below.
        unsafe {
            *shared.job.get() = Some(std::mem::transmute::<
                *const (dyn Fn(&Member<'_>) + Sync + '_),
                *const (dyn Fn(&Member<'_>) + Sync + 'static),
            >(pass));
        }
        shared.epoch.fetch_add(1, SeqCst);
        if shared.sleepers.load(SeqCst) > 0 {
            // Taken so that no thread falls asleep between its check and its wait.
            drop(shared.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            shared.wake.notify_all();
        }
        shared.take_part(0, pass);
        spin_until(|| shared.running.load(Acquire) == 0);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        drop(self.shared.sleep.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A thread catches its panics, so there is nothing to hear of.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of a thread.
    fn serve(&self, index: usize) {
        let mut seen = 0;
        while let Some(epoch) = self.next_epoch(seen) {
            seen = epoch;
            // SAFETY: `epoch` was raised after the job was written, and the caller waits
            // for `running` before it returns and the job ends.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: as above.
                self.take_part(index, unsafe { &*job });
            }
            self.running.fetch_sub(1, AcqRel);
        }
    }

    /// Waits for a pass after `seen`; `None` when the team ends.
    fn next_epoch(&self, seen: usize) -> Option<usize> {
        let news = || {
            let epoch = self.epoch.load(SeqCst);
            let stop = self.stop.load(SeqCst);
            (stop || epoch != seen).then_some((!stop).then_some(epoch))
        };
        for _ in 0..SPINS_BEFORE_SLEEP {
            if let Some(news) = news() {
                return news;
            }
            std::hint::spin_loop();
        }
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, SeqCst);
        let found = loop {
            if let Some(news) = news() {
                break news;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, SeqCst);
        found
    }

    fn take_part(&self, index: usize, pass: &(dyn Fn(&Member<'_>) + Sync)) {
        let member = Member { shared: self, index, phase: std::cell::Cell::new(0) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| pass(&member))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            // Those who give up because of another's panic panic as well; keep the first.
            if !self.broken.swap(true, AcqRel) {
                *first = Some(panic);
            }
        }
    }
}

impl Claim {
    fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Takes half of what is left of `len`, at least `least`, from the front or from the back:
    /// where it starts and how long it is.
    fn take(&self, len: usize, least: usize, from_back: bool) -> Option<(usize, usize)> {
        let mut taken = self.0.load(Relaxed);
        loop {
            let (front, back) = (taken as u32, (taken >> 32) as u32);
            let left = len - front as usize - back as usize;
            if left == 0 {
                return None;
            }
            let piece = left.div_ceil(2).max(least).min(left);
            let start = if from_back { len - back as usize - piece } else { front as usize };
            let more = if from_back { (piece as u64) << 32 } else { piece as u64 };
            match self.0.compare_exchange_weak(taken, taken + more, Relaxed, Relaxed) {
                Ok(_) => return Some((start, piece)),
                Err(now) => taken = now,
            }
        }
    }
}

impl Member<'_> {
    /// Threads that go through the pass.
    pub(crate) fn count(&self) -> usize {
        self.shared.size
    }

    /// Shares `0..total` out and waits until all is done. Every member begins at the front of a
    /// part of its own, so that it reads memory in order, as processors fetch it ahead; who has
    /// done his takes from the back of another's. Pieces shrink with what is left of a part, down
    /// to `least` ("guided self-scheduling", Polychronopoulos and Kuck 1987): large ones cost few
    /// claims, and small ones at the end let nobody wait for long.
    /// Every member calls it, in the same order, with the same numbers.
    pub(crate) fn share(&self, total: usize, least: usize, mut work: impl FnMut(usize, usize)) {
        let (claims, count) = (&self.shared.claims[self.phase.get() & 1], self.count());
        for turn in 0..count {
            let owner = (self.index + turn) % count;
            let (first, end) = (total * owner / count, total * (owner + 1) / count);
            while let Some((start, len)) = claims[owner].take(end - first, least, turn > 0) {
                work(first + start, first + start + len);
            }
        }
        self.wait();
    }

    /// Waits until every member has come here.
    ///
    /// # Panics
    /// Panics when another member has.
    fn wait(&self) {
        let shared = self.shared;
        let phase = self.phase.get();
        self.phase.set(phase + 1);
        if shared.size == 1 {
            shared.claims[(phase + 1) & 1].iter().for_each(Claim::clear);
            return;
        }
        let before = shared.phase.load(Acquire);
        if shared.arrived.fetch_add(1, AcqRel) + 1 == shared.size {
            shared.arrived.store(0, Relaxed);
            // The next phase's claims were last used in the phase before this one, which
            // all have left.
            shared.claims[(phase + 1) & 1].iter().for_each(Claim::clear);
            shared.phase.store(before.wrapping_add(1), Release);
            return;
        }
        spin_until(|| shared.phase.load(Acquire) != before || shared.broken.load(Relaxed));
        assert!(!shared.broken.load(Relaxed), "another thread of the team panicked");
    }
}

/// Spins, and yields the core from time to time.
fn spin_until(done: impl Fn() -> bool) {
    let mut spins = 0;
    while !done() {
        spins += 1;
        if spins < SPINS_BEFORE_YIELD {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn every_piece_is_done_once_in_every_phase() {
        for size in 1..=4 {
            let team = Team::new(size).expect("threads");
            let cells: Vec<AtomicU64> = (0..100).map(|_| AtomicU64::new(0)).collect();
            for _ in 0..50 {
                team.run(&|member| {
                    for phase in 1..=20_u64 {
                        member.share(cells.len(), 7, |start, end| {
                            for cell in &cells[start..end] {
                                cell.fetch_add(phase, Relaxed);
                            }
                        });
                        // All of the phase is done before any of the next begins.
                        member.share(1, 1, |_, _| {
                            let first = cells[0].load(Relaxed);
                            assert!(cells.iter().all(|cell| cell.load(Relaxed) == first));
                        });
                    }
                });
            }
            assert!(cells.iter().all(|cell| cell.load(Relaxed) == 50 * 210));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = Team::new(3).expect("threads");
        for guilty in 0..3 {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                team.run(&|member| {
                    member.share(10, 1, |_, _| {});
                    assert!(member.index != guilty, "on purpose");
                    member.share(10, 1, |_, _| {});
                });
            }));
            assert!(caught.is_err());
            let count = AtomicUsize::new(0);
            team.run(&|member| {
                assert_eq!(member.count(), 3);
                count.fetch_add(1, Relaxed);
                member.share(1, 1, |_, _| {});
            });
            assert_eq!(count.load(Relaxed), 3);
        }
    }

    #[test]
    fn a_team_that_slept_wakes() {
        let team = Team::new(2).expect("threads");
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let count = AtomicUsize::new(0);
            team.run(&|_| {
                count.fetch_add(1, Relaxed);
            });
            assert_eq!(count.load(Relaxed), 2);
        }
    }
}
