//! Real processes, really killed.
//!
//! The test starts itself as another process that writes, seals, compacts, saves
//! snapshots and restores, and notes each acknowledgement in a file. It is killed
//! at a random time or at a random step of the disk, and everything it was told
//! has to be there. Then the next one goes on with the same folder.

use crate::history::{History, config, points};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use twn_index::{
    Collection, Durability,
    observer::{Observer, Step, observe},
};

const HISTORY: History = History { ids: 3000, most_operations: 40 };

const FOLDER_VARIABLE: &str = "TWN_INDEX_KILLED_FOLDER";
const STEP_VARIABLE: &str = "TWN_INDEX_KILLED_STEP";

/// Kills its own process before a step.
struct Death {
    steps_left: AtomicUsize,
}

impl Observer for Death {
    fn before(&self, _step: Step<'_>, _path: &Path) -> io::Result<()> {
        if self.steps_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        Ok(())
    }
}

/// What the parent starts; does nothing when run as one test among others.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER_VARIABLE) else { return };
    let folder = Path::new(&folder);
    let steps = std::env::var(STEP_VARIABLE).unwrap().parse().unwrap();
    let _observation = (steps > 0)
        .then(|| observe(folder, Arc::new(Death { steps_left: AtomicUsize::new(steps) })));
    let path = folder.join("collection");
    let collection = if path.join("CURRENT").exists() {
        Collection::open(&path).unwrap()
    } else {
        Collection::create(&path, config(true)).unwrap()
    };
    let notes = fs_err::File::options().create(true).append(true).open(folder.join("notes"));
    let notes = Mutex::new(notes.unwrap());
    let note = |line: String| notes.lock().unwrap().write_all(line.as_bytes()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let durable = rand::random_bool(0.8);
                let durability = if durable { Durability::Durable } else { Durability::Accepted };
                let last = HISTORY.step(&collection, durability).unwrap();
                // What was handed to the system survives the process too.
                note(format!("wrote {last}\n"));
            }
        });
        let mut random = rand::rng();
        loop {
            thread::sleep(Duration::from_millis(random.random_range(0..15)));
            let name = format!("s{}", random.random_range(0..4));
            match random.random_range(0..6) {
                0 => collection.seal().unwrap(),
                1 => drop(collection.compact().unwrap()),
                2 | 3 => {
                    if let Ok(saved) = collection.save_snapshot(&name) {
                        note(format!("saved {name} {}\n", saved.last_sequence));
                    }
                }
                4 => {
                    note(format!("deleting {name}\n"));
                    let _ = collection.delete_snapshot(&name);
                }
                _ => {
                    let to = folder.join("restored");
                    // Killed while it removes, it would leave half a collection.
                    let old = folder.join("old");
                    if old.exists() {
                        fs_err::remove_dir_all(&old).unwrap();
                    }
                    if to.exists() {
                        fs_err::rename(&to, &old).unwrap();
                    }
                    let _ = Collection::restore_snapshot(&path, &name, &to);
                }
            }
        }
    });
}

/// What the children so far were promised.
fn promised(notes: &str) -> (u64, BTreeMap<String, u64>) {
    let (mut written, mut saved) = (0, BTreeMap::new());
    for line in notes.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["wrote", last] => written = written.max(last.parse().unwrap()),
            ["saved", name, last] => {
                saved.insert(name.to_owned(), last.parse().unwrap());
            }
            ["deleting", name] => {
                saved.remove(name);
            }
            _ => panic!("{line}"),
        }
    }
    (written, saved)
}

#[test]
fn killed_at_random_points_a_collection_loses_nothing_and_nothing_deleted_returns() {
    let mut random = StdRng::seed_from_u64(7);
    let rounds = points(60);
    let mut folder = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        // A history is compared in full each time, so it starts again at times.
        if round % 15 == 14 {
            folder = tempfile::tempdir().unwrap();
        }
        let steps = if round % 2 == 0 { random.random_range(1..400) } else { 0 };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child", "--exact", "--nocapture"])
            .env(FOLDER_VARIABLE, folder.path())
            .env(STEP_VARIABLE, steps.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let life_ms = if steps > 0 { 20_000 } else { random.random_range(5..400) };
        for _ in 0..life_ms {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let _ = child.kill();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code().is_none(), "round {round}: the child ended by itself: {said}");

        let path = folder.path().join("collection");
        let notes = fs_err::read_to_string(folder.path().join("notes")).unwrap_or_default();
        let (written, saved) = promised(&notes);
        let context = format!("round {round}, killed at step {steps}");
        if !path.join("CURRENT").exists() {
            assert_eq!(written, 0, "{context}");
            continue;
        }
        HISTORY.check_folder(&path, written, &context);
        for (name, last) in saved {
            HISTORY.check_saved(&path, &name, last, &context);
        }
        let restored = folder.path().join("restored");
        if restored.exists() {
            HISTORY.check_folder(&restored, 0, &context);
        }
    }
}
