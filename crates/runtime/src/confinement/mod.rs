//! Confinement by the security modules of the machine's kernel: a profile of AppArmor, labels of SELinux.
//!
//! A machine that has a module not is told nothing about it, but that a profile which a container was to have is missing.

mod profile;
mod relabel;

use std::io;
use std::path::{Path, PathBuf};

use cri::security_profile::ProfileType;
use cri::{Labels, LinuxContainerSecurityContext, SecurityModules, SecurityProfile};

pub(crate) use profile::LoadError;
pub(crate) use relabel::{RelabelError, relabel};

/// Why a container cannot be confined as it wants.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfinementError {
    /// The kernel has no AppArmor.
    #[error("apparmor is not supported: cannot apply profile {0:?}")]
    NoAppArmor(String),
    /// The profile is not loaded.
    #[error("apparmor profile not found {0}")]
    NoProfile(String),
    /// The loaded profiles cannot be read.
    #[error("cannot read the loaded apparmor profiles: {0}")]
    Profiles(#[from] io::Error),
    /// The runtime's own profile cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// The kernel's security modules, with a profile of the runtime's own.
#[derive(Debug)]
pub(crate) struct Confinement {
    modules: SecurityModules,
    /// The name of the profile of containers that want the runtime's own.
    default_profile: String,
    /// Where the profile is written before it is loaded.
    dir: PathBuf,
    /// The machine's root, below which the program is that loads profiles.
    root: PathBuf,
}

impl Confinement {
    /// That of a machine by its root, for an installation and its run directory.
    pub(crate) fn new(root: &Path, instance: &str, run_dir: &Path) -> Self {
        Self {
            modules: SecurityModules::below(root),
            default_profile: profile::name(instance),
            dir: run_dir.to_owned(),
            root: root.to_owned(),
        }
    }

    /// The profile of AppArmor that a container's processes are given, if they are: the runtime's own is loaded where it
    /// has to be, the machine's must be there. Privileged containers have none, as CRI has it.
    pub(crate) fn profile(&self, context: &LinuxContainerSecurityContext) -> Result<Option<String>, ConfinementError> {
        let wanted = wanted(context);
        let name = match wanted.as_ref().map(|wanted| (wanted.profile_type(), wanted.localhost_ref.as_str())) {
            Some((ProfileType::Unconfined, _)) => return Ok(None),
            Some((ProfileType::Localhost, name)) => Some(name.strip_prefix(PREFIX).unwrap_or(name)),
            // Who names none has the runtime's own, too, where that is possible.
            Some((ProfileType::RuntimeDefault, _)) | None => None,
        };
        if !self.modules.has_app_armor() {
            let missing = || ConfinementError::NoAppArmor(name.unwrap_or(&self.default_profile).to_owned());
            return if wanted.is_some() { Err(missing()) } else { Ok(None) };
        }
        match name {
            _ if context.privileged => Ok(None),
            None => self.own().map(Some),
            Some(name) if self.modules.is_loaded(name)? => Ok(Some(name.to_owned())),
            Some(name) => Err(ConfinementError::NoProfile(name.to_owned())),
        }
    }

    /// The runtime's own profile, which is loaded then.
    fn own(&self) -> Result<String, ConfinementError> {
        // Others may have put all profiles away since.
        if !self.modules.is_loaded(&self.default_profile)? {
            profile::load(&self.root, &self.dir, &self.default_profile)?;
        }
        Ok(self.default_profile.clone())
    }

    /// The labels of a container's processes and of its files, if it has some. The processes of privileged containers
    /// keep that of the node's, as CRI has it.
    pub(crate) fn labels(&self, context: &LinuxContainerSecurityContext) -> Option<Labels> {
        let mut labels = context.selinux_options.as_ref().and_then(|options| self.modules.labels(options))?;
        if context.privileged {
            labels.processes.clear();
        }
        Some(labels)
    }
}

/// Takes back what an installation has loaded into the kernel of the machine by its root.
pub(crate) fn cleanup(root: &Path, instance: &str) -> Result<(), ConfinementError> {
    let (modules, name) = (SecurityModules::below(root), profile::name(instance));
    if modules.is_loaded(&name)? { Ok(profile::unload(root, &name)?) } else { Ok(()) }
}

/// How profiles of the machine are told from others where there is one text for all.
const PREFIX: &str = "localhost/";

/// The profile that a container wants, in whichever way it says so.
#[expect(deprecated, reason = "kubelets before v1.22 know no other field")]
fn wanted(context: &LinuxContainerSecurityContext) -> Option<SecurityProfile> {
    let of_text = |text: &str| {
        let (profile_type, localhost_ref) = match text {
            "" => return None,
            "runtime/default" => (ProfileType::RuntimeDefault, ""),
            "unconfined" => (ProfileType::Unconfined, ""),
            name => (ProfileType::Localhost, name),
        };
        Some(SecurityProfile { profile_type: profile_type as i32, localhost_ref: localhost_ref.to_owned() })
    };
    context.apparmor.clone().or_else(|| of_text(&context.apparmor_profile))
}

#[cfg(test)]
mod tests;
