//! Where and with what a measurement was taken: a figure without it means nothing.

use std::{process::Command, time::SystemTime};

use serde::Serialize;
use twn_protos::v1;

/// The machine, the program and the moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Environment {
    /// The processor's name, as the system tells it.
    pub(crate) cpu: Option<String>,
    /// Threads that this process may run at once.
    pub(crate) cores: usize,
    /// Main memory.
    pub(crate) memory_bytes: Option<u64>,
    /// For example `Debian GNU/Linux 12 (bookworm)`.
    pub(crate) os: Option<String>,
    /// Kernel release.
    pub(crate) kernel: Option<String>,
    /// Architecture that this program was compiled for.
    pub(crate) architecture: &'static str,
    /// Of this program.
    pub(crate) version: &'static str,
    /// Commit of the working folder, with `-dirty` when it has changes; absent outside git.
    pub(crate) git_revision: Option<String>,
    /// The command line, word by word.
    pub(crate) command: Vec<String>,
    /// When the measurement began, RFC 3339.
    pub(crate) time: String,
    /// The server that was measured; absent when none was.
    pub(crate) server: Option<Server>,
}

/// What a server says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) version: String,
    pub(crate) model: String,
    pub(crate) device: String,
    pub(crate) fingerprint: String,
    pub(crate) dimension: u32,
    pub(crate) trained: bool,
    pub(crate) note: String,
}

impl Environment {
    /// Looks around. What cannot be found out is absent.
    pub(crate) fn capture(server: Option<Server>) -> Self {
        Self {
            cpu: read("/proc/cpuinfo").and_then(|text| field(&text, "model name", ':')),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: read("/proc/meminfo").and_then(|text| memory_bytes(&text)),
            os: read("/etc/os-release").and_then(|text| field(&text, "PRETTY_NAME", '=')),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            architecture: std::env::consts::ARCH,
            version: env!("CARGO_PKG_VERSION"),
            git_revision: git_revision(),
            command: std::env::args().collect(),
            time: prost_types::Timestamp::from(SystemTime::now()).to_string(),
            server,
        }
    }
}

impl Server {
    /// Keeps what identifies the server at `address`.
    pub(crate) fn new(address: &str, info: v1::GetServerInfoResponse) -> Self {
        let encoder = info.encoder.unwrap_or_default();
        Self {
            address: address.to_owned(),
            version: info.version,
            model: encoder.model,
            device: encoder.device,
            fingerprint: encoder.fingerprint,
            dimension: encoder.dimension,
            trained: encoder.trained,
            note: encoder.note,
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs_err::read_to_string(path).ok()
}

/// The value of the first line `name <separator> value`, without quotes.
fn field(text: &str, name: &str, separator: char) -> Option<String> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(separator))
        .find(|(key, _)| key.trim() == name)?;
    Some(value.trim().trim_matches('"').to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let total = field(meminfo, "MemTotal", ':')?;
    let kibibytes: u64 = total.strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn git_revision() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"])
        .output()
        .ok()?;
    let revision = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !revision.is_empty()).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_the_systems_files() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A Chip @ 2.0GHz\nmodel name\t: Other\n";
        assert_eq!(field(cpuinfo, "model name", ':').unwrap(), "A Chip @ 2.0GHz");
        let release = "NAME=\"Linux\"\nPRETTY_NAME=\"A Linux 12\"\n";
        assert_eq!(field(release, "PRETTY_NAME", '=').unwrap(), "A Linux 12");
        assert_eq!(field(release, "MISSING", '='), None);
        assert_eq!(memory_bytes("MemFree: 1 kB\nMemTotal:   2048 kB\n"), Some(2 << 20));
        assert_eq!(memory_bytes("MemTotal: lots\n"), None);
    }

    #[test]
    fn this_machine_has_cores_and_a_time() {
        let here = Environment::capture(None);
        assert!(here.cores >= 1);
        assert!(!here.command.is_empty());
        assert!(here.time.starts_with("20") && here.time.ends_with('Z'), "{}", here.time);
    }
}
