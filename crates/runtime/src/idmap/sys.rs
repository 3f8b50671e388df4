//! mount_setattr(2).
#![expect(unsafe_code, reason = "mount_setattr(2) is in no library that is used here")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Shows the files of a mount that has no place yet as the users of `namespace` see them.
pub(super) fn map(mount: &OwnedFd, namespace: &File, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: u64::from(namespace.as_raw_fd().unsigned_abs()),
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty C string, and the attributes live until the call returns, which only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
