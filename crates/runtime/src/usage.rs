//! How much room directories take.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::TreeEntry;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

/// Room taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub bytes: u64,
    pub inodes: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// What a directory with everything in it takes; a file with several names counts once. Blocks.
pub(crate) fn usage(dir: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut add = |mode, links, at, blocks| {
        let is_dir = FileType::from_raw_mode(mode) == FileType::Directory;
        if is_dir || links < 2 || seen.insert(at) {
            // Blocks have 512 bytes here, whatever the file system's own size.
            usage.bytes += blocks * 512;
            usage.inodes += 1;
        }
    };
    if let Ok(metadata) = std::fs::symlink_metadata(dir) {
        add(metadata.mode(), metadata.nlink(), (metadata.dev(), metadata.ino()), metadata.blocks());
    }
    // What cannot be looked at, or disappears meanwhile, takes no room.
    let _ = base::walk_tree(dir, |TreeEntry { stat, .. }| {
        let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
        add(stat.st_mode, stat.st_nlink, (stat.st_dev, stat.st_ino), blocks);
        Ok(())
    });
    usage
}
