//! The security modules of a machine's kernel, and what CRI's words mean to them: both sides of the protocol have to know
//! which there are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::SeLinuxOption;

/// What the labels of containers are made from where the policy does not say.
const PROCESSES: &str = "system_u:system_r:container_t:s0";
const FILES: &str = "system_u:object_r:container_file_t:s0";

/// The security modules of a machine's kernel.
#[derive(Clone, Debug, Default)]
pub struct SecurityModules {
    /// The profiles of AppArmor that are loaded, where it is on: a file.
    app_armor: Option<PathBuf>,
    /// What SELinux labels containers with, where it is on.
    selinux: Option<Labels>,
}

/// A label of SELinux for the processes of a container, and one for its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// For processes.
    pub processes: String,
    /// For files.
    pub files: String,
}

impl SecurityModules {
    /// Those of the machine whose root directory this is.
    pub fn below(root: &Path) -> Self {
        let app_armor = root.join("sys/kernel/security/apparmor");
        let enabled = fs::read_to_string(root.join("sys/module/apparmor/parameters/enabled"));
        let has_app_armor = enabled.is_ok_and(|text| text.starts_with('Y')) && app_armor.exists();
        let has_selinux = root.join("sys/fs/selinux/enforce").exists();
        Self {
            app_armor: has_app_armor.then(|| app_armor.join("profiles")),
            selinux: has_selinux.then(|| policy_labels(root)),
        }
    }

    /// Whether the kernel confines by AppArmor.
    pub fn has_app_armor(&self) -> bool {
        self.app_armor.is_some()
    }

    /// Whether the kernel confines by SELinux.
    pub fn has_selinux(&self) -> bool {
        self.selinux.is_some()
    }

    /// Whether a profile of AppArmor is loaded.
    pub fn is_loaded(&self, profile: &str) -> io::Result<bool> {
        let Some(file) = &self.app_armor else { return Ok(false) };
        let loaded = fs::read_to_string(file)?;
        // One a line, with its mode in brackets behind.
        Ok(loaded.lines().any(|line| line.rsplit_once(" (").is_some_and(|(known, _)| known == profile)))
    }

    /// The labels of a container that asks for something of them: what it leaves open is the policy's. None where it
    /// asks for nothing, or the kernel has no SELinux.
    pub fn labels(&self, options: &SeLinuxOption) -> Option<Labels> {
        let policy = self.selinux.as_ref().filter(|_| *options != SeLinuxOption::default())?;
        let wanted = [&options.user, &options.role, &options.r#type, &options.level].map(String::as_str);
        let processes = with(&policy.processes, wanted);
        // Files have no role and a type of their own; who may see them is a matter of user and level.
        let files = with(&policy.files, [&options.user, "", "", &options.level]);
        Some(Labels { processes, files })
    }
}

/// A label with parts of it replaced. The last part may have colons in it.
fn with(label: &str, wanted: [&str; 4]) -> String {
    let mut parts = label.splitn(4, ':');
    let part = |wanted: &str| {
        let own = parts.next().unwrap_or_default();
        if wanted.is_empty() { own.to_owned() } else { wanted.to_owned() }
    };
    wanted.map(part).join(":")
}

/// The labels that the machine's policy has for containers.
fn policy_labels(root: &Path) -> Labels {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let config = read(&root.join("etc/selinux/config"));
    let policy = value(&config, "SELINUXTYPE").unwrap_or_else(|| "targeted".to_owned());
    let contexts = read(&root.join("etc/selinux").join(policy).join("contexts/lxc_contexts"));
    Labels {
        processes: value(&contexts, "process").unwrap_or_else(|| PROCESSES.to_owned()),
        files: value(&contexts, "file").unwrap_or_else(|| FILES.to_owned()),
    }
}

/// The value of a key in lines of keys and values.
fn value(text: &str, key: &str) -> Option<String> {
    let values = text.lines().filter_map(|line| line.split_once('='));
    let (_, value) = values.into_iter().find(|(name, _)| name.trim() == key)?;
    Some(value.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with some files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, SecurityModules) {
        let root = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let modules = SecurityModules::below(root.path());
        (root, modules)
    }

    const ENFORCE: (&str, &str) = ("sys/fs/selinux/enforce", "1");

    #[track_caller]
    fn check_labels(files: &[(&str, &str)], options: SeLinuxOption, expected: Option<(&str, &str)>) {
        let (_root, modules) = machine(files);
        let labels = modules.labels(&options);
        assert_eq!(labels.as_ref().map(|labels| (labels.processes.as_str(), labels.files.as_str())), expected);
    }

    #[test]
    fn a_profile_is_one_that_the_kernel_has() {
        let profiles = ("sys/kernel/security/apparmor/profiles", "skiff-default (enforce)\nmy profile (complain)\n");
        let enabled = ("sys/module/apparmor/parameters/enabled", "Y\n");
        let (_root, modules) = machine(&[profiles, enabled]);
        assert!(modules.has_app_armor() && !modules.has_selinux());
        let loaded = |profile: &str| modules.is_loaded(profile).expect("readable");
        assert_eq!(["skiff-default", "my profile", "my"].map(loaded), [true, true, false]);
        for files in [vec![], vec![profiles], vec![enabled], vec![profiles, (enabled.0, "N\n")]] {
            assert!(!machine(&files).1.has_app_armor(), "{files:?}");
        }
    }

    #[test]
    fn labels_are_completed_as_the_policy_has_them() {
        let level = || SeLinuxOption { level: "s0:c1,c2".to_owned(), ..SeLinuxOption::default() };
        let usual = ("system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2");
        check_labels(&[ENFORCE], level(), Some(usual));
        check_labels(&[ENFORCE], SeLinuxOption::default(), None);
        check_labels(&[], level(), None);
        let all = SeLinuxOption {
            user: "u".to_owned(),
            role: "r".to_owned(),
            r#type: "spc_t".to_owned(),
            level: "s1".to_owned(),
        };
        check_labels(&[ENFORCE], all, Some(("u:r:spc_t:s1", "u:object_r:container_file_t:s1")));
        let config = ("etc/selinux/config", "# which\nSELINUXTYPE=mls\n");
        let contexts =
            ("etc/selinux/mls/contexts/lxc_contexts", "process = \"a:b:c:s0\"\nfile = \"a:b:d:s0\"\nro_file = \"x\"\n");
        check_labels(&[ENFORCE, config, contexts], level(), Some(("a:b:c:s0:c1,c2", "a:b:d:s0:c1,c2")));
    }
}
