//! Who a container runs as: numbers, or names that the image's own files explain.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cri::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use oci_spec::image::ImageConfiguration;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

/// The numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    /// All groups, the primary one among them.
    pub groups: Vec<u32>,
}

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    /// The image does not know the user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    /// The image does not know the group.
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
    /// A number is out of range.
    #[error("invalid user or group number {0}")]
    Range(i64),
    /// A group was given without a user.
    #[error("runAsGroup is specified without a user")]
    GroupWithoutUser,
    /// The image's files cannot be read.
    #[error("cannot read {file} of the image: {source}")]
    Read {
        /// The file.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A line of `/etc/passwd`.
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some(PasswdEntry { name, uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

/// A line of `/etc/group`: name, number, members.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name, fields.nth(1)?.parse().ok()?, fields.next().unwrap_or_default()))
    })
}

/// Finds out the user of a container whose root is mounted at `rootfs`.
pub(super) fn resolve(
    context: &LinuxContainerSecurityContext,
    image: &ImageConfiguration,
    rootfs: &Path,
) -> Result<ResolvedUser, UserError> {
    let image_user = image.config().as_ref().and_then(|config| config.user().clone()).unwrap_or_default();
    let passwd = read(rootfs, "etc/passwd")?;
    let group = read(rootfs, "etc/group")?;
    resolve_in(context, &image_user, &passwd, &group)
}

fn resolve_in(
    context: &LinuxContainerSecurityContext,
    image_user: &str,
    passwd_text: &str,
    group_text: &str,
) -> Result<ResolvedUser, UserError> {
    let number = |number: i64| u32::try_from(number).map_err(|_| UserError::Range(number));
    let (image_name, image_group) = image_user.split_once(':').unwrap_or((image_user, ""));
    let given = match &context.run_as_user {
        Some(uid) => Some(number(uid.value)?.to_string()),
        None if !context.run_as_username.is_empty() => Some(context.run_as_username.clone()),
        None => None,
    };
    if context.run_as_group.is_some() && given.is_none() && image_name.is_empty() {
        return Err(UserError::GroupWithoutUser);
    }
    // A group in the image belongs to the user in the image.
    let (name, group_name) = match &given {
        Some(name) => (name.as_str(), ""),
        None => (image_name, image_group),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = match name.parse::<u32>() {
        Ok(uid) => passwd(passwd_text).find(|entry| entry.uid == uid),
        Err(_) => passwd(passwd_text).find(|entry| entry.name == name),
    };
    let uid = match (&entry, name.parse::<u32>()) {
        (_, Ok(uid)) => uid,
        (Some(entry), Err(_)) => entry.uid,
        (None, Err(_)) => return Err(UserError::NoUser(name.to_owned())),
    };
    let gid = match (&context.run_as_group, group_name) {
        (Some(gid), _) => number(gid.value)?,
        (None, "") => entry.as_ref().map_or(0, |entry| entry.gid),
        (None, name) => match (name.parse(), groups(group_text).find(|(known, ..)| *known == name)) {
            (Ok(gid), _) => gid,
            (Err(_), Some((_, gid, _))) => gid,
            (Err(_), None) => return Err(UserError::NoGroup(name.to_owned())),
        },
    };
    let mut all = vec![gid];
    if context.supplemental_groups_policy() == SupplementalGroupsPolicy::Merge
        && let Some(entry) = &entry
    {
        let is_member = |members: &str| members.split(',').any(|member| member == entry.name);
        all.extend(groups(group_text).filter(|(_, _, members)| is_member(members)).map(|(_, gid, _)| gid));
    }
    for group in &context.supplemental_groups {
        all.push(number(*group)?);
    }
    let mut seen = HashSet::new();
    let unique: Vec<u32> = all.into_iter().filter(|group| seen.insert(*group)).collect();
    // What the kernel takes for no user at all.
    if [uid, gid].iter().chain(&unique).any(|number| *number == u32::MAX) {
        return Err(UserError::Range(u32::MAX.into()));
    }
    Ok(ResolvedUser { uid, gid, groups: unique })
}

/// A file of the container's root, empty if it has none; symbolic links lead nowhere else.
fn read(rootfs: &Path, file: &'static str) -> Result<String, UserError> {
    let error = |source: io::Error| UserError::Read { file, source };
    let root = File::open(rootfs).map_err(error)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = match rustix::fs::openat2(&root, file, flags, Mode::empty(), resolve) {
        Ok(opened) => File::from(opened),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        Err(err) => return Err(error(err.into())),
    };
    if !opened.metadata().map_err(error)?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    opened.take(16 * 1024 * 1024).read_to_end(&mut bytes).map_err(error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use cri::Int64Value;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nextra:x:50:other,web\n";

    fn context(uid: Option<i64>, gid: Option<i64>) -> LinuxContainerSecurityContext {
        let value = |value| Int64Value { value };
        LinuxContainerSecurityContext {
            run_as_user: uid.map(value),
            run_as_group: gid.map(value),
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(context: &LinuxContainerSecurityContext, image_user: &str, uid: u32, gid: u32, groups: &[u32]) {
        let user = resolve_in(context, image_user, PASSWD, GROUP).expect("the user is known");
        assert_eq!(user, ResolvedUser { uid, gid, groups: groups.to_vec() });
    }

    #[test]
    fn users_come_from_the_context_or_the_image() {
        check(&context(None, None), "", 0, 0, &[0]);
        check(&context(None, None), "web", 33, 34, &[34, 50]);
        check(&context(None, None), "33", 33, 34, &[34, 50]);
        check(&context(None, None), "web:root", 33, 0, &[0, 50]);
        check(&context(None, None), "1000:1001", 1000, 1001, &[1001]);
        check(&context(Some(1000), None), "web", 1000, 0, &[0]);
        check(&context(Some(33), Some(7)), "", 33, 7, &[7, 50]);
        let named = LinuxContainerSecurityContext { run_as_username: "web".to_owned(), ..Default::default() };
        check(&named, "", 33, 34, &[34, 50]);
    }

    #[test]
    fn supplemental_groups_follow_the_policy() {
        let mut strict = context(Some(33), None);
        strict.supplemental_groups = vec![9, 34];
        check(&strict, "", 33, 34, &[34, 50, 9]);
        strict.supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
        check(&strict, "", 33, 34, &[34, 9]);
    }

    #[test]
    fn unknown_names_are_errors() {
        let none = context(None, None);
        assert!(matches!(resolve_in(&none, "nobody", PASSWD, GROUP), Err(UserError::NoUser(_))));
        assert!(matches!(resolve_in(&none, "web:no", PASSWD, GROUP), Err(UserError::NoGroup(_))));
        assert!(matches!(resolve_in(&context(Some(-1), None), "", PASSWD, GROUP), Err(UserError::Range(-1))));
        assert!(matches!(resolve_in(&context(None, Some(1)), "", PASSWD, GROUP), Err(UserError::GroupWithoutUser)));
    }
}
