//! Opening a collection: with its files in the page cache, with none of them, and the
//! memory that it takes.

use super::own;
use crate::rows::{Row, Target};
use anyhow::ensure;
use fs_err as fs;
use std::{path::Path, process::Command};
use twn_index::UnitVector;

const WARM_MS_MAX: f64 = 100.0;
const COLD_MS_MAX: f64 = 1000.0;
/// Of a row.
const HEAP_BYTES_MAX: f64 = 16.0;

/// Measures an opening with the first query answered, warm and cold.
pub(crate) fn measure(
    set: &str,
    folder: &Path,
    query: &UnitVector,
    rounds: usize,
) -> anyhow::Result<[Row; 2]> {
    let warm: anyhow::Result<Vec<f64>> =
        (0..rounds).map(|_| own::open_and_ask(folder, query)).collect();
    let what = format!("{set}: open and answer one query, warm pages");
    let warm = Row::state(what, "ms", &warm?, Some(Target::at_most(WARM_MS_MAX)));

    let cold: anyhow::Result<Vec<f64>> = (0..rounds)
        .map(|_| {
            forget_pages(folder)?;
            own::open_and_ask(folder, query)
        })
        .collect();
    let what = format!("{set}: open and answer one query, no page in memory");
    let target = Some(Target::at_most(COLD_MS_MAX));
    let cold = match cold {
        Ok(times) => Row::state(what, "ms", &times, target),
        Err(error) => Row::state(what, "ms", &[], target).with_note(format!("{error:#}")),
    };
    Ok([warm, cold])
}

/// Has the system drop the pages of all files in a folder, which nobody has mapped, by
/// `dd iflag=nocache` of GNU coreutils.
fn forget_pages(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            forget_pages(&path)?;
            continue;
        }
        let mut input = std::ffi::OsString::from("if=");
        input.push(&path);
        // Pages that are not on disk yet would stay.
        fs::File::open(&path)?.sync_all()?;
        let output = Command::new("dd").arg(input).args(["iflag=nocache", "count=0"]).output()?;
        ensure!(output.status.success(), "dd: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Measures the heap of an open collection that was searched, in a process that has done
/// nothing else.
pub(crate) fn heap(set: &str, folder: &Path, rows: usize) -> Row {
    let what = format!("{set}: heap beside the page cache, open and searched");
    let target = Some(Target::at_most(HEAP_BYTES_MAX));
    match heap_in_a_new_process(folder) {
        Ok(bytes) => Row::state(what, "bytes/row", &[bytes / rows as f64], target),
        Err(error) => Row::state(what, "bytes/row", &[], target).with_note(format!("{error:#}")),
    }
}

fn heap_in_a_new_process(folder: &Path) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["index", "--heap-of"]).arg(folder).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
