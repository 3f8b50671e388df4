//! The messages of upstream's `v2.KeyManagementService`, and what is stored of a value.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What a plugin says with a key: free texts that it wants back when it is to decrypt.
pub(crate) type Annotations = BTreeMap<String, Vec<u8>>;

/// Asks how the plugin is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusRequest {}

/// How the plugin is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct StatusResponse {
    /// Of the protocol: `v2`.
    #[prost(string, tag = "1")]
    pub version: String,
    /// `ok`, or what is wrong.
    #[prost(string, tag = "2")]
    pub healthz: String,
    /// The key with which it encrypts now.
    #[prost(string, tag = "3")]
    pub key_id: String,
}

/// Asks to decrypt.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DecryptRequest {
    /// What [`EncryptResponse`] had.
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    /// Names this request in logs.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// What [`EncryptResponse`] had.
    #[prost(string, tag = "3")]
    pub key_id: String,
    /// What [`EncryptResponse`] had.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// What was decrypted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DecryptResponse {
    /// As it was encrypted.
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
}

/// Asks to encrypt.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EncryptRequest {
    /// What to encrypt.
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
    /// Names this request in logs.
    #[prost(string, tag = "2")]
    pub uid: String,
}

/// What was encrypted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EncryptResponse {
    /// In the plugin's own form.
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    /// The key that encrypted it.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// What the plugin wants back with it.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// What is stored of a value, behind its prefix: upstream's `EncryptedObject`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct EncryptedObject {
    /// Encrypted with what the seed gives.
    #[prost(bytes = "bytes", tag = "1")]
    pub data: Bytes,
    /// The key of the plugin that encrypted the seed.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// The encrypted seed.
    #[prost(bytes = "vec", tag = "3")]
    pub source: Vec<u8>,
    /// What the plugin wants back with the seed.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub annotations: Annotations,
    /// What the seed is: [`AES_GCM_KEY`] or [`HKDF_SEED`].
    #[prost(int32, tag = "5")]
    pub source_type: i32,
}

/// The seed is the key of AES-GCM itself, as servers before v1.29 wrote it.
pub(crate) const AES_GCM_KEY: i32 = 0;
/// Every write has a key of its own, which HKDF makes of the seed.
pub(crate) const HKDF_SEED: i32 = 1;
