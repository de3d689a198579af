//! Compaction: several segments become one without their dead rows, while reads,
//! writes and seals go on.
//!
//! 1. Choose segments and note which of their rows are dead. For this moment the
//!    ledger is held, so no seal is half-way.
//! 2. Verify their files, so that no damage is copied under a fresh checksum, and
//!    write the rows that are left as a new segment. No lock but the one that
//!    keeps a second compaction out.
//! 3. With the ledger in hand: note the rows that died meanwhile as tombstones of
//!    the new segment, put the log on disk as far as these come from, and write a
//!    manifest with the new segment in the place of the old ones. Its position in
//!    the log is that of the manifest before: replaying operations over rows that
//!    they have removed already comes to the same.
//! 4. Put the segment in the place of the old ones under the writer's lock.
//! 5. Remove the old ones' files once nobody reads them (see `graveyard`).
//!
//! A crash before the manifest counts leaves a folder that no manifest names, one
//! after it leaves those of the old segments; the next opening removes either.

use super::{SEGMENT_FOLDER, Shared, writer::Writer};
use crate::{
    config::CompactionConfig,
    durable::{remove_folder, sync_folder},
    error::IndexError,
    manifest::{self, Manifest, SegmentEntry},
    segment::{self, MergedRows, RowSource, Segment, tombstones},
    snapshot::SegmentView,
};
use roaring::RoaringBitmap;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Instant,
};

/// Which segments a compaction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that the configuration says are due.
    Due,
    /// All of them, unless they are one without dead rows already.
    All,
}

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Segments before that are no more.
    pub merged_segments: usize,
    /// Rows in the segment that took their place.
    pub rows: u64,
    /// Dead rows that are gone.
    pub removed_rows: u64,
}

/// Step 1's outcome.
struct Chosen {
    views: Vec<SegmentView>,
    entries: Vec<SegmentEntry>,
    segment_id: u64,
}

impl Shared {
    /// Compacts until nothing is due, as the background thread does; says
    /// whether old files still wait for their readers.
    pub(super) fn compact_if_due(&self) -> Result<bool, IndexError> {
        if self.config.compaction.is_automatic {
            while self.compact(Scope::Due)?.is_some() {}
        }
        Ok(self.graveyard.sweep() > 0)
    }

    /// Compacts once; `None` if there was nothing to do.
    pub(super) fn compact(&self, scope: Scope) -> Result<Option<Compacted>, IndexError> {
        let _turn = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        let started = Instant::now();
        let Some(chosen) = self.choose(scope)? else { return Ok(None) };
        let folder = segment::folder(&self.root.join(SEGMENT_FOLDER), chosen.segment_id);
        let merged = MergedRows::new(chosen.views);
        // Until the manifest nothing but files of its own has changed.
        let built = catch_unwind(AssertUnwindSafe(|| {
            self.merge(&merged, &chosen.entries, &folder, chosen.segment_id)
        }));
        let built = built.unwrap_or_else(|_| {
            Err(IndexError::Build { problem: "merging segments panicked".to_owned() })
        });
        let switched = built.and_then(|built| self.switch(&merged, &chosen.entries, built));
        match switched {
            Ok(()) => {}
            // The manifest that names the new segment may be the one on disk.
            Err(error @ IndexError::Poisoned { .. }) => return Err(error),
            Err(error) => {
                if let Err(error) = remove_folder(&folder) {
                    tracing::warn!(%error, "an unfinished segment is left behind");
                }
                return Err(error);
            }
        }
        let dead = merged.views().iter().map(|view| view.dead.len()).sum();
        let compacted = Compacted {
            merged_segments: merged.views().len(),
            rows: merged.len() as u64,
            removed_rows: dead,
        };
        drop(merged);
        self.graveyard.sweep();
        let elapsed_ms = started.elapsed().as_millis();
        tracing::info!(path = %self.root.display(), ?compacted, elapsed_ms, "compacted");
        Ok(Some(compacted))
    }

    /// Step 1.
    fn choose(&self, scope: Scope) -> Result<Option<Chosen>, IndexError> {
        let mut ledger = self.lock_ledger();
        self.check_open()?;
        let segments = Arc::clone(&self.current.load().segments);
        let chosen = match scope {
            Scope::Due => due(&segments, &self.config.compaction),
            Scope::All => {
                let is_whole = segments.len() <= 1 && segments.iter().all(|v| v.dead.is_empty());
                if is_whole { Vec::new() } else { (0..segments.len()).collect() }
            }
        };
        if chosen.is_empty() {
            return Ok(None);
        }
        Ok(Some(Chosen {
            views: chosen.iter().map(|&at| segments[at].clone()).collect(),
            entries: chosen.iter().map(|&at| ledger.manifest.segments[at].clone()).collect(),
            segment_id: ledger.draw_segment(),
        }))
    }

    /// Step 2; `None` if no row is left.
    fn merge(
        &self,
        merged: &MergedRows,
        entries: &[SegmentEntry],
        folder: &Path,
        id: u64,
    ) -> Result<Option<(SegmentEntry, Segment)>, IndexError> {
        let segments = self.segment_folder();
        for entry in entries {
            segment::verify(&segment::folder(&segments, entry.id), entry)?;
            self.check_not_stopped()?;
        }
        if merged.len() == 0 {
            return Ok(None);
        }
        let written = segment::write(folder, id, &self.config, merged, &self.stop);
        merged.views().iter().try_for_each(|view| view.segment.check_sound())?;
        let entry = written?;
        sync_folder(&segments)?;
        let segment = Segment::open(folder, &entry, self.config.dimension)?;
        Ok(Some((entry, segment)))
    }

    /// Steps 3 and 4.
    fn switch(
        &self,
        merged: &MergedRows,
        old: &[SegmentEntry],
        built: Option<(SegmentEntry, Segment)>,
    ) -> Result<(), IndexError> {
        let mut ledger = self.lock_ledger();
        self.check_not_stopped()?;
        let number = ledger.draw_manifest();
        let seen = self.current.load_full();
        let mut dead = RoaringBitmap::new();
        let built = match built {
            None => None,
            Some((mut entry, segment)) => {
                bury_late(&mut dead, &segment, merged, &seen.segments)?;
                if !dead.is_empty() {
                    let folder = segment::folder(&self.segment_folder(), entry.id);
                    entry.tombstones = Some(tombstones::write(&folder, number, &dead)?);
                    sync_folder(&folder)?;
                }
                Some((entry, Arc::new(segment)))
            }
        };
        self.commit.flush()?;

        let is_old = |id: u64| old.iter().any(|entry| entry.id == id);
        let mut next =
            Manifest { number, next_segment: ledger.next_segment, ..ledger.manifest.clone() };
        replace(&mut next.segments, |entry| is_old(entry.id), built.as_ref().map(|b| b.0.clone()));
        manifest::store(&self.root, &next).inspect_err(|error| self.poison_if_unknown(error))?;

        let mut writer = self.lock_writer()?;
        let view = match built {
            None => None,
            Some((_, segment)) => {
                let buried = bury_late(&mut dead, &segment, merged, &writer.state.segments);
                buried.inspect_err(|error| self.commit.poison(&error.to_string()))?;
                Some(SegmentView { segment, dead: Arc::new(dead) })
            }
        };
        self.install_merged(&mut writer, merged, view);
        drop(writer);
        ledger.manifest = next;
        for (view, entry) in merged.views().iter().zip(old) {
            let folder = segment::folder(&self.segment_folder(), entry.id);
            self.graveyard.add(&view.segment, folder);
        }
        self.remove_unneeded(&ledger.manifest);
        self.check_signal.raise();
        Ok(())
    }

    fn install_merged(&self, writer: &mut Writer, merged: &MergedRows, view: Option<SegmentView>) {
        let is_old = |view: &SegmentView| {
            merged.views().iter().any(|old| Arc::ptr_eq(&old.segment, &view.segment))
        };
        replace(Arc::make_mut(&mut writer.state.segments), is_old, view);
        self.current.store(Arc::new(writer.state.clone()));
    }

    fn check_not_stopped(&self) -> Result<(), IndexError> {
        let is_over = self.stop.is_requested() || self.is_closed.load(Ordering::SeqCst);
        if is_over { Err(IndexError::Closed) } else { self.commit.check() }
    }
}

/// Puts `new` where the first of the old ones was and takes those out.
fn replace<T>(list: &mut Vec<T>, is_old: impl Fn(&T) -> bool, new: Option<T>) {
    let first = list.iter().position(&is_old).unwrap_or(list.len());
    list.retain(|item| !is_old(item));
    list.splice(first..first, new);
}

/// Adds the rows of a merged segment that were alive when merging began and
/// are dead in `now`.
fn bury_late(
    dead: &mut RoaringBitmap,
    segment: &Segment,
    merged: &MergedRows,
    now: &[SegmentView],
) -> Result<(), IndexError> {
    for before in merged.views() {
        let same = now.iter().find(|view| Arc::ptr_eq(&view.segment, &before.segment));
        let Some(after) = same else { continue };
        for row in &*after.dead - &*before.dead {
            dead.extend(segment.ids.find_bytes(before.segment.ids.id(row)).ok());
        }
        before.segment.check_sound()?;
    }
    segment.check_sound()
}

/// Tells whether [`due`] would choose any; cheap enough for every write.
pub(super) fn is_due(segments: &[SegmentView], config: &CompactionConfig) -> bool {
    segments.len() > config.max_segments || segments.iter().any(|view| is_worn(view, config))
}

fn is_worn(view: &SegmentView, config: &CompactionConfig) -> bool {
    view.dead.len() * 100 > u64::from(view.segment.rows()) * config.dead_percent as u64
}

/// Chooses segments to merge, by their places.
///
/// Where there are too many, the smallest two, and then each next larger one
/// that at most doubles the work: a row is then merged a logarithmic number of
/// times as the collection grows. Otherwise the most worn one alone.
fn due(segments: &[SegmentView], config: &CompactionConfig) -> Vec<usize> {
    let rows: Vec<u64> = segments.iter().map(SegmentView::live_rows).collect();
    if segments.len() > config.max_segments {
        return smallest(&rows);
    }
    let worn = segments.iter().enumerate().filter(|(_, view)| is_worn(view, config));
    let most_worn = worn.min_by(|(a, _), (b, _)| {
        let alive = |at: usize| rows[at] as f64 / f64::from(segments[at].segment.rows());
        alive(*a).total_cmp(&alive(*b))
    });
    most_worn.map(|(at, _)| at).into_iter().collect()
}

fn smallest(rows: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&at| rows[at]);
    let (mut chosen, mut sum) = (Vec::new(), 0);
    for at in order {
        if chosen.len() >= 2 && rows[at] > sum {
            break;
        }
        chosen.push(at);
        sum += rows[at];
    }
    chosen.sort_unstable();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_merged_as_far_as_that_at_most_doubles_the_work() {
        assert_eq!(smallest(&[20; 9]), (0..9).collect::<Vec<_>>());
        assert_eq!(smallest(&[180, 20, 20, 20]), [1, 2, 3]);
        assert_eq!(smallest(&[100, 5, 9, 20]), [1, 2]);
        assert_eq!(smallest(&[100, 50]), [0, 1]);
    }

    #[test]
    fn merging_keeps_the_number_of_segments_and_the_work_small() {
        let (mut rows, mut written) = (Vec::new(), 0_u64);
        const SEALS: u64 = 1000;
        for _ in 0..SEALS {
            rows.extend([1_u64]);
            if rows.len() > 8 {
                let chosen = smallest(&rows);
                let sum: u64 = chosen.iter().map(|&at| rows[at]).sum();
                written += sum;
                for &at in chosen.iter().rev() {
                    rows.remove(at);
                }
                rows.push(sum);
            }
        }
        assert!(rows.len() <= 8);
        assert!(written <= 8 * SEALS, "each row was written {} times", written / SEALS);
    }
}
