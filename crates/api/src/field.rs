//! (being written) field.
