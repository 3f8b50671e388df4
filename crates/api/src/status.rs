//! (being written) status.
