//! Random documents and bytes: what must hold for all of them.

mod decoding;
mod documents;
mod oracle;
mod patches;
mod protobuf;
mod texts;
