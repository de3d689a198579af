//! How much of the machine others used while a measurement ran.
//!
//! From Linux's counters; elsewhere nothing is known. A benchmark that shares its machine
//! is worth less, and its report should say so.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Others may have this share of the machine before a run counts as disturbed. Clock ticks
/// are coarse: a short run has some twenty.
const DISTURBED_SHARE: f64 = 0.1;
/// How long the machine has to be quiet before a run begins.
const CALM: Duration = Duration::from_millis(250);

/// Clock ticks, as the system counts them.
type Ticks = u64;

/// The counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    machine: Machine,
    /// By process id.
    own: BTreeMap<u32, Ticks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Machine {
    busy: Ticks,
    total: Ticks,
}

impl Watch {
    /// Reads the counters of the machine, of this process and of `peers`.
    pub(crate) fn start(peers: &[u32]) -> Option<Self> {
        let machine = parse_machine(&fs_err::read_to_string("/proc/stat").ok()?)?;
        let ids = peers.iter().copied().chain([std::process::id()]);
        let own = ids.filter_map(|id| {
            let text = fs_err::read_to_string(format!("/proc/{id}/stat")).ok()?;
            Some((id, parse_process(&text)?))
        });
        Some(Self { machine, own: own.collect() })
    }

    /// The share of the machine's processor time that went to others since then.
    pub(crate) fn others_share(&self) -> Option<f64> {
        let peers: Vec<u32> =
            self.own.keys().copied().filter(|id| *id != std::process::id()).collect();
        share(self, &Self::start(&peers)?)
    }
}

fn share(before: &Watch, after: &Watch) -> Option<f64> {
    let total = after.machine.total.checked_sub(before.machine.total).filter(|ticks| *ticks > 0)?;
    let busy = after.machine.busy.checked_sub(before.machine.busy)?;
    let own: Ticks = (after.own.iter())
        .map(|(id, ticks)| ticks.saturating_sub(before.own.get(id).copied().unwrap_or(0)))
        .sum();
    Some(busy.saturating_sub(own) as f64 / total as f64)
}

/// The first line of `/proc/stat`: `cpu user nice system idle iowait irq softirq steal …`.
fn parse_machine(text: &str) -> Option<Machine> {
    let counts = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<Ticks> =
        counts.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks[..] else { return None };
    let busy = user + nice + system + irq + softirq + steal;
    Some(Machine { busy, total: busy + idle + iowait })
}

/// `/proc/<id>/stat`: user and system time are the 14th and 15th field, counted from one; the
/// second field, a name in parentheses, may hold anything.
fn parse_process(text: &str) -> Option<Ticks> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: Ticks = fields.next()?.parse().ok()?;
    let system: Ticks = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// How long a measurement may still wait for others to leave the machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Patience {
    left: Duration,
}

impl Patience {
    /// Patience for `total` of waiting and of runs done again.
    pub(crate) fn new(total: Duration) -> Self {
        Self { left: total }
    }

    /// Returns once the machine is quiet, or patience is out. Nothing of ours may run.
    pub(crate) fn wait_for_calm(&mut self) {
        while !self.left.is_zero() {
            let Some(watch) = Watch::start(&[]) else { return };
            let started = Instant::now();
            std::thread::sleep(CALM);
            if watch.others_share().is_none_or(|share| share < DISTURBED_SHARE) {
                return;
            }
            self.spend(started.elapsed());
        }
    }

    /// Whether a run of `length` should be done again, others having had `share` of the
    /// machine meanwhile; it is paid for.
    pub(crate) fn wants_again(&mut self, share: Option<f64>, length: Duration) -> bool {
        let again = share.is_some_and(|share| share >= DISTURBED_SHARE) && !self.left.is_zero();
        if again {
            self.spend(length);
        }
        again
    }

    fn spend(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

/// The machine's load average over the last minute.
pub(crate) fn load_average() -> Option<f64> {
    fs_err::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_lines_are_read() {
        let text = "cpu  10 20 30 400 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n";
        assert_eq!(parse_machine(text), Some(Machine { busy: 81, total: 531 }));
        assert_eq!(parse_machine("cpu 1 2\n"), None);
        let text = "42 (a) b) S 1 42 42 0 -1 0 9 9 9 9 300 25 1 1 20 0 1 0 77\n";
        assert_eq!(parse_process(text), Some(325));
        assert_eq!(parse_process("42 (a"), None);
    }

    #[test]
    fn others_have_what_we_do_not() {
        let watch = |busy, total, own: &[(u32, Ticks)]| Watch {
            machine: Machine { busy, total },
            own: own.iter().copied().collect(),
        };
        let before = watch(1_000, 5_000, &[(1, 100), (2, 50)]);
        // 100 of 200 ticks were busy, of which ours had 30 and 20.
        let after = watch(1_100, 5_200, &[(1, 130), (2, 70)]);
        assert_eq!(share(&before, &after), Some(0.25));
        assert_eq!(share(&before, &before), None);
    }

    #[test]
    fn patience_runs_out() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new(2 * second);
        assert!(!patience.wants_again(Some(0.01), second) && !patience.wants_again(None, second));
        assert!(patience.wants_again(Some(0.5), second) && patience.wants_again(Some(0.5), second));
        assert!(!patience.wants_again(Some(0.5), second));
        patience.wait_for_calm();
        assert_eq!(patience, Patience::new(Duration::ZERO));
    }
}
