//! Small disks, which are soon full.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

/// A small disk at some place, until it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB at a place, which is made.
    pub fn mount(place: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(place).expect("a directory can be made");
        let options = format!("mode=0755,size={mebibytes}m");
        let mounted = mount(Some("skiff-e2e"), place, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()));
        mounted.expect("root may mount");
        Self { place: place.to_owned() }
    }

    /// Where it is.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// How many bytes are free.
    pub fn free(&self) -> u64 {
        let disk = statvfs(&self.place).expect("it tells");
        disk.blocks_available() * disk.fragment_size()
    }

    fn ballast(&self) -> PathBuf {
        self.place.join("ballast")
    }

    /// Leaves no more than so many bytes free.
    pub fn fill(&self, left: u64) {
        while self.free() > left {
            let size = usize::try_from(self.free() - left).expect("it is small");
            let mut file = fs::File::options().create(true).append(true).open(self.ballast()).expect("opened");
            match std::io::Write::write_all(&mut file, &vec![1; size]) {
                // Somebody else was faster.
                Err(err) if err.kind() == ErrorKind::StorageFull => {}
                written => written.expect("it can be written"),
            }
        }
    }

    /// Makes room again.
    pub fn clear(&self) {
        fs::remove_file(self.ballast()).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still uses it goes with the cluster.
        let _ = umount2(&self.place, MntFlags::MNT_DETACH);
    }
}
