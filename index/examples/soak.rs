//! A collection under everything at once, for as long as is asked, with its memory.
//!
//! `cargo run --release -p twn-index --example soak -- [minutes] [folder]`
//!
//! Writers replace and delete a fixed set of documents, readers search and list,
//! segments are sealed and merged, snapshots are saved and removed. The number of
//! documents stays the same, so memory has to as well: it is printed every ten
//! seconds, anonymous memory apart from mapped files, which are the page cache's.

use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    error::Error,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use twn_index::{
    Collection, CollectionConfig, Document, Durability, Operation, SearchOptions, UnitVector,
};

const DIMENSION: usize = 64;
const DOCUMENTS: u64 = 20_000;
const SEAL_ROWS: usize = 4_000;
const PRINT_EVERY: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().map_or(Ok(60.0), |text| text.parse())?;
    let folder = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("collection");
    let config = CollectionConfig { seal_rows: SEAL_ROWS, ..CollectionConfig::new(DIMENSION) };
    let collection = Collection::create(&path, config)?;
    let is_over = AtomicBool::new(false);
    let (writes, searches) = (AtomicU64::new(0), AtomicU64::new(0));
    let goes_on = &|| !is_over.load(Ordering::Relaxed);
    println!("minutes  anonymous MiB  mapped MiB  documents  segments  disk MiB  writes  searches");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = StdRng::seed_from_u64(1);
            while goes_on() {
                let batch = (0..20).map(|_| operation(&mut random)).collect();
                collection.apply(batch, Durability::Durable).expect("a write");
                writes.fetch_add(20, Ordering::Relaxed);
            }
        });
        for reader in 0..2 {
            let (collection, searches) = (&collection, &searches);
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(100 + reader);
                while goes_on() {
                    let snapshot = collection.snapshot();
                    let query = vector(&mut random);
                    snapshot.search(&query, &SearchOptions::new(10)).expect("a search");
                    snapshot.list(Some("document-1"), 20, None).expect("a listing");
                    searches.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        scope.spawn(|| {
            let mut number = 0_u64;
            while goes_on() {
                collection.save_snapshot(&format!("s{}", number % 3)).expect("a snapshot");
                thread::sleep(Duration::from_secs(5));
                number += 1;
                if number >= 3 {
                    collection.delete_snapshot(&format!("s{}", number % 3)).expect("a removal");
                }
            }
        });
        let started = Instant::now();
        let period = Duration::from_secs_f64(minutes * 60.0);
        while started.elapsed() < period {
            thread::sleep(PRINT_EVERY.min(period.saturating_sub(started.elapsed())));
            let [anonymous, mapped] = memory_mib();
            let stats = collection.stats();
            println!(
                "{:7.1}  {anonymous:13.1}  {mapped:10.1}  {:9}  {:8}  {:8.1}  {:6}  {:8}",
                started.elapsed().as_secs_f64() / 60.0,
                stats.documents,
                stats.segments,
                stats.disk_bytes as f64 / f64::from(1 << 20),
                writes.load(Ordering::Relaxed),
                searches.load(Ordering::Relaxed),
            );
        }
        is_over.store(true, Ordering::Relaxed);
    });
    collection.verify()?.into_result()?;
    collection.close()?;
    Ok(())
}

fn operation(random: &mut StdRng) -> Operation {
    let id = format!("document-{}", random.random_range(0..DOCUMENTS));
    if random.random_bool(0.1) {
        return Operation::Delete(id);
    }
    let payload = serde_json::json!({"version": random.random_range(0..1000)});
    Operation::Upsert(Box::new(Document {
        text: format!("text of {id}"),
        id,
        vector: vector(random),
        payload: payload.as_object().cloned().unwrap_or_default(),
        provenance: "{}".to_owned(),
        thought: None,
        content_hash: [0; 32],
    }))
}

fn vector(random: &mut StdRng) -> UnitVector {
    let values = (0..DIMENSION).map(|_| random.random_range(-1.0_f32..1.0)).collect();
    UnitVector::new(values).expect("random numbers have a direction")
}

/// Memory of this process that is its own, and that of files it has mapped; zero
/// where the system does not say.
fn memory_mib() -> [f64; 2] {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    ["RssAnon:", "RssFile:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    })
}
