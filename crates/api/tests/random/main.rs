//! Random documents and bytes: what must hold for all of them.

mod documents;
mod oracle;
mod protobuf;
