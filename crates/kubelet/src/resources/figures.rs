//! What the processes of a cgroup use together, of cgroups that are no pod's: those of pods are told by the runtime.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroups::Cgroups;

/// The kernel's list of the cgroups that a process is in.
const OWN: &str = "/proc/self/cgroup";

/// What a cgroup uses. What the kernel does not count is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupFigures {
    /// Nanoseconds of CPU.
    pub cpu: Option<u64>,
    /// Bytes of memory.
    pub usage: Option<u64>,
    /// Bytes of it that cannot easily be taken back.
    pub working_set: Option<u64>,
    /// Bytes of it that belong to no file.
    pub rss: Option<u64>,
    /// Page faults.
    pub page_faults: Option<u64>,
    /// Those for which a disk was read.
    pub major_page_faults: Option<u64>,
}

impl Cgroups {
    /// What all pods use together.
    pub fn figures_of_pods(&self) -> CgroupFigures {
        let dir = |controller| self.dir(controller, &self.root());
        figures(dir("cpuacct"), dir("memory"), self.is_v2())
    }

    /// What the kubelet uses, with all that shares its cgroup. Nothing where that is the first one, for this is the
    /// machine's.
    pub fn figures_of_kubelet(&self) -> CgroupFigures {
        let text = fs::read_to_string(OWN).unwrap_or_default();
        let dir = |controller| {
            let path = own_path(&text, if self.is_v2() { "" } else { controller })?;
            self.dir(controller, path).filter(|_| path != "/")
        };
        figures(dir("cpuacct"), dir("memory"), self.is_v2())
    }

    /// What the machine as a whole uses, of which the kernel counts no more than its memory's parts.
    pub fn figures_of_machine(&self) -> CgroupFigures {
        figures(None, self.dir("memory", "/"), self.is_v2())
    }
}

/// The path of a cgroup in the hierarchy of a controller; that of version 2 has no controllers' names.
fn own_path<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|one| one == controller).then_some(path)
    })
}

fn figures(cpu: Option<PathBuf>, memory: Option<PathBuf>, is_v2: bool) -> CgroupFigures {
    let cpu = cpu.and_then(|dir| match is_v2 {
        true => field(&read(&dir, "cpu.stat")?, "usage_usec").map(|micros| micros * 1000),
        false => number(&read(&dir, "cpuacct.usage")?),
    });
    let Some(dir) = memory else { return CgroupFigures { cpu, ..CgroupFigures::default() } };
    let stat = read(&dir, "memory.stat").unwrap_or_default();
    let of = |name: &str| field(&stat, &if is_v2 { name.to_owned() } else { format!("total_{name}") });
    let usage =
        read(&dir, if is_v2 { "memory.current" } else { "memory.usage_in_bytes" }).and_then(|text| number(&text));
    CgroupFigures {
        cpu,
        usage,
        working_set: usage.map(|usage| usage.saturating_sub(of("inactive_file").unwrap_or(0))),
        rss: of(if is_v2 { "anon" } else { "rss" }),
        page_faults: of("pgfault"),
        major_page_faults: of("pgmajfault"),
    }
}

fn read(dir: &Path, file: &str) -> Option<String> {
    fs::read_to_string(dir.join(file)).ok()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A number of a file with a name and a number in each line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(name)?.strip_prefix(' ')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let here = || Some(dir.path().to_owned());
        for (file, text) in [
            ("cpu.stat", "usage_usec 7\nuser_usec 3\n"),
            ("cpuacct.usage", "9000\n"),
            ("memory.current", "100\n"),
            ("memory.usage_in_bytes", "200\n"),
            (
                "memory.stat",
                "anon 10\ninactive_file 30\npgfault 4\npgmajfault 1\n\
                 total_rss 20\ntotal_inactive_file 50\ntotal_pgfault 6\ntotal_pgmajfault 2\n",
            ),
        ] {
            fs::write(dir.path().join(file), text).expect("written");
        }
        let of = |cpu, usage, working_set, rss, page_faults, major_page_faults| CgroupFigures {
            cpu: Some(cpu),
            usage: Some(usage),
            working_set: Some(working_set),
            rss: Some(rss),
            page_faults: Some(page_faults),
            major_page_faults: Some(major_page_faults),
        };
        assert_eq!(figures(here(), here(), true), of(7000, 100, 70, 10, 4, 1));
        assert_eq!(figures(here(), here(), false), of(9000, 200, 150, 20, 6, 2));
        assert_eq!(figures(None, None, true), CgroupFigures::default());
        assert_eq!(figures(Some("/no/such".into()), Some("/no/such".into()), false), CgroupFigures::default());
    }

    #[test]
    fn a_process_is_in_a_cgroup_of_each_hierarchy() {
        let text = "12:name=systemd:/a:b\n4:cpu,cpuacct:/c\n0::/d\n";
        for (controller, path) in [("cpuacct", Some("/c")), ("cpu", Some("/c")), ("memory", None), ("", Some("/d"))] {
            assert_eq!(own_path(text, controller), path, "{controller}");
        }
        assert_eq!(own_path(text, "name=systemd"), Some("/a:b"));
    }
}
