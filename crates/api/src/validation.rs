//! (being written) validation.
