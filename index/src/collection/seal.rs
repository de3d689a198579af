//! Sealing: the tail becomes a segment, while reads and writes go on.
//!
//! 1. Freeze, under the writer's lock: begin a new log file, set the tail aside
//!    as frozen, start an empty one. This is the moment the manifest describes.
//! 2. Build the segment's files from the frozen rows. No lock.
//! 3. Write the tombstones of that moment, then the manifest. Now the files
//!    count, and the log before the moment does not.
//! 4. Put the segment in the place of the frozen tail, under the writer's lock.
//!    Rows deleted or replaced since the moment are dead in it; the new log file
//!    has those operations, so they outlive a crash without the manifest.
//! 5. Remove the files that the new manifest no longer needs.
//!
//! Where 1 to 3 fail, the frozen rows go back to the tail and nothing is lost:
//! the log files are all still there, and the old manifest counts.

use super::{
    recovery::remove_unneeded,
    shared::{Ledger, Shared},
    writer::Writer,
};
use crate::{
    durable::{remove_folder, sync_folder},
    error::IndexError,
    manifest::{self, Manifest, SegmentEntry},
    segment::{self, Segment, tombstones},
    snapshot::SegmentView,
    tail::{Tail, TailRow},
};
use roaring::RoaringBitmap;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// A collection at the moment of a seal.
struct Frozen {
    rows: Vec<Arc<TailRow>>,
    segments: Arc<Vec<SegmentView>>,
    last_sequence: u64,
    wal_start: u64,
}

impl Shared {
    /// Seals if there is enough in the tail, as the background thread does.
    ///
    /// Nothing is left to try again by itself: after a failure the tail has to
    /// grow first (see [`Writer::retry_rows`]).
    pub(super) fn seal_if_ready(&self) -> Result<bool, IndexError> {
        // The tail may have filled up again behind the rows being sealed.
        while self.lock_writer()?.is_ready_to_seal(&self.config) {
            self.seal()?;
        }
        Ok(false)
    }

    /// Seals whatever is in the tail; waits for its turn.
    ///
    /// A panic on the way leaves rows frozen that no later seal would know of,
    /// so it makes the collection read-only; the log still has them.
    pub(super) fn seal(&self) -> Result<(), IndexError> {
        catch_unwind(AssertUnwindSafe(|| self.seal_in_turn())).unwrap_or_else(|_| {
            let problem = "sealing panicked".to_owned();
            self.commit.poison(&problem);
            self.give_room();
            Err(IndexError::Poisoned { problem })
        })
    }

    fn seal_in_turn(&self) -> Result<(), IndexError> {
        let mut ledger = self.lock_ledger();
        // Closing waits for this turn too, so nothing is sealed after it.
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(IndexError::Closed);
        }
        let started = Instant::now();
        let frozen = self.freeze(ledger.manifest.last_sequence);
        let frozen = frozen.inspect_err(|_| self.postpone())?;
        let Some(frozen) = frozen else { return Ok(()) };
        match self.store_frozen(&frozen, &mut ledger) {
            Ok((manifest, segment)) => {
                self.install(segment)?;
                ledger.manifest = manifest;
                let (rows, elapsed_ms) = (frozen.rows.len(), started.elapsed().as_millis());
                tracing::info!(path = %self.root.display(), rows, elapsed_ms, "sealed");
                self.remove_unneeded(&ledger.manifest);
                self.compaction_signal.raise();
                self.check_signal.raise();
                Ok(())
            }
            Err(error) => {
                self.poison_if_unknown(&error);
                self.thaw()?;
                Err(error)
            }
        }
    }

    /// Step 1; `None` if nothing was written since the last manifest.
    fn freeze(&self, sealed_sequence: u64) -> Result<Option<Frozen>, IndexError> {
        let mut writer = self.lock_writer()?;
        self.commit.check()?;
        if writer.state.last_sequence == sealed_sequence {
            return Ok(None);
        }
        if let Err(error) = writer.wal.sync() {
            self.commit.poison(&error.to_string());
            return Err(error);
        }
        let next_wal = writer.wal.create_next()?;
        let old_wal = std::mem::replace(&mut writer.wal, next_wal);
        writer.older_wal_bytes += old_wal.length();
        self.commit.switch(Arc::clone(writer.wal.file()));
        writer.state.frozen = std::mem::take(&mut writer.state.tail);
        writer.buried_while_sealing.clear();
        writer.is_sealing = true;
        self.current.store(Arc::new(writer.state.clone()));
        self.room.notify_all();
        Ok(Some(Frozen {
            rows: writer.state.frozen.iter().map(|(_, row)| Arc::clone(row)).collect(),
            segments: Arc::clone(&writer.state.segments),
            last_sequence: writer.state.last_sequence,
            wal_start: writer.wal.number(),
        }))
    }

    /// Steps 2 and 3; returns the manifest that now counts and the new segment,
    /// if there were rows for one.
    fn store_frozen(
        &self,
        frozen: &Frozen,
        ledger: &mut Ledger,
    ) -> Result<(Manifest, Option<Segment>), IndexError> {
        let segments = self.segment_folder();
        let (number, segment_id) = (ledger.draw_manifest(), ledger.draw_segment());
        let mut next = Manifest {
            number,
            last_sequence: frozen.last_sequence,
            wal_start: frozen.wal_start,
            ..ledger.manifest.clone()
        };
        for (entry, view) in next.segments.iter_mut().zip(frozen.segments.iter()) {
            let folder = segment::folder(&segments, entry.id);
            store_dead(&folder, entry, &view.dead, number)?;
        }
        let mut segment = None;
        if !frozen.rows.is_empty() {
            let folder = segment::folder(&segments, segment_id);
            let built = self.build(&folder, segment_id, &frozen.rows);
            if built.is_err() {
                remove_quietly(&folder);
            }
            let (entry, opened) = built?;
            next.segments.push(entry);
            segment = Some(opened);
        }
        // A compaction may have drawn one since.
        next.next_segment = ledger.next_segment;
        let stored = manifest::store(&self.root, &next);
        if segment.is_some() && !matches!(stored, Ok(()) | Err(IndexError::Poisoned { .. })) {
            remove_quietly(&segment::folder(&segments, segment_id));
        }
        stored.map(|()| (next, segment))
    }

    fn build(
        &self,
        folder: &Path,
        id: u64,
        rows: &Vec<Arc<TailRow>>,
    ) -> Result<(SegmentEntry, Segment), IndexError> {
        let entry = segment::write(folder, id, &self.config, rows, &self.stop)?;
        sync_folder(&self.segment_folder())?;
        let segment = Segment::open(folder, &entry, self.config.dimension)?;
        Ok((entry, segment))
    }

    /// Step 4.
    fn install(&self, segment: Option<Segment>) -> Result<(), IndexError> {
        let mut writer = self.lock_writer()?;
        let buried = std::mem::take(&mut writer.buried_while_sealing);
        writer.state.frozen = Tail::default();
        writer.older_wal_bytes = 0;
        writer.retry_rows = 0;
        if let Some(segment) = segment {
            let dead = buried.iter().filter_map(|id| segment.ids.find(id).ok()).collect();
            segment.check_sound().inspect_err(|error| self.commit.poison(&error.to_string()))?;
            let view = SegmentView { segment: Arc::new(segment), dead: Arc::new(dead) };
            Arc::make_mut(&mut writer.state.segments).push(view);
        }
        self.end_seal(&mut writer);
        Ok(())
    }

    /// Undoes step 1: what was frozen and is still alive is tail again. Ids
    /// written since are not among it, having been taken out then.
    fn thaw(&self) -> Result<(), IndexError> {
        let mut writer = self.lock_writer()?;
        let mut tail = std::mem::take(&mut writer.state.frozen);
        for (_, row) in writer.state.tail.iter() {
            tail.insert(Arc::clone(row));
        }
        writer.state.tail = tail;
        drop(writer);
        self.postpone();
        let mut writer = self.lock_writer()?;
        self.end_seal(&mut writer);
        Ok(())
    }

    fn end_seal(&self, writer: &mut Writer) {
        writer.is_sealing = false;
        self.current.store(Arc::new(writer.state.clone()));
        self.room.notify_all();
    }

    /// Lets writers go on that wait for a seal which will not end.
    fn give_room(&self) {
        if let Ok(mut writer) = self.lock_writer() {
            writer.is_sealing = false;
            writer.retry_rows = usize::MAX;
            self.room.notify_all();
        }
    }

    /// Step 5. What cannot be removed now is in nobody's way: the next manifest
    /// or the next opening tries again.
    pub(super) fn remove_unneeded(&self, manifest: &Manifest) {
        if let Err(error) = remove_unneeded(&self.root, manifest) {
            tracing::warn!(path = %self.root.display(), %error, "old files are left behind");
        }
    }

    /// Lets the tail grow before the next try, and writers go on meanwhile.
    fn postpone(&self) {
        if let Ok(mut writer) = self.lock_writer() {
            writer.retry_rows = writer.state.tail.len() + self.config.seal_rows.div_ceil(2);
            self.room.notify_all();
        }
    }
}

/// Writes a segment's dead rows if there are more than the last manifest has;
/// rows never come back to life, so the number tells.
fn store_dead(
    folder: &Path,
    entry: &mut SegmentEntry,
    dead: &RoaringBitmap,
    generation: u64,
) -> Result<(), IndexError> {
    let stored = entry.tombstones.as_ref().map_or(0, |dead| dead.rows);
    if dead.len() != stored {
        entry.tombstones = Some(tombstones::write(folder, generation, dead)?);
        sync_folder(folder)?;
    }
    Ok(())
}

/// Frees the space of a segment that was not finished; if that fails too, the
/// next opening does it.
fn remove_quietly(folder: &Path) {
    if let Err(error) = remove_folder(folder) {
        tracing::warn!(%error, "an unfinished segment is left behind");
    }
}
