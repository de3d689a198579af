//! Power failures and failing disks at every single step.
//!
//! A scenario goes through everything that changes the disk. It is run once for
//! each step: in `power_lost_…` the world ends there, and what was never fsynced is
//! gone; in `an_error_…` that step alone fails, as on a full or a broken disk.

use crate::history::{DIMENSION, History, config, points};
use crate::support::vector;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use twn_index::{
    Collection, Durability, IndexError, SearchOptions, UnitVector,
    observer::{Observer, Step, observe},
};

const HISTORY: History = History { ids: 30, most_operations: 4 };

/// What has been promised.
#[derive(Debug, Default, Clone)]
struct Promised {
    /// The last sequence number acknowledged as durable.
    durable: u64,
    /// Snapshots that were saved and not deleted since, with their sequence.
    snapshots: BTreeMap<String, u64>,
    /// One that is being saved or deleted, so may be there or not.
    is_read_only: bool,
}

/// Writes, seals, compacts, saves, deletes and reopens, and goes on after errors.
struct Scenario<'a> {
    folder: &'a Path,
    promised: Promised,
}

impl Scenario<'_> {
    fn run(folder: &Path) -> Promised {
        let mut scenario = Scenario { folder, promised: Promised::default() };
        let Some(collection) = scenario.create() else { return scenario.promised };
        scenario.write(&collection, 6);
        scenario.attempt(|| collection.seal());
        scenario.write(&collection, 6);
        scenario.save(&collection, "early");
        scenario.attempt(|| collection.seal());
        scenario.write(&collection, 2);
        scenario.attempt(|| collection.compact().map(drop));
        scenario.save(&collection, "late");
        scenario.write(&collection, 3);
        scenario.attempt(|| collection.seal());
        scenario.delete(&collection, "early");
        scenario.check(&collection);
        drop(collection);
        // One of the two tries meets no error.
        let opened = Collection::open(folder).or_else(|_| Collection::open(folder));
        if let Ok(collection) = opened {
            scenario.promised.is_read_only = false;
            scenario.write(&collection, 3);
            scenario.attempt(|| collection.compact().map(drop));
            scenario.write(&collection, 1);
            scenario.check(&collection);
        }
        scenario.promised
    }

    fn create(&self) -> Option<Collection> {
        let create = || Collection::create(self.folder, config(false));
        create().or_else(|_| create()).or_else(|_| Collection::open(self.folder)).ok()
    }

    fn write(&mut self, collection: &Collection, batches: usize) {
        for _ in 0..batches {
            let written = HISTORY.step(collection, Durability::Durable);
            if let Some(last) = self.attempt(|| written) {
                self.promised.durable = last;
            }
        }
    }

    fn save(&mut self, collection: &Collection, name: &str) {
        if let Some(saved) = self.attempt(|| collection.save_snapshot(name)) {
            self.promised.snapshots.insert(name.to_owned(), saved.last_sequence);
        }
    }

    fn delete(&mut self, collection: &Collection, name: &str) {
        // From here on it may be gone, whatever the answer is.
        self.promised.snapshots.remove(name);
        self.attempt(|| collection.delete_snapshot(name));
    }

    /// Makes one change. Once one has said that the collection is read-only, all
    /// later ones have to say so too.
    fn attempt<T>(&mut self, change: impl FnOnce() -> Result<T, IndexError>) -> Option<T> {
        match change() {
            Ok(done) => {
                assert!(!self.promised.is_read_only, "a read-only collection was changed");
                Some(done)
            }
            Err(IndexError::Poisoned { .. }) => {
                self.promised.is_read_only = true;
                None
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                None
            }
        }
    }

    /// Reads go on whatever happened: all of a history, and a search.
    fn check(&self, collection: &Collection) {
        let snapshot = collection.snapshot();
        HISTORY.check(&snapshot, "in the running collection");
        let query = UnitVector::new(vector(DIMENSION, 1)).unwrap();
        let found = snapshot.search(&query, &SearchOptions::new(100)).unwrap();
        assert_eq!(found.hits.len() as u64, snapshot.len());
    }
}

#[track_caller]
fn check_promised(folder: &Path, promised: &Promised, context: &str) {
    if promised.durable == 0 && Collection::open(folder).is_err() {
        // It ended before the creation did.
        return;
    }
    HISTORY.check_folder(folder, promised.durable, context);
    for (name, &last) in &promised.snapshots {
        HISTORY.check_saved(folder, name, last, context);
    }
}

/// Counts steps, and has one of them fail.
struct FailingDisk {
    fails_at: usize,
    /// Whether all later steps fail too.
    is_final: bool,
    kind: io::ErrorKind,
    seen: Mutex<usize>,
}

impl FailingDisk {
    fn at(fails_at: usize, kind: io::ErrorKind) -> Arc<Self> {
        Arc::new(Self { fails_at, is_final: false, kind, seen: Mutex::new(0) })
    }
}

impl Observer for FailingDisk {
    fn before(&self, step: Step<'_>, path: &Path) -> io::Result<()> {
        let mut seen = self.seen.lock().unwrap();
        *seen += 1;
        if *seen < self.fails_at || *seen > self.fails_at && !self.is_final {
            return Ok(());
        }
        if let Step::Write(bytes) = step {
            // A disk becomes full in the middle of a write.
            let mut file = fs_err::File::options().append(true).open(path)?;
            io::Write::write_all(&mut file, &bytes[..bytes.len() / 2])?;
        }
        Err(self.kind.into())
    }
}

/// Runs the scenario undisturbed and returns how many steps it has.
fn count_steps() -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collection");
    let disk = FailingDisk::at(usize::MAX, io::ErrorKind::Other);
    let observation = observe(folder.path(), disk.clone());
    let promised = Scenario::run(&path);
    drop(observation);
    assert!(!promised.is_read_only);
    assert_eq!(promised.snapshots.len(), 1);
    check_promised(&path, &promised, "undisturbed");
    let seen = *disk.seen.lock().unwrap();
    // Three hundred points, the number for a long run, are to be nearly all of them.
    assert!((150..=340).contains(&seen), "the scenario has {seen} steps");
    seen
}

/// Spreads as many points as are wanted over the steps.
fn chosen(steps: usize, wanted: usize) -> impl Iterator<Item = usize> {
    let stride = (steps as f64 / wanted as f64).max(1.0);
    (0..wanted.min(steps)).map(move |point| 1 + (point as f64 * stride) as usize)
}

#[test]
fn an_error_at_any_step_loses_nothing_and_leaves_reads_alone() {
    let steps = count_steps();
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem] {
        for at in chosen(steps, points(40)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("collection");
            let observation = observe(folder.path(), FailingDisk::at(at, kind));
            let promised = Scenario::run(&path);
            drop(observation);
            check_promised(&path, &promised, &format!("{kind:?} at step {at}"));
        }
    }
}

#[test]
fn a_disk_that_stays_full_refuses_writes_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(true)).unwrap();
    let acknowledged = HISTORY.step(&collection, Durability::Durable).unwrap();
    let mut disk = FailingDisk::at(1, io::ErrorKind::StorageFull);
    Arc::get_mut(&mut disk).unwrap().is_final = true;
    // Its attempt to take half a record back fails with the rest: as final as a
    // failed fsync. So only writes fail here.
    struct OnlyWrites(Arc<FailingDisk>);
    impl Observer for OnlyWrites {
        fn before(&self, step: Step<'_>, path: &Path) -> io::Result<()> {
            if matches!(step, Step::Write(_)) { self.0.before(step, path) } else { Ok(()) }
        }
    }
    let observation = observe(folder.path(), Arc::new(OnlyWrites(disk)));
    for _ in 0..3 {
        let error = HISTORY.step(&collection, Durability::Durable).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert!(!error.is_callers_fault());
        assert!(collection.seal().unwrap_err().is_disk_full());
        assert!(collection.save_snapshot("x").unwrap_err().is_disk_full());
        HISTORY.check(&collection.snapshot(), "while the disk is full");
    }
    drop(observation);
    let last = HISTORY.step(&collection, Durability::Durable).unwrap();
    assert!(last > acknowledged);
    collection.seal().unwrap();
    collection.save_snapshot("x").unwrap();
    drop(collection);
    HISTORY.check_folder(folder.path(), last, "after the disk was full");
}

#[test]
fn a_failed_fsync_of_the_log_is_final_until_reopened() {
    struct NoSync;
    impl Observer for NoSync {
        fn before(&self, step: Step<'_>, _path: &Path) -> io::Result<()> {
            if matches!(step, Step::SyncFile) { Err(io::Error::other("bad block")) } else { Ok(()) }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let collection = Collection::create(folder.path(), config(true)).unwrap();
    let acknowledged = HISTORY.step(&collection, Durability::Durable).unwrap();
    let observation = observe(folder.path(), Arc::new(NoSync));
    let error = HISTORY.step(&collection, Durability::Durable).unwrap_err();
    assert!(matches!(error, IndexError::Poisoned { .. }), "{error}");
    drop(observation);
    let refused = [
        HISTORY.step(&collection, Durability::Accepted).unwrap_err(),
        collection.seal().unwrap_err(),
        collection.compact().unwrap_err(),
        collection.save_snapshot("x").unwrap_err(),
    ];
    for error in refused {
        assert!(error.to_string().contains("bad block"), "{error}");
    }
    HISTORY.check(&collection.snapshot(), "while read-only");
    drop(collection);
    HISTORY.check_folder(folder.path(), acknowledged, "after a failed fsync");
}

/// Knows what is on the disk for sure: the content that files had at their last
/// fsync, under the names that folders had at theirs.
#[derive(Default)]
struct Platter {
    /// The identity behind each inode in use; inodes are used again.
    identities: HashMap<u64, u64>,
    next_identity: u64,
    files: HashMap<u64, Vec<u8>>,
    folders: HashMap<u64, BTreeMap<String, u64>>,
    root: u64,
    steps: usize,
}

/// Loses power before a step.
struct PowerCut {
    at: usize,
    platter: Mutex<Platter>,
}

impl Platter {
    fn identify(&mut self, path: &Path, is_new: bool) -> io::Result<u64> {
        let inode = fs_err::metadata(path)?.ino();
        let next = &mut self.next_identity;
        let mut draw = || {
            *next += 1;
            *next
        };
        if is_new {
            let identity = draw();
            self.identities.insert(inode, identity);
            return Ok(identity);
        }
        Ok(*self.identities.entry(inode).or_insert_with(draw))
    }

    fn note(&mut self, step: Step<'_>, path: &Path) -> io::Result<()> {
        match step {
            Step::CreateFile => {
                self.identify(path, true)?;
            }
            Step::CreateFolder => {
                let identity = self.identify(path, true)?;
                self.folders.insert(identity, BTreeMap::new());
            }
            Step::SyncFile => {
                let identity = self.identify(path, false)?;
                self.files.insert(identity, fs_err::read(path)?);
            }
            Step::SyncFolder => {
                let mut names = BTreeMap::new();
                for entry in fs_err::read_dir(path)? {
                    let entry = entry?;
                    let name = entry.file_name().into_string().unwrap();
                    names.insert(name, self.identify(&entry.path(), false)?);
                }
                let identity = self.identify(path, false)?;
                self.folders.insert(identity, names);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what is there for sure into a folder. With `surplus`, files have
    /// some of what was never fsynced too, as the system may have written it.
    fn leave(&self, identity: u64, to: &Path, surplus: Option<(&Path, &mut StdRng)>) {
        fs_err::create_dir_all(to).unwrap();
        let Some(names) = self.folders.get(&identity) else { return };
        let mut surplus = surplus;
        for (name, &identity) in names {
            let target = to.join(name);
            let real = surplus.as_ref().map(|(real, _)| real.join(name));
            if self.folders.contains_key(&identity)
                || real.as_ref().is_some_and(|real| real.is_dir())
            {
                let inner = surplus.as_mut().map(|(_, random)| &mut **random);
                self.leave(identity, &target, real.as_deref().zip(inner));
                continue;
            }
            let mut content = self.files.get(&identity).cloned().unwrap_or_default();
            if let (Some(real), Some((_, random))) = (real, &mut surplus)
                && let Ok(now) = fs_err::read(real)
                && now.len() > content.len()
                && now.starts_with(&content)
            {
                content = now[..random.random_range(content.len()..=now.len())].to_vec();
            }
            fs_err::write(target, content).unwrap();
        }
    }
}

impl Observer for PowerCut {
    fn before(&self, _step: Step<'_>, _path: &Path) -> io::Result<()> {
        let mut platter = self.platter.lock().unwrap();
        platter.steps += 1;
        if platter.steps >= self.at { Err(io::Error::other("no power")) } else { Ok(()) }
    }

    fn after(&self, step: Step<'_>, path: &Path) -> io::Result<()> {
        let mut platter = self.platter.lock().unwrap();
        if platter.steps >= self.at {
            return Err(io::Error::other("no power"));
        }
        platter.note(step, path)
    }
}

#[test]
fn power_lost_at_any_step_leaves_all_that_was_acknowledged() {
    let steps = count_steps();
    for at in chosen(steps, points(60)) {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        fs_err::create_dir(&disk).unwrap();
        let path = disk.join("collection");
        let mut platter = Platter::default();
        platter.root = platter.identify(&disk, true).unwrap();
        platter.folders.insert(platter.root, BTreeMap::new());
        let cut = Arc::new(PowerCut { at, platter: Mutex::new(platter) });
        let observation = observe(&disk, cut.clone());
        let promised = Scenario::run(&path);
        drop(observation);

        let platter = cut.platter.lock().unwrap();
        let left = |name: &str, surplus: Option<&mut StdRng>| -> PathBuf {
            let to = folder.path().join(name);
            platter.leave(platter.root, &to, surplus.map(|random| (disk.as_path(), random)));
            to.join("collection")
        };
        let bare = left("bare", None);
        if promised.durable > 0 || bare.exists() {
            check_promised(&bare, &promised, &format!("power lost at step {at}"));
        }
        let mut random = StdRng::seed_from_u64(at as u64);
        let partly = left("partly", Some(&mut random));
        if promised.durable > 0 || partly.exists() {
            check_promised(&partly, &promised, &format!("power lost at step {at}, more written"));
        }
        // The end of the process alone: everything written is there.
        if path.exists() {
            check_promised(&path, &promised, &format!("killed at step {at}"));
        }
    }
}

/// A change that goes past the module for durable writing would escape the tests
/// above, and the claim they stand for.
#[test]
fn nothing_changes_the_disk_but_the_module_that_is_observed() {
    const CHANGES: [&str; 11] = [
        "fs_err::write",
        "fs_err::rename",
        "fs_err::remove",
        "fs_err::create",
        "fs_err::copy",
        "fs_err::hard_link",
        "File::create",
        ".sync_all(",
        ".sync_data(",
        ".set_len(",
        "std::fs::",
    ];
    fn check(folder: &Path) {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("durable") {
                    check(&path);
                }
                continue;
            }
            let text = fs_err::read_to_string(&path).unwrap();
            // Tests set scenes of their own, and fuzzing has no collection.
            let code = text.split("#[cfg(test)]").next().unwrap();
            let code = code.replace("DurableFile::create", "");
            let found = CHANGES.iter().find(|change| code.contains(**change));
            let is_exempt = path.ends_with("parse.rs");
            assert!(found.is_none() || is_exempt, "{} has {found:?}", path.display());
        }
    }
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
}
