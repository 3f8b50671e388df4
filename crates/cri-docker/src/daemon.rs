//! What Docker Engine is like on this machine, as it says itself.

use std::path::PathBuf;
use std::time::Duration;

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum};
use bollard::{BollardRequest, Docker};
use http::HeaderValue;

use crate::errors::{DockerError, Doing};

/// How long Docker may take to begin an answer, where it has nothing to wait for itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// In what header credentials for a registry are sent.
const CREDENTIALS: &str = "x-registry-auth";

/// What does not change while Docker runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Daemon {
    /// Its version.
    pub version: String,
    /// Where it keeps everything.
    pub root_dir: PathBuf,
    /// Whether it makes cgroups through systemd.
    pub is_systemd: bool,
    /// Whether it confines containers by AppArmor.
    pub has_apparmor: bool,
    /// Whether it confines containers by SELinux.
    pub has_selinux: bool,
    /// The runtimes that it knows by name.
    pub runtimes: Vec<String>,
}

impl Daemon {
    /// Asks for it.
    pub(crate) async fn ask(docker: &Docker) -> Result<Self, DockerError> {
        Ok(Self::read(docker.info().await.doing("ask what Docker Engine this is")?))
    }

    fn read(info: SystemInfo) -> Self {
        let security = info.security_options.unwrap_or_default();
        let has =
            |name: &str| security.iter().any(|option| option.split(',').any(|part| part == format!("name={name}")));
        let mut runtimes: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        runtimes.sort();
        Self {
            version: info.server_version.unwrap_or_default(),
            root_dir: info.docker_root_dir.unwrap_or_default().into(),
            is_systemd: info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::SYSTEMD),
            has_apparmor: has("apparmor"),
            has_selinux: has("selinux"),
            runtimes,
        }
    }
}

/// Docker reads credentials in the alphabet of URLs, and takes what it cannot read for none; the client writes the
/// other alphabet.
pub(crate) fn mend_credentials(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut(CREDENTIALS) {
        let mended = value.to_str().unwrap_or_default().replace('+', "-").replace('/', "_");
        if let Ok(mended) = HeaderValue::from_str(&mended) {
            *value = mended;
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_modules_are_seen() {
        let options = ["name=apparmor", "name=seccomp,profile=default"].map(str::to_owned).to_vec();
        let daemon = Daemon::read(SystemInfo { security_options: Some(options), ..SystemInfo::default() });
        assert_eq!((daemon.has_apparmor, daemon.has_selinux), (true, false));
    }
}
