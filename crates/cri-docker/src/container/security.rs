//! Users, and how Docker is told to confine containers.

use std::fs;

use cri::security_profile::ProfileType;
use cri::{
    Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext, SeLinuxOption, SecurityProfile, Status,
};

use crate::engine::Engine;

/// The user as Docker reads it; nothing for the image's own.
pub(crate) fn user(user: &Option<Int64Value>, name: &str, group: &Option<Int64Value>) -> Option<String> {
    let user =
        user.as_ref().map(|user| user.value.to_string()).or_else(|| (!name.is_empty()).then(|| name.to_owned()))?;
    Some(match group {
        Some(group) => format!("{user}:{}", group.value),
        None => user,
    })
}

/// Docker's options for a container.
pub(super) fn options(engine: &Engine, context: &LinuxContainerSecurityContext) -> Result<Vec<String>, Status> {
    let mut options = Vec::new();
    if context.no_new_privs {
        options.push("no-new-privileges".to_owned());
    }
    // Whoever is privileged is not confined.
    if !context.privileged {
        options.extend(seccomp(context.seccomp.as_ref())?);
        if engine.daemon.has_apparmor {
            options.extend(apparmor(context.apparmor.as_ref()));
        }
    }
    options.extend(selinux(context.selinux_options.as_ref()));
    Ok(options)
}

/// Docker's options for the container that holds a sandbox's namespaces, which does nothing that a profile would let or
/// not let it do.
pub(crate) fn sandbox_options(engine: &Engine, context: &LinuxSandboxSecurityContext) -> Vec<String> {
    let mut options = vec!["no-new-privileges".to_owned()];
    if engine.daemon.has_selinux {
        options.extend(selinux(context.selinux_options.as_ref()));
    }
    options
}

/// Docker's own profile is the runtime's default.
fn seccomp(profile: Option<&SecurityProfile>) -> Result<Option<String>, Status> {
    const UNCONFINED: &str = "seccomp=unconfined";
    let Some(profile) = profile else { return Ok(Some(UNCONFINED.to_owned())) };
    match profile.profile_type() {
        ProfileType::RuntimeDefault => Ok(None),
        ProfileType::Unconfined => Ok(Some(UNCONFINED.to_owned())),
        ProfileType::Localhost => {
            let path = profile.localhost_ref.trim_start_matches("localhost/");
            let invalid = |err: String| Status::invalid_argument(format!("cannot read seccomp profile {path}: {err}"));
            let text = fs::read_to_string(path).map_err(|err| invalid(err.to_string()))?;
            let profile: serde_json::Value = serde_json::from_str(&text).map_err(|err| invalid(err.to_string()))?;
            Ok(Some(format!("seccomp={profile}")))
        }
    }
}

fn apparmor(profile: Option<&SecurityProfile>) -> Option<String> {
    let profile = profile?;
    match profile.profile_type() {
        ProfileType::RuntimeDefault => None,
        ProfileType::Unconfined => Some("apparmor=unconfined".to_owned()),
        ProfileType::Localhost => Some(format!("apparmor={}", profile.localhost_ref.trim_start_matches("localhost/"))),
    }
}

fn selinux(options: Option<&SeLinuxOption>) -> Vec<String> {
    let Some(options) = options else { return Vec::new() };
    let parts =
        [("user", &options.user), ("role", &options.role), ("type", &options.r#type), ("level", &options.level)];
    let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
    parts.map(|(name, value)| format!("label={name}:{value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names() {
        let number = |value| Some(Int64Value { value });
        assert_eq!(user(&number(1000), "", &None).as_deref(), Some("1000"));
        assert_eq!(user(&number(1000), "", &number(7)).as_deref(), Some("1000:7"));
        assert_eq!(user(&None, "web", &number(7)).as_deref(), Some("web:7"));
        assert_eq!(user(&None, "", &None), None);
    }

    #[test]
    fn seccomp_profiles_are_read() {
        let profile = |kind: ProfileType, path: &str| SecurityProfile {
            profile_type: kind.into(),
            localhost_ref: path.to_owned(),
        };
        let option = |profile: Option<SecurityProfile>| seccomp(profile.as_ref()).expect("can be read");
        assert_eq!(option(None).as_deref(), Some("seccomp=unconfined"));
        assert_eq!(option(Some(profile(ProfileType::RuntimeDefault, ""))), None);
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(&file, "{ \"defaultAction\": \"SCMP_ACT_ALLOW\" }\n").expect("written");
        let own = profile(ProfileType::Localhost, &file.path().to_string_lossy());
        assert_eq!(option(Some(own)).as_deref(), Some(r#"seccomp={"defaultAction":"SCMP_ACT_ALLOW"}"#));
        assert!(seccomp(Some(&profile(ProfileType::Localhost, "/nowhere"))).is_err());
    }

    #[test]
    fn labels_are_given_in_parts() {
        let options = SeLinuxOption { r#type: "spc_t".to_owned(), level: "s0".to_owned(), ..Default::default() };
        assert_eq!(selinux(Some(&options)), ["label=type:spc_t", "label=level:s0"]);
    }
}
