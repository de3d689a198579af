//! Processor, memory, disk and Python.

use std::{path::Path, process::Stdio, time::Duration};

use nix::sys::statvfs::statvfs;
use tokio::process::Command;
use twn_encoder::model::default_home;

use super::{Check, try_writing};

const MIB: u64 = 1 << 20;
const MEMORY_MIB_MIN: u64 = 1_024;
const DISK_MIB_MIN: u64 = 1_024;
const PIP_TIMEOUT: Duration = Duration::from_secs(30);
const MEMORY_INFO: &str = "/proc/meminfo";

/// Checks the machine; `data` is where data is to be kept.
pub(super) async fn examine(data: &Path) -> Vec<Check> {
    let mut checks = vec![processor(), cores(), memory()];
    checks.extend(home());
    checks.push(disk(data));
    checks.push(pip().await);
    checks
}

#[cfg(target_arch = "x86_64")]
fn processor() -> Check {
    let has_both = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    if has_both {
        return Check::ok("cpu", "x86-64 with AVX2 and FMA");
    }
    Check::warn(
        "cpu",
        "x86-64 without AVX2 and FMA",
        "everything works, at a fraction of the speed",
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> Check {
    Check::ok("cpu", std::env::consts::ARCH)
}

fn cores() -> Check {
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() >= 2 => Check::ok("cores", format!("{cores} cores")),
        Ok(_) => Check::warn("cores", "1 core", "searches wait while documents are encoded"),
        Err(error) => Check::warn("cores", error.to_string(), "set `search.threads` yourself"),
    }
}

fn memory() -> Check {
    let Some(mib) = fs_err::read_to_string(MEMORY_INFO).ok().as_deref().and_then(available_mib)
    else {
        return Check::ok("memory", "this system does not tell how much is free");
    };
    if mib >= MEMORY_MIB_MIN {
        return Check::ok("memory", format!("{mib} MiB free"));
    }
    let advice = format!("the default model needs about {MEMORY_MIB_MIN} MiB: end something else");
    Check::warn("memory", format!("{mib} MiB free"), advice)
}

/// Reads `MemAvailable: 12345 kB`.
fn available_mib(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1_024)
}

fn home() -> Vec<Check> {
    let home = match default_home() {
        Ok(home) => home,
        Err(error) => {
            return vec![Check::fail("home", error.to_string(), "set TWN_HOME to a folder")];
        }
    };
    let writable = match try_writing(&home) {
        Ok(()) => Check::ok("home", format!("{} can be written", home.display())),
        Err(error) => {
            let advice = "make it writable, or set TWN_HOME to another folder";
            Check::fail("home", error.to_string(), advice)
        }
    };
    vec![writable, disk(&home)]
}

/// Checks the room on the disk that holds a folder, or will hold it.
fn disk(folder: &Path) -> Check {
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let place = existing.display();
    match statvfs(existing) {
        Ok(found) => {
            let bytes = found.blocks_available().saturating_mul(found.fragment_size());
            let free = format!("{} MiB free at {place}", bytes / MIB);
            if bytes / MIB >= DISK_MIB_MIN {
                return Check::ok("disk", free);
            }
            Check::warn("disk", free, "make room, or put TWN_HOME and `--data` on another disk")
        }
        Err(error) => Check::warn("disk", format!("{place}: {error}"), "look at the disk yourself"),
    }
}

/// Checks for the pip that `twn model pull` uses.
async fn pip() -> Check {
    let command = Command::new("python3")
        .args(["-m", "pip", "--version"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let advice = "only `twn model pull` needs it: install Python 3 with pip, or pull with `--from`";
    match tokio::time::timeout(PIP_TIMEOUT, command).await {
        Ok(Ok(output)) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout);
            let version: Vec<&str> = version.split_whitespace().take(2).collect();
            Check::ok("python", format!("python3 with {}", version.join(" ")))
        }
        Ok(Ok(_)) => Check::warn("python", "python3 has no pip", advice),
        Ok(Err(error)) => Check::warn("python", format!("python3: {error}"), advice),
        Err(_) => Check::warn("python", "`python3 -m pip` does not answer", advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn free_memory_is_read() {
        let info = "MemTotal:  1000 kB\nMemAvailable:   2097152 kB\nBuffers: 1 kB\n";
        assert_eq!(available_mib(info), Some(2_048));
        assert_eq!(available_mib("MemTotal: 1 kB"), None);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_has_a_disk() {
        let check = disk(Path::new("/nowhere/at/all"));
        assert_ne!(check.status, Status::Fail);
        assert!(check.detail.contains("free at /"), "{}", check.detail);
    }
}
