//! (being written) table.
