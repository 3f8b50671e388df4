//! What a device changes in a container's specification.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde::Deserialize;
use serde_json::{Value, json};

use super::CdiError;

/// Changes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerEdits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    hooks: Vec<Hook>,
    mounts: Vec<Mount>,
    #[serde(rename = "additionalGids", alias = "additionalGIDs")]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<String>,
    r#type: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Hook {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mount {
    host_path: String,
    container_path: String,
    r#type: Option<String>,
    options: Vec<String>,
}

/// The list at `place`, made where there is none.
fn list<'a>(document: &'a mut Value, place: &[&str]) -> &'a mut Vec<Value> {
    let value = place.iter().fold(document, |value, name| &mut value[*name]);
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().expect("it was made a list just now")
}

/// Puts `value` in the place of the one that is the same thing, else at the end.
fn replace(values: &mut Vec<Value>, value: Value, same: impl Fn(&Value) -> bool) {
    match values.iter_mut().find(|known| same(known)) {
        Some(known) => *known = value,
        None => values.push(value),
    }
}

impl ContainerEdits {
    /// Makes the changes.
    pub(super) fn apply(&self, document: &mut Value) -> Result<(), CdiError> {
        for variable in &self.env {
            let name = variable.split('=').next().unwrap_or_default();
            let is_same = |known: &Value| known.as_str().and_then(|known| known.split('=').next()) == Some(name);
            replace(list(document, &["process", "env"]), json!(variable), is_same);
        }
        for node in &self.device_nodes {
            node.apply(document)?;
        }
        for mount in &self.mounts {
            let made = json!({
                "destination": mount.container_path,
                "source": mount.host_path,
                "type": mount.r#type.as_deref().unwrap_or("bind"),
                "options": if mount.options.is_empty() { json!(["rbind", "ro"]) } else { json!(mount.options) },
            });
            let is_same = |known: &Value| known["destination"] == mount.container_path.as_str();
            replace(list(document, &["mounts"]), made, is_same);
        }
        for hook in &self.hooks {
            let mut made = json!({"path": hook.path, "args": hook.args, "env": hook.env});
            if let Some(timeout) = hook.timeout {
                made["timeout"] = json!(timeout);
            }
            list(document, &["hooks", &hook.hook_name]).push(made);
        }
        for gid in &self.additional_gids {
            let groups = list(document, &["process", "user", "additionalGids"]);
            if *gid != 0 && !groups.contains(&json!(gid)) {
                groups.push(json!(gid));
            }
        }
        Ok(())
    }
}

impl DeviceNode {
    fn apply(&self, document: &mut Value) -> Result<(), CdiError> {
        let (kind, major, minor) = self.identity()?;
        // Whoever runs the container owns its devices, unless the file says who does.
        let owner = |given: Option<u32>, name: &str| {
            given.map_or_else(|| document["process"]["user"][name].clone(), |id| json!(id))
        };
        let (uid, gid) = (owner(self.uid, "uid"), owner(self.gid, "gid"));
        let mut node = json!({"path": self.path, "type": kind, "major": major, "minor": minor, "uid": uid, "gid": gid});
        if let Some(mode) = self.file_mode {
            node["fileMode"] = json!(mode);
        }
        replace(list(document, &["linux", "devices"]), node, |known| known["path"] == self.path.as_str());
        if kind != "p" {
            let access = self.permissions.as_deref().unwrap_or("rwm");
            let rule = json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
            list(document, &["linux", "resources", "devices"]).push(rule);
        }
        Ok(())
    }

    /// What device it is: as the file says, else as the machine's node says.
    fn identity(&self) -> Result<(String, i64, i64), CdiError> {
        if let (Some(kind), Some(major), Some(minor)) = (&self.r#type, self.major, self.minor) {
            return Ok((kind.clone(), major, minor));
        }
        let path = self.host_path.as_ref().unwrap_or(&self.path);
        let metadata = fs::metadata(path).map_err(|source| CdiError::Node { path: path.clone(), source })?;
        let kind = metadata.file_type();
        let kind = match (kind.is_char_device(), kind.is_block_device(), kind.is_fifo()) {
            (true, ..) => "c",
            (_, true, _) => "b",
            (.., true) => "p",
            _ => return Err(CdiError::NoDevice(path.clone())),
        };
        let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        Ok((kind.to_owned(), major.into(), minor.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_changed_in_all_its_parts() {
        let edits: ContainerEdits = serde_json::from_value(json!({
            "env": ["A=new", "B=2"],
            "deviceNodes": [
                {"path": "/dev/x0", "hostPath": "/dev/zero", "permissions": "r"},
                {"path": "/dev/x1", "type": "b", "major": 7, "minor": 8, "uid": 5, "fileMode": 0o600},
            ],
            "mounts": [{"hostPath": "/a", "containerPath": "/b"}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/true", "args": ["true"]}],
            "additionalGids": [0, 44],
        }))
        .expect("well formed");
        let mut document = json!({
            "process": {"env": ["A=1"], "user": {"uid": 1000, "gid": 0}},
            "mounts": [{"destination": "/b", "source": "/old"}],
            "linux": {"devices": [], "resources": {"devices": [{"allow": false}]}},
        });
        edits.apply(&mut document).expect("it can be done");
        assert_eq!(document["process"]["env"], json!(["A=new", "B=2"]));
        let devices = &document["linux"]["devices"];
        assert_eq!(devices[0], json!({"path": "/dev/x0", "type": "c", "major": 1, "minor": 5, "uid": 1000, "gid": 0}));
        assert_eq!((&devices[1]["uid"], &devices[1]["fileMode"]), (&json!(5), &json!(0o600)));
        assert_eq!(document["linux"]["resources"]["devices"][1]["access"], "r");
        assert_eq!(document["mounts"][0]["source"], "/a");
        assert_eq!(document["hooks"]["createContainer"][0]["path"], "/bin/true");
        assert_eq!(document["process"]["user"]["additionalGids"], json!([44]));
        let absent: ContainerEdits =
            serde_json::from_value(json!({"deviceNodes": [{"path": "/dev/no-such"}]})).expect("well formed");
        assert!(matches!(absent.apply(&mut document), Err(CdiError::Node { .. })));
    }
}
