//! What this process holds, as Linux tells it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const PERIOD: Duration = Duration::from_millis(20);

/// Watches the memory that is the process's own, mapped files left out.
pub(super) struct Memory {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    before: u64,
    thread: JoinHandle<()>,
}

impl Memory {
    pub(super) fn watch() -> Self {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, seen) = (Arc::clone(&stop), Arc::clone(&most));
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                seen.fetch_max(own_bytes().unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(PERIOD);
            }
        });
        Self { stop, most, before: own_bytes().unwrap_or(0), thread }
    }

    /// The most that was added since; `None` where the system does not tell.
    pub(super) fn peak(self) -> Option<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        let most = self.most.load(Ordering::Relaxed);
        most.checked_sub(self.before).filter(|&bytes| bytes > 0)
    }
}

/// Says why so many bytes are too many, where the system tells what is free.
pub(super) fn check_room(bytes: u64) -> Result<(), String> {
    let available = field("/proc/meminfo", "MemAvailable:");
    match available {
        Some(available) if available < bytes => Err(format!(
            "it needs about {} MiB, {} MiB are available",
            bytes >> 20,
            available >> 20
        )),
        _ => Ok(()),
    }
}

fn own_bytes() -> Option<u64> {
    field("/proc/self/status", "RssAnon:")
}

/// Reads a line such as `RssAnon:  12 kB`, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs_err::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes << 10)
}
