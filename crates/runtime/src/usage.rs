//! How much room directories take.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use walkdir::WalkDir;

/// Room taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

/// What a directory with everything in it takes; a file with several names counts once. Blocks.
pub(crate) fn usage(dir: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    // What disappears meanwhile takes no room.
    for entry in WalkDir::new(dir).into_iter().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.nlink() > 1 && !metadata.is_dir() && !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        // Blocks have 512 bytes here, whatever the file system's own size.
        usage.bytes += metadata.blocks() * 512;
        usage.inodes += 1;
    }
    usage
}
