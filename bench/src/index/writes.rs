//! The write path: durable upserts a second, beside what the disk allows.

use super::own;
use crate::rows::Row;
use fs_err as fs;
use std::{io::Write, path::Path, time::Instant};
use twn_index::{Collection, CollectionConfig, Durability};

const DIMENSION: usize = 256;

/// Measures upserts of one document each, every one awaited on disk, against
/// bare appends of as many bytes with an fsync each, turn about.
pub(crate) fn measure(folder: &Path, upserts: usize) -> anyhow::Result<Row> {
    const TURNS: usize = 5;
    let place = folder.join("writes");
    if place.exists() {
        fs::remove_dir_all(&place)?;
    }
    let collection = Collection::create(&place, CollectionConfig::new(DIMENSION))?;
    let mut file = fs::File::create(folder.join("appends"))?;
    let record = vec![7_u8; 4 * DIMENSION + 200];
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let start = Instant::now();
        for number in 0..upserts {
            let row = turn * upserts + number;
            let vector: Vec<f32> =
                (0..DIMENSION).map(|at| ((row * 31 + at * 17) % 101) as f32 - 50.0).collect();
            collection.apply(vec![own::document(row, &vector)?], Durability::Durable)?;
        }
        ours.push(upserts as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 0..upserts {
            file.write_all(&record)?;
            file.sync_data()?;
        }
        bare.push(upserts as f64 / start.elapsed().as_secs_f64());
    }
    let row = Row::compare("durable upserts, one writer", "1/s", &ours, &bare, None);
    Ok(row.with_note("peer: bare appends of as many bytes, each with fdatasync"))
}
