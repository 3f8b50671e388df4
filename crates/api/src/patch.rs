//! (being written) patch.
