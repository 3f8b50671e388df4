//! The messages of upstream's `pluginregistration.Registration`, version 1, which every plugin of the kubelet serves.

use super::grpc::Call;

/// Asks a plugin what it is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InfoRequest {}

/// What a plugin is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PluginInfo {
    /// `CSIPlugin`, `DRAPlugin`, `DevicePlugin`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Its name among those of its type.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The socket on which it does its work; empty for the one on which it registers.
    #[prost(string, tag = "3")]
    pub endpoint: String,
    /// The versions of its type's protocol that it speaks.
    #[prost(string, repeated, tag = "4")]
    pub supported_versions: Vec<String>,
}

/// Tells a plugin what came of its registration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegistrationStatus {
    /// Whether it is registered.
    #[prost(bool, tag = "1")]
    pub plugin_registered: bool,
    /// Why it is not.
    #[prost(string, tag = "2")]
    pub error: String,
}

/// The plugin knows.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RegistrationStatusResponse {}

impl Call for InfoRequest {
    type Answer = PluginInfo;
    const PATH: &'static str = "/pluginregistration.Registration/GetInfo";
}

impl Call for RegistrationStatus {
    type Answer = RegistrationStatusResponse;
    const PATH: &'static str = "/pluginregistration.Registration/NotifyRegistrationStatus";
}
