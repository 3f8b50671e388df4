//! (being written) meta.
