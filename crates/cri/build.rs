//! Makes the messages, clients and servers of the protocol from `proto/runtime.proto`.

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .codec_path("tonic_prost::ProstCodec")
        // The runtime writes configurations down. What an older version wrote lacks the fields of today.
        .message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]\n#[serde(default)]")
        .enum_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        .compile_protos(&["proto/runtime.proto"], &["proto"])
}
