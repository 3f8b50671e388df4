//! Pure library: kinds, schemas, defaults, validation, patching, selectors, quantities, printers and `Status` errors.
//!
//! Nothing here does input or output, and nothing here knows the time: callers hand both in. Inside the API server an
//! object is a `serde_json::Value`; the facts about its shape (`schema`) and about its kind (`kinds`) are tables that
//! `cargo xtask codegen` writes into `generated/`.

pub mod custom;
pub mod decode;
pub mod defaults;
pub mod features;
pub mod field;
mod generated;
pub(crate) mod go_value;
pub mod jsonpath;
pub mod kinds;
pub mod managed;
pub mod meta;
pub mod openapi;
pub mod patch;
pub mod pod_security;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod re2;
pub mod schema;
pub mod selector;
pub mod status;
pub mod structural;
pub mod table;
pub mod validation;
pub mod warnings;
