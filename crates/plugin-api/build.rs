//! Makes the messages, clients and servers of the protocols in `proto/`.

fn main() -> std::io::Result<()> {
    let protocols = ["csi", "device_plugin", "dra", "pod_resources", "registration"];
    let protocols = protocols.map(|name| format!("proto/{name}.proto"));
    tonic_prost_build::configure()
        .codec_path("tonic_prost::ProstCodec")
        // Maps in order, so that what is written down and compared looks the same each time.
        .btree_map(".")
        .compile_protos(&protocols, &["proto".to_owned()])
}
