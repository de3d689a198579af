//! The one who changes a collection, under the writer's lock.

use crate::{
    config::CollectionConfig,
    document::{Applied, Operation, Outcome},
    error::IndexError,
    snapshot::Snapshot,
    tail::TailRow,
    wal::{Draft, GroupCommit, Wal},
};
use std::sync::Arc;

/// How many times `seal_rows` the tail may hold before writers wait for a seal.
const TAIL_ROOM: usize = 2;

/// The log, and the state that the next snapshot is taken from.
pub(super) struct Writer {
    pub(super) wal: Wal,
    /// Bytes of earlier log files that no manifest covers yet.
    pub(super) older_wal_bytes: u64,
    pub(super) state: Snapshot,
    /// Whether rows are being sealed: those in `state.frozen`.
    pub(super) is_sealing: bool,
    /// Ids that were frozen when they were deleted or replaced.
    pub(super) buried_while_sealing: Vec<String>,
    /// Rows the tail has to have before the background thread tries again,
    /// after a seal has failed; zero after one that has not.
    pub(super) retry_rows: usize,
}

impl Writer {
    pub(super) fn new(wal: Wal, older_wal_bytes: u64, state: Snapshot) -> Self {
        Self {
            wal,
            older_wal_bytes,
            state,
            is_sealing: false,
            buried_while_sealing: Vec::new(),
            retry_rows: 0,
        }
    }

    /// Logs operations, then applies them to the state.
    pub(super) fn write(
        &mut self,
        commit: &GroupCommit,
        draft: &mut Draft,
        operations: Vec<Operation>,
    ) -> Result<Vec<Applied>, IndexError> {
        self.state.check_sound()?;
        let first = self.state.last_sequence + 1;
        let appended = self.wal.append(draft, first, commit.durable());
        if let Err(IndexError::Poisoned { problem }) = &appended {
            commit.poison(problem);
        }
        appended?;
        let apply = |(sequence, operation)| {
            let outcome =
                apply(&mut self.state, &mut self.buried_while_sealing, sequence, operation);
            Applied { sequence, outcome }
        };
        let applied: Vec<Applied> = (first..).zip(operations).map(apply).collect();
        commit.advance(self.state.last_sequence);
        // A row may not have been found that these operations replace. The log
        // has them, so all is well once the file is.
        self.state.check_sound().inspect_err(|error| commit.poison(&error.to_string()))?;
        Ok(applied)
    }

    /// Ends the log with a record of no operations, which says how far it is on
    /// disk: so rot in the last record that has any is told from a torn end.
    pub(super) fn mark_end(&mut self, commit: &GroupCommit) -> Result<(), IndexError> {
        let last = self.state.last_sequence;
        self.wal.append(&mut Draft::new(&[])?, last + 1, commit.durable())?;
        self.wal.sync()
    }

    /// Tells whether the background thread should seal the tail.
    pub(super) fn is_ready_to_seal(&self, config: &CollectionConfig) -> bool {
        let rows = self.state.tail.len();
        let is_large = rows >= config.seal_rows || self.wal.length() >= config.seal_log_bytes();
        !self.is_sealing && is_large && rows >= self.retry_rows
    }

    /// Tells whether writing has to wait for a seal, under way or about to be.
    ///
    /// After a failed one it has not: the disk may be full for good, and the
    /// log is then what refuses.
    pub(super) fn has_no_room(&self, config: &CollectionConfig) -> bool {
        let is_full = self.state.tail.len() >= config.seal_rows.saturating_mul(TAIL_ROOM)
            || self.wal.length() >= config.seal_log_bytes().saturating_mul(TAIL_ROOM as u64);
        is_full && (self.is_sealing || self.retry_rows == 0)
    }
}

/// Changes a state by one operation, as a write or a replay does.
pub(super) fn apply(
    state: &mut Snapshot,
    buried_while_sealing: &mut Vec<String>,
    sequence: u64,
    operation: Operation,
) -> Outcome {
    state.last_sequence = sequence;
    match operation {
        Operation::Upsert(document) => {
            let was_sealed = bury(state, buried_while_sealing, &document.id);
            let was_fresh = state.tail.insert(Arc::new(TailRow { document: *document, sequence }));
            if was_sealed || was_fresh { Outcome::Updated } else { Outcome::Inserted }
        }
        Operation::Delete(id) => {
            let was_there = state.tail.remove(&id) || bury(state, buried_while_sealing, &id);
            if was_there { Outcome::Deleted } else { Outcome::Missing }
        }
    }
}

/// Makes the row of an id dead, in the frozen tail or in a segment.
fn bury(state: &mut Snapshot, buried_while_sealing: &mut Vec<String>, id: &str) -> bool {
    if state.frozen.remove(id) {
        buried_while_sealing.push(id.to_owned());
        return true;
    }
    let newest_first = state.segments.iter().enumerate().rev();
    let found = newest_first.filter_map(|(at, view)| Some((at, view.find(id)?))).next();
    let Some((at, row)) = found else { return false };
    let view = &mut Arc::make_mut(&mut state.segments)[at];
    Arc::make_mut(&mut view.dead).insert(row)
}
