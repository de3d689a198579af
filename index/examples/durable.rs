//! How many durable upserts a second, and what the disk itself would allow.
//!
//! `cargo run --release -p twn-index --example durable -- [folder] [seconds]`
//!
//! A durable upsert waits for an fsync of the log, and writers share fsyncs. So the
//! limit for one writer is the rate at which the disk syncs an append of the same
//! size; for many it is that rate times the writers that can wait for one sync. The
//! limit is measured before and after, on the same disk, by appending and syncing
//! plain bytes.

use std::{
    error::Error,
    io::Write,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use twn_index::{Collection, CollectionConfig, Document, Durability, Operation, UnitVector};

const DIMENSION: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let period = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir_in(folder)?;
    let record_bytes = record_bytes(folder.path())?;
    println!("writers  upserts/s  share of the disk's fsync rate  record bytes");
    for writers in [1, 4, 16, 64] {
        let before = syncs_per_second(folder.path(), record_bytes, period / 2)?;
        let upserts =
            upserts_per_second(&folder.path().join(writers.to_string()), writers, period)?;
        let after = syncs_per_second(folder.path(), record_bytes, period / 2)?;
        let syncs = (before + after) / 2.0;
        println!("{writers:7}  {upserts:9.0}  {:30.2}  {record_bytes}", upserts / syncs);
    }
    Ok(())
}

fn document(number: u64) -> Result<Operation, Box<dyn Error + Send + Sync>> {
    let values = (0..DIMENSION).map(|at| ((number + 1) * (at as u64 + 7) % 101) as f32 - 50.0);
    Ok(Operation::Upsert(Box::new(Document {
        id: format!("document-{number:08}"),
        vector: UnitVector::new(values.collect())?,
        text: "A sentence or two, as a passage would have them. ".repeat(4),
        payload: serde_json::from_str(r#"{"language": "en", "year": 2024}"#)?,
        provenance: "{}".to_owned(),
        thought: None,
        content_hash: [0; 32],
    })))
}

/// The bytes that one upsert adds to the log.
fn record_bytes(folder: &Path) -> Result<usize, Box<dyn Error>> {
    let path = folder.join("measured");
    let collection = Collection::create(&path, CollectionConfig::new(DIMENSION))?;
    let log = path.join("wal/00000001.log");
    let before = fs_err::metadata(&log)?.len();
    let operation = document(1).map_err(|error| error.to_string())?;
    collection.apply(vec![operation], Durability::Durable)?;
    Ok((fs_err::metadata(&log)?.len() - before) as usize)
}

fn syncs_per_second(folder: &Path, bytes: usize, period: Duration) -> Result<f64, Box<dyn Error>> {
    let mut file = fs_err::File::create(folder.join("plain"))?;
    let content = vec![0x5a; bytes];
    let (started, mut syncs) = (Instant::now(), 0_u32);
    while started.elapsed() < period {
        file.write_all(&content)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / started.elapsed().as_secs_f64())
}

fn upserts_per_second(path: &Path, writers: u64, period: Duration) -> Result<f64, Box<dyn Error>> {
    let collection = Collection::create(path, CollectionConfig::new(DIMENSION))?;
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let write = |writer: u64| -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut number = writer << 40;
        while !is_over.load(Ordering::Relaxed) {
            collection.apply(vec![document(number)?], Durability::Durable)?;
            written.fetch_add(1, Ordering::Relaxed);
            number += 1;
        }
        Ok(())
    };
    let elapsed = thread::scope(|scope| -> Result<Duration, Box<dyn Error + Send + Sync>> {
        let write = &write;
        let writers: Vec<_> =
            (0..writers).map(|writer| scope.spawn(move || write(writer))).collect();
        thread::sleep(period);
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(started.elapsed())
    });
    let elapsed = elapsed.map_err(|error| error.to_string())?;
    Ok(written.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64())
}
