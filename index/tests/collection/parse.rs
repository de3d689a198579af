//! Parsers on bytes that nobody wrote: whole files with a few bytes changed,
//! cut, repeated or swapped. The same parsers stand behind the fuzz targets.

use crate::{history::points, support};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::path::Path;
use twn_index::{Durability, IndexError, Operation, parse};

type Parser = fn(&Path, &[u8]) -> Result<(), IndexError>;

/// Real files, and who parses them.
fn seeds(folder: &Path) -> Vec<(&'static str, Vec<u8>, Parser)> {
    let collection = support::filled(folder, &support::clustered(1100, 4, 3));
    collection.seal().unwrap();
    let operation = support::upsert("x", support::vector(4, 1), 3);
    collection
        .apply(vec![operation, Operation::Delete("d00001".to_owned())], Durability::Durable)
        .unwrap();
    drop(collection);
    let read = |name: &str| fs_err::read(folder.join(name)).unwrap();
    let manifest = read("MANIFEST-2");
    let body = manifest.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let log = three_records();
    vec![
        ("log", log, |folder, bytes| parse::log(folder, bytes).map(drop)),
        ("manifest", manifest[body..].to_vec(), parse::manifest),
        ("graph", read("seg/00000001/graph.bin"), |folder, bytes| {
            parse::graph(folder, bytes, 1100)
        }),
        ("partitions", read("seg/00000001/partitions.bin"), |folder, bytes| {
            parse::partitions(folder, bytes, 4, 1100)
        }),
        ("filters", filters(), |folder, bytes| parse::filters(folder, bytes, 40)),
    ]
}

fn three_records() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let settings = support::config(4);
    let collection = twn_index::Collection::create(folder.path(), settings).unwrap();
    for number in 0..3 {
        let operation = support::upsert(&format!("{number}"), support::vector(4, number), number);
        collection.apply(vec![operation], Durability::Accepted).unwrap();
    }
    drop(collection);
    fs_err::read(folder.path().join("wal/00000001.log")).unwrap()
}

/// A filter file over a field `a` of all kinds.
fn filters() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let settings = support::config(4);
    let collection = twn_index::Collection::create(folder.path(), settings).unwrap();
    let values = serde_json::json!(["x", 1, true, "2024-01-01T12:00:00Z", 2.5]);
    for number in 0..40_usize {
        let mut document = support::document(&format!("{number}"), support::vector(4, 1), 1);
        document.payload.insert("a".to_owned(), values[number % 5].clone());
        let operation = Operation::Upsert(Box::new(document));
        collection.apply(vec![operation], Durability::Accepted).unwrap();
    }
    collection.seal().unwrap();
    drop(collection);
    fs_err::read(folder.path().join("seg/00000001/filters.bin")).unwrap()
}

/// Changes bytes in one of the ways in which parsers are led astray.
fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    if bytes.is_empty() {
        return;
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..7) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff].choose(random).unwrap(),
        2 => bytes.truncate(at),
        3 => {
            let end = (at + random.random_range(1..64)).min(bytes.len());
            let repeated = bytes[at..end].to_vec();
            bytes.splice(at..at, repeated);
        }
        4 => {
            let other = random.random_range(0..bytes.len());
            bytes.swap(at, other);
        }
        5 => {
            // A length or a place that is far too large, or one past the end.
            let word = *[u64::MAX, 1 << 32, 1 << 63, bytes.len() as u64, 0].choose(random).unwrap();
            let at = at & !7;
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
        }
        _ => {
            // In the first bytes, where headers and tables are.
            let at = random.random_range(0..bytes.len().min(256));
            bytes[at] = random.random();
        }
    }
}

/// Gives a log's records the checksums that their bytes have, so that what is in
/// them is parsed.
fn seal_log(bytes: &mut [u8]) {
    let mut at = 24;
    while let Some(header) = bytes.get(at..at + 28) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        let Some(body) = bytes.get(at + 28..at + 28 + length) else { return };
        let checksum = crc32c::crc32c(body);
        bytes[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[at..at + 24]);
        bytes[at + 24..at + 28].copy_from_slice(&checksum.to_le_bytes());
        at += 28 + length;
    }
}

#[test]
fn no_bytes_make_a_parser_panic_or_run_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(3);
    for (name, seed, parser) in seeds(&folder.path().join("collection")) {
        parser(folder.path(), &seed).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut refused = 0;
        let rounds = 40 * points(60);
        for _ in 0..rounds {
            let mut bytes = seed.clone();
            for _ in 0..random.random_range(1..5) {
                mutate(&mut bytes, &mut random);
            }
            if name == "log" {
                seal_log(&mut bytes);
            }
            refused += usize::from(parser(folder.path(), &bytes).is_err());
        }
        assert!(refused > rounds / 20, "{name} refused only {refused} of {rounds}");
    }
}
