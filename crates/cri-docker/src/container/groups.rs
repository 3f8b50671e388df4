//! The groups of a container's first process.
//!
//! CRI wants the groups that the image's files give a user beside those that it names itself (`Merge`), or without them
//! (`Strict`), whether or not it names the user's first group. Docker has the image's where nobody names the first group,
//! and leaves them away where somebody does. Where that is not what is wanted, the adapter looks into the files of a
//! container that was made and says all of it.

use bollard::models::{ContainerCreateBody, ImageInspect};
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use cri::{LinuxContainerSecurityContext, LinuxContainerUser, Status, SupplementalGroupsPolicy};
use futures::TryStreamExt;

use crate::engine::Engine;
use crate::errors::Doing;

/// What an image says of users and groups: the text of its files.
struct Accounts {
    passwd: String,
    group: String,
}

/// What Docker has to be asked for instead, if it would not give the process the groups that are wanted.
pub(super) async fn settle(
    engine: &Engine,
    id: &str,
    context: &LinuxContainerSecurityContext,
    image: &ImageInspect,
    body: &ContainerCreateBody,
) -> Result<Option<ContainerCreateBody>, Status> {
    let of_image = || image.config.as_ref().and_then(|config| config.user.clone());
    let user = body.user.clone().or_else(of_image).unwrap_or_default();
    let is_strict = context.supplemental_groups_policy() == SupplementalGroupsPolicy::Strict;
    // With a group Docker is strict, and without one it is not.
    if is_strict == user.contains(':') {
        return Ok(None);
    }
    let accounts = Accounts::read(engine, id).await?;
    Ok(accounts.settled(&user, is_strict, body))
}

impl Accounts {
    async fn read(engine: &Engine, id: &str) -> Result<Self, Status> {
        let (passwd, group) = (file(engine, id, "/etc/passwd").await?, file(engine, id, "/etc/group").await?);
        Ok(Self { passwd, group })
    }

    fn settled(&self, user: &str, is_strict: bool, body: &ContainerCreateBody) -> Option<ContainerCreateBody> {
        let (name, first) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
        let entry = self.entry(if name.is_empty() { "0" } else { name });
        if is_strict {
            // A user whom the image does not know has the group of root, as Docker sees it.
            let group = entry.map_or("0", |(_, group)| group);
            let name = if name.is_empty() { "0" } else { name };
            let user = Some(format!("{name}:{}", first.unwrap_or(group)));
            return Some(ContainerCreateBody { user, ..body.clone() });
        }
        let of_image = entry.map(|(name, _)| self.groups_of(name)).unwrap_or_default();
        let host = body.host_config.clone().unwrap_or_default();
        let mut groups = host.group_add.clone().unwrap_or_default();
        let further: Vec<String> = of_image.into_iter().filter(|group| !groups.contains(group)).collect();
        if further.is_empty() {
            return None;
        }
        groups.extend(further);
        let host = bollard::models::HostConfig { group_add: Some(groups), ..host };
        Some(ContainerCreateBody { host_config: Some(host), ..body.clone() })
    }

    /// Name and first group of a user, who is a name or a number.
    fn entry(&self, user: &str) -> Option<(&str, &str)> {
        let entries = self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?, fields.nth(1)?);
            Some((name, number, fields.next()?))
        });
        let mut found = entries.filter(|(name, number, _)| *name == user || *number == user);
        found.next().map(|(name, _, group)| (name, group))
    }

    /// The numbers of the groups that name a user.
    fn groups_of(&self, name: &str) -> Vec<String> {
        let of_line = |line: &str| {
            let mut fields = line.split(':').skip(2);
            let (number, members) = (fields.next()?.to_owned(), fields.next()?);
            members.split(',').any(|member| member.trim() == name).then_some(number)
        };
        self.group.lines().filter_map(of_line).collect()
    }
}

/// A file of a container; nothing of one that is not there.
async fn file(engine: &Engine, id: &str, path: &str) -> Result<String, Status> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let chunks = engine.docker.download_from_container(id, Some(options)).try_collect::<Vec<_>>().await;
    let archive = match chunks.doing(format!("read {path} of container {id}")) {
        Ok(chunks) => chunks.concat(),
        Err(err) if err.is_not_found() => return Ok(String::new()),
        Err(err) => return Err(err.into()),
    };
    let unreadable = |err: std::io::Error| Status::internal(format!("cannot read {path} of container {id}: {err}"));
    let mut text = String::new();
    if let Some(entry) = tar::Archive::new(archive.as_slice()).entries().map_err(unreadable)?.next() {
        let mut entry = entry.map_err(unreadable)?;
        if !entry.header().entry_type().is_file() {
            return Err(Status::failed_precondition(format!("{path} of the image is no file: its groups are unknown")));
        }
        std::io::Read::read_to_string(&mut entry, &mut text).map_err(unreadable)?;
    }
    Ok(text)
}

/// The user of the first process as it was asked for; nothing where the image has a part in it.
pub(super) fn user(user: Option<&str>, further: Option<&[String]>) -> Option<LinuxContainerUser> {
    let (uid, gid) = user?.split_once(':')?;
    let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
    let further = further.unwrap_or_default().iter().map(|group| group.parse().ok());
    let mut supplemental_groups = vec![gid];
    for group in further.collect::<Option<Vec<i64>>>()? {
        if !supplemental_groups.contains(&group) {
            supplemental_groups.push(group);
        }
    }
    Some(LinuxContainerUser { uid, gid, supplemental_groups })
}

#[cfg(test)]
mod tests {
    use bollard::models::HostConfig;

    use super::*;

    #[track_caller]
    fn check(user: &str, is_strict: bool, expected: Option<(&str, &[&str])>) {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:100::/:\n".to_owned();
        let group = "users:x:100:\naudio:x:29:other,web\nvideo:x:44:web\n".to_owned();
        let list = |groups: &[&str]| Some(groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>());
        let host = |groups| Some(HostConfig { group_add: groups, ..HostConfig::default() });
        let body =
            ContainerCreateBody { user: Some(user.to_owned()), host_config: host(list(&["44"])), ..Default::default() };
        let settled = Accounts { passwd, group }.settled(user, is_strict, &body);
        let found = settled.map(|body| (body.user.expect("there"), body.host_config.expect("there").group_add));
        assert_eq!(found, expected.map(|(user, groups)| (user.to_owned(), list(groups))));
    }

    #[test]
    fn strict_users_have_the_groups_that_are_named() {
        check("1000", true, Some(("1000:100", &["44"])));
        check("web", true, Some(("web:100", &["44"])));
        check("5", true, Some(("5:0", &["44"])));
        check("", true, Some(("0:0", &["44"])));
    }

    #[test]
    fn others_have_those_of_the_image_too() {
        check("1000:7", false, Some(("1000:7", &["44", "29"])));
        check("root:7", false, None);
        check("5:7", false, None);
    }

    #[test]
    fn users_are_told_where_no_file_matters() {
        let groups = ["50".to_owned()];
        let told = user(Some("1000:7"), Some(&groups)).expect("they are numbers");
        assert_eq!((told.uid, told.gid, told.supplemental_groups), (1000, 7, vec![7, 50]));
        assert_eq!(user(Some("web:7"), None), None);
        assert_eq!(user(Some("1000"), None), None);
    }
}
