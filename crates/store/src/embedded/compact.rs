//! Compaction: deleting what was superseded, and giving the space back, in steps short enough for waiting writers.

use rusqlite::Connection;

use super::disk::{Checkpoint, Disk};
use super::schema::{self, meta};
use crate::types::Revision;

/// How many rows one step looks at.
const STEP_ROWS: i64 = 512;
/// How many free pages one step gives back.
const STEP_PAGES: i64 = 128;
/// Free pages that the file keeps, so that the next writes need not grow it again (1 MiB).
const SPARE_PAGES: i64 = 256;

/// What is left to do after compactions.
#[derive(Debug)]
pub(crate) struct Compaction {
    /// Rows before this one have been looked at.
    done_to: Revision,
    /// Rows before this one are to be looked at: the compact revision.
    target: Revision,
    phase: Phase,
    /// The last step failed. It is tried again after the next write that succeeds, as the disk may be full until then.
    blocked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Delete,
    Vacuum,
    Truncate,
    Done,
}

impl Compaction {
    /// The work that an earlier process may have left.
    pub fn resume(done_to: Revision, compact_revision: Revision) -> Self {
        let phase = if done_to < compact_revision { Phase::Delete } else { Phase::Done };
        Self { done_to, target: compact_revision, phase, blocked: false }
    }

    /// Makes `revision` the compact revision, durably. The steps that follow delete what it made superfluous.
    pub fn begin(&mut self, connection: &Connection, disk: &dyn Disk, revision: Revision) -> rusqlite::Result<()> {
        in_transaction(connection, disk, |connection| schema::set_meta(connection, meta::COMPACT_REVISION, &revision))?;
        self.target = revision;
        self.phase = Phase::Delete;
        self.blocked = false;
        Ok(())
    }

    /// Whether a step would do something.
    pub fn has_work(&self) -> bool {
        self.phase != Phase::Done && !self.blocked
    }

    /// Tries again what failed before.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Does one bounded piece of work, in a transaction of its own.
    pub fn step(&mut self, connection: &Connection, disk: &dyn Disk) {
        let result = match self.phase {
            Phase::Delete => self.delete(connection, disk),
            Phase::Vacuum => vacuum(connection, disk),
            Phase::Truncate => disk.checkpoint(connection, Checkpoint::Truncate).map(|()| true),
            Phase::Done => return,
        };
        match result {
            Ok(false) => {}
            Ok(true) => {
                self.phase = match self.phase {
                    Phase::Delete => Phase::Vacuum,
                    Phase::Vacuum => Phase::Truncate,
                    Phase::Truncate | Phase::Done => Phase::Done,
                }
            }
            Err(err) => {
                tracing::warn!(err = &err as &dyn std::error::Error, "compacting the store failed, it will be retried");
                self.blocked = true;
            }
        }
    }

    /// Deletes what the next rows superseded, and deletions themselves; whether that was the last of it.
    fn delete(&mut self, connection: &Connection, disk: &dyn Disk) -> rusqlite::Result<bool> {
        let (from, target) = (self.done_to, self.target);
        let done_to = in_transaction(connection, disk, |connection| {
            let mut passed = connection.prepare_cached(
                "SELECT revision, version, previous FROM revisions WHERE revision >= ?1 AND revision < ?2
                    ORDER BY revision LIMIT ?3",
            )?;
            let rows = passed.query_map((from, target, STEP_ROWS), |row| {
                Ok((row.get::<_, Revision>(0)?, row.get::<_, i64>(1)?, row.get::<_, Revision>(2)?))
            })?;
            let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let mut delete = connection.prepare_cached("DELETE FROM revisions WHERE revision = ?1")?;
            for &(revision, version, previous) in &rows {
                if previous != 0 {
                    delete.execute([previous])?;
                }
                if version == 0 {
                    delete.execute([revision])?;
                }
            }
            let full = i64::try_from(rows.len()).is_ok_and(|rows| rows == STEP_ROWS);
            let done_to = rows.last().filter(|_| full).map_or(target, |&(revision, ..)| revision + 1);
            schema::set_meta(connection, meta::COMPACTED_TO, &done_to)?;
            Ok(done_to)
        })?;
        self.done_to = done_to;
        Ok(done_to >= target)
    }
}

/// Gives free pages at the end of the file back; whether that was the last of it.
fn vacuum(connection: &Connection, disk: &dyn Disk) -> rusqlite::Result<bool> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    let pages = (free - SPARE_PAGES).min(STEP_PAGES);
    if pages <= 0 {
        return Ok(true);
    }
    in_transaction(connection, disk, |connection| {
        // It frees one page a row, so it has to be read to its end.
        let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    })?;
    Ok(false)
}

/// Runs `work` in a transaction that the disk commits; leaves none open after an error.
pub(crate) fn in_transaction<T>(
    connection: &Connection,
    disk: &dyn Disk,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let result = work(connection).and_then(|value| disk.commit(connection).map(|()| value));
    if result.is_err() && !connection.is_autocommit() {
        // What failed is reported by the first error; a failed rollback shows in the writer's check of the state.
        let _ = connection.execute_batch("ROLLBACK");
    }
    result
}
