//! What the node gives to a container beside what its specification says. Whoever hands out something of the node adds
//! it here, and the container's configuration is made with the sum.

use std::collections::BTreeMap;

use cri as v1;
use k8s_openapi::api::core::v1::{Container, Pod};
use plugin_api::device_plugin::ContainerAllocateResponse;

use super::spec;
use crate::context::Context;

/// What a container is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// The CPUs on which it runs; empty for all.
    pub cpuset_cpus: String,
    /// The NUMA nodes of which its memory is; empty for all.
    pub cpuset_mems: String,
    /// Devices of the node.
    pub devices: Vec<v1::Device>,
    /// Files and directories of the node.
    pub mounts: Vec<v1::Mount>,
    /// Variables, unless the specification has some of the same name.
    pub environment: Vec<(String, String)>,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Devices by their names in the Container Device Interface.
    pub cdi_devices: Vec<String>,
}

/// All that a container is given. An error is a message for the user.
pub async fn grant(context: &Context, pod: &Pod, container: &Container) -> Result<Grant, String> {
    let cpus = context.managers.cpus(spec::uid(pod), &container.name).unwrap_or_default();
    let nodes: Vec<String> =
        context.managers.memory_nodes(spec::uid(pod), &container.name).iter().map(ToString::to_string).collect();
    let mut grant = Grant { cpuset_cpus: cpus.to_string(), cpuset_mems: nodes.join(","), ..Grant::default() };
    for answer in context.devices.prepare(pod, container).await.map_err(|err| err.to_string())? {
        grant.add_answer(answer);
    }
    let claimed = context.resource_claims.cdi_devices(context, pod, container).await;
    grant.add_cdi_devices(claimed.map_err(|err| err.to_string())?);
    Ok(grant)
}

impl Grant {
    /// Adds what a device plugin wants. Of two that want different things in one place the first one has it.
    fn add_answer(&mut self, answer: ContainerAllocateResponse) {
        for (name, value) in answer.envs {
            if !self.environment.iter().any(|(known, _)| *known == name) {
                self.environment.push((name, value));
            }
        }
        for device in answer.devices {
            if !self.devices.iter().any(|known| known.container_path == device.container_path) {
                self.devices.push(v1::Device {
                    container_path: device.container_path,
                    host_path: device.host_path,
                    permissions: device.permissions,
                });
            }
        }
        for mount in answer.mounts {
            if !self.mounts.iter().any(|known| known.container_path == mount.container_path) {
                self.mounts.push(v1::Mount {
                    container_path: mount.container_path,
                    host_path: mount.host_path,
                    readonly: mount.read_only,
                    ..v1::Mount::default()
                });
            }
        }
        for (name, value) in answer.annotations {
            self.annotations.entry(name).or_insert(value);
        }
        self.add_cdi_devices(answer.cdi_devices.into_iter().map(|device| device.name));
    }

    fn add_cdi_devices(&mut self, names: impl IntoIterator<Item = String>) {
        for name in names {
            if !self.cdi_devices.contains(&name) {
                self.cdi_devices.push(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::device_plugin::{CdiDevice, DeviceSpec, Mount};

    use super::*;

    #[test]
    fn the_first_to_want_something_in_a_place_has_it() {
        let answer = |from: &str, cdi: &str| ContainerAllocateResponse {
            envs: [("A".to_owned(), from.to_owned())].into(),
            devices: vec![DeviceSpec {
                container_path: "/dev/x".to_owned(),
                host_path: from.to_owned(),
                ..Default::default()
            }],
            mounts: vec![Mount { container_path: "/lib/x".to_owned(), host_path: from.to_owned(), read_only: true }],
            annotations: [("a".to_owned(), from.to_owned())].into(),
            cdi_devices: vec![CdiDevice { name: cdi.to_owned() }],
        };
        let mut grant = Grant::default();
        for (from, cdi) in [("/one", "v/c=1"), ("/two", "v/c=2"), ("/three", "v/c=1")] {
            grant.add_answer(answer(from, cdi));
        }
        assert_eq!(grant.environment, [("A".to_owned(), "/one".to_owned())]);
        assert_eq!((grant.devices.len(), grant.devices[0].host_path.as_str()), (1, "/one"));
        assert_eq!(
            (grant.mounts.len(), grant.mounts[0].host_path.as_str(), grant.mounts[0].readonly),
            (1, "/one", true)
        );
        assert_eq!(grant.annotations["a"], "/one");
        assert_eq!(grant.cdi_devices, ["v/c=1", "v/c=2"]);
    }
}
