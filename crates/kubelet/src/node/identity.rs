//! By what a machine is told from others.

use std::fs;
use std::path::Path;

/// Where a machine's own identifier is: written when the system was installed.
const MACHINE: [&str; 2] = ["etc/machine-id", "var/lib/dbus/machine-id"];
/// Where the identifier of its hardware is: of PCs, of IBM's POWER machines and what runs on these. Others go by the one
/// of the system.
const SYSTEM: [&str; 4] =
    ["sys/class/dmi/id/product_uuid", "proc/device-tree/system-id", "proc/device-tree/vm,uuid", "etc/machine-id"];
/// Where the one of the time since it was started is.
const BOOT: [&str; 1] = ["proc/sys/kernel/random/boot_id"];

/// What a machine is told by. What it does not have is empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The system that was installed.
    pub machine: String,
    /// The hardware.
    pub system: String,
    /// This start of it.
    pub boot: String,
}

impl Identity {
    /// The identity of the machine whose files are below a directory. Nobody but root may read some of them.
    pub fn below(root: &Path) -> Self {
        // What firmware tells ends with a zero.
        let read =
            |file: &str| Some(fs::read_to_string(root.join(file)).ok()?.trim_end_matches('\0').trim().to_owned());
        let first = |files: &[&str]| files.iter().find_map(|file| read(file)).unwrap_or_default();
        Self { machine: first(&MACHINE), system: first(&SYSTEM), boot: first(&BOOT) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: (&str, &str, &str)) {
        let root = tempfile::tempdir().expect("a directory");
        for (file, text) in files {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let Identity { machine, system, boot } = Identity::below(root.path());
        assert_eq!((machine.as_str(), system.as_str(), boot.as_str()), expected);
    }

    #[test]
    fn each_is_looked_for_in_its_places() {
        let (etc, dbus, boot) = (("etc/machine-id", "m\n"), ("var/lib/dbus/machine-id", "d\n"), (BOOT[0], "b\n"));
        let (dmi, firmware) = ((SYSTEM[0], "u\n"), (SYSTEM[2], "v\0"));
        check(&[etc, dbus, dmi, boot], ("m", "u", "b"));
        check(&[dbus, boot], ("d", "", "b"));
        check(&[etc, firmware], ("m", "v", ""));
        check(&[etc], ("m", "m", ""));
        check(&[], ("", "", ""));
    }
}
