//! The kubelet's own process, and the settings of the kernel that it counts on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::Config;

/// What the kernel is to do when memory runs out or a thread of its own fails, and how many keys root may have: with
/// other values, pods or the whole machine would hang where they should end or start anew.
const EXPECTED: [(&str, u32); 6] = [
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];
/// Where they are.
const SETTINGS: &str = "/proc/sys";

/// A setting of the kernel that `protectKernelDefaults` refuses.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has another value.
    #[error("invalid kernel flag: {name}, expected value: {expected}, actual value: {actual}")]
    Differs {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: u32,
        /// What it is.
        actual: String,
    },
}

/// Looks at the kernel's settings if it is to, and gives the process what it is to have. What the system does not let it
/// have it goes without.
pub fn prepare(config: &Config) -> Result<(), KernelError> {
    if config.protect_kernel_defaults {
        check(Path::new(SETTINGS))?;
    }
    if let Some(score) = config.oom_score_adj
        && let Err(err) = fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        tracing::info!(score, err = %err, "the kernel does not let the kubelet set when it is killed for memory");
    }
    if let Some(count) = config.max_open_files
        && let Err(err) = base::allow_open_files(count)
    {
        tracing::info!(count, err = %err, "the kernel does not let the kubelet have so many files open");
    }
    Ok(())
}

fn check(settings: &Path) -> Result<(), KernelError> {
    for (name, expected) in EXPECTED {
        let path = settings.join(name);
        let actual = fs::read_to_string(&path).map_err(|source| KernelError::Read { path, source })?;
        let actual = actual.trim().to_owned();
        if actual.parse() != Ok(expected) {
            return Err(KernelError::Differs { name, expected, actual });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_settings(other: Option<(&str, &str)>, expected: Option<&str>) {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, value) in EXPECTED {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, format!("{value}\n")).expect("written");
        }
        if let Some((name, value)) = other {
            fs::write(dir.path().join(name), value).expect("written");
        }
        let err = check(dir.path()).err().map(|err| err.to_string());
        assert_eq!(err.as_deref(), expected);
    }

    #[test]
    fn a_kernel_that_does_otherwise_is_refused() {
        check_settings(None, None);
        let other = Some(("vm/overcommit_memory", "0\n"));
        check_settings(other, Some("invalid kernel flag: vm/overcommit_memory, expected value: 1, actual value: 0"));
        let other = Some(("kernel/panic", ""));
        check_settings(other, Some("invalid kernel flag: kernel/panic, expected value: 10, actual value: "));
        let err = check(Path::new("/proc/none")).expect_err("there is nothing");
        assert!(matches!(err, KernelError::Read { .. }), "{err}");
    }

    #[test]
    fn the_process_has_what_the_configuration_says() {
        let own = || fs::read_to_string("/proc/self/oom_score_adj").expect("readable").trim().to_owned();
        let before = own();
        let instance = base::Instance::new("/nowhere/data", "/nowhere/run");
        let dir = tempfile::tempdir().expect("a directory");
        let authority = pki::Authority::load_or_create(dir.path(), "test", &base::Env::system()).expect("made");
        let issued = authority.issue(&pki::IssueRequest {
            common_name: "n1".to_owned(),
            organizations: Vec::new(),
            dns_names: vec!["n1".to_owned()],
            ips: Vec::new(),
            usage: pki::Usage::Server,
            validity: std::time::Duration::from_secs(60),
        });
        let serving = pki::Presenter::new(&issued.expect("issued")).expect("a certificate with its key");
        let mut config = Config::new("n1", Vec::new(), instance, serving.into(), authority.trust());
        prepare(&config).expect("nothing is asked for");
        assert_eq!(own(), before);
        // What is raised any process may raise; it goes back where this one may lower it.
        config.oom_score_adj = Some(555);
        prepare(&config).expect("nothing is refused");
        assert_eq!(own(), "555");
        config.oom_score_adj = before.parse().ok();
        prepare(&config).expect("nothing is refused");
    }
}
