//! What is made of `proto/runtime.proto`.
#![expect(missing_docs, reason = "names and types are those of the protocol, whose documentation is upstream's")]

tonic::include_proto!("runtime.v1");

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: impl prost::Message, expected: &[u32]) {
        testkit::check_wire(&message.encode_to_vec(), expected);
    }

    #[test]
    fn fields_have_upstreams_numbers() {
        let signal = Signal::Sigterm.into();
        assert_eq!(signal, 23);
        check(ContainerConfig { stop_signal: signal, ..Default::default() }, &[18]);
        check(ContainerStatus { stop_signal: signal, user: Some(Default::default()), ..Default::default() }, &[18, 19]);
        check(Mount { image_sub_path: "x".to_owned(), readonly: true, ..Default::default() }, &[3, 10]);
        check(ImageSpec { image_ref: "x".to_owned(), image: "x".to_owned(), ..Default::default() }, &[1, 20]);
        check(CpuUsage { psi: Some(Default::default()), ..Default::default() }, &[4]);
        check(MemoryUsage { psi: Some(Default::default()), ..Default::default() }, &[8]);
    }

    #[test]
    fn what_older_versions_wrote_is_read() {
        let old: ContainerConfig =
            serde_json::from_str(r#"{"command": ["x"]}"#).expect("the rest is as it is at first");
        assert_eq!(old, ContainerConfig { command: vec!["x".to_owned()], ..Default::default() });
    }
}
