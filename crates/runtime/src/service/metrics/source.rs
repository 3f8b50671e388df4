//! Where the figures of a container come from: its cgroup's files and its processes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use cri::LinuxContainerResources;
use jiff::Timestamp;

use super::Value;
use crate::cgroup::{Cgroup, field};
use crate::container::Container;
use crate::usage::Usage;

/// A place of a figure in the two versions of cgroups: a file, and a name in it unless it is all that the file holds.
pub(super) struct Place {
    pub v1: (&'static str, &'static str, &'static str),
    pub v2: (&'static str, &'static str),
}

/// A running container.
pub(super) struct Source {
    container: Arc<Container>,
    pub cgroup: Cgroup,
    pub started_at: Timestamp,
    pub now: Timestamp,
    pub resources: LinuxContainerResources,
    texts: RefCell<HashMap<&'static str, Rc<str>>>,
    processes: RefCell<Option<Rc<[i32]>>>,
}

impl Source {
    pub(super) fn new(container: Arc<Container>, started_at: Timestamp, now: Timestamp) -> Self {
        Self {
            cgroup: Cgroup::new(&container.record().cgroup),
            started_at,
            now,
            resources: container.resources(),
            container,
            texts: RefCell::default(),
            processes: RefCell::default(),
        }
    }

    /// A file of the cgroup; empty if the machine does not have it. Read once.
    fn text(&self, controller: &str, file: &'static str) -> Rc<str> {
        let mut texts = self.texts.borrow_mut();
        texts.entry(file).or_insert_with(|| self.cgroup.read(controller, file).unwrap_or_default().into()).clone()
    }

    /// A figure of the cgroup.
    pub(super) fn figure(&self, place: &Place) -> Option<u64> {
        let (text, name) = if self.cgroup.is_v2() {
            let (file, name) = place.v2;
            // All files are in one directory.
            (self.text("memory", file), name)
        } else {
            let (controller, file, name) = place.v1;
            (self.text(controller, file), name)
        };
        if name.is_empty() { text.trim().parse().ok() } else { field(&text, name) }
    }

    /// The container's processes.
    pub(super) fn processes(&self) -> Rc<[i32]> {
        self.processes.borrow_mut().get_or_insert_with(|| self.cgroup.processes().into()).clone()
    }

    /// What the processes have open: all files, and of these the sockets.
    pub(super) fn open_files(&self) -> (u64, u64) {
        let (mut files, mut sockets) = (0, 0);
        for pid in self.processes().iter() {
            // A process may end in this moment.
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                files += 1;
                let target = fs::read_link(entry.path());
                sockets += u64::from(target.is_ok_and(|target| target.to_string_lossy().starts_with("socket:")));
            }
        }
        (files, sockets)
    }

    /// The soft limit of open files of the container's first process.
    pub(super) fn open_files_limit(&self) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.container.pid()?)).ok()?;
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
    }

    /// What the container wrote to its root.
    pub(super) fn layer(&self) -> Usage {
        self.container.paths().written()
    }

    /// The file system below the container's root: its mount point, bytes, inodes and free inodes.
    pub(super) fn file_system(&self) -> Option<(String, u64, u64, u64)> {
        let path = self.container.paths().data();
        let stat = rustix::fs::statvfs(path).ok()?;
        let path = fs::canonicalize(path).ok()?;
        let mount = crate::mountinfo::of(&path).ok()??;
        Some((mount.point.display().to_string(), stat.f_blocks * stat.f_frsize, stat.f_files, stat.f_ffree))
    }

    /// The use of huge pages by their size; `what` is the end of the files' names in version 1 and in version 2.
    pub(super) fn huge_pages(&self, what: [&str; 2]) -> Vec<Value> {
        let what = what[usize::from(self.cgroup.is_v2())];
        let value = |size: String| {
            let text = self.cgroup.read("hugetlb", &format!("hugetlb.{size}.{what}"))?;
            Some((vec![size], text.trim().parse().ok()?))
        };
        let sizes = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
        let sizes = sizes.filter_map(|entry| page_size(&entry.file_name().to_string_lossy()));
        sizes.filter_map(value).collect()
    }

    /// What was read from and written to disks: per device, in the order of `what` (`Read` and `Write`).
    pub(super) fn disk(&self, v1_file: &'static str, v2_names: [&str; 2]) -> Vec<(String, [u64; 2])> {
        if self.cgroup.is_v2() {
            parse_v2(&self.text("io", "io.stat"), v2_names)
        } else {
            parse_v1(&self.text("blkio", v1_file))
        }
    }
}

/// A size of huge pages as cgroups write it, from a directory's name (`hugepages-2048kB`).
fn page_size(directory: &str) -> Option<String> {
    let kilobytes: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        0..1024 => format!("{kilobytes}KB"),
        1024..1_048_576 => format!("{}MB", kilobytes >> 10),
        _ => format!("{}GB", kilobytes >> 20),
    })
}

/// Values with a device each.
pub(super) fn per_device(values: Vec<(String, [u64; 2])>, which: usize) -> Vec<Value> {
    values.into_iter().map(|(device, both)| (vec![device], both[which])).collect()
}

fn parse_v1(text: &str) -> Vec<(String, [u64; 2])> {
    let mut devices: Vec<(String, [u64; 2])> = Vec::new();
    for line in text.lines() {
        let [device, operation, value] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let (Ok(value), Some(which)) = (value.parse(), ["Read", "Write"].iter().position(|name| *name == operation))
        else {
            continue;
        };
        match devices.iter_mut().find(|(known, _)| known == device) {
            Some((_, both)) => both[which] = value,
            None => {
                let mut both = [0; 2];
                both[which] = value;
                devices.push((device.to_owned(), both));
            }
        }
    }
    devices
}

fn parse_v2(text: &str, names: [&str; 2]) -> Vec<(String, [u64; 2])> {
    let parse = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let value =
            |name: &str| rest.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        Some((device.to_owned(), names.map(|name| value(name).unwrap_or(0))))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_have_the_sizes_that_cgroups_name() {
        let check = |directory, size: Option<&str>| assert_eq!(page_size(directory).as_deref(), size, "{directory}");
        check("hugepages-64kB", Some("64KB"));
        check("hugepages-2048kB", Some("2MB"));
        check("hugepages-1048576kB", Some("1GB"));
        check("something", None);
    }

    #[test]
    fn disk_figures_are_read_in_both_versions() {
        let expected = vec![("8:0".to_owned(), [10, 20]), ("8:16".to_owned(), [0, 5])];
        let v1 = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:16 Write 5\nTotal 35\n";
        assert_eq!(parse_v1(v1), expected);
        let v2 = "8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=0 wbytes=5 rios=0 wios=1\n";
        assert_eq!(parse_v2(v2, ["rbytes", "wbytes"]), expected);
    }
}
