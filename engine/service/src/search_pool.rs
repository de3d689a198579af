//! Where the index is read: on threads of its own, or, if it takes no time, where one is.
//!
//! Handing a search to another thread and waking up for its answer takes about as long as
//! a short search does. So a few short ones at once run on the runtime's own threads, never
//! on all of them: connections go on being served.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

use crate::error::ServiceError;

/// Multiplications up to which a read is short: some tenths of a millisecond.
const SHORT_MULTIPLICATIONS: u64 = 1 << 19;

/// The threads that read the index.
#[derive(Debug)]
pub(crate) struct SearchPool {
    pool: rayon::ThreadPool,
    /// Places for short reads on the runtime's threads.
    near: Semaphore,
}

impl SearchPool {
    /// Starts `threads` threads. Call within a tokio runtime.
    ///
    /// # Errors
    /// Fails when a thread can't be started.
    pub(crate) fn start(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("twn-search-{i}"))
            .build()?;
        let workers = Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers());
        Ok(Self { pool, near: Semaphore::new(threads.min(workers.saturating_sub(1))) })
    }

    /// Runs `work`, which is expected to take that many `multiplications`.
    ///
    /// # Errors
    /// `Internal` when `work` panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        multiplications: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let guarded = move || catch_unwind(AssertUnwindSafe(work)).ok();
        let done = if multiplications <= SHORT_MULTIPLICATIONS
            && let Ok(_place) = self.near.try_acquire()
        {
            guarded()
        } else {
            let (answer, answered) = oneshot::channel();
            self.pool.spawn(move || {
                // Whoever asked may have gone.
                let _ = answer.send(guarded());
            });
            answered.await.ok().flatten()
        };
        done.ok_or_else(|| ServiceError::Internal {
            problem: "a read of the index panicked".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn short_reads_stay_and_long_ones_move() {
        let pool = SearchPool::start(2).unwrap();
        let name = || thread::current().name().map(str::to_owned);
        // The task may move to another thread between two reads, but not within one.
        tokio::spawn(async move {
            let near = pool.run(SHORT_MULTIPLICATIONS, name).await.unwrap().unwrap();
            assert!(!near.starts_with("twn-search"), "{near}");
            let far = pool.run(SHORT_MULTIPLICATIONS + 1, name).await.unwrap().unwrap();
            assert!(far.starts_with("twn-search"), "{far}");
            let _places = pool.near.acquire_many(1).await.unwrap();
            let busy = pool.run(0, name).await.unwrap().unwrap();
            assert!(busy.starts_with("twn-search"), "{busy}");
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn one_thread_serves_connections_alone() {
        let pool = SearchPool::start(1).unwrap();
        let name = pool.run(0, || thread::current().name().map(str::to_owned)).await.unwrap();
        assert_eq!(name.as_deref(), Some("twn-search-0"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn panics_are_errors() {
        let pool = SearchPool::start(1).unwrap();
        for multiplications in [0, u64::MAX] {
            let failed = pool.run(multiplications, || panic!("no")).await;
            assert!(matches!(failed, Err::<(), _>(ServiceError::Internal { .. })));
            assert_eq!(pool.run(multiplications, || 1).await.unwrap(), 1);
        }
    }
}
