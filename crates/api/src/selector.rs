//! (being written) selector.
