//! (being written) defaults.
