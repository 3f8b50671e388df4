//! A disk that fails, or loses power in the middle of a write.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use base::Random;
use rusqlite::{Connection, ffi};

use super::disk::{Checkpoint, Disk, SystemDisk};
use crate::suite::{Fault, FaultKind};

/// The unit in which a disk writes or does not write.
const SECTOR: usize = 512;
/// The size of the log's header.
const LOG_HEADER: usize = 32;
const DATABASE: &str = "store.db";
const LOG: &str = "store.db-wal";

#[derive(Debug)]
pub(crate) struct FaultDisk {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Fault>,
    /// What a crash left; while it is there nothing reaches the disk.
    crashed: Option<Image>,
}

/// The content of the files that matter after a crash.
#[derive(Clone, Debug)]
struct Image {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl FaultDisk {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), state: Mutex::default() }
    }

    pub fn arm(&self, fault: Fault) {
        let mut state = self.lock();
        if state.crashed.is_none() {
            state.armed = Some(fault);
        }
    }

    pub fn crashed(&self) -> bool {
        self.lock().crashed.is_some()
    }

    /// Puts what a crash left in place, after the engine is closed, and works again.
    pub fn power_on(&self) {
        let mut state = self.lock();
        state.armed = None;
        if let Some(image) = state.crashed.take() {
            fs::write(self.dir.join(DATABASE), image.database).expect("the test's directory can be written");
            fs::write(self.dir.join(LOG), image.log).expect("the test's directory can be written");
            // It is memory of the processes that had the database open.
            let _ = fs::remove_file(self.dir.join("store.db-shm"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock")
    }

    /// Whether the next write fails, and how.
    fn next_fault(&self) -> rusqlite::Result<Option<FaultKind>> {
        let mut state = self.lock();
        if state.crashed.is_some() {
            return Err(failure(ffi::SQLITE_IOERR));
        }
        match &mut state.armed {
            Some(Fault { after: 0, kind }) => {
                let kind = *kind;
                state.armed = None;
                Ok(Some(kind))
            }
            Some(fault) => {
                fault.after -= 1;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn image(&self) -> Image {
        let read = |name| fs::read(self.dir.join(name)).unwrap_or_default();
        Image { database: read(DATABASE), log: read(LOG) }
    }

    fn crash(&self, image: Image) -> rusqlite::Error {
        self.lock().crashed = Some(image);
        failure(ffi::SQLITE_IOERR)
    }
}

impl Disk for FaultDisk {
    fn commit(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self.next_fault()? {
            None => SystemDisk.commit(connection),
            Some(FaultKind::Full) => Err(failure(ffi::SQLITE_FULL)),
            Some(FaultKind::Io) => Err(failure(ffi::SQLITE_IOERR)),
            Some(FaultKind::Crash { seed }) => {
                // A commit writes the log only.
                let before = self.image();
                SystemDisk.commit(connection)?;
                let log = torn_log(&before.log, &self.image().log, &Random::seeded(seed));
                Err(self.crash(Image { log, ..before }))
            }
        }
    }

    fn checkpoint(&self, connection: &Connection, mode: Checkpoint) -> rusqlite::Result<()> {
        match self.next_fault()? {
            None => SystemDisk.checkpoint(connection, mode),
            Some(FaultKind::Full) => Err(failure(ffi::SQLITE_FULL)),
            Some(FaultKind::Io) => Err(failure(ffi::SQLITE_IOERR)),
            Some(FaultKind::Crash { seed }) => {
                // The log is emptied after the database is synced, or not at all.
                let (before, random) = (self.image(), Random::seeded(seed));
                SystemDisk.checkpoint(connection, mode)?;
                let after = self.image();
                if random.below(4) == 0 {
                    return Err(self.crash(after));
                }
                let database = torn(&before.database, &after.database, &random);
                Err(self.crash(Image { database, ..before }))
            }
        }
    }
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// A log during a commit. Where the commit starts the log anew, SQLite syncs the new header before it writes over what
/// follows: a mixture of old and new under the old header would be read as an earlier state of the database.
fn torn_log(before: &[u8], after: &[u8], random: &Random) -> Vec<u8> {
    let header = LOG_HEADER.min(after.len());
    if before.get(..header) == Some(&after[..header]) {
        return torn(before, after, random);
    }
    let mut restarted = before.to_vec();
    restarted.resize(before.len().max(header), 0);
    restarted[..header].copy_from_slice(&after[..header]);
    if random.below(4) == 0 { torn(before, &restarted, random) } else { torn(&restarted, after, random) }
}

/// A file in which some of the sectors that changed have their new content, and others the old one.
fn torn(before: &[u8], after: &[u8], random: &Random) -> Vec<u8> {
    let length = if random.below(2) == 0 { before.len() } else { after.len() };
    let mut torn = before.to_vec();
    torn.resize(length, 0);
    // Often all or nothing arrives; a mixture in equal parts would rarely be close to either.
    let part = [0.0, 0.1, 0.5, 0.9, 1.0][usize::try_from(random.below(5)).expect("below five")];
    for (sector, content) in torn.chunks_mut(SECTOR).enumerate() {
        let new = after.get(sector * SECTOR..).unwrap_or_default();
        let length = content.len().min(new.len());
        if random.fraction() < part {
            content[..length].copy_from_slice(&new[..length]);
        }
    }
    torn
}
