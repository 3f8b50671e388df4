//! (being written) schema.
