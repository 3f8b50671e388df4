//! The process: arguments, environment, user, capabilities.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cri::LinuxContainerSecurityContext;
use serde_json::{Value, json};

use super::capabilities::Capabilities;
use super::user::ResolvedUser;
use super::{SpecError, SpecInput};
use crate::sandbox::IdMap;

/// Where programs are searched unless the image or the container says otherwise.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The `process` of the specification, and its working directory.
pub(super) fn process(
    input: &SpecInput<'_>,
    context: &LinuxContainerSecurityContext,
    user: &ResolvedUser,
    capabilities: &Capabilities,
) -> Result<(Value, PathBuf), SpecError> {
    let image = input.image.config().clone().unwrap_or_default();
    let args = args(
        &input.config.command,
        &input.config.args,
        image.entrypoint().as_deref().unwrap_or_default(),
        image.cmd().as_deref().unwrap_or_default(),
    );
    if args.is_empty() {
        return Err(SpecError::NoCommand);
    }
    let given = input.config.envs.iter().map(|pair| format!("{}={}", pair.key, pair.value));
    let mut defaults = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={}", hostname(input))];
    if input.config.tty {
        defaults.push("TERM=xterm".to_owned());
    }
    let image_env = image.env().clone().unwrap_or_default();
    let env = merge_env(defaults.into_iter().chain(image_env).chain(given));
    let cwd = match (input.config.working_dir.as_str(), image.working_dir().as_deref()) {
        ("", None | Some("")) => PathBuf::from("/"),
        ("", Some(dir)) => Path::new("/").join(dir),
        (dir, _) => Path::new("/").join(dir),
    };
    let mut process = json!({
        "terminal": input.config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": capabilities.to_json(),
    });
    // False is not the same as absent for libcontainer, which then believes that it was asked for something.
    if context.no_new_privs && !context.privileged {
        process["noNewPrivileges"] = json!(true);
    }
    Ok((process, cwd))
}

fn hostname(input: &SpecInput<'_>) -> String {
    if input.sandbox_config.hostname.is_empty() {
        let system = rustix::system::uname();
        return system.nodename().to_string_lossy().into_owned();
    }
    input.sandbox_config.hostname.clone()
}

/// A command replaces the image's entrypoint and command; arguments alone replace the image's command.
fn args(command: &[String], args: &[String], entrypoint: &[String], cmd: &[String]) -> Vec<String> {
    match (command, args) {
        ([], []) => [entrypoint, cmd].concat(),
        ([], args) => [entrypoint, args].concat(),
        (command, args) => [command, args].concat(),
    }
}

/// One entry a name, the last value given, in the order of the first.
fn merge_env(entries: impl Iterator<Item = String>) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    // A pod has seven variables for each service of its namespace, of which there may be thousands.
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        match places.entry(name) {
            Entry::Occupied(place) => merged[*place.get()] = entry,
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(entry);
            }
        }
    }
    merged
}

/// Makes the working directory in the container's root where the image does not have it.
pub(super) fn make_cwd(rootfs: &Path, cwd: &Path, map: Option<IdMap>) -> Result<(), SpecError> {
    let error = |source| SpecError::WorkingDir { path: cwd.to_owned(), source };
    let Some(relative) = crate::layer::clean_path(cwd) else {
        return Err(error(std::io::ErrorKind::InvalidInput.into()));
    };
    let root = File::open(rootfs).map_err(error)?;
    let dir = File::from(crate::layer::open_dir(root.as_fd(), &relative).map_err(error)?);
    // What was made just now belongs to the machine's root.
    match map {
        Some(map) if dir.metadata().map_err(error)?.uid() == 0 => {
            std::os::unix::fs::fchown(&dir, Some(map.host_id), Some(map.host_id)).map_err(error)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[track_caller]
    fn check_args(command: &[&str], given: &[&str], expected: &[&str]) {
        let result = args(&strings(command), &strings(given), &strings(&["entry"]), &strings(&["cmd"]));
        assert_eq!(result, strings(expected));
    }

    #[test]
    fn arguments_combine_as_pods_say() {
        check_args(&[], &[], &["entry", "cmd"]);
        check_args(&[], &["a"], &["entry", "a"]);
        check_args(&["c"], &[], &["c"]);
        check_args(&["c"], &["a"], &["c", "a"]);
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let merged = merge_env(strings(&["A=1", "B=2", "A=3", "C"]).into_iter());
        assert_eq!(merged, strings(&["A=3", "B=2", "C"]));
        let many = |value: &str| (0..1000).map(|number| format!("N{number}={value}")).collect::<Vec<_>>();
        assert_eq!(merge_env(many("old").into_iter().chain(many("new"))), many("new"));
    }
}
