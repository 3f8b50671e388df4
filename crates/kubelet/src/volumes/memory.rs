//! File systems in memory: for what must not reach a disk, and for what is fast.
//!
//! Upstream: <https://kubernetes.io/docs/concepts/cluster-administration/swap-memory-management/#memory-backed-volumes>.

use std::ffi::CString;
use std::path::Path;
use std::sync::OnceLock;

use rustix::mount::{FsOpenFlags, MountFlags, fsconfig_set_flag, fsopen, mount};

use super::table::is_mount_point;

/// Mounts memory, up to so many bytes, unless something is mounted there already; it is not swapped out where the kernel
/// lets that be said (since Linux 6.4, not in a user namespace). An error is a message for the user.
pub fn mount_tmpfs(dir: &Path, size: Option<i64>) -> Result<(), String> {
    mount_once(dir, "tmpfs", &tmpfs_options(size, can_stay_in_memory()))
}

/// Mounts huge pages of so many bytes each, unless something is mounted there already.
pub fn mount_huge_pages(dir: &Path, page_size: i64) -> Result<(), String> {
    mount_once(dir, "hugetlbfs", &format!("mode=0777,pagesize={page_size}"))
}

fn tmpfs_options(size: Option<i64>, stays_in_memory: bool) -> String {
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    format!("mode=0777{size}{}", if stays_in_memory { ",noswap" } else { "" })
}

/// Whether the kernel knows `noswap`; asked once.
fn can_stay_in_memory() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let tmpfs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC);
        tmpfs.and_then(|tmpfs| fsconfig_set_flag(tmpfs, "noswap")).is_ok()
    })
}

fn mount_once(dir: &Path, kind: &str, options: &str) -> Result<(), String> {
    if is_mount_point(dir).map_err(|err| format!("cannot look at {}: {err}", dir.display()))? {
        return Ok(());
    }
    let options = CString::new(options).map_err(|err| err.to_string())?;
    mount(kind, dir, kind, MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|err| format!("cannot mount a {kind} at {}: {err}", dir.display()))
}

#[cfg(test)]
mod tests {
    use rustix::mount::{UnmountFlags, unmount};

    use super::*;

    #[test]
    fn memory_stays_memory_where_the_kernel_can() {
        assert_eq!(tmpfs_options(None, false), "mode=0777");
        assert_eq!(tmpfs_options(None, true), "mode=0777,noswap");
        assert_eq!(tmpfs_options(Some(4096), true), "mode=0777,size=4096,noswap");
        let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let can = mount("tmpfs", other.path(), "tmpfs", MountFlags::empty(), Some(c"noswap")).is_ok();
        let outcome = mount_tmpfs(dir.path(), Some(1 << 20));
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("a table");
        for mounted in [&dir, &other] {
            // The other one may not be there.
            let _ = unmount(mounted.path(), UnmountFlags::DETACH);
        }
        assert_eq!(outcome, Ok(()));
        let line = table.lines().find(|line| line.split(' ').nth(4) == dir.path().to_str()).expect("mounted");
        assert_eq!(line.contains("noswap"), can, "{line}");
        assert!(line.contains("size=1024k"), "{line}");
    }
}
