//! (being written) kinds.
