//! What is made of the descriptions in `proto/`.
#![expect(missing_docs, reason = "names and types are those of the protocols, whose documentation is upstream's")]

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
    use prost::Message;

    use super::*;

    /// The numbers of the fields that a message has on the wire.
    #[track_caller]
    fn check(message: impl Message, expected: &[u32]) {
        let bytes = message.encode_to_vec();
        let (mut numbers, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let (number, kind) = prost::encoding::decode_key(&mut rest).expect("well formed");
            numbers.push(number);
            let context = prost::encoding::DecodeContext::default();
            prost::encoding::skip_field(kind, number, &mut rest, context).expect("well formed");
        }
        assert_eq!(numbers, expected);
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
