//! What is made of the descriptions in `proto/`.
#![expect(missing_docs, reason = "names and types are those of the protocols, whose documentation is upstream's")]

/// Drivers of volumes, version 1 of CSI: what runs on nodes.
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// Device plugins, version v1beta1.
pub mod device_plugin {
    tonic::include_proto!("v1beta1");
}

/// What pods have been given of the node, version v1.
pub mod pod_resources {
    tonic::include_proto!("v1");
}

/// Drivers of dynamic resources, version v1.
pub mod dra {
    tonic::include_proto!("k8s.io.kubelet.pkg.apis.dra.v1");
}

/// Plugins of all types that register with the kubelet, version 1.
pub mod registration {
    tonic::include_proto!("pluginregistration");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: impl prost::Message, expected: &[u32]) {
        testkit::check_wire(&message.encode_to_vec(), expected);
    }

    #[test]
    fn fields_have_upstreams_numbers() {
        let text = || "x".to_owned();
        check(
            device_plugin::RegisterRequest {
                version: text(),
                endpoint: text(),
                resource_name: text(),
                options: Some(Default::default()),
            },
            &[1, 2, 3, 4],
        );
        check(
            device_plugin::ContainerAllocateResponse {
                envs: [(text(), text())].into(),
                mounts: vec![Default::default()],
                devices: vec![Default::default()],
                annotations: [(text(), text())].into(),
                cdi_devices: vec![Default::default()],
            },
            &[1, 2, 3, 4, 5],
        );
        check(
            pod_resources::DynamicResource {
                claim_name: text(),
                claim_namespace: text(),
                claim_resources: vec![Default::default()],
            },
            &[2, 3, 4],
        );
        let plugin = registration::PluginInfo {
            r#type: text(),
            name: text(),
            endpoint: text(),
            supported_versions: vec![text()],
        };
        check(plugin, &[1, 2, 3, 4]);
        let volume = csi::NodePublishVolumeRequest {
            volume_id: text(),
            publish_context: [(text(), text())].into(),
            staging_target_path: text(),
            target_path: text(),
            volume_capability: Some(Default::default()),
            readonly: true,
            secrets: [(text(), text())].into(),
            volume_context: [(text(), text())].into(),
        };
        check(volume, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let staged = csi::NodeStageVolumeRequest {
            volume_id: text(),
            publish_context: [(text(), text())].into(),
            staging_target_path: text(),
            volume_capability: Some(Default::default()),
            secrets: [(text(), text())].into(),
            volume_context: [(text(), text())].into(),
        };
        check(staged, &[1, 2, 3, 4, 5, 6]);
        let mount = csi::volume_capability::MountVolume {
            fs_type: text(),
            mount_flags: vec![text()],
            volume_mount_group: text(),
        };
        check(mount.clone(), &[1, 2, 3]);
        let access_type = csi::volume_capability::AccessType::Mount(mount);
        let capability =
            csi::VolumeCapability { access_mode: Some(Default::default()), access_type: Some(access_type) };
        check(capability, &[2, 3]);
        check(csi::VolumeUsage { available: 1, total: 1, used: 1, unit: 1 }, &[1, 2, 3, 4]);
        let expansion = csi::NodeExpandVolumeRequest {
            volume_id: text(),
            volume_path: text(),
            capacity_range: Some(Default::default()),
            staging_target_path: text(),
            volume_capability: Some(Default::default()),
            secrets: [(text(), text())].into(),
        };
        check(expansion, &[1, 2, 3, 4, 5, 6]);
        check(dra::Claim { namespace: text(), uid: text(), name: text() }, &[1, 2, 3]);
        let device = dra::Device {
            request_names: vec![text()],
            pool_name: text(),
            device_name: text(),
            cdi_device_ids: vec![text()],
        };
        check(device, &[1, 2, 3, 4]);
    }
}
